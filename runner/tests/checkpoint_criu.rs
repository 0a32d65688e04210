//! Containers that are taken off the machine and brought back with a real criu: in the lane `tests/lanes/in-trixie`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell};
use common::criu::{checkpoint, counter, counting, counts_on, images, restore, v2_alone};

#[test]
fn a_container_goes_on_where_it_was() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = counter().up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    // Another id and another cgroup.
    bundle.id += "b";
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.exec([], ["/bin/cat", "/proc/1/comm"]).run().succeeds().stdout.trim(), "sh");
    // From outside, for it may have a cgroup namespace; where v2 is all there is, the v1 groups are nobody's.
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    let its: Vec<&str> = groups.lines().filter(|line| !v2_alone() || line.starts_with("0::")).collect();
    assert!(!its.is_empty() && its.iter().all(|line| line.ends_with(&bundle.id)), "{groups}");
    // And once more.
    checkpoint(&bundle, ["--leave-running"]).succeeds();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    drop(bundle);
    leftovers.check();
}

/// criu gives a restored tree a time namespace: who is executed beside it later has to be in that one too, or criu cannot
/// bring both back.
#[test]
fn what_was_executed_in_a_restored_container_comes_along_the_next_time() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = counter().up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    // A loop, for one long sleep(3) is told EINTR by criu, and not every sleep(1) goes on after that.
    let script = "while :; do sleep 0.1; done </dev/null >/dev/null 2>&1 & echo $!";
    let pid = bundle.exec([], ["/bin/sh", "-c", script]).run().succeeds().stdout.trim().to_string();
    checkpoint(&bundle, []).succeeds();
    bundle.id += "b";
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    let comm = format!("/proc/{pid}/comm");
    assert_eq!(bundle.exec([], ["/bin/cat", &comm]).run().succeeds().stdout, "sh\n");
    bundle.runner(["delete", "--force", &bundle.id]).run().succeeds();
    drop(bundle);
    leftovers.check();
}

#[test]
fn restored_in_the_foreground_its_status_comes_back() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle =
        counting("until [ -e /go ]; do i=$((i+1)); echo $i >>/count; sleep 0.02; done; exit 41").up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    let line = format!(
        "runner --root {} restore --bundle {dir} --image-path {} {} >{dir}/out2 2>&1",
        bundle.state.path().display(),
        images(&bundle).display(),
        bundle.id,
        dir = bundle.dir()
    );
    let running = shell(&line).spawn();
    counts_on(&bundle);
    std::fs::write(bundle.rootfs.path().join("go"), "").unwrap();
    running.wait().exits(41);
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    drop(bundle);
    leftovers.check();
}
