//! `--oci config.json`: cg-apply's share of it, with flags on top, and the plan that comes of it.

mod common;

use catena_tests::{Leftovers, TempDir, requires, shell, tool};
use common::{Group, Version, config, controller};
use serde_json::Value;

#[test]
fn the_share_of_a_config_is_carried_out() {
    let (Some(_), Some(_)) = (controller("pids"), controller("memory")) else { return };
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let linux = format!(
        r#""cgroupsPath":"{}","resources":{{"pids":{{"limit":23}},"memory":{{"limit":67108864}},"cpu":{{"shares":0}}}}"#,
        group.path()
    );
    let process = r#""oomScoreAdj":300,"rlimits":[{"type":"RLIMIT_NOFILE","soft":64,"hard":128}]"#;
    let path = config(&dir, &linux, process);
    let seen = tool("cg-apply").arg("--oci").arg(&path).probe();
    seen.expect_rlimit("nofile", 64, 128);
    assert_eq!((seen.oom_score_adj, seen.cgroup_in("").unwrap().to_str()), (Some(300), Some(group.path())));

    let mut running = tool("cg-apply").arg("--oci").arg(&path).args(["--pids", "24"]).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    assert_eq!(group.read("pids", "pids.max"), "24");
    let v1 = controller("memory") == Some(Version::V1);
    let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
    assert_eq!(group.read("memory", file), "67108864");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    group.expect_gone();
    leftovers.check();
}

#[test]
fn flags_replace_what_the_config_says() {
    let dir = TempDir::new();
    let process = r#""oomScoreAdj":300,"rlimits":[{"type":"RLIMIT_NOFILE","soft":64,"hard":128},{"type":"RLIMIT_CORE","soft":0,"hard":0}]"#;
    let linux = r#""cgroupsPath":"/a","resources":{"memory":{"limit":1048576,"swap":2097152}}"#;
    let path = config(&dir, linux, process);
    let args = [
        "--cgroup",
        "/b",
        "-m",
        "8M",
        "--memory-swap",
        "8M",
        "--rlimit",
        "nofile=10",
        "--oom-score-adj",
        "1",
    ];
    let out = tool("cg-apply").args(["-N", "--oci"]).arg(&path).args(args).run();
    let plan = out.json();
    let spec = &plan["layers"][0]["spec"];
    assert_eq!((&spec["cgroupsPath"], &spec["oomScoreAdj"]), (&"/b".into(), &1.into()), "{spec:#}");
    assert_eq!(spec["resources"]["memory"], serde_json::json!({"limit": 8388608, "swap": 8388608}));
    let limits: Vec<&Value> = spec["rlimits"].as_array().unwrap().iter().map(|l| &l["soft"]).collect();
    assert_eq!(limits, [&Value::from(0), &Value::from(10)], "{spec:#}");
}

#[test]
fn what_is_not_carried_out_yet_is_named_by_its_path() {
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    for (linux, process, text) in [
        ("", r#""scheduler":{"policy":"SCHED_FIFO"}"#, "scheduler.priority: 0 is not"),
        ("", r#""ioPriority":{"class":"IOPRIO_CLASS_RT","priority":8}"#, "ioPriority.priority: 8"),
        ("", r#""execCPUAffinity":{"initial":"x"}"#, "process.execCPUAffinity.initial: 'x'"),
        (r#""intelRdt":{"closID":"x"}"#, "", "linux.intelRdt: "),
        (r#""memoryPolicy":{"mode":"MPOL_BIND"}"#, "", "linux.memoryPolicy: invalid memory policy"),
        (r#""resources":{"pids":{"limit":"5"}}"#, "", "linux.resources.pids.limit"),
        (r#""cgroupsPath":["x"]"#, "", "linux.cgroupsPath"),
        ("", r#""rlimits":[{"type":"RLIMIT_NOFILE"}]"#, "process.rlimits[0]"),
    ] {
        let path = config(&dir, linux, process);
        tool("cg-apply").args(["-N", "--oci"]).arg(path).command(["echo", "ran"]).run().refuses(125, text);
    }
    tool("cg-apply")
        .args(["-N", "--oci", "/nonexistent"])
        .command(["echo", "ran"])
        .run()
        .refuses(125, "(ENOENT)");
    let path = dir.file("config.json", "{");
    tool("cg-apply").args(["-N", "--oci"]).arg(path).command(["echo", "ran"]).run().refuses(125, "cut short");
    leftovers.check();
}

#[test]
fn both_forms_make_the_same_group() {
    let Some(_) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let read =
        format!("bash -c 'cat /proc/self/cgroup; cat {}'", group.dir("pids").join("pids.max").display());
    let flags = format!("cg-apply --cgroup {} --pids 31", group.path());
    let exec = shell(&format!("{flags} -- cap-drop --all -- {read}")).run();
    let pipe = shell(&format!("{flags} | cap-drop --all -- {read}")).run();
    assert!(exec.succeeds().stdout.ends_with("31\n"), "{exec:?}");
    assert_eq!(exec.stdout, pipe.succeeds().stdout);
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_cgroup_namespace_behind_it_starts_at_the_group() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let seen = tool("cg-apply").args(["--cgroup", group.path()]).then("ns-enter", ["-C"]).probe();
    assert_eq!(seen.cgroup_in("").unwrap().to_str(), Some("/"));
    group.expect_gone();
    leftovers.check();
}

/// runc passes over it without a word, and there are configs that rely on that. What is good in the rule holds.
#[test]
fn a_letter_too_many_in_a_device_rule_is_passed_over_aloud() {
    if !requires::root() || controller("pids").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let group = Group::new();
    let rules =
        r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"rwa"}]"#;
    let linux = format!(r#""cgroupsPath":"{}","resources":{{"devices":{rules}}}"#, group.path());
    let path = config(&dir, &linux, "");
    let line = ["/bin/sh", "-c", "(: </dev/null) && (: </dev/kmsg) || echo denied"];
    let out = tool("cg-apply").arg("--oci").arg(path).command(line).run();
    assert!(out.stderr.contains("warning: resources.devices[1].access: 'rwa' is not of r, w, m"), "{out:?}");
    assert_eq!(out.stdout, "denied\n", "{out:?}");
    group.expect_gone();
    leftovers.check();
}
