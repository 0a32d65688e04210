//! Limits of time, the report at the end, and memory that was out said as what it is.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, TempDir, probe_path, requires, shell, tool, until};
use common::{Group, controller, is_alive};
use serde_json::{Value, json};

fn report(dir: &TempDir) -> Value {
    let text = std::fs::read_to_string(dir.path().join("report")).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The command `line` in this group, with these options and a report.
fn watched(dir: &TempDir, group: &Group, options: &[&str], line: &str) -> Output {
    let file = dir.path().join("report");
    let args = ["-N", "--cgroup", group.path(), "--report", file.to_str().unwrap()];
    tool("cg-apply").args(args).args(options).command(["bash", "-c", line]).run()
}

#[test]
fn what_cannot_be_watched_does_not_begin() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |args: &[&str]| {
        tool("cg-apply").args(["-N", "--cgroup", group.path()]).args(args).command(["echo", "ran"]).run()
    };
    run(&["--report", "/proc/catena-none/report"])
        .refuses(125, "cannot write the report: open(/proc/catena-none");
    for bad in ["0", "0.0001s", "-1", "5d", "soon"] {
        run(&[&format!("--wall-time={bad}")]).refuses(125, "--wall-time");
        run(&[&format!("--cpu-time={bad}")]).refuses(125, "--cpu-time");
    }
    group.expect_gone();
    leftovers.check();
}

/// A limit of time kills the whole group, so it is never one with others in it.
#[test]
fn nobody_else_is_killed_for_the_time() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let other = tool("cg-apply").args(["-N", "--cgroup", group.path()]).command(["sleep", "60"]).spawn();
    until("a process in the group", || !group.procs().is_empty());
    let out = tool("cg-apply")
        .args(["-N", "--cgroup", group.path(), "--wall-time", "1ms"])
        .command(["echo", "ran"])
        .run();
    out.refuses(125, "container's cgroup is not empty");
    assert!(is_alive(other.pid()));
    other.signal(nix::sys::signal::Signal::SIGTERM);
    other.wait().exits(143);
    leftovers.check();
}

#[test]
fn time_that_is_over_ends_all_of_it() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let out =
        watched(&dir, &group, &["--wall-time", "500ms"], "setsid sleep 60 <&- >&- 2>&- & echo $!; sleep 60");
    out.fails(124, "cg-apply: cannot run the command to its end: killed by its wall-time limit of 0.5 s\n");
    // A machine that is too slow has not got so far.
    if let Ok(orphan) = out.stdout.trim().parse() {
        until("the orphan's end", || !is_alive(orphan));
    }
    let report = report(&dir);
    assert_eq!((&report["exceeded"], &report["exit"]), (&json!("wallTime"), &json!({"signal": "SIGKILL"})));
    assert!(report["wall"].as_f64().unwrap() >= 0.5, "{report}");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn run_time_is_that_of_all_processes_together() {
    if !requires::root() || requires::cgroup_mount("cpuacct").is_none() && !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let spin = "while :; do :; done";
    let out = watched(&dir, &group, &["--cpu-time", "100ms"], &format!("({spin}) & ({spin}) & wait"));
    out.fails(124, "killed by its CPU-time limit of 0.1 s (");
    let shown = report(&dir);
    assert_eq!(shown["exceeded"], json!("cpuTime"));
    assert!(shown["cpu"]["total"].as_f64().unwrap() >= 0.1, "{shown}");
    // Who sleeps uses none up, and is not cut short.
    let out = watched(&dir, &group, &["--cpu-time", "20s", "--wall-time", "1h"], "sleep 0.1; exit 3");
    out.exits(3);
    let shown = report(&dir);
    assert_eq!(
        (&shown["exit"], &shown["exceeded"], &shown["error"]),
        (&json!({"code": 3}), &Value::Null, &Value::Null)
    );
    assert!(shown["wall"].as_f64().unwrap() >= 0.1, "{shown}");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn memory_that_was_out_is_said_and_reported() {
    let Some(_) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let file = dir.path().join("report");
    let limits = ["--cgroup", group.path(), "-m", "8M", "--memory-swap", "8M"];
    let out = tool("cg-apply").args(limits).arg("--report").arg(&file).verb(["eat-memory", "64M"]).run();
    let sentence = "killed by its memory limit of 8 MiB (peak 8 MiB, 1 oom kill)";
    let without_peak = "killed by its memory limit of 8 MiB (1 oom kill)";
    let shown = report(&dir);
    let peak = shown["memory"]["peak"].as_u64();
    let sentence = if peak.is_some() { sentence } else { without_peak };
    out.fails(137, &format!("cg-apply: cannot run the command to its end: {sentence}\n"));
    assert_eq!(shown["error"], json!(sentence));
    assert_eq!(shown["memory"], json!({"limit": 8 << 20, "peak": peak, "oomKills": 1}));
    assert_eq!((&shown["exit"], &shown["exceeded"]), (&json!({"signal": "SIGKILL"}), &json!("memory")));
    // Without a report it is said all the same.
    let out = tool("cg-apply").args(limits).verb(["eat-memory", "64M"]).run();
    out.fails(137, sentence);
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_command_that_was_killed_otherwise_is_not_said_to_want_memory() {
    let Some(_) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let limits = ["--cgroup", group.path(), "-m", "32M", "--memory-swap", "32M"];
    tool("cg-apply").args(limits).command(["bash", "-c", "kill -KILL $$"]).run().exits(137);
    // Nor for what the group went through before.
    tool("cg-apply").args(limits).arg("--keep").command(["true"]).run().succeeds();
    let eat = "$PROBE eat-memory 200M; kill -KILL $$";
    tool("cg-apply")
        .args(["--cgroup", group.path()])
        .command(["bash", "-c", eat])
        .env("PROBE", probe_path())
        .run()
        .fails(137, "1 oom kill");
    let out =
        tool("cg-apply").args(["--cgroup", group.path()]).command(["bash", "-c", "kill -KILL $$"]).run();
    out.exits(137);
    group.remove();
    leftovers.check();
}

#[test]
fn a_plan_may_ask_for_it_and_a_kept_group_stays() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let line = format!(
        "cg-apply --cgroup {} --keep --report report --wall-time 1h | cap-drop --all -- bash -c 'exit 5'",
        group.path()
    );
    shell(&line).cwd(dir.path()).run().exits(5);
    assert_eq!(report(&dir)["exit"], json!({"code": 5}));
    group.expect_there();
    let out = tool("cg-apply")
        .args(["-N", "--print", "--report", "/x", "--wall-time", "90", "--cpu-time", "1500ms"])
        .run();
    for line in ["watch     90 s of time", "watch     1.5 s of run time, then SIGKILL", "report    /x"] {
        assert!(out.succeeds().stdout.contains(line), "{out:?}");
    }
    group.remove();
    leftovers.check();
}
