//! Every number of `linux.resources` in the kernel's own file, by the version that has the controller; and every number
//! that is refused, by its file, the value and the reason.

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, tool};
use common::{Group, Version, config, controller};
use serde_json::{Value, json};

/// What a field comes to.
enum Comes {
    /// This file, with this line in it.
    To(&'static str, String),
    /// No limit, for this reason.
    Refused(&'static str),
}
use Comes::{Refused, To};

fn to(file: &'static str, text: impl ToString) -> Comes {
    To(file, text.to_string())
}

/// Makes `group` with these limits, and leaves it; nothing else may be in the config.
fn make(dir: &TempDir, group: &Group, resources: &Value) -> Output {
    let linux = format!(r#""cgroupsPath":"{}","resources":{resources}"#, group.path());
    tool("cg-apply")
        .args(["-N", "--keep", "--oci"])
        .arg(config(dir, &linux, ""))
        .command(["echo", "ran"])
        .run()
}

/// The field's file says so; where this kernel has no such file, the limit is refused and nothing runs.
#[track_caller]
fn check(name: &str, resources: &Value, v1: Comes, v2: Comes) {
    let Some(version) = controller(name) else { return };
    let (dir, group) = (TempDir::new(), Group::new());
    let out = make(&dir, &group, resources);
    match if version == Version::V1 { v1 } else { v2 } {
        Refused(why) => {
            out.refuses(125, why);
            group.expect_gone();
        }
        To(file, _) if !has(name, file) => {
            out.refuses(125, "this kernel has no such limit");
            assert!(out.stderr.contains(file), "{out:?}");
            group.expect_gone();
        }
        To(file, expected) => {
            assert_eq!(out.succeeds().stdout, "ran\n");
            let text = group.read(name, file);
            assert!(text.lines().any(|line| line == expected), "{resources}: {file} says {text:?}");
        }
    }
}

/// Whether a group of this controller has the file.
fn has(name: &str, file: &str) -> bool {
    let group = Group::new();
    tool("cg-apply").args(["-N", "--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    group.dir(name).join(file).exists()
}

#[test]
fn memory() {
    let leftovers = Leftovers::watch();
    let mib = |n: u64| json!(n << 20);
    let both = json!({"memory": {"limit": mib(64), "swap": mib(96)}});
    check("memory", &both, to("memory.limit_in_bytes", 64 << 20), to("memory.max", 64 << 20));
    check("memory", &both, to("memory.memsw.limit_in_bytes", 96 << 20), to("memory.swap.max", 32 << 20));
    let one = |field: &str, value: Value| json!({"memory": {field: value}});
    let none = || Refused("cgroup v2 has no such limit");
    check(
        "memory",
        &one("reservation", mib(32)),
        to("memory.soft_limit_in_bytes", 32 << 20),
        to("memory.low", 32 << 20),
    );
    check("memory", &one("swappiness", json!(7)), to("memory.swappiness", 7), none());
    check(
        "memory",
        &one("disableOOMKiller", json!(true)),
        to("memory.oom_control", "oom_kill_disable 1"),
        none(),
    );
    check("memory", &one("useHierarchy", json!(true)), to("memory.use_hierarchy", 1), to("cgroup.freeze", 0));
    check("memory", &one("kernelTCP", mib(16)), to("memory.kmem.tcp.limit_in_bytes", 16 << 20), none());
    leftovers.check();
}

#[test]
fn processors() {
    let leftovers = Leftovers::watch();
    let cpu = |value: Value| json!({"cpu": value});
    check("cpu", &cpu(json!({"shares": 512})), to("cpu.shares", 512), to("cpu.weight", 59));
    let time = cpu(json!({"quota": 20000, "period": 50000, "burst": 10000}));
    check("cpu", &time, to("cpu.cfs_quota_us", 20000), to("cpu.max", "20000 50000"));
    check("cpu", &time, to("cpu.cfs_period_us", 50000), to("cpu.max", "20000 50000"));
    check("cpu", &time, to("cpu.cfs_burst_us", 10000), to("cpu.max.burst", 10000));
    check("cpu", &cpu(json!({"idle": 1})), to("cpu.idle", 1), to("cpu.idle", 1));
    // An idle group has no weight of its own, and that is no failure.
    check("cpu", &cpu(json!({"idle": 1, "shares": 512})), to("cpu.idle", 1), to("cpu.idle", 1));
    let none = || Refused("cgroup v2 has no such limit");
    check("cpu", &cpu(json!({"realtimePeriod": 500_000})), to("cpu.rt_period_us", 500_000), none());
    check("cpu", &cpu(json!({"realtimeRuntime": 1000})), to("cpu.rt_runtime_us", 1000), none());
    check("cpuset", &cpu(json!({"cpus": "0", "mems": "0"})), to("cpuset.cpus", 0), to("cpuset.cpus", 0));
    check("cpuset", &cpu(json!({"mems": "0"})), to("cpuset.mems", 0), to("cpuset.mems", 0));
    leftovers.check();
}

#[test]
fn tasks_and_huge_pages() {
    let leftovers = Leftovers::watch();
    for (limit, found) in [(9, "9"), (0, "1"), (-1, "max")] {
        check("pids", &json!({"pids": {"limit": limit}}), to("pids.max", found), to("pids.max", found));
    }
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 6_u64 << 20}]});
    check("hugetlb", &pages, to("hugetlb.2MB.limit_in_bytes", 6 << 20), to("hugetlb.2MB.max", 6 << 20));
    check(
        "hugetlb",
        &pages,
        to("hugetlb.2MB.rsvd.limit_in_bytes", 6 << 20),
        to("hugetlb.2MB.rsvd.max", 6 << 20),
    );
    let small = json!({"hugepageLimits": [{"pagesize": "2MB", "limit": 6_u64 << 20}]});
    check("hugetlb", &small, to("hugetlb.2MB.limit_in_bytes", 6 << 20), to("hugetlb.2MB.max", 6 << 20));
    // The kernel counts in whole pages, and that is what is meant.
    let odd = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": (6_u64 << 20) + 5}]});
    check("hugetlb", &odd, to("hugetlb.2MB.limit_in_bytes", 6 << 20), to("hugetlb.2MB.max", 6 << 20));
    leftovers.check();
}

#[test]
fn rates_of_disks() {
    let name = if requires::cgroup_mount("blkio").is_some() { "blkio" } else { "io" };
    let Some((major, minor)) = requires::disk() else { return };
    let leftovers = Leftovers::watch();
    let rates = json!([{"major": major, "minor": minor, "rate": 65536}]);
    let disk = format!("{major}:{minor}");
    for (field, v1, v2) in [
        (
            "throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            "rbps=65536 wbps=max riops=max wiops=max",
        ),
        (
            "throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            "rbps=max wbps=65536 riops=max wiops=max",
        ),
        (
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "rbps=max wbps=max riops=65536 wiops=max",
        ),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "rbps=max wbps=max riops=max wiops=65536",
        ),
    ] {
        let asked = json!({"blockIO": {field: rates}});
        check(name, &asked, to(v1, format!("{disk} 65536")), to("io.max", format!("{disk} {v2}")));
    }
    let leaf = json!({"blockIO": {"leafWeight": 300}});
    check(name, &leaf, to("blkio.leaf_weight", 300), Refused("cgroup v2 has no such limit"));
    leftovers.check();
}

#[test]
fn packets_and_what_no_controller_here_has() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    for (resources, name, file, value) in [
        (json!({"network": {"classID": 65537}}), "net_cls", "net_cls.classid", "65537"),
        (
            json!({"network": {"priorities": [{"name": "lo", "priority": 3}]}}),
            "net_prio",
            "net_prio.ifpriomap",
            "lo 3",
        ),
        (json!({"rdma": {"catena-none": {"hcaHandles": 3}}}), "rdma", "rdma.max", ""),
    ] {
        let out = make(&dir, &group, &resources);
        let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let there = requires::cgroup_mount(name).is_some() || unified.split_whitespace().any(|c| c == name);
        if there && !value.is_empty() {
            assert!(group.read(name, file).lines().any(|line| line == value));
            continue;
        }
        let why = if there {
            "/rdma.max): No such device (ENODEV)"
        } else {
            &format!("this host has no cgroup controller '{name}'")
        };
        out.refuses(125, why);
        group.expect_gone();
    }
    leftovers.check();
}

#[test]
fn words_and_numbers_that_no_kernel_takes() {
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let page = |size: &str, limit: Value| json!({"hugepageLimits": [{"pageSize": size, "limit": limit}]});
    for (resources, controller, text) in [
        (json!({"memory": {"limit": -2}}), "memory", "resources.memory.limit: -2 is below -1"),
        (json!({"memory": {"swap": -2}}), "memory", "resources.memory.swap: -2 is below -1"),
        (json!({"memory": {"reservation": -2}}), "memory", "resources.memory.reservation: -2 is below -1"),
        (json!({"memory": {"swappiness": 101}}), "memory", "resources.memory.swappiness: 101 is above 100"),
        (json!({"memory": {"limit": 8192, "swap": 4096}}), "memory", "resources.memory.swap: 4096 is below"),
        (
            json!({"memory": {"kernel": 4096}}),
            "memory",
            "resources.memory.kernel: the kernel gave this limit up",
        ),
        (json!({"cpu": {"cpus": "0-"}}), "cpuset", "resources.cpu.cpus: '0-' is not a list such as 0-3,7"),
        (json!({"cpu": {"mems": "a"}}), "cpuset", "resources.cpu.mems: 'a' is not a list such as 0-3,7"),
        (page("2MiB", json!(1)), "hugetlb", "resources.hugepageLimits[0]: pageSize: not as 2MB, 1GB"),
        (page("MB", json!(1)), "hugetlb", "resources.hugepageLimits[0]: pageSize: not as 2MB, 1GB"),
        (page("2MB", json!("x")), "hugetlb", "resources.hugepageLimits[0]: not a pageSize and a limit"),
        (page("3MB", json!(3)), "hugetlb", "why: this kernel has no such limit"),
        (json!({"blockIO": {"weight": 1001}}), "", "resources.blockIO.weight: 1001 is not from 10 to 1000"),
        (
            json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 9}]}}),
            "",
            "resources.blockIO.weightDevice[0]: 9 is not from 10 to 1000",
        ),
        (json!({"unified": {"pids": "1"}}), "", "resources.unified.pids: not the name of a file"),
        (json!({"unified": {"../x.max": "1"}}), "", "not the name of a file"),
        (
            json!({"unified": {"cgroup.kill": "1"}}),
            "",
            "resources.unified.cgroup.kill: not the name of a file",
        ),
    ] {
        if !controller.is_empty() && !requires::controller(controller) {
            continue;
        }
        make(&dir, &group, &resources).refuses(125, text);
        group.expect_gone();
    }
    leftovers.check();
}

/// What only the kernel knows is said with the file, the value and the reason.
#[test]
fn what_the_kernel_refuses_is_said_with_its_file_and_its_value() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let refused = |resources: Value, parts: &[&str]| {
        let out = make(&dir, &group, &resources);
        out.refuses(125, parts[0]);
        parts.iter().for_each(|part| assert!(out.stderr.contains(part), "{part}: {out:?}"));
        group.expect_gone();
    };
    let v1 = |name: &str| controller(name) == Some(Version::V1);
    if controller("cpu").is_some() {
        let file = if v1("cpu") { "set cpu.cfs_quota_us" } else { "set cpu.max" };
        refused(json!({"cpu": {"quota": 5}}), &[file, "to 5", "(EINVAL)", "why: a quota is from 1000 µs"]);
        let file = if v1("cpu") { "set cpu.cfs_period_us" } else { "set cpu.max" };
        refused(json!({"cpu": {"period": 5}}), &[file, "5", "(EINVAL)", "a period from 1000 to 1000000 µs"]);
        // More is saved up than there is.
        let burst = json!({"cpu": {"quota": 10000, "burst": 20000}});
        refused(burst, &["burst", "to 20000", "(EINVAL)"]);
    }
    if v1("cpuset") {
        let why = "why: it may only have what its parent has, and what is online";
        refused(json!({"cpu": {"cpus": "4000"}}), &["set cpuset.cpus", "to 4000", why]);
        refused(json!({"cpu": {"mems": "900"}}), &["set cpuset.mems", "to 900", why]);
    }
    if v1("memory") {
        // Memory and swap together below what memory alone may have: set by two calls of two users.
        make(&dir, &group, &json!({"memory": {"limit": 64 << 20, "swap": 64 << 20}})).succeeds();
        let update = tool("cg-apply").args(["--update", "--cgroup", group.path(), "--resources", "-"]);
        let out = update.input(json!({"memory": {"limit": 128 << 20}}).to_string()).run();
        out.refuses(125, "why: with memory and swap together below memory alone");
        assert_eq!(group.read("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
        group.remove();
    }
    leftovers.check();
}

#[test]
fn a_group_too_many_or_too_deep_is_said_with_the_number_that_is_allowed() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    tool("cg-apply").args(["-N", "--keep", "--cgroup", group.path()]).command(["true"]).run().succeeds();
    let below = group.below("a");
    let run = || tool("cg-apply").args(["-N", "--cgroup", &below]).command(["echo", "ran"]).run();
    for (file, why) in [
        ("cgroup.max.descendants", "why: an ancestor allows 0 groups below it and a depth of max"),
        ("cgroup.max.depth", "why: an ancestor allows max groups below it and a depth of 0"),
    ] {
        group.write("unified", file, "0");
        run().refuses(125, why);
        assert!(!group.dir("unified").join("a").exists());
        group.write("unified", file, "max");
    }
    assert_eq!(run().succeeds().stdout, "ran\n");
    drop(group);
    leftovers.check();
}

#[test]
fn device_rules_that_the_group_above_does_not_allow() {
    if !requires::cgroup_v1("devices") {
        return;
    }
    let leftovers = Leftovers::watch();
    let (dir, group) = (TempDir::new(), Group::new());
    let dev_null = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"});
    let none = json!({"allow": false, "access": "rwm"});
    make(&dir, &group, &json!({"devices": [none, dev_null]})).succeeds();
    let linux = |devices: Value| {
        let below = group.below("a");
        let linux = format!(r#""cgroupsPath":"{below}","resources":{{"devices":{devices}}}"#);
        tool("cg-apply").args(["-N", "--oci"]).arg(config(&dir, &linux, "")).command(["echo", "ran"]).run()
    };
    // Not one of those that every container has.
    let kmsg = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
    linux(json!([none, kmsg])).refuses(125, "why: its parent does not allow that device");
    linux(json!([{"allow": true, "access": "rwm"}]))
        .refuses(125, "why: its parent does not allow all devices");
    assert!(!group.dir("devices").join("a").exists());
    // A list that has lists below it cannot start anew.
    tool("cg-apply").args(["-N", "--keep", "--cgroup", &group.below("b")]).command(["true"]).run().succeeds();
    make(&dir, &group, &json!({"devices": [none]})).refuses(125, "why: the group has children");
    assert!(group.read("devices", "devices.list").contains("c 1:3 rw"));
    drop(group);
    leftovers.check();
}
