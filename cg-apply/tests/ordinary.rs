//! cg-apply as an ordinary user: in a subtree that was given to it, and without one.

mod common;

use catena_tests::{Leftovers, Output, probe_path, requires, shell, tool};
use common::{Group, controller, hierarchies};
use std::os::unix::fs::chown;
use std::path::Path;

/// A user that need not be in /etc/passwd.
const ID: u32 = 54_321;

/// `line` as that user, whose shell is in `own` of this group.
fn run(group: &Group, line: &str) -> Output {
    let user = format!("exec setpriv --reuid {ID} --regid {ID} --clear-groups bash -c '{line}'");
    let own = group.below("own");
    // Behind bash, for a link does not come twice in one chain.
    let run = tool("cg-apply").args(["-N", "--keep", "--cgroup", &own]).env("PROBE", probe_path());
    run.command(["bash", "-c", &user]).run()
}

fn give(dir: &Path) {
    chown(dir, Some(ID), Some(ID)).expect("root may give it away");
    for file in ["cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
        let path = dir.join(file);
        if path.exists() {
            chown(path, Some(ID), Some(ID)).expect("root may give it away");
        }
    }
}

fn possible() -> bool {
    requires::cgroup_v2() && requires::command("setpriv")
}

#[test]
fn in_a_subtree_of_its_own() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    tool("cg-apply").args(["--keep", "--cgroup", &group.below("own")]).command(["true"]).run().succeeds();
    for dir in group.dirs() {
        give(&dir);
        give(&dir.join("own"));
    }
    let out = run(&group, "cg-apply -N --cgroup job -- cat /proc/self/cgroup");
    let text = &out.succeeds().stdout;
    assert!(text.lines().any(|l| l == format!("0::{}", group.below("job"))), "{text}");
    for dir in group.dirs() {
        assert!(!dir.join("job").exists() && !dir.join("own/job").exists(), "{}", dir.display());
    }
    // By its whole name, limited, and with what it left behind ended.
    let path = group.below("named");
    if controller("pids").is_some() {
        let out = run(
            &group,
            &format!("cg-apply -N --cgroup {path} --pids 3 -- bash -c \"sleep 300 & exit 4\" >&- 2>&-"),
        );
        assert_eq!(out.status, 4, "{out:?}");
        let out = run(&group, &format!("cg-apply -N --cgroup {path} --pids 3 -- $PROBE fork 3"));
        assert_eq!(out.stdout, "2 of 3\nEAGAIN\n", "{out:?}");
        let out = run(&group, &format!("cg-apply -N --cgroup {path} --pids 3 --check"));
        assert_eq!(out.succeeds().stdout, "this host can do it\n");
    }
    for dir in group.dirs() {
        assert!(!dir.join("named").exists(), "{}", dir.display());
    }
    // Beside the subtree nothing is its own.
    let other = Group::new();
    let out = run(&group, &format!("cg-apply -N --cgroup {} -- echo ran", other.path()));
    out.refuses(125, "(EACCES)");
    assert!(out.stderr.contains("why: its parent is not delegated to this user"), "{out:?}");
    other.expect_gone();
    drop(group);
    leftovers.check();
}

#[test]
fn without_one_it_is_told() {
    if hierarchies().is_empty() {
        return;
    }
    let leftovers = Leftovers::watch();
    let user = format!("exec setpriv --reuid {ID} --regid {ID} --clear-groups");
    let user = if nix::unistd::geteuid().is_root() { user.as_str() } else { "exec" };
    for line in
        ["cg-apply -N --cgroup /cg-test-theirs -- echo ran", "cg-apply -N --cgroup cg-test-theirs --check"]
    {
        let out = shell(&format!("{user} {line}")).run();
        out.refuses(125, "cannot make the cgroup");
        assert!(out.stderr.contains("why: its parent is not delegated to this user"), "{out:?}");
    }
    // What needs no group is done.
    let out =
        shell(&format!("{user} cg-apply -N --rlimit nofile=40 --oom-score-adj 900 -- bash -c 'ulimit -n'"))
            .run();
    assert_eq!(out.succeeds().stdout, "40\n");
    leftovers.check();
}

#[test]
fn without_one_a_group_that_may_be_left_out_is_and_no_limit_with_it() {
    if hierarchies().is_empty() {
        return;
    }
    let leftovers = Leftovers::watch();
    let user = format!("exec setpriv --reuid {ID} --regid {ID} --clear-groups");
    let user = if nix::unistd::geteuid().is_root() { user.as_str() } else { "exec" };
    let run = |options: &str| {
        let line = format!("cg-apply -N --keep --cgroup /cg-test-theirs {options} -- cat /proc/self/cgroup");
        shell(&format!("{user} {line}")).run()
    };
    let here = std::fs::read_to_string("/proc/self/cgroup").expect("it can be read");
    assert_eq!(run("--try cgroupsPath").succeeds().stdout, here);
    if controller("pids").is_some() {
        run("--try cgroupsPath --pids 9").refuses(125, "why: resources.pids.limit needs it");
        assert_eq!(run("--try cgroupsPath,resources.pids --pids 9").succeeds().stdout, here);
    }
    leftovers.check();
}
