//! Groups that are there are looked at, followed, stopped and emptied.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Running, requires, tool, until};
use common::{Group, Version, controller, is_alive};
use serde_json::Value;

/// The payload with this verb, in this group, which stays.
fn inside(group: &Group, options: &[&str], line: &str) -> Running {
    let args = ["-N", "--cgroup", group.path()];
    let line = format!("echo ready; {line}");
    let mut running = tool("cg-apply").args(args).args(options).command(["bash", "-c", &line]).spawn();
    assert_eq!(running.line(), "ready");
    running
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_not_there_is_named() {
    if !requires::root() {
        return;
    }
    let group = Group::new();
    for verb in ["stats", "events", "top", "freeze", "thaw", "kill"] {
        let out = tool("cg-apply").args([verb, group.path()]).run();
        out.refuses(125, "there is no such group");
        tool("cg-apply").args([verb, "/a/../b"]).run().refuses(125, "'..' could lead out of the hierarchy");
        tool("cg-apply").args([verb, "--bogus"]).run().refuses(125, "--bogus");
    }
    for bad in [["--interval", "5"], ["--memory-pressure", "much"], ["--psi", "disk:some:1s:2s"]] {
        tool("cg-apply").args(["events", group.path()]).args(bad).run().refuses(125, bad[0]);
    }
    tool("cg-apply").args(["-N", "--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    tool("cg-apply").args(["events", group.path()]).run().refuses(125, "nothing is in it");
    group.remove();
}

#[test]
fn stats_of_groups_and_of_those_below() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let running = inside(&group, &[], "n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done; exec sleep 60");
    for name in ["a", "b", "a/c"] {
        let below = group.below(name);
        tool("cg-apply").args(["-N", "--keep", "--cgroup", &below]).command(["true"]).run().succeeds();
    }
    let stats = || lines(&tool("cg-apply").args(["stats", "-r", group.path()]).run().succeeds().stdout);
    let shown = stats();
    let ids: Vec<&str> = shown.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [group.path().to_string(), group.below("a"), group.below("a/c"), group.below("b")]);
    let number = |path: &str| shown[0]["data"].pointer(path).and_then(Value::as_u64).unwrap_or(0);
    if requires::cgroup_mount("cpuacct").is_some() || requires::cgroup_v2_controller("cpu") {
        assert!(number("/cpu/usage/total") > 0, "{}", shown[0]);
    }
    if requires::cgroup_mount("memory").is_some() || requires::cgroup_v2_controller("memory") {
        assert!(number("/memory/usage/usage") > 0, "{}", shown[0]);
        // The kernel adds up what it counted on each processor every two seconds.
        until("its faults are counted", || {
            stats()[0].pointer("/data/memory/raw/pgfault").and_then(Value::as_u64) > Some(0)
        });
        assert_eq!(shown[0]["data"]["memory"]["kills"], 0);
    }
    if requires::cgroup_mount("pids").is_some() || requires::cgroup_v2_controller("pids") {
        assert!(number("/pids/current") > 0, "{}", shown[0]);
    }
    drop(running);
    group.remove();
    leftovers.check();
}

#[test]
fn a_table_for_people() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let running = inside(&group, &[], "while :; do :; done");
    let out = tool("cg-apply").args(["top", "-n", "1", "-d", "1s", group.path()]).run();
    let rows: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!(rows.len(), 2, "{out:?}");
    assert!(rows[0].contains("CPU%") && rows[1].ends_with(group.path()), "{out:?}");
    if requires::cgroup_mount("cpuacct").is_some() || requires::cgroup_v2() {
        let percent: f64 = rows[1].split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(percent > 0.0, "{out:?}");
    }
    // Without a name it is every group that something is in.
    let out = tool("cg-apply").args(["top", "-n", "1", "-d", "1ms"]).run();
    assert!(out.succeeds().stdout.lines().any(|line| line.ends_with(group.path())), "{out:?}");
    drop(running);
    group.remove();
    leftovers.check();
}

#[test]
fn frozen_thawed_and_killed() {
    if !requires::root() || requires::cgroup_mount("freezer").is_none() && !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let running = inside(&group, &[], "setsid sleep 60 & exec sleep 60");
    tool("cg-apply").args(["freeze", group.path()]).run().succeeds();
    let frozen = || match requires::cgroup_mount("freezer") {
        Some(_) => group.read("freezer", "freezer.state") == "FROZEN",
        None => group.read("unified", "cgroup.events").contains("frozen 1"),
    };
    assert!(frozen());
    tool("cg-apply").args(["thaw", group.path()]).run().succeeds();
    assert!(!frozen());
    assert!(group.procs().iter().all(|pid| is_alive(*pid)));
    // What is frozen is killed too.
    tool("cg-apply").args(["freeze", group.path()]).run().succeeds();
    tool("cg-apply").args(["kill", group.path()]).run().succeeds();
    running.wait().exits(137);
    group.expect_gone();
    leftovers.check();
}

#[test]
fn events_end_with_the_last_process() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let running = inside(&group, &[], "exec sleep 60");
    let mut events = tool("cg-apply").args(["events", "--interval", "50ms", group.path()]).spawn();
    for _ in 0..2 {
        let line: Value = serde_json::from_str(&events.line()).unwrap();
        assert_eq!((line["type"].as_str(), line["id"].as_str()), (Some("stats"), Some(group.path())));
    }
    tool("cg-apply").args(["kill", group.path()]).run().succeeds();
    assert_eq!(events.wait().status, 0);
    running.wait().exits(137);
    group.expect_gone();
    leftovers.check();
}

/// Reads a file that is larger than the group may hold, so that its pages have to make room for each other.
#[test]
fn memory_that_gets_scarce_is_told_on_v1() {
    if !requires::root() {
        return;
    }
    if controller("memory") != Some(Version::V1) {
        requires::skip("needs the cgroup v1 controller memory");
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let dir = catena_tests::TempDir::new();
    let line = format!(
        "cd {}; truncate -s 64M file; while [ ! -e go ]; do sleep 0.02; done; while cat file >/dev/null; do :; done",
        dir.path().display()
    );
    let running = inside(&group, &["-m", "8M"], &line);
    let args = ["events", "--interval", "1h", "--memory-pressure", "low", group.path()];
    let mut events = tool("cg-apply").args(args).spawn();
    std::fs::write(dir.path().join("go"), "").unwrap();
    let told: Value = loop {
        let line: Value = serde_json::from_str(&events.line()).unwrap();
        if line["type"] == "memory-pressure" {
            break line;
        }
    };
    assert_eq!(told["data"]["level"], "low");
    tool("cg-apply").args(["kill", group.path()]).run().succeeds();
    assert_eq!(events.wait().status, 0);
    drop(running);
    group.remove();
    leftovers.check();
}

/// Three that compute on one processor: two of them wait.
#[test]
fn time_that_is_lost_is_told_on_v2() {
    if !requires::cgroup_v2() || !requires::pressure() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let spin = "(while :; do :; done) & (while :; do :; done) & while :; do :; done";
    let running = inside(&group, &["--cpu-list", "0"], spin);
    let args = ["events", "--interval", "1h", "--psi", "cpu:some:1ms:2s", group.path()];
    let mut events = tool("cg-apply").args(args).spawn();
    let told: Value = serde_json::from_str(&events.line()).unwrap();
    let data = &told["data"];
    assert_eq!(
        (&told["type"], &data["resource"], &data["kind"]),
        (&"pressure".into(), &"cpu".into(), &"some".into())
    );
    assert_eq!((data["time"].as_f64(), data["window"].as_f64()), (Some(0.001), Some(2.0)));
    tool("cg-apply").args(["kill", group.path()]).run().succeeds();
    assert_eq!(events.wait().status, 0);
    drop(running);
    group.remove();
    leftovers.check();
}
