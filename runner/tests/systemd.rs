//! Containers whose cgroup is a scope of systemd's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{requires, shell, until};
use common::Bundle;
use serde_json::json;

/// One whose scope is in machine.slice, with limits.
fn scoped(line: &str) -> Bundle {
    let bundle = Bundle::sh(line);
    let path = format!("machine.slice:catena:{}", bundle.id);
    let limits = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 50}, "cpu": {"quota": 50_000, "period": 100_000}});
    bundle.set("/linux/cgroupsPath", json!(path)).set("/linux/resources", limits)
}

fn unit(bundle: &Bundle) -> String {
    format!("catena-{}.scope", bundle.id)
}

fn runner<const N: usize>(bundle: &Bundle, args: [&str; N]) -> catena_tests::Tool {
    bundle.runner(["--systemd-cgroup"]).args(args)
}

fn up(bundle: &Bundle) {
    let (root, dir) = (bundle.state.path().display(), bundle.dir());
    let line = format!(
        "runner --root {root} --systemd-cgroup run -d -b {dir} {} >{dir}/out 2>&1 </dev/null",
        bundle.id
    );
    let out = shell(&line).run();
    assert_eq!(out.status, 0, "{}", bundle.output());
}

/// What systemd says of a unit.
fn told(unit: &str, property: &str) -> String {
    let out = shell(&format!("systemctl show {unit} --value -p {property}")).run();
    out.succeeds().stdout.trim().to_string()
}

fn file(bundle: &Bundle, name: &str) -> String {
    let path = format!("/sys/fs/cgroup/machine.slice/{}/{name}", unit(bundle));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_string()
}

#[track_caller]
fn is_gone(bundle: &Bundle) {
    until("the scope is gone", || told(&unit(bundle), "LoadState") == "not-found");
    assert!(!std::path::Path::new(&format!("/sys/fs/cgroup/machine.slice/{}", unit(bundle))).exists());
}

#[test]
fn a_container_is_a_scope_with_its_limits_for_as_long_as_it_lives() {
    if !requires::systemd() {
        return;
    }
    let bundle = scoped("exec sleep 60");
    up(&bundle);
    let unit = unit(&bundle);
    for (property, expected) in [
        ("ActiveState", "active"),
        ("Slice", "machine.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "50"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CollectMode", "inactive-or-failed"),
    ] {
        assert_eq!(told(&unit, property), expected, "{property}");
    }
    let limits = || ["memory.max", "pids.max", "cpu.max"].map(|name| file(&bundle, name));
    assert_eq!(limits(), ["67108864", "50", "50000 100000"]);
    // exec joins it.
    let pid = bundle.state()["pid"].to_string();
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroup.trim(), format!("0::/machine.slice/{unit}"));
    runner(&bundle, ["exec", &bundle.id, "true"]).run().succeeds();
    // What update changes, systemd knows of: it does not put the old limits back when it looks at its units again.
    runner(&bundle, ["update", "--pids-limit", "40", "--memory", "128M", &bundle.id]).run().succeeds();
    assert_eq!((told(&unit, "TasksMax"), told(&unit, "MemoryMax")), ("40".into(), "134217728".into()));
    shell("systemctl daemon-reload").run().succeeds();
    shell(&format!("systemctl set-property --runtime {unit} CPUWeight=50")).run().succeeds();
    assert_eq!(limits(), ["134217728", "40", "50000 100000"]);
    // Whole percents of a CPU, for systemd would make 56 of 55.6 the next time.
    runner(&bundle, ["update", "--cpu-period", "90000", &bundle.id]).run().succeeds();
    assert_eq!(told(&unit, "CPUQuotaPerSecUSec"), "560ms");
    assert_eq!(file(&bundle, "cpu.max"), "50400 90000");
    for (verb, state) in [("pause", "paused"), ("resume", "running")] {
        runner(&bundle, [verb, &bundle.id]).run().succeeds();
        assert_eq!(bundle.status(), state);
    }
    runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
    is_gone(&bundle);
}

#[test]
fn a_controller_that_systemd_does_not_know_is_handed_down_to_the_scope() {
    if !requires::systemd() || !requires::controller("hugetlb") {
        return;
    }
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2_097_152}]});
    let bundle = scoped("exec sleep 60").set("/linux/resources", limits);
    up(&bundle);
    assert_eq!(file(&bundle, "hugetlb.2MB.max"), "2097152");
    runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
    is_gone(&bundle);
}

/// systemd would carry out at once what is then refused.
#[test]
fn a_limit_below_what_is_in_use_does_not_reach_systemd() {
    if !requires::systemd() {
        return;
    }
    let bundle = scoped("exec sleep 60");
    up(&bundle);
    let low = json!({"memory": {"limit": 1024, "swap": 2048, "checkBeforeUpdate": true}});
    let out = runner(&bundle, ["update", "-r", "-", &bundle.id]).input(low.to_string()).run();
    out.refuses(1, "cannot limit memory+swap to 2048 bytes");
    assert_eq!((bundle.status(), told(&unit(&bundle), "MemoryMax")), ("running".into(), "67108864".into()));
    runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
    is_gone(&bundle);
}

/// Only who has a cgroup namespace and may write to it owns the cgroup.
#[test]
fn the_scopes_group_is_the_containers_where_it_may_make_groups_below() {
    if !requires::systemd() {
        return;
    }
    for (option, owner) in [("rw", 4711), ("ro", 0)] {
        let mount = json!({"type": "cgroup", "source": "cgroup", "destination": "/sys/fs/cgroup", "options": [option]});
        let mut bundle = scoped("exec sleep 60");
        bundle.config["process"]["user"] = json!({"uid": 4711, "gid": 0});
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        mounts.push(mount);
        bundle.write();
        up(&bundle);
        let of = |name: &str| {
            use std::os::unix::fs::MetadataExt;
            let path = format!("/sys/fs/cgroup/machine.slice/{}/{name}", unit(&bundle));
            std::fs::metadata(path).unwrap().uid()
        };
        assert_eq!((of(""), of("cgroup.procs"), of("memory.max")), (owner, owner, 0), "{option}");
        let mkdir = ["exec", &bundle.id, "mkdir", "/sys/fs/cgroup/below"];
        assert_eq!(runner(&bundle, mkdir).run().status == 0, option == "rw");
        runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
        is_gone(&bundle);
    }
}

#[test]
fn a_command_that_ends_takes_its_scope_with_it() {
    if !requires::systemd() {
        return;
    }
    let bundle = scoped("exit 3");
    runner(&bundle, ["run", "-b", bundle.dir(), &bundle.id]).run().exits(3);
    is_gone(&bundle);
    // Killed by its memory limit it is no failed unit that stands in the way of the next.
    let bundle = scoped("a=x; while :; do a=$a$a; done");
    assert_eq!(runner(&bundle, ["run", "-b", bundle.dir(), &bundle.id]).run().status, 137);
    is_gone(&bundle);
    runner(&bundle, ["run", "-b", bundle.dir(), &bundle.id]).run();
    is_gone(&bundle);
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    if !requires::systemd() {
        return;
    }
    let names = |bundle: &Bundle| std::fs::read_dir(bundle.state.path()).unwrap().count();
    for (property, text, said) in [
        ("Frobnicate", "true", "Frobnicate"),
        ("TimeoutStopUSec", "soon", "GVariant"),
        ("Slice", "'a/b.slice'", "a/b.slice"),
    ] {
        let bundle = scoped("echo RAN");
        let bundle = bundle.set("/annotations", json!({format!("org.systemd.property.{property}"): text}));
        runner(&bundle, ["run", "-b", bundle.dir(), &bundle.id]).run().refuses(1, said);
        assert_eq!(names(&bundle), 0);
        is_gone(&bundle);
    }
    // A limit that the kernel refuses comes when the scope is there.
    let bundle = scoped("echo RAN").set("/linux/resources", json!({"unified": {"memory.frob": "1"}}));
    runner(&bundle, ["run", "-b", bundle.dir(), &bundle.id]).run().refuses(1, "memory.frob");
    assert_eq!(names(&bundle), 0);
    is_gone(&bundle);
    // A group that somebody made and froze, in which it would never come to an end.
    let frozen = scoped("echo RAN");
    let group = format!("/sys/fs/cgroup/machine.slice/{}", unit(&frozen));
    std::fs::DirBuilder::new().recursive(true).create(&group).unwrap();
    std::fs::write(format!("{group}/cgroup.freeze"), "1").unwrap();
    let out = runner(&frozen, ["run", "-b", frozen.dir(), &frozen.id]).run();
    std::fs::remove_dir(&group).unwrap();
    out.refuses(1, "container's cgroup unexpectedly frozen");
    // The same, one level up.
    let below = scoped("echo RAN").set("/linux/cgroupsPath", json!("catena-frozen.slice:catena:x"));
    let slice = "/sys/fs/cgroup/catena.slice/catena-frozen.slice";
    std::fs::DirBuilder::new().recursive(true).create(slice).unwrap();
    std::fs::write(format!("{slice}/cgroup.freeze"), "1").unwrap();
    let out = runner(&below, ["run", "-b", below.dir(), &below.id]).run();
    std::fs::remove_dir(slice).unwrap();
    std::fs::remove_dir("/sys/fs/cgroup/catena.slice").unwrap();
    out.refuses(1, "container's cgroup unexpectedly frozen")
        .refuses(1, "catena-frozen.slice, which it would be in");
    // Somebody else's scope is not taken.
    let first = scoped("exec sleep 60");
    up(&first);
    let second = scoped("echo RAN").set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
    runner(&second, ["run", "-b", second.dir(), &second.id])
        .run()
        .refuses(1, "container's cgroup is not empty: 1 process(es)");
    assert_eq!(told(&unit(&first), "ActiveState"), "active");
    runner(&first, ["delete", "--force", &first.id]).run().succeeds();
    is_gone(&first);
}

#[test]
fn annotations_are_properties_of_the_unit() {
    if !requires::systemd() {
        return;
    }
    let properties = json!({"org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.Description": "'of a test'"});
    let bundle = scoped("exec sleep 60").set("/annotations", properties);
    up(&bundle);
    assert_eq!(told(&unit(&bundle), "TimeoutStopUSec"), "7s");
    assert_eq!(told(&unit(&bundle), "Description"), "of a test");
    runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
    is_gone(&bundle);
}

/// Device rules are a program on the scope's group, which systemd leaves alone.
#[test]
fn devices_stay_forbidden_when_systemd_reloads() {
    if !requires::systemd() {
        return;
    }
    let rules = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let node = json!([{"path": "/dev/k", "type": "c", "major": 1, "minor": 11}]);
    let bundle = scoped("exec sleep 60").set("/linux/resources", rules).set("/linux/devices", node);
    up(&bundle);
    let forbidden = || {
        let out = runner(&bundle, ["exec", &bundle.id, "sh", "-c", ": </dev/null && : </dev/k"]).run();
        assert!(out.stderr.contains("/dev/k: Operation not permitted"), "{out:?}");
    };
    forbidden();
    shell("systemctl daemon-reload").run().succeeds();
    forbidden();
    runner(&bundle, ["delete", "--force", &bundle.id]).run().succeeds();
    is_gone(&bundle);
}
