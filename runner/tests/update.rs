//! update changes the limits that are named, of a container that is there, and no others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, shell};
use common::Bundle;
use serde_json::json;
use std::path::Path;

fn created() -> Bundle {
    let bundle = Bundle::sh("exec sleep 60");
    bundle.create().succeeds();
    bundle
}

fn update(bundle: &Bundle, options: &[&str]) -> Output {
    bundle.runner(["update"]).args(options).arg(&bundle.id).run()
}

/// The directories of the container's cgroup.
fn dirs(bundle: &Bundle) -> Vec<String> {
    let text = std::fs::read_to_string(bundle.state.path().join(&bundle.id).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    state["cgroups"].as_array().unwrap().iter().map(|d| d.as_str().unwrap().to_string()).collect()
}

/// A file of the container's cgroup.
fn value(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let dirs = dirs(bundle);
    let file = if requires::cgroup_mount(controller).is_some() { v1 } else { v2 };
    let found = dirs.iter().find_map(|dir| std::fs::read_to_string(format!("{dir}/{file}")).ok());
    found.unwrap_or_else(|| panic!("no {file} in {dirs:?}")).trim().to_string()
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    if !requires::controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("exit 0");
    update(&bundle, &["--pids-limit", "5"]).refuses(1, "container does not exist");
    bundle.create().succeeds();
    update(&bundle, &["--pids-limit", "50"]).succeeds();
    for (options, said) in [
        (&["--blkio-weight", "1001"][..], "resources.blockIO.weight: 1001 is not from 10 to 1000"),
        (&["--l3-cache-schema", "L3:0=f"], "it was made without linux.intelRdt"),
        (&["--mem-bw-schema", "MB:0=20"], "it was made without linux.intelRdt"),
        (&["--pids-limit", "60", "--cpuset-cpus", "x-y"], "resources.cpu.cpus"),
        (&["--memory", "lots"], "not a size"),
        (&["--pids-limit", "many"], "'many'"),
        (&["-r", "/no/such/file"], "/no/such/file"),
        (&["-r", "-", "--pids-limit", "60"], "exclude each other"),
    ] {
        update(&bundle, options).refuses(1, said);
    }
    bundle.runner(["update", "-r", "-", &bundle.id]).input("{\"pids\":").run().refuses(1, "cannot update");
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "50");
    bundle.start().succeeds();
    bundle.becomes("stopped");
    update(&bundle, &["--pids-limit", "60"]).refuses(1, "container not running");
    drop(bundle);
    leftovers.check();
}

#[test]
fn by_flags_and_by_a_document_whose_devices_stay_out() {
    if !requires::controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = created();
    update(&bundle, &["--pids-limit", "40"]).succeeds();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "40");
    // Zero is not set, but of pids, where it is as good as 1.
    update(&bundle, &["--memory", "0", "--cpu-share", "0"]).succeeds();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "40");
    update(&bundle, &["--pids-limit", "0"]).succeeds();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "1");
    let document = json!({"pids": {"limit": 30}, "devices": [{"allow": false, "access": "rwm"}], "memory": {}, "frob": 1});
    bundle.runner(["update", "-r", "-", &bundle.id]).input(document.to_string()).run().succeeds();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "30");
    let file = bundle.rootfs.parent().join("r.json");
    std::fs::write(&file, json!({"pids": {"limit": -1}}).to_string()).unwrap();
    update(&bundle, &["--resources", file.to_str().unwrap()]).succeeds();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "max");
    update(&bundle, &["--kernel-memory", "1G"]).fails(0, "--kernel-memory sets nothing");
    // A paused container takes new limits too.
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    update(&bundle, &["--pids-limit", "20"]).succeeds();
    assert_eq!(
        (value(&bundle, "pids", "pids.max", "pids.max").as_str(), bundle.status().as_str()),
        ("20", "paused")
    );
    drop(bundle);
    leftovers.check();
}

#[test]
fn memory_with_units_and_without_a_limit() {
    if !requires::controller("memory") {
        return;
    }
    let bundle = created();
    let limit = || value(&bundle, "memory", "memory.limit_in_bytes", "memory.max");
    update(&bundle, &["--memory", "64M", "--memory-reservation", "48M"]).succeeds();
    assert_eq!(limit(), (64 << 20).to_string());
    assert_eq!(value(&bundle, "memory", "memory.soft_limit_in_bytes", "memory.low"), (48 << 20).to_string());
    update(&bundle, &["--memory", "33554432"]).succeeds();
    assert_eq!(limit(), (32 << 20).to_string());
    update(&bundle, &["--memory", "-1"]).succeeds();
    assert!(limit() == "max" || limit().parse::<u64>().unwrap() > 1 << 60, "{}", limit());
}

#[test]
fn what_is_in_use_is_not_cut_off_and_the_limit_is_named_as_runc_does() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let (bundle, dir) = (created(), TempDir::new());
    let runc = dir.path().join("runc");
    std::os::unix::fs::symlink(catena_tests::tool_path("runner"), &runc).unwrap();
    let line =
        format!("{} --root {} update -r - {}", runc.display(), bundle.state.path().display(), bundle.id);
    for (memory, said) in [
        (json!({"limit": 1024, "checkBeforeUpdate": true}), "rejecting memory limit: "),
        (json!({"limit": 1024, "swap": 2048, "checkBeforeUpdate": true}), "rejecting memory+swap limit: "),
    ] {
        let out = shell(&line).input(json!({"memory": memory}).to_string()).run();
        assert!(out.status == 1 && out.stderr.starts_with(said) && out.stdout.is_empty(), "{out:?}");
        assert_eq!(bundle.status(), "created");
    }
    drop(bundle);
    leftovers.check();
}

#[test]
fn cpu_time_whose_quota_and_period_keep_each_other() {
    if !requires::controller("cpu") {
        return;
    }
    let bundle = created();
    let both = || match requires::cgroup_mount("cpu") {
        Some(_) => {
            format!(
                "{} {}",
                value(&bundle, "cpu", "cpu.cfs_quota_us", ""),
                value(&bundle, "cpu", "cpu.cfs_period_us", "")
            )
        }
        None => value(&bundle, "cpu", "", "cpu.max"),
    };
    update(&bundle, &["--cpu-quota", "50000", "--cpu-period", "200000", "--cpu-share", "512"]).succeeds();
    assert_eq!(both(), "50000 200000");
    update(&bundle, &["--cpu-quota", "60000"]).succeeds();
    assert_eq!(both(), "60000 200000");
    update(&bundle, &["--cpu-period", "100000"]).succeeds();
    assert_eq!(both(), "60000 100000");
    update(&bundle, &["--cpu-burst", "10000"]).succeeds();
    update(&bundle, &["--cpu-burst", "0", "--cpu-quota", "-1"]).succeeds();
    assert!(["-1 100000", "max 100000"].contains(&both().as_str()), "{}", both());
}

/// The chain forks in the container's cgroup; the limit that would forbid it comes after that, and before the command.
#[test]
fn a_limit_of_one_process_holds_for_the_command_and_lets_the_chain_be() {
    if !requires::controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    for limit in [0, 1] {
        let bundle = |line| Bundle::sh(line).set("/linux/resources/pids", json!({"limit": limit}));
        assert_eq!(bundle("exec echo alone").run().succeeds().stdout, "alone\n");
        let forks = bundle("true & echo RAN").run();
        assert!(forks.status != 0 && !forks.stdout.contains("RAN"), "{limit}: {forks:?}");
        let created = bundle("exec sleep 60");
        created.create().succeeds();
        assert_eq!(value(&created, "pids", "pids.max", "pids.max"), "1");
    }
    leftovers.check();
}

#[test]
fn each_flag_is_in_its_file_or_refused_where_the_kernel_has_none() {
    if !requires::controller("cpu") || !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = created();
    let swap = (96_u64 << 20).to_string();
    let swap_alone = (32_u64 << 20).to_string();
    type Files<'a> = &'a [(&'a str, &'a str)];
    let table: [(&[&str], &str, Files<'_>, Files<'_>); 9] = [
        (&["--cpu-share", "512"], "cpu", &[("cpu.shares", "512")], &[("cpu.weight", "59")]),
        (
            &["--cpu-quota", "50000", "--cpu-burst", "7000"],
            "cpu",
            &[("cpu.cfs_burst_us", "7000")],
            &[("cpu.max.burst", "7000")],
        ),
        (&["--cpu-rt-period", "500000"], "cpu", &[("cpu.rt_period_us", "500000")], &[]),
        (&["--cpu-rt-runtime", "1000"], "cpu", &[("cpu.rt_runtime_us", "1000")], &[]),
        (&["--cpuset-cpus", "0"], "cpuset", &[("cpuset.cpus", "0")], &[("cpuset.cpus", "0")]),
        (&["--cpuset-mems", "0"], "cpuset", &[("cpuset.mems", "0")], &[("cpuset.mems", "0")]),
        (
            &["--memory", "64M", "--memory-swap", "96M"],
            "memory",
            &[("memory.memsw.limit_in_bytes", &swap)],
            &[("memory.swap.max", &swap_alone)],
        ),
        (&["--pids-limit", "33"], "pids", &[("pids.max", "33")], &[("pids.max", "33")]),
        (
            &["--blkio-weight", "300"],
            if requires::cgroup_mount("blkio").is_some() { "blkio" } else { "io" },
            &[("blkio.weight", "300"), ("blkio.bfq.weight", "300")],
            &[("io.bfq.weight", "default 300"), ("io.weight", "default 2930")],
        ),
    ];
    let (mut all, mut expected) = (Vec::new(), Vec::new());
    for (options, controller, v1, v2) in table {
        if !requires::controller(controller) {
            continue;
        }
        let files = if requires::cgroup_mount(controller).is_some() { v1 } else { v2 };
        let there =
            |(file, _): &&(&str, &str)| dirs(&bundle).iter().any(|dir| Path::new(dir).join(file).exists());
        if let Some(file) = files.iter().find(there) {
            all.extend(options);
            expected.push((controller, file));
        } else {
            update(&bundle, options).refuses(1, "has no such limit");
        }
    }
    update(&bundle, &all).succeeds();
    for (controller, (file, text)) in expected {
        assert_eq!(&value(&bundle, controller, file, file), text, "{file}");
    }
    // An idle group has no weight, so it comes by itself.
    update(&bundle, &["--cpu-idle", "1"]).succeeds();
    assert_eq!(value(&bundle, "cpu", "cpu.idle", "cpu.idle"), "1");
    drop(bundle);
    leftovers.check();
}
