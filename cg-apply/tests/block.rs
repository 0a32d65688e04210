//! `resources.blockIO`: limits of disks, in the words of whichever version has the controller.

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, tool};
use common::{Group, Version, config, controller};
use serde_json::{Value, json};

/// The controller's version and name here, and a disk.
fn disk() -> Option<(Version, &'static str, u32, u32)> {
    let name = if requires::cgroup_mount("blkio").is_some() { "blkio" } else { "io" };
    let (major, minor) = requires::disk()?;
    controller(name).map(|version| (version, name, major, minor))
}

fn update(group: &Group, block: &Value) -> Output {
    let text = json!({"blockIO": block}).to_string();
    tool("cg-apply").args(["--update", "--cgroup", group.path(), "--resources", "-"]).input(text).run()
}

#[test]
fn rates_of_a_disk_are_set_changed_and_taken_back() {
    let Some((version, name, major, minor)) = disk() else { return };
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let group = Group::new();
    let rate = |n: u64| json!([{"major": major, "minor": minor, "rate": n}]);
    let asked =
        json!({"blockIO": {"throttleReadBpsDevice": rate(1 << 20), "throttleWriteIOPSDevice": rate(50)}});
    let path = config(&dir, &format!(r#""cgroupsPath":"{}","resources":{asked}"#, group.path()), "");
    tool("cg-apply").args(["--keep", "--oci"]).arg(path).command(["true"]).run().succeeds();
    let found = || match version {
        Version::V2 => group.read(name, "io.max"),
        Version::V1 => ["read_bps", "write_iops"]
            .map(|kind| group.read(name, &format!("blkio.throttle.{kind}_device")))
            .join(" and "),
    };
    let expected = |bps: &str, iops: &str| match version {
        Version::V2 => format!("{major}:{minor} rbps={bps} wbps=max riops=max wiops={iops}"),
        Version::V1 => format!("{major}:{minor} {bps} and {major}:{minor} {iops}"),
    };
    assert_eq!(found(), expected("1048576", "50"));
    // The last of two counts, and what is not named stays.
    let twice = json!([{"major": major, "minor": minor, "rate": 7}, {"major": major, "minor": minor, "rate": 2 << 20}]);
    update(&group, &json!({"throttleReadBpsDevice": twice})).succeeds();
    assert_eq!(found(), expected("2097152", "50"));
    update(&group, &json!({"throttleReadBpsDevice": rate(0), "throttleWriteIOPSDevice": rate(0)})).succeeds();
    assert_eq!(found(), if version == Version::V2 { "" } else { " and " });
    drop(group);
    leftovers.check();
}

#[test]
fn a_disk_that_is_not_there_is_named_and_nothing_stays() {
    let Some((_, name, ..)) = disk() else { return };
    let leftovers = Leftovers::watch();
    let dir = TempDir::new();
    let group = Group::new();
    let none = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 1 << 19, "rate": 5}]}});
    let path = config(&dir, &format!(r#""cgroupsPath":"{}","resources":{none}"#, group.path()), "");
    let out = tool("cg-apply").arg("--oci").arg(path).command(["echo", "ran"]).run();
    out.refuses(125, "why: there is no such disk");
    group.expect_gone();
    // Not one of the limits beside it either.
    tool("cg-apply")
        .args(["--keep", "--cgroup", group.path(), "--pids", "40"])
        .command(["true"])
        .run()
        .succeeds();
    let text = json!({"pids": {"limit": 30}, "blockIO": none["blockIO"]}).to_string();
    let change = tool("cg-apply").args(["--update", "--cgroup", group.path(), "--resources", "-"]);
    change.input(text).run().refuses(125, name);
    assert_eq!(group.read("pids", "pids.max"), "40");
    drop(group);
    leftovers.check();
}

#[test]
fn weights() {
    let Some((version, name, ..)) = disk() else { return };
    let leftovers = Leftovers::watch();
    let group = Group::new();
    tool("cg-apply").args(["--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    update(&group, &json!({"weight": 5})).refuses(125, "resources.blockIO.weight: 5 is not from 10 to 1000");
    let files = match version {
        Version::V1 => [("blkio.weight", "300"), ("blkio.bfq.weight", "300")],
        Version::V2 => [("io.bfq.weight", "default 300"), ("io.weight", "default 2930")],
    };
    let there = |file: &&(&str, &str)| group.dirs().iter().any(|dir| dir.join(file.0).exists());
    let set = update(&group, &json!({"weight": 300}));
    match files.iter().find(there) {
        Some((file, value)) => {
            set.succeeds();
            assert_eq!(&group.read(name, file), value);
        }
        // A kernel without any of them.
        None => {
            set.refuses(125, "this kernel has no such limit");
        }
    }
    drop(group);
    leftovers.check();
}
