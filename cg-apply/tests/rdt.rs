//! Intel RDT, on a tree of folders that stands in for the file system resctrl: few machines have the processor.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Mount, Output, TempDir, requires, tool};
use common::config;
use std::fs;

/// The command `line` with this `linux.intelRdt`, where `tree` is resctrl.
fn run(tree: &TempDir, rdt: &str, line: &str) -> Output {
    let dir = TempDir::new();
    let path = config(&dir, &format!(r#""intelRdt":{rdt}"#), "");
    let args = ["-N", "--oci", path.to_str().unwrap(), "--try", "resources.devices,cgroupsPath"];
    tool("cg-apply").args(args).command(["sh", "-c", line]).env("CATENA_RESCTRL", tree.path()).run()
}

#[test]
fn without_resctrl_it_is_refused_or_left_out() {
    let mounts = Mount::parse_all(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    if mounts.iter().any(|mount| mount.fstype == "resctrl") {
        requires::skip("needs a host without resctrl");
        return;
    }
    let dir = TempDir::new();
    let path = config(&dir, r#""intelRdt":{"closID":"x"}"#, "");
    let run = |more: &str| {
        let args = ["-N", "--oci", path.to_str().unwrap(), "--try", more];
        tool("cg-apply").args(args).command(["echo", "ran"]).run()
    };
    run("resources.devices,cgroupsPath").refuses(125, "linux.intelRdt: no resctrl here");
    assert_eq!(run("intelRdt,resources.devices,cgroupsPath").succeeds().stdout, "ran\n");
}

#[test]
fn what_is_wrong_runs_nothing_and_makes_nothing() {
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    for (rdt, text) in [
        (r#"{"closID":"../x","schemata":["L3:0=f"]}"#, "linux.intelRdt.closID: it is the name of one folder"),
        (r#"{"closID":"info","schemata":["L3:0=f"]}"#, "linux.intelRdt.closID"),
        (r#"{"closID":"x","schemata":["ff"]}"#, "'ff' is not as L3:0=ff"),
        (r#"{"closID":"none"}"#, "without a schema it names a group that is there"),
    ] {
        run(&tree, rdt, "echo ran").refuses(125, text);
    }
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0);
    // What the kernel has to say of it.
    fs::create_dir(tree.path().join("x")).unwrap();
    fs::create_dir(tree.path().join("x/schemata")).unwrap();
    fs::create_dir(tree.path().join("info")).unwrap();
    fs::write(tree.path().join("info/last_cmd_status"), "Mask 0x5 has non-consecutive 1-bits\n").unwrap();
    run(&tree, r#"{"closID":"x","schemata":["L3:0=5"]}"#, "echo ran")
        .refuses(125, "why: Mask 0x5 has non-consecutive 1-bits");
    leftovers.check();
}

#[test]
fn a_group_is_made_joined_and_removed() {
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let at = tree.path().display();
    let rdt = r#"{"closID":"x","l3CacheSchema":"L3:0=f;1=f0\nMB:0=9","memBwSchema":"MB:0=50","schemata":["L2:0=3"],"enableMonitoring":true}"#;
    let line = format!(
        "cat {at}/x/schemata; test $(cat {at}/x/tasks) = $$ && test $(cat {at}/x/mon_groups/*/tasks) = $$ && echo in"
    );
    let out = run(&tree, rdt, &line);
    assert_eq!(out.succeeds().stdout, "L3:0=f;1=f0\nMB:0=50\nL2:0=3\nin\n");
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0, "the group goes with the command");
    leftovers.check();
}

#[test]
fn a_group_that_was_there_is_joined_and_stays() {
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    fs::create_dir(tree.path().join("gold")).unwrap();
    fs::write(tree.path().join("gold/schemata"), "L3:0=ff\n").unwrap();
    let line = format!("test $(cat {}/gold/tasks) = $$ && echo in", tree.path().display());
    assert_eq!(run(&tree, r#"{"closID":"gold"}"#, &line).succeeds().stdout, "in\n");
    assert_eq!(fs::read_to_string(tree.path().join("gold/schemata")).unwrap(), "L3:0=ff\n");
    // The root of the tree is the default group.
    let line = format!("cat {}/schemata", tree.path().display());
    assert_eq!(run(&tree, r#"{"closID":"/","schemata":["L3:0=f"]}"#, &line).succeeds().stdout, "L3:0=f\n");
    leftovers.check();
}
