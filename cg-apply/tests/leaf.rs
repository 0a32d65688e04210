//! `--leaf`: the command alone is in the group; the links before it, and who waits for it, are not.

mod common;

use catena_tests::{Leftovers, StatusLog, Tool, requires, tool, until};
use common::{Group, controller};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

fn leaf(group: &Group, more: &[&str]) -> Tool {
    tool("cg-apply").args(["--cgroup", group.path(), "--leaf"]).args(more.iter().copied())
}

#[test]
fn a_limit_of_one_task_is_the_commands_though_the_links_fork() {
    if controller("pids").is_none() || !requires::namespace("pid") {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let one = ["--pids", "1"];
    // Without it the supervisor of the pid namespace is counted, too, and the first process cannot be forked.
    let counted = tool("cg-apply").args(["--cgroup", group.path()]).args(one);
    counted.then("ns-enter", ["-p"]).command(["echo", "ran"]).run().refuses(125, "clone3");
    group.expect_gone();
    let alone = leaf(&group, &one).then("ns-enter", ["-p"]).command(["bash", "-c", "echo $$"]).run();
    assert_eq!(alone.succeeds().stdout, "1\n");
    let forks =
        leaf(&group, &one).then("ns-enter", ["-p"]).command(["/bin/sh", "-c", "true & echo RAN"]).run();
    assert!(forks.status != 0 && !forks.stdout.contains("RAN"), "{forks:?}");
    let direct = leaf(&group, &one).command(["bash", "-c", "exec echo alone"]).run();
    assert_eq!(direct.succeeds().stdout, "alone\n");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn nobody_else_is_in_it_in_any_hierarchy() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let log = StatusLog::new();
    let run = leaf(&group, &["--status-fd", "9"])
        .fd(log.fd(), 9)
        .then("ns-enter", ["-p"])
        .then("cap-drop", ["--all"]);
    let mut running = run.verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    let inside = group.procs();
    assert_eq!(inside.len(), 1, "{inside:?}");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", inside[0])).expect("it runs");
    let there = own.lines().filter(|line| line.ends_with(group.path())).count();
    assert_eq!(there, group.dirs().len(), "{own}");
    assert_eq!(log.of("receipt")[0]["receipt"]["applied"]["leaf"], json!(true));
    kill(Pid::from_raw(inside[0]), Signal::SIGKILL).expect("it runs");
    running.wait();
    group.expect_gone();
    leftovers.check();
}

#[test]
fn no_file_of_the_group_stays_open_in_the_command() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let seen = leaf(&group, &[]).then("cap-drop", ["--all"]).probe();
    assert_eq!(seen.cgroup_in("").and_then(|path| path.to_str()), Some(group.path()));
    seen.expect_only_std_fds();
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_chain_that_does_not_arrive_leaves_nothing() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    leaf(&group, &[])
        .then("cap-drop", ["--all"])
        .command(["/catena-none"])
        .run()
        .refuses(127, "/catena-none");
    leaf(&group, &[]).then("cap-drop", ["--bogus"]).command(["echo", "ran"]).run().refuses(125, "--bogus");
    group.expect_gone();
    // It is not in the group yet, and killed for the time all the same.
    let (read, write) = nix::unistd::pipe().expect("pipe");
    let run = leaf(&group, &["--wall-time", "300ms", "--block-fd", "8"]).fd(read, 8);
    let out = run.command(["echo", "ran"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (124, ""), "{out:?}");
    drop(write);
    until("its end", || group.present().is_empty());
    leftovers.check();
}

#[test]
fn what_cannot_go_with_it_is_refused() {
    if !requires::cgroup_v2() || !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let own = leaf(&group, &[]).then("ns-enter", ["-C"]).command(["echo", "ran"]).run();
    own.refuses(125, "a cgroup namespace would begin at the group that is left then");
    let theirs = leaf(&group, &[]).then("ns-enter", ["--uts=/proc/1/ns/uts"]).command(["echo", "ran"]).run();
    theirs.refuses(125, "no way into it may lead through a namespace of others");
    let none = tool("cg-apply").args(["-N", "--leaf"]).command(["echo", "ran"]).run();
    none.refuses(125, "leaf: there is no cgroup to enter");
    let scope = tool("cg-apply").args(["-N", "--leaf", "--scope", "x"]).command(["echo", "ran"]).run();
    scope.refuses(125, "exclude each other");
    tool("cg-apply").args(["--rm", group.path(), "--leaf"]).run().refuses(125, "exclude each other");
    let shown = leaf(&group, &["-N", "--print"]).command(["true"]).run();
    assert!(shown.succeeds().stdout.contains("join      it, the command alone\n"), "{shown:?}");
    leaf(&group, &["-N", "--check"]).command(["true"]).run().succeeds();
    group.expect_gone();
    leftovers.check();
}
