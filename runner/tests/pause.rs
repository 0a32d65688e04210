//! pause stops every process and comes back when they stand still; resume lets them go on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, until, v2_view};
use common::Bundle;

/// A container that counts, so that it can be seen whether it runs.
fn counter() -> Bundle {
    Bundle::sh("n=0; while :; do n=$((n+1)); echo $n; done")
}

#[test]
fn a_paused_container_stands_still_and_a_resumed_one_goes_on() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = counter();
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("running");
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    assert_eq!(bundle.status(), "paused");
    // It is so when pause comes back: not a byte more.
    let at = bundle.output().len();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(bundle.output().len(), at, "it went on");
    bundle.runner(["resume", &bundle.id]).run().succeeds();
    assert_eq!(bundle.status(), "running");
    until("it goes on", || bundle.output().len() > at);
    drop(bundle);
    leftovers.check();
}

#[test]
fn what_is_not_running_is_not_paused_and_what_is_not_paused_not_resumed() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("exec sleep 60");
    bundle.runner(["pause", &bundle.id]).run().fails(1, "container does not exist");
    bundle.runner(["resume", &bundle.id]).run().fails(1, "container does not exist");
    bundle.create().succeeds();
    bundle.runner(["resume", &bundle.id]).run().fails(1, "container not paused");
    bundle.start().succeeds();
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    bundle.runner(["pause", &bundle.id]).run().fails(1, "container not running");
    bundle.runner(["delete", &bundle.id]).run().fails(1, "it is paused, not stopped");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    // v1's freezer holds a killed process back until it is let go; v2 may have ended it before this resume.
    if bundle.status() == "paused" {
        bundle.runner(["resume", &bundle.id]).run();
    }
    bundle.becomes("stopped");
    bundle.runner(["pause", &bundle.id]).run().fails(1, "container not running");
    bundle.runner(["resume", &bundle.id]).run().fails(1, "container not paused");
}

#[test]
fn a_created_container_can_be_paused_and_is_created_again_after() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("echo ran");
    bundle.create().succeeds();
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    assert_eq!(bundle.status(), "paused");
    bundle.start().fails(1, "it is paused, not created");
    bundle.runner(["resume", &bundle.id]).run().succeeds();
    assert_eq!(bundle.status(), "created");
    bundle.start().succeeds();
    bundle.becomes("stopped");
    assert_eq!(bundle.output(), "ran\n");
}

#[test]
fn delete_force_ends_a_paused_container() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = counter();
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    bundle.delete().succeeds();
    bundle.runner(["state", &bundle.id]).run().fails(1, "container does not exist");
    drop(bundle);
    leftovers.check();
}

#[test]
fn the_v2_freezer_is_waited_for_too() {
    if !requires::root() || !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = counter();
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    let line = format!(
        "runner() {{ command runner --root {root} \"$@\"; }}
         runner run -d -b {dir} {id} >{dir}/out 2>&1 </dev/null && runner pause {id} && g=$(find /sys/fs/cgroup -name {id} -type d 2>/dev/null); grep frozen $g/cgroup.events
         a=$(wc -c <{dir}/out); sleep 0.03; b=$(wc -c <{dir}/out); [ $a = $b ] && echo still
         runner state {id} | grep -o paused
         runner resume {id} && grep frozen $g/cgroup.events; runner delete -f {id}"
    );
    let out = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        shell(&line)
    } else {
        v2_view(&line)
    };
    let out = out.run();
    out.succeeds();
    let lines: Vec<&str> = out.stdout.lines().filter(|l| !l.starts_with("populated")).collect();
    assert_eq!(lines, ["frozen 1", "still", "paused", "frozen 0"], "{out:?}");
    drop(bundle);
    leftovers.check();
}
