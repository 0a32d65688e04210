//! The limits really limit.

mod common;

use catena_tests::{Leftovers, Probe, TempDir, requires, tool, until};
use common::{Group, Version, config, controller, plan};
use nix::sys::signal::Signal;

#[test]
fn one_fork_too_many_is_refused() {
    let Some(_) = controller("pids") else { return };
    let leftovers = Leftovers::watch();
    let run = |most: &str, forks: &str| tool("cg-apply").args(["--pids", most]).verb(["fork", forks]).run();
    // The command counts itself.
    let out = run("5", "10");
    assert_eq!((out.status, out.stdout.as_str()), (1, "4 of 10\nEAGAIN\n"), "{out:?}");
    let out = run("1", "1");
    assert_eq!((out.status, out.stdout.as_str()), (1, "0 of 1\nEAGAIN\n"), "{out:?}");
    leftovers.check();
}

#[test]
fn too_much_memory_is_the_end_and_the_group_is_gone() {
    let Some(_) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |eat: &str| {
        let args = ["--cgroup", group.path(), "-m", "32M", "--memory-swap", "32M"];
        tool("cg-apply").args(args).verb(["eat-memory", eat]).run()
    };
    assert_eq!(run("8M").succeeds().stdout, "ok 8388608\n");
    run("200M").fails(137, "killed by its memory limit of 32 MiB");
    group.expect_gone();
    leftovers.check();
}

#[test]
fn run_time_is_cut() {
    let Some(_) = controller("cpu") else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let running = tool("cg-apply").args(["--cgroup", group.path(), "--cpus", "0.05"]).verb(["spin"]).spawn();
    let throttled = || {
        let text = std::fs::read_to_string(group.dir("cpu").join("cpu.stat")).unwrap_or_default();
        text.lines().any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n != "0"))
    };
    until("a period without run time", throttled);
    running.signal(Signal::SIGTERM);
    running.wait().exits(143);
    group.expect_gone();
    leftovers.check();
}

#[test]
fn it_runs_on_these_cpus_only() {
    let Some(_) = controller("cpuset") else { return };
    let leftovers = Leftovers::watch();
    let last = *Probe::here().cpus.last().unwrap();
    let seen = tool("cg-apply").args(["--cpuset-cpus", &last.to_string()]).probe();
    assert_eq!(seen.cpus, [last]);
    leftovers.check();
}

#[test]
fn devices_that_no_rule_allows_are_refused() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let run = |rules: &str, path: &str| {
        let config = config(&dir, &format!(r#""resources":{{"devices":[{rules}]}}"#), "");
        let out = tool("cg-apply").args(["-N", "--oci"]).arg(config).verb(["open", path]).run();
        assert_eq!(out.stderr, "", "{out:?}");
        out.stdout
    };
    let deny = r#"{"allow":false,"access":"rwm"}"#;
    // The default devices of a container, and nothing beside.
    assert_eq!(run(deny, "/dev/null"), "ok\n");
    assert_eq!(run(deny, "/dev/urandom"), "ok\n");
    assert_eq!(run(deny, "/dev/kmsg"), "EPERM\n");
    assert_eq!(run("", "/dev/kmsg"), "EPERM\n");
    let allow = r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}"#;
    assert_eq!(run(&format!("{deny},{allow}"), "/dev/kmsg"), "ok\n");
    // The last that matches decides.
    assert_eq!(run(&format!("{allow},{deny}"), "/dev/kmsg"), "EPERM\n");
    let write_only = allow.replace("\"r\"", "\"w\"");
    assert_eq!(run(&format!("{deny},{write_only}"), "/dev/kmsg"), "EPERM\n");
    assert_eq!(run(r#"{"allow":true,"access":"rwm"}"#, "/dev/kmsg"), "ok\n");
    leftovers.check();
}

#[test]
fn rules_for_devices_are_replaced_and_not_piled_up() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let run = |rules: &str| {
        let spec = format!(
            r#"{{"cgroupsPath":"{}","keep":true,"resources":{{"devices":[{rules}]}}}}"#,
            group.path()
        );
        let out = tool("runner").arg("--plan").arg(plan(&dir, &spec)).verb(["open", "/dev/kmsg"]).run();
        assert_eq!(out.stderr, "", "{out:?}");
        out.stdout
    };
    let all = r#"{"allow":true,"access":"rwm"}"#;
    let none = r#"{"allow":false,"access":"rwm"}"#;
    let null = r#"{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}"#;
    for _ in 0..3 {
        assert_eq!(run(&format!("{none},{null}")), "EPERM\n");
        assert_eq!(run(all), "ok\n");
    }
    drop(group);
    leftovers.check();
}

#[test]
fn what_is_used_now_is_not_cut_off() {
    let Some(version) = controller("memory") else { return };
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let args = ["--keep", "--cgroup", group.path(), "-m", "512M", "--memory-swap", "512M"];
    let eater = "data=$(head -c 25165824 /dev/zero | tr '\\0' x); echo ready; sleep 300; true";
    let mut inside = tool("cg-apply").args(args).command(["bash", "-c", eater]).spawn();
    assert_eq!(inside.line(), "ready");
    let run = |memory: &str| {
        let spec = format!(r#"{{"cgroupsPath":"{}","resources":{{"memory":{{{memory}}}}}}}"#, group.path());
        tool("runner").arg("--plan").arg(plan(&dir, &spec)).command(["echo", "ran"]).run()
    };
    let said = "bytes are in use, and resources.memory.checkBeforeUpdate is set";
    for (memory, limit) in [
        (r#""limit":8388608,"checkBeforeUpdate":true"#, "memory to 8388608"),
        (r#""limit":8388608,"swap":16777216,"checkBeforeUpdate":true"#, "memory+swap to 16777216"),
        (r#""limit":8388608,"swap":268435456,"checkBeforeUpdate":true"#, "memory to 8388608"),
        (r#""limit":8388608,"swap":-1,"checkBeforeUpdate":true"#, "memory to 8388608"),
    ] {
        run(memory).refuses(125, &format!("cannot limit {limit} bytes: ")).fails(125, said);
    }
    // v1 refuses it anyway; v2 would have killed.
    if version == Version::V1 {
        let out = run(r#""limit":8388608,"checkBeforeUpdate":false"#);
        out.refuses(125, "(EBUSY)").fails(125, "bytes are in use and cannot be reclaimed");
    }
    let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
    assert_eq!(group.read("memory", file), "536870912");
    // One that is above what is in use is set.
    run(r#""limit":268435456,"swap":268435456,"checkBeforeUpdate":true"#).succeeds();
    assert_eq!(group.read("memory", file), "268435456");
    assert!(common::is_alive(inside.pid()));
    inside.kill();
    drop((inside, group));
    leftovers.check();
}
