//! `--rm`: removes a group and nothing else.

mod common;

use catena_tests::{Leftovers, StatusLog, TempDir, requires, shell, tool, until};
use common::{Group, is_alive};

fn rm<'a>(group: &Group, more: impl IntoIterator<Item = &'a str>) -> catena_tests::Tool {
    tool("cg-apply").args(["--rm", group.path()]).args(more)
}

fn kept(path: &str) {
    tool("cg-apply").args(["--keep", "--cgroup", path]).command(["true"]).run().succeeds();
}

#[test]
fn an_empty_group_and_those_below_it() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    for path in ["", "/a", "/a/b", "/c"] {
        kept(&format!("{}{path}", group.path()));
    }
    group.expect_there();
    rm(&group, []).run().succeeds();
    group.expect_gone();
    rm(&group, []).run().refuses(125, "there is no such group in any hierarchy");
    leftovers.check();
}

#[test]
fn one_that_is_used_only_with_kill() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let below = group.below("a/b");
    let mut inside = tool("cg-apply").args(["--keep", "--cgroup", &below]).verb(["sleep"]).spawn();
    assert_eq!(inside.line(), "ready");
    rm(&group, []).run().refuses(125, &format!("1 process(es) are in it: {}", inside.pid()));
    assert!(is_alive(inside.pid()));
    group.expect_there();
    // Saying what would be done does nothing.
    let out = rm(&group, ["--kill", "--print"]).run();
    let text = &out.succeeds().stdout;
    assert!(text.contains(&format!("kill      {}", inside.pid())), "{text}");
    for dir in group.dirs() {
        assert!(text.contains(&format!("remove    {}\n", dir.display())), "{text}");
    }
    assert!(rm(&group, ["--print"]).run().succeeds().stdout.contains("refuse    for these are in it"));
    assert!(is_alive(inside.pid()));
    group.expect_there();
    rm(&group, ["--kill"]).run().succeeds();
    until("its end", || inside.is_over());
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_frozen_one_is_killed_too() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut inside = tool("cg-apply").args(["--keep", "--cgroup", group.path()]).verb(["sleep"]).spawn();
    assert_eq!(inside.line(), "ready");
    let v1 = requires::cgroup_mount("freezer").is_some();
    let (file, value) = if v1 { ("freezer.state", "FROZEN") } else { ("cgroup.freeze", "1") };
    group.write("freezer", file, value);
    rm(&group, ["--kill"]).run().succeeds();
    until("its end", || inside.is_over());
    group.expect_gone();
    leftovers.check();
}

#[test]
fn many_of_them_in_groups_below_with_few_files_and_without_a_sleep() {
    if !requires::cgroup_v2() || !requires::command("strace") {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let crowd = |path: &str| {
        let line = "for i in $(seq 17); do sleep 300 & done; echo $i; wait";
        let run = tool("cg-apply").args(["--keep", "--cgroup", &group.below(path)]);
        let mut crowd = run.command(["bash", "-c", line]).spawn();
        assert_eq!(crowd.line(), "17");
        crowd
    };
    let mut crowds = ["a/b", "a/c/d", "e"].map(crowd);
    let procs = group.procs();
    assert_eq!(procs.len(), 3 * 18);
    let told = dir.path().join("calls");
    let calls = format!("strace -o {} -e trace=nanosleep,clock_nanosleep", told.display());
    shell(&format!("{calls} prlimit --nofile=48 cg-apply --rm {} --kill", group.path())).run().succeeds();
    group.expect_gone();
    crowds.iter_mut().for_each(|crowd| until("its end", || crowd.is_over()));
    until("the end of all", || procs.iter().all(|pid| !is_alive(*pid)));
    let calls = std::fs::read_to_string(told).expect("strace wrote");
    assert!(calls.contains("+++ exited with 0 +++") && !calls.contains("sleep("), "{calls}");
    leftovers.check();
}

#[test]
fn not_the_one_that_it_is_in_itself() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let line = format!("exec cg-apply --rm {} --kill", group.path());
    let run = tool("cg-apply").args(["--cgroup", &group.below("in")]).command(["bash", "-c", &line]).run();
    run.refuses(125, "this process itself is in it");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn what_it_would_pass_over_is_refused() {
    let group = Group::new();
    for (more, text) in [
        (&["-m", "5M"][..], "exclude each other"),
        (&["--cgroup", "/x"], "exclude each other"),
        (&["--keep"], "exclude each other"),
        (&["--check"], "exclude each other"),
        (&["--show", "1"], "exclude each other"),
        (&["--plan", "x"], "exclude each other"),
        (&["--rlimit", "nofile=5"], "exclude each other"),
        (&["--bogus"], "unknown option --bogus"),
    ] {
        rm(&group, more.iter().copied()).run().refuses(125, text);
    }
    rm(&group, []).command(["echo", "ran"]).run().refuses(125, "--rm removes a group and runs nothing");
    tool("cg-apply").args(["--kill"]).command(["echo", "ran"]).run().refuses(125, "--rm");
    group.expect_gone();
}

#[test]
fn names_that_name_no_group() {
    if !requires::cgroup_v2() {
        return;
    }
    for (path, text) in [
        ("", "it names no group below the root"),
        ("/", "it names no group below the root"),
        ("/.", "it names no group below the root"),
        ("/../x", "'..' could lead out of the hierarchy"),
        ("x/../../y", "'..' could lead out of the hierarchy"),
        ("/cg-test-nowhere", "there is no such group in any hierarchy"),
    ] {
        let log = StatusLog::new();
        let out = tool("cg-apply").args(["--rm", path, "--kill", "--status-fd", "7"]).fd(log.fd(), 7).run();
        out.refuses(125, text);
        log.expect_error(if text.starts_with("there") { "missing" } else { "usage" });
    }
}
