//! delete --force of containers that do not want to end: no pid namespace, forks without end, groups below groups,
//! frozen; in each layout of cgroups that this host can show.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, v2_view};
use common::Bundle;

/// Twenty processes that each go on in a child and end, for ever.
const FORKS: &str = "f() { sleep 0.01; f & }; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do f & done; exec sleep 60";

/// Creates and starts a container without a pid namespace, does `then` with its groups in `$groups`, deletes by force;
/// all of it behind `view`.
fn ends(view: &str, command: &str, then: &str) {
    let mut bundle = Bundle::sh(command);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "pid" && ns["type"] != "cgroup");
    bundle.write();
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    let line = format!(
        "{view}
        runner --root {root} create --bundle {dir} {id} >/dev/null 2>&1 </dev/null || exit 9
        runner --root {root} start {id} || exit 8
        sleep 0.1
        groups=$(find /sys/fs/cgroup -type d -name {id} 2>/dev/null | sort)
        {then}
        runner --root {root} delete --force {id} || exit 7
        left=$(find /sys/fs/cgroup -name {id} 2>/dev/null); echo \"left:$left\"; ls -A {root}"
    );
    let inside = format!("unshare -m --propagation private bash -c '{}'", line.replace('\'', "'\\''"));
    let out = if view == "v2" { v2_view(&line.replacen("v2", "", 1)).run() } else { shell(&inside).run() };
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "left:\n", ""), "{out:?}");
}

/// Where v1 alone is in sight: there no file kills a group at once.
const V1: &str = "umount /sys/fs/cgroup/unified";

/// The views that this host has.
fn views() -> Vec<&'static str> {
    let hybrid = std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    if hybrid { vec![":", V1, "v2"] } else { vec![":"] }
}

#[test]
fn forks_without_end_do_not_escape() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for view in views() {
        eprintln!("view {view}");
        ends(view, FORKS, ":");
    }
    leftovers.check();
}

#[test]
fn groups_below_and_what_is_in_them_go_too() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for view in views() {
        eprintln!("view {view}");
        // A v2 group that limits its children may hold no process itself, so they are moved one and all.
        let then = "for g in $groups; do mkdir $g/a $g/a/b $g/c; done
            for g in $groups; do for p in $(cat $g/cgroup.procs); do echo $p >$g/a/b/cgroup.procs; done 2>/dev/null; done";
        ends(view, "sleep 60 & exec sleep 61", then);
    }
    leftovers.check();
}

#[test]
fn frozen_ones_end() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for view in views() {
        eprintln!("view {view}");
        let then = "for g in $groups; do
                if [ -e $g/freezer.state ]; then echo FROZEN >$g/freezer.state
                elif [ -e $g/cgroup.freeze ]; then echo 1 >$g/cgroup.freeze; fi
            done; sleep 0.05";
        ends(view, FORKS, then);
    }
    leftovers.check();
}

#[test]
fn a_pid_namespace_full_of_processes_ends_with_its_first() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh(FORKS);
    bundle.create().succeeds();
    bundle.start().succeeds();
    std::thread::sleep(std::time::Duration::from_millis(100));
    bundle.delete().succeeds();
    drop(bundle);
    leftovers.check();
}
