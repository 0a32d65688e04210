//! Each limit in its file, by the version that has the controller; and what the receipt says of it.

mod common;

use catena_tests::{Leftovers, StatusLog, TempDir, tool};
use common::{Group, Version, controller, plan};
use serde_json::{Value, json};

/// Runs a sleeping command with `args`, and looks while it sleeps; the receipt.
#[track_caller]
fn with(group: &Group, args: &[&str], look: impl FnOnce(&Group)) -> Value {
    let log = StatusLog::new();
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--status-fd", "9"]).args(args);
    let mut running = run.fd(log.fd(), 9).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready", "{args:?}: {:?}", log.events());
    look(group);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    group.expect_gone();
    let receipts = log.of("receipt");
    assert_eq!(receipts.len(), 1, "{:#?}", log.events());
    receipts[0]["receipt"].clone()
}

/// `name`'s files with these arguments, as v1 and as v2 have them.
#[track_caller]
fn files(name: &str, args: &[&str], v1: &[(&str, &str)], v2: &[(&str, &str)]) {
    let Some(version) = controller(name) else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let expected = if version == Version::V1 { v1 } else { v2 };
    let receipt = with(&group, args, |group| {
        for (file, value) in expected {
            assert_eq!(&group.read(name, file), value, "{file} with {args:?}");
        }
    });
    // What the receipt says is what the kernel said.
    assert_eq!((&receipt["verified"], &receipt["degraded"]), (&json!(true), &Value::Null), "{receipt:#}");
    let said: Vec<&str> = receipt["applied"]["limits"]
        .as_object()
        .expect("limits by field")
        .values()
        .filter_map(Value::as_str)
        .collect();
    for value in said {
        assert!(expected.iter().any(|(_, v)| *v == value), "{value} of {receipt:#}");
    }
    leftovers.check();
}

#[test]
fn memory() {
    files(
        "memory",
        &["-m", "64M"],
        &[("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "9223372036854771712")],
        &[("memory.max", "67108864"), ("memory.swap.max", "max")],
    );
    files(
        "memory",
        &["-m", "64M", "--memory-swap", "96M"],
        &[("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "100663296")],
        &[("memory.max", "67108864"), ("memory.swap.max", "33554432")],
    );
    files(
        "memory",
        &["-m", "64M", "--memory-swap", "64M", "--memory-reservation", "32M"],
        &[("memory.limit_in_bytes", "67108864"), ("memory.soft_limit_in_bytes", "33554432")],
        &[("memory.max", "67108864"), ("memory.swap.max", "0"), ("memory.low", "33554432")],
    );
}

#[test]
fn memory_counts_in_pages() {
    files(
        "memory",
        &["-m", "67108865"],
        &[("memory.limit_in_bytes", "67108864")],
        &[("memory.max", "67108864")],
    );
    files(
        "memory",
        &["-m", "max"],
        &[
            ("memory.limit_in_bytes", "9223372036854771712"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712"),
        ],
        &[("memory.max", "max"), ("memory.swap.max", "max")],
    );
}

#[test]
fn tasks() {
    for word in ["17", "max"] {
        files("pids", &["--pids", word], &[("pids.max", word)], &[("pids.max", word)]);
    }
    files("pids", &["--pids-limit", "-1"], &[("pids.max", "max")], &[("pids.max", "max")]);
}

#[test]
fn cpu() {
    files(
        "cpu",
        &["--cpus", "0.5"],
        &[("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "100000")],
        &[("cpu.max", "50000 100000")],
    );
    files(
        "cpu",
        &["--cpu-quota", "20000", "--cpu-period", "50000"],
        &[("cpu.cfs_quota_us", "20000"), ("cpu.cfs_period_us", "50000")],
        &[("cpu.max", "20000 50000")],
    );
    files("cpu", &["--cpu-quota", "-1"], &[("cpu.cfs_quota_us", "-1")], &[("cpu.max", "max 100000")]);
    files("cpu", &["--cpu-shares", "2"], &[("cpu.shares", "2")], &[("cpu.weight", "1")]);
    files("cpu", &["--cpu-shares", "1024"], &[("cpu.shares", "1024")], &[("cpu.weight", "100")]);
    files("cpu", &["--cpu-weight", "100"], &[("cpu.shares", "1024")], &[("cpu.weight", "100")]);
    files("cpu", &["--cpu-weight", "10000"], &[("cpu.shares", "262144")], &[("cpu.weight", "10000")]);
}

#[test]
fn cpuset() {
    let pairs = [("cpuset.cpus", "0"), ("cpuset.mems", "0")];
    files("cpuset", &["--cpuset-cpus", "0", "--cpuset-mems", "0"], &pairs, &pairs);
    files("cpuset", &["--cpuset-cpus", "0,0-0"], &[("cpuset.cpus", "0")], &[("cpuset.cpus", "0")]);
}

#[test]
fn several_at_once() {
    if controller("memory").is_none() || controller("pids").is_none() || controller("cpu").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let args = ["-m", "64M", "--pids", "9", "--cpus", "1.5", "--oom-score-adj", "7", "--rlimit", "core=0"];
    let receipt = with(&group, &args, |group| {
        assert_eq!(group.read("pids", "pids.max"), "9");
        let oom = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", group.procs()[0])).unwrap();
        assert_eq!(oom.trim(), "7");
    });
    let applied = &receipt["applied"];
    assert_eq!(applied["limits"]["resources.memory.limit"], "67108864");
    assert_eq!(applied["limits"]["resources.pids.limit"], "9");
    assert_eq!((&applied["oomScoreAdj"], &applied["rlimits"]["RLIMIT_CORE"]), (&json!(7), &json!([0, 0])));
    let dirs: Vec<String> = group.dirs().iter().map(|d| d.display().to_string()).collect();
    let mut told: Vec<&str> =
        applied["cgroup"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut expected: Vec<&str> = dirs.iter().map(String::as_str).collect();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
    assert_eq!(receipt["asked"]["resources"]["pids"]["limit"], 9);
    leftovers.check();
}

#[test]
fn what_v2_alone_has_by_the_name_of_its_file() {
    let Some(version) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let layer = |more: &str| {
        let unified = r#"{"memory.high":"33554432","memory.oom.group":"1","cgroup.max.depth":"3"}"#;
        let spec = format!(
            r#"{{"cgroupsPath":"{}","keep":true,"resources":{{"unified":{unified}}}{more}}}"#,
            group.path()
        );
        tool("runner").arg("--plan").arg(plan(&dir, &spec)).command(["echo", "ran"]).run()
    };
    if version == Version::V1 {
        let text = "resources.unified.memory.high: invalid configuration: cgroup v2 has no controller 'memory' on this host";
        layer("").refuses(125, text);
        group.expect_gone();
        assert_eq!(layer(r#","try":["resources.unified"]"#).succeeds().stdout, "ran\n");
        assert_eq!(group.read("unified", "cgroup.max.depth"), "3");
    } else {
        assert_eq!(layer("").succeeds().stdout, "ran\n");
        for (file, value) in
            [("memory.high", "33554432"), ("memory.oom.group", "1"), ("cgroup.max.depth", "3")]
        {
            assert_eq!(group.read("memory", file), value);
        }
    }
    drop(group);
    leftovers.check();
}

#[test]
fn a_limit_that_may_be_left_out_is_and_is_told() {
    let Some(_) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    // No CPU has such a number.
    let field = "resources.cpu.cpus";
    let args = ["--cpuset-cpus", "4000", "--pids", "9"];
    let run = tool("cg-apply").args(["--cgroup", group.path()]).args(args);
    run.command(["echo", "ran"]).run().refuses(125, "cpuset");
    group.expect_gone();
    for attempt in [field, "resources.cpu", "resources", "resources.devices,resources.cpu"] {
        let args = [&args[..], &["--try", attempt]].concat();
        let receipt = with(&group, &args, |group| assert_eq!(group.read("pids", "pids.max"), "9"));
        let lost = receipt["degraded"][0].as_str().unwrap();
        assert!(lost.starts_with("resources.cpu.cpus: cannot "), "{receipt:#}");
        assert_eq!(receipt["degraded"].as_array().unwrap().len(), 1);
        assert_eq!(receipt["applied"]["limits"], json!({"resources.pids.limit": "9"}));
    }
    // Another field may not fail because this one may.
    let run = tool("cg-apply").args(["--cgroup", group.path(), "--try", "resources.memory"]).args(args);
    run.command(["echo", "ran"]).run().refuses(125, "cpuset");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_refused_limit_leaves_those_of_a_group_that_was_there() {
    let (Some(_), Some(_)) = (controller("pids"), controller("cpu")) else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let args = ["--keep", "--cgroup", group.path()];
    tool("cg-apply").args(args).args(["--pids", "40", "--cpus", "0.5"]).command(["true"]).run().succeeds();
    let files = || {
        let cpu = if controller("cpu") == Some(Version::V1) { "cpu.cfs_quota_us" } else { "cpu.max" };
        (group.read("pids", "pids.max"), group.read("cpu", cpu))
    };
    let before = files();
    let refused = ["--pids", "50", "--cpus", "0.7", "--cpuset-cpus", "4000"];
    tool("cg-apply").args(args).args(refused).command(["echo", "ran"]).run().refuses(125, "cpuset");
    assert_eq!(files(), before);
    group.expect_there();
    drop(group);
    leftovers.check();
}

#[test]
fn limits_of_a_group_can_be_changed_in_any_order() {
    let Some(version) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    // v1 wants memory below memory and swap together at every moment.
    for (memory, swap) in [("64M", "96M"), ("256M", "512M"), ("32M", "32M"), ("1G", "1G"), ("max", "max")] {
        let args = ["--keep", "--cgroup", group.path(), "-m", memory, "--memory-swap", swap];
        tool("cg-apply").args(args).command(["true"]).run().succeeds();
    }
    let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
    let all = if version == Version::V1 { "9223372036854771712" } else { "max" };
    assert_eq!(group.read("memory", file), all);
    drop(group);
    leftovers.check();
}
