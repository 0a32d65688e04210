//! `--print`, `--check`, `--show`: true answers, and nothing is changed by them.

mod common;

use catena_tests::{Leftovers, TempDir, requires, tool};
use common::{Group, Version, controller, plan};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LIMITS: [&str; 10] =
    ["-m", "64M", "--memory-swap", "96M", "--pids", "9", "--cpu-quota", "20000", "--cpu-period", "50000"];

fn all_controllers() -> Option<Version> {
    let versions = ["memory", "pids", "cpu"].map(controller);
    versions.iter().all(|v| *v == versions[0]).then_some(versions[0]).flatten()
}

#[test]
fn print_names_each_file_in_both_versions_and_touches_nothing() {
    let Some(version) = all_controllers() else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let process = ["--rlimit", "nofile=10:20", "--oom-score-adj", "5"];
    let run = tool("cg-apply").args(["-N", "--print", "--cgroup", group.path()]).args(LIMITS).args(process);
    let out = run.command(["echo", "ran"]).run();
    let text = &out.succeeds().stdout;
    for dir in group.dirs() {
        assert!(text.contains(&format!("make      {} (v", dir.display())), "{text}");
    }
    let lines = match version {
        Version::V1 => [
            "write     memory.limit_in_bytes = 67108864, for resources.memory.limit (v2: memory.max = 67108864)",
            "write     memory.memsw.limit_in_bytes = 100663296, for resources.memory.swap (v2: memory.swap.max = 33554432)",
            "write     cpu.cfs_period_us = 50000, for resources.cpu.period (v2: cpu.max = 20000 50000)",
            "write     pids.max = 9, for resources.pids.limit (v2: pids.max = 9)",
        ],
        Version::V2 => [
            "write     memory.max = 67108864, for resources.memory.limit (v1: memory.limit_in_bytes = 67108864)",
            "write     memory.swap.max = 33554432, for resources.memory.swap (v1: memory.memsw.limit_in_bytes = 100663296)",
            "write     cpu.max = 20000 50000, for resources.cpu.quota (v1: cpu.cfs_period_us = 50000, cpu.cfs_quota_us = 20000)",
            "write     pids.max = 9, for resources.pids.limit (v1: pids.max = 9)",
        ],
    };
    let common = [
        "rlimit    RLIMIT_NOFILE 10:20",
        "score     oom_score_adj = 5",
        "at last   the group goes, with all that is left in it",
    ];
    for line in lines.iter().chain(&common) {
        assert!(text.lines().any(|l| l == *line), "'{line}' is not in\n{text}");
    }
    group.expect_gone();
    leftovers.check();
}

#[test]
fn print_as_json_has_the_layer_and_what_it_comes_to() {
    let Some(version) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run =
        || tool("cg-apply").args(["-N", "--print", "--json", "--cgroup", group.path(), "--pids", "9"]).run();
    let document = run().json();
    let version = if version == Version::V1 { "v1" } else { "v2" };
    let other = if version == "v1" { "v2" } else { "v1" };
    let write = json!({"field": "resources.pids.limit", "controller": "pids", "version": version, "file": "pids.max",
        "value": "9", "elsewhere": [{"version": other, "file": "pids.max", "value": "9"}]});
    assert_eq!(document["writes"], json!([write]));
    assert_eq!(document["spec"], json!({"cgroupsPath": group.path(), "resources": {"pids": {"limit": 9}}}));
    let groups = document["cgroup"].as_array().unwrap();
    assert_eq!(groups.len(), group.dirs().len());
    assert!(groups.iter().all(|g| g["exists"] == false));
    tool("cg-apply").args(["--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    assert!(run().json()["cgroup"].as_array().unwrap().iter().all(|g| g["exists"] == true));
    assert_eq!(run().json()["end"], "the group stays: it was there before");
    drop(group);
    leftovers.check();
}

#[test]
fn print_of_devices() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let path = common::config(&dir, r#""resources":{"devices":[{"allow":false,"access":"rwm"}]}"#, "");
    let out = tool("cg-apply").args(["-N", "--print", "--oci"]).arg(&path).run();
    let text = &out.succeeds().stdout;
    let expected: &[&str] = match requires::cgroup_mount("devices") {
        Some(_) => &[
            "write     devices.deny = a, for resources.devices (v2: a program)",
            "write     devices.allow = c 1:3 rwm",
        ],
        None => &["attach    a device program of ", "          deny a *:* rwm", "          allow c 1:3 rwm"],
    };
    for line in expected {
        assert!(text.lines().any(|l| l.starts_with(line)), "'{line}' is not in\n{text}");
    }
    leftovers.check();
}

#[test]
fn print_and_check_refuse_what_would_be_refused() {
    let leftovers = Leftovers::watch();
    for question in ["--print", "--check"] {
        for (args, text) in [
            (&["--pids", "x"][..], "'x' is not a number"),
            (&["--rlimit", "nofile=2:1"], "above the hard one"),
            (&["--cpuset-cpus", "x"], "is not a list"),
            (&["--try", "x"], "unknown field 'x'"),
        ] {
            if text == "is not a list" && !requires::cgroup_v2() {
                continue;
            }
            tool("cg-apply").args(["-N", question]).args(args).run().refuses(125, text);
        }
    }
    assert_eq!(tool("cg-apply").args(["-N", "--print"]).run().succeeds().stdout, "no cgroup, no limit\n");
    leftovers.check();
}

#[test]
fn check_does_all_of_it_and_leaves_nothing() {
    let Some(_) = all_controllers() else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let check = |more: &[&str]| {
        let run = tool("cg-apply").args(["-N", "--check"]).args(LIMITS).args(more);
        run.command(["echo", "ran"]).run()
    };
    let process = ["--rlimit", "nofile=10:20", "--oom-score-adj", "5", "--keep"];
    for path in [
        &[][..],
        &["--cgroup", group.path()],
        &["--cgroup", &group.below("a/b")],
        &["--cgroup", "cg-test-rel"],
    ] {
        assert_eq!(check(&[path, &process].concat()).succeeds().stdout, "this host can do it\n");
        group.expect_gone();
    }
    let out = check(&["--json"]).json();
    assert_eq!(out, json!({"tool": "cg-apply", "check": true, "degraded": []}));
    leftovers.check();
}

#[test]
fn check_finds_what_only_the_kernel_knows() {
    let Some(_) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let check =
        |args: &[&str]| tool("cg-apply").args(["-N", "--check", "--cgroup", group.path()]).args(args).run();
    check(&["--pids", "99999999999"]).refuses(125, "pids.max");
    group.expect_gone();
    if controller("cpu").is_some() {
        check(&["--cpu-quota", "5"]).refuses(125, "why: a quota is from 1000 µs");
    }
    if controller("cpuset").is_some() {
        check(&["--cpuset-cpus", "4000"]).refuses(125, "cpuset.cpus");
        let out = check(&["--cpuset-cpus", "4000", "--try", "resources.cpu.cpus", "--json"]).json();
        assert!(out["degraded"][0].as_str().unwrap().starts_with("resources.cpu.cpus: cannot "), "{out}");
        let out = check(&["--cpuset-cpus", "4000", "--try", "resources.cpu.cpus"]);
        assert!(out.succeeds().stdout.starts_with("this host can do it\nless      resources.cpu.cpus: "));
    }
    if controller("memory").is_some() {
        // The limit can be set, and nothing can run below it.
        check(&["-m", "8K"]).refuses(125, "cannot");
    }
    check(&["--rlimit", "nofile=1:999999999999"]).refuses(125, "RLIMIT_NOFILE");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn check_leaves_a_group_that_is_there_as_it_is() {
    let Some(_) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let args = ["--keep", "--cgroup", group.path(), "--pids", "40"];
    let mut inside = tool("cg-apply").args(args).verb(["sleep"]).spawn();
    assert_eq!(inside.line(), "ready");
    let check = |more: &[&str]| {
        tool("cg-apply").args(["-N", "--check", "--cgroup", group.path(), "--pids", "7"]).args(more).run()
    };
    assert_eq!(check(&[]).succeeds().stdout, "this host can do it\n");
    assert_eq!((group.read("pids", "pids.max"), group.procs()), ("40".into(), vec![inside.pid()]));
    check(&["--exclusive"]).refuses(125, "container's cgroup is not empty: 1 process(es)");
    inside.signal(Signal::SIGTERM);
    inside.wait();
    assert_eq!(check(&["--exclusive"]).succeeds().stdout, "this host can do it\n");
    group.expect_there();
    drop(group);
    leftovers.check();
}

#[test]
fn show_tells_what_was_asked_and_can_be_fed_back() {
    let Some(_) = all_controllers() else { return };
    let leftovers = Leftovers::watch();
    let (dir, group, twin) = (TempDir::new(), Group::new(), Group::new());
    let process = ["--cpu-shares", "512", "--rlimit", "nofile=64:128", "--oom-score-adj", "5"];
    let run = tool("cg-apply").args(["--cgroup", group.path()]).args(LIMITS).args(process);
    let cpuset = controller("cpuset").map_or(&[][..], |_| &["--cpuset-cpus", "0"]);
    let mut running = run.args(cpuset).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    let show = |group: &Group| -> Value {
        let pid = group.procs()[0].to_string();
        tool("cg-apply").args(["--show", &pid]).run().json()
    };
    let mut layer = show(&group);
    let spec = &layer["spec"];
    assert_eq!((&layer["tool"], &spec["cgroupsPath"]), (&json!("cg-apply"), &json!(group.path())));
    let resources = &spec["resources"];
    assert_eq!(resources["memory"], json!({"limit": 67108864, "swap": 100663296}));
    assert_eq!(resources["pids"], json!({"limit": 9}));
    let mut cpu = json!({"shares": 512, "quota": 20000, "period": 50000});
    if !cpuset.is_empty() {
        cpu["cpus"] = json!("0");
    }
    // A host of one CPU limits nothing with it.
    let mut told = resources["cpu"].clone();
    if told["cpus"].is_null() {
        cpu["cpus"] = Value::Null;
        told["cpus"] = Value::Null;
    }
    if controller("cpu") == Some(Version::V2) {
        // Of all shares with that weight it names the least.
        let shares = told["shares"].as_u64().unwrap();
        assert_eq!(chain::cgroup::cpu_weight_of_shares(shares), chain::cgroup::cpu_weight_of_shares(512));
        cpu["shares"] = shares.into();
    }
    assert_eq!(told, cpu);
    assert_eq!(spec["oomScoreAdj"], 5);
    let limits = spec["rlimits"].as_array().unwrap();
    assert_eq!(limits.len(), 16);
    assert!(limits.contains(&json!({"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128})));

    // The same once more, from the layer.
    layer["spec"]["cgroupsPath"] = twin.path().into();
    let path = plan(&dir, &layer["spec"].to_string());
    let mut again = tool("runner").arg("--plan").arg(path).verb(["sleep"]).spawn();
    assert_eq!(again.line(), "ready");
    assert_eq!(show(&twin), layer);
    for (running, group) in [(running, &group), (again, &twin)] {
        running.signal(Signal::SIGTERM);
        running.wait().exits(143);
        group.expect_gone();
    }
    leftovers.check();
}

#[test]
fn show_of_a_fresh_group_names_it_from_here() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let path = common::config(&dir, r#""resources":{"unified":{"cgroup.max.depth":"7"}}"#, "");
    let mut running =
        tool("cg-apply").arg("--oci").arg(path).command(["bash", "-c", "echo $$; exec sleep 60"]).spawn();
    let pid = running.line();
    let layer = tool("cg-apply").args(["--show", &pid]).run().json();
    let name = layer["spec"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
    assert!(name.starts_with("catena-"), "{layer}");
    running.signal(Signal::SIGTERM);
    running.wait();
    leftovers.check();
}

#[test]
fn show_says_when_there_is_nothing_to_say() {
    let layer = tool("cg-apply").args(["--show", &std::process::id().to_string()]).run().json();
    assert_eq!(layer["spec"]["rlimits"].as_array().unwrap().len(), 16);
    // The first process is in no group of ours, and anybody may look at it.
    assert_eq!(tool("cg-apply").args(["--show", "1"]).run().json()["tool"], "cg-apply");
    tool("cg-apply").args(["--show", "4194305"]).run().refuses(125, "there is no process 4194305");
    tool("cg-apply").args(["--show", "nobody"]).run().refuses(125, "--show");
    tool("cg-apply").args(["--show=-1"]).run().refuses(125, "there is no process -1");
}

#[test]
fn questions_run_nothing() {
    for option in ["--print", "--check", "--help", "--version", "--show=1"] {
        let out = tool("cg-apply").args(["-N", option]).verb(["ran"]).run();
        assert!(out.status == 0 && !out.stdout.contains("RAN"), "{option}: {out:?}");
    }
    let features = tool("cg-apply").args(["--version", "--json"]).run().json();
    assert!(features["features"].as_array().unwrap().contains(&json!("cgroup-v2")), "{features}");
    let help = tool("cg-apply").arg("--help").run();
    for word in ["--print", "--check", "--show", "--rm", "--exclusive", "--keep", "SIGKILL"] {
        assert!(help.succeeds().stdout.contains(word), "{word}");
    }
}
