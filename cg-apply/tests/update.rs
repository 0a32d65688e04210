//! `--update` changes a group that is there, and puts back what it had when one limit is refused.

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, tool, v2_view};
use common::{Group, controller};
use serde_json::json;

fn update(group: &Group, options: &[&str]) -> Output {
    tool("cg-apply").args(["--update", "--cgroup", group.path()]).args(options).run()
}

fn made() -> Group {
    let group = Group::new();
    tool("cg-apply").args(["--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    group
}

/// A file of the group, whichever directory has it.
fn value(group: &Group, file: &str) -> String {
    let texts: Vec<String> =
        group.dirs().iter().filter_map(|dir| std::fs::read_to_string(dir.join(file)).ok()).collect();
    texts.first().unwrap_or_else(|| panic!("no {file}")).trim().to_string()
}

#[test]
fn what_is_wrong_is_refused_and_no_group_is_made() {
    if !requires::root() || controller("pids").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    update(&group, &["--pids", "5"]).refuses(125, "there is no cgroup");
    group.expect_gone();
    tool("cg-apply").args(["--update", "--pids", "5"]).run().refuses(125, "--update: which group?");
    for extra in [&["--keep"][..], &["--exclusive"], &["--rlimit", "core=0"], &["--rm", "/x"]] {
        update(&group, extra).refuses(125, "exclude each other");
    }
    let run = tool("cg-apply")
        .args(["--update", "--cgroup", group.path(), "--pids", "5"])
        .command(["echo", "RAN"])
        .run();
    run.refuses(125, "--update changes a group and runs nothing");
    tool("cg-apply")
        .args(["--dir", "/x", "--pids", "5"])
        .command(["echo", "RAN"])
        .run()
        .fails(125, "missing");
    leftovers.check();
}

#[test]
fn by_path_and_by_directories_flags_and_a_document() {
    if !requires::root() || controller("pids").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = made();
    update(&group, &["--pids", "50"]).succeeds();
    assert_eq!(value(&group, "pids.max"), "50");
    let shown = update(&group, &["--pids", "60", "--print"]);
    assert_eq!(shown.succeeds().stdout, "write     pids.max = 60, for resources.pids.limit\n");
    assert_eq!(value(&group, "pids.max"), "50");

    let mut by_dirs = tool("cg-apply").arg("--update");
    for dir in group.dirs() {
        by_dirs = by_dirs.arg("--dir").arg(dir);
    }
    let out =
        by_dirs.args(["--resources", "-", "--json"]).input(json!({"pids": {"limit": 70}}).to_string()).run();
    assert_eq!(out.json()["limits"]["resources.pids.limit"], "70");
    assert_eq!(value(&group, "pids.max"), "70");

    let dir = TempDir::new();
    let file = dir.file("r.json", json!({"pids": {"limit": 80}, "memory": {}}).to_string());
    update(&group, &["--resources", file.to_str().expect("it is text"), "--pids", "81"]).succeeds();
    assert_eq!(value(&group, "pids.max"), "81");
    update(&group, &["--pids", "max"]).succeeds();
    assert_eq!(value(&group, "pids.max"), "max");
    // Nothing asked for, nothing done.
    update(&group, &[]).succeeds();
    let devices = dir.file("d.json", json!({"devices": [{"allow": true, "access": "rwm"}]}).to_string());
    update(&group, &["--resources", devices.to_str().expect("it is text")]).refuses(125, "resources.devices");
    drop(group);
    leftovers.check();
}

#[test]
fn one_that_is_refused_leaves_the_others_as_they_were() {
    if !requires::root() || controller("pids").is_none() || controller("cpuset").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = made();
    update(&group, &["--pids", "50", "--cpuset-cpus", "0"]).succeeds();
    update(&group, &["--pids", "60", "--cpuset-cpus", "9999"]).refuses(125, "9999");
    assert_eq!((value(&group, "pids.max").as_str(), value(&group, "cpuset.cpus").as_str()), ("50", "0"));
    drop(group);
    leftovers.check();
}

#[test]
fn quota_and_period_keep_each_other_and_idle_is_taken_back() {
    if !requires::root() || controller("cpu").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = made();
    let v1 = requires::cgroup_mount("cpu").is_some();
    let both = || match v1 {
        true => format!("{} {}", value(&group, "cpu.cfs_quota_us"), value(&group, "cpu.cfs_period_us")),
        false => value(&group, "cpu.max"),
    };
    update(&group, &["--cpu-quota", "20000", "--cpu-period", "50000"]).succeeds();
    assert_eq!(both(), "20000 50000");
    update(&group, &["--cpu-quota", "30000"]).succeeds();
    assert_eq!(both(), "30000 50000");
    update(&group, &["--cpu-period", "60000"]).succeeds();
    assert_eq!(both(), "30000 60000");
    update(&group, &["--cpu-quota", "max"]).succeeds();
    assert_eq!(both(), format!("{} 60000", if v1 { "-1" } else { "max" }));
    let with = |cpu: serde_json::Value| {
        let text = json!({"cpu": cpu}).to_string();
        tool("cg-apply").args(["--update", "--cgroup", group.path(), "--resources", "-"]).input(text).run()
    };
    if group.dirs().iter().any(|dir| dir.join("cpu.idle").exists()) {
        with(json!({"idle": 1})).succeeds();
        assert_eq!(value(&group, "cpu.idle"), "1");
        with(json!({"idle": 0, "shares": 512})).succeeds();
        assert_eq!(value(&group, "cpu.idle"), "0");
    }
    drop(group);
    leftovers.check();
}

#[test]
fn memory_and_swap_change_in_either_order() {
    if !requires::root() || controller("memory").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = made();
    let file =
        if requires::cgroup_mount("memory").is_some() { "memory.limit_in_bytes" } else { "memory.max" };
    for size in ["64M", "256M", "32M"] {
        let double = format!("{}M", size.trim_end_matches('M').parse::<u32>().expect("a number") * 2);
        let swap = group
            .dirs()
            .iter()
            .any(|d| d.join("memory.memsw.limit_in_bytes").exists() || d.join("memory.swap.max").exists());
        let options = ["-m", size, "--memory-swap", &double];
        update(&group, if swap { &options[..] } else { &options[..2] }).succeeds();
        let bytes = size.trim_end_matches('M').parse::<u64>().expect("a number") << 20;
        assert_eq!(value(&group, file), bytes.to_string());
    }
    drop(group);
    leftovers.check();
}

#[test]
fn a_limit_of_v2_that_only_unified_names() {
    if !requires::cgroup_v2() || requires::cgroup_mount("unified").is_none() {
        return;
    }
    let leftovers = Leftovers::watch();
    let name = format!("/cg-test-unified-{}", std::process::id());
    let line = format!(
        "cg-apply -N --keep --cgroup {name} -- true && cg-apply --update --cgroup {name} --resources - && \
         cat /sys/fs/cgroup{name}/cgroup.max.depth; cg-apply --rm {name}"
    );
    let out = v2_view(&line).input(json!({"unified": {"cgroup.max.depth": "3"}}).to_string()).run();
    assert_eq!(out.succeeds().stdout, "3\n");
    leftovers.check();
}
