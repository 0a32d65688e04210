//! Shapes of host that no lane has: v1 alone, and groups of v2 that take no process. The others are the lanes' (hybrid,
//! v2, systemd), `ordinary.rs` (v2 delegated to a user) and `refused.rs` (no cgroup file system at all).
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, TempDir, Tool, requires, shell, v2_view};
use common::{Group, config};
use serde_json::Value;
use std::time::Duration;

/// A shell line where v2 is not mounted.
fn v1_alone(line: &str) -> Output {
    let line = format!("umount /sys/fs/cgroup/unified && {line}");
    shell(&format!("exec unshare --mount --propagation private bash -c '{line}'")).run()
}

/// A shell line where v1's pids is all that is mounted.
fn pids_alone(line: &str) -> Tool {
    let mounts = "umount -R /sys/fs/cgroup && mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/pids && \
                  mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids";
    shell(&format!("exec unshare --mount --propagation private bash -c '{mounts} && {line}'"))
}

fn has_v1_alone() -> bool {
    requires::cgroup_v1("memory") && requires::cgroup_mount("unified").is_some() && requires::root()
}

#[test]
fn v1_alone_limits_reports_and_leaves_nothing() {
    if !has_v1_alone() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let report = dir.path().join("report");
    let line = format!(
        "cg-apply -N --cgroup {} -m 64M --pids 20 --report {} -- cat /sys/fs/cgroup/memory{0}/memory.limit_in_bytes",
        group.path(),
        report.display()
    );
    let out = v1_alone(&line);
    assert_eq!(out.succeeds().stdout, "67108864\n");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert!(report["memory"]["peak"].as_u64().unwrap() > 0 && report["cpu"]["total"].as_f64().unwrap() > 0.0);
    // What only v2 has is refused by its name.
    let line = format!(
        "cg-apply -N --keep --cgroup {0} -- true; cg-apply events --psi cpu:some:1ms:2s --stats {0}",
        group.path()
    );
    assert_eq!(v1_alone(&line).stdout.lines().count(), 1);
    group.remove();
    leftovers.check();
}

/// Nobody tells that a group of v1 has become empty.
#[test]
fn on_v1_alone_a_group_is_killed_and_its_events_end() {
    if !has_v1_alone() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let line = format!(
        "cg-apply -N --cgroup {0} -- sleep 60 & while [ -z \"$(cat /sys/fs/cgroup/memory{0}/cgroup.procs 2>&-)\" ]; do sleep 0.01; done; \
         {{ cg-apply events --interval 50ms {0} & }} | {{ read -r line; cg-apply kill {0}; cat >/dev/null; echo \"$line\"; }}; wait",
        group.path()
    );
    let out = v1_alone(&line);
    let first: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert_eq!(first["type"], "stats");
    group.expect_gone();
    leftovers.check();
}

/// Nothing keeps them from making others while they are killed, and those are not waited for before they are killed too.
#[test]
fn without_a_freezer_what_forks_all_the_time_is_killed() {
    if !requires::cgroup_v1("pids") || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    // Each makes one more, and none of them ends by itself.
    let forks = "f() { f & wait; }; f";
    // What bash says of a command that was killed is not ours.
    let line = format!(
        "exec 2>/dev/null; cg-apply --keep --pids 2000 --cgroup {0} -- bash -c \"{forks}\" & \
         until [ \"$(wc -l </sys/fs/cgroup/pids{0}/cgroup.procs)\" -ge 4 ]; do :; done; \
         cg-apply kill {0} 2>&1 && cat /sys/fs/cgroup/pids{0}/cgroup.procs; cg-apply --rm {0} --kill 2>&1; wait",
        group.path()
    );
    for _ in 0..20 {
        let out = pids_alone(&line).timeout(Duration::from_secs(8)).run();
        assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "", ""), "{out:?}");
    }
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_group_that_takes_no_process_is_named_with_its_kind() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |prepare: &str, options: &str, below: &str| {
        let dir = format!("/sys/fs/cgroup{}", group.path());
        // The threaded child makes its parent the domain of threads, and what is made beside it invalid.
        let made = format!("mkdir -p {dir}/t {dir}/inv && echo threaded >{dir}/t/cgroup.type && {prepare}");
        let line = format!("{made} cg-apply -N {options} --cgroup {}/{below} -- echo ran", group.path());
        let out = v2_view(&line).run();
        group.remove();
        out
    };
    let kind = "is a 'domain invalid' cgroup, and only a 'domain' takes processes";
    for (options, below) in [("", "inv"), ("", "new"), ("", "inv/new"), ("--keep", "inv"), ("--keep", "new")]
    {
        run("", options, below).refuses(125, kind);
    }
    // A threaded group's process is one of its domain's: it runs, and its group is looked at like any other.
    assert_eq!(run("", "", "t").succeeds().stdout, "ran\n");
    leftovers.check();
}

#[test]
fn where_the_groups_are_mounted_read_only_it_says_so_and_runs_nothing() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let line = format!(
        "mount -o remount,bind,ro /sys/fs/cgroup && exec cg-apply -N --cgroup {} -- echo ran",
        group.path()
    );
    v2_view(&line).run().refuses(125, "why: /sys/fs/cgroup is mounted read-only here");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_fork_that_a_limit_of_tasks_forbids_is_told_as_that_and_leaves_no_group() {
    if !requires::controller("pids") || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |options: &str, below: &str| {
        let line = format!("exec cg-apply -N --cgroup {} -- echo ran", group.below(below));
        format!("cg-apply -N --cgroup {} {options} -- bash -c '{line}'", group.below("full"))
    };
    // v1 counts a fork where it is called, v2 where the child is born.
    let below = if requires::cgroup_mount("pids").is_some() { "beside" } else { "full/born" };
    let out = shell(&run("--pids 1", below)).run();
    out.refuses(125, "why: a limit of tasks, of the user or of ");
    assert_eq!(shell(&run("--pids 3", "beside")).run().succeeds().stdout, "ran\n");
    group.remove();
    leftovers.check();
}

#[test]
fn device_rules_are_refused_where_nothing_could_carry_them_out() {
    if !requires::cgroup_v1("pids") || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let path = config(&dir, r#""resources":{"devices":[{"allow":false,"access":"rwm"}]}"#, "");
    let run = |more: &str| {
        pids_alone(&format!("exec cg-apply -N --oci {} {more} -- echo ran", path.display())).run()
    };
    run("").refuses(125, "resources.devices: no v1 devices hierarchy and no cgroup v2 is mounted");
    assert_eq!(run("--try resources.devices").succeeds().stdout, "ran\n");
    leftovers.check();
}
