//! The cgroup file systems inside, of v1 and v2, seen from a cgroup namespace or bound from the caller's group.

mod common;

use catena_tests::{Mount, Probe, requires, rootfs, shell, v2_view};
use common::behind;

fn with(namespaces: &str, more: &[&str]) -> Probe {
    let root = rootfs();
    let path = root.path();
    let args = ["--root", path.to_str().expect("text"), "--cgroup", "/sys/fs/cgroup"];
    behind(namespaces, args.iter().chain(more)).probe_at("/probe")
}

fn hierarchies(p: &Probe) -> Vec<&Mount> {
    p.mounts.iter().flatten().filter(|m| m.fstype.starts_with("cgroup")).collect()
}

fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Every hierarchy of the host at its name, read-only, rooted in the own group.
#[test]
fn v1_behind_a_cgroup_namespace_and_without() {
    if !requires::cgroup_v1("pids")
        || unified() && !requires::skip("needs the cgroup v1 controller as the host's own")
    {
        return;
    }
    for namespaces in ["-mpniuC", "-mpniu"] {
        let p = with(namespaces, &[]);
        p.expect_mounted("/sys/fs/cgroup", "tmpfs");
        p.expect_mount_options("/sys/fs/cgroup", &["nosuid", "nodev", "noexec", "mode=755"]);
        let host = shell("exec $PROBE").run().probe();
        let wanted = hierarchies(&host).iter().filter(|m| m.fstype == "cgroup").count();
        let found = hierarchies(&p);
        assert_eq!(found.len(), wanted, "{found:#?}");
        for mount in found {
            assert_eq!(mount.fstype, "cgroup", "v2 of a hybrid host is not v1's: {mount:?}");
            assert!(["ro", "nosuid", "nodev", "noexec"].iter().all(|o| mount.has(o)), "{mount:?}");
            let own = p.cgroup.iter().find(|l| {
                let names = l.split(':').nth(1).unwrap_or_default();
                names.split(',').all(|n| mount.has(n))
            });
            let own = own.unwrap().splitn(3, ':').nth(2).unwrap();
            assert_eq!(mount.root, own, "not the caller's own group: {mount:?}");
        }
        // What is mounted together has a link for each name.
        let pids = p.mount_at("/sys/fs/cgroup/pids");
        assert!(pids.is_some(), "{:?}", hierarchies(&p));
    }
}

/// The hierarchy is the host's: a mount of it must not change the host's own options.
#[test]
fn the_hosts_own_mounts_stay_as_they_are() {
    if !requires::root() {
        return;
    }
    let lines = || {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut lines: Vec<String> =
            text.lines().filter(|l| l.contains("cgroup")).map(String::from).collect();
        lines.sort();
        lines
    };
    let before = lines();
    with("-mpniuC", &[]);
    with("-mpniu", &[]);
    assert_eq!(lines(), before);
}

#[test]
fn nothing_can_be_written_through_it() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let path = root.path();
    let line = "find /sys/fs/cgroup -name cgroup.procs 2>/dev/null | while read f; do (echo $$ >$f) 2>/dev/null && echo wrote $f; done; \
                for d in /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo made $d; done; true";
    let args = ["--root", path.to_str().unwrap(), "--cgroup", "/sys/fs/cgroup"];
    let out = behind("-mpniuC", args).command(["/bin/sh", "-c", line]).run();
    assert_eq!(out.succeeds().stdout, "");
}

#[test]
fn v2_behind_a_cgroup_namespace_and_without() {
    if !requires::cgroup_v2() {
        return;
    }
    for namespaces in ["-mpniuC", "-mpniu"] {
        let root = rootfs();
        let line = format!(
            "exec ns-enter {namespaces} -- rootfs-prep --root {} --cgroup /sys/fs/cgroup -- /probe",
            root.path().display()
        );
        let run = if unified() { shell(&line) } else { v2_view(&line) };
        let p = run.run().probe();
        let mount = p.expect_mounted("/sys/fs/cgroup", "cgroup2");
        assert!(["ro", "nosuid", "nodev", "noexec"].iter().all(|o| mount.has(o)), "{mount:?}");
        assert_eq!(hierarchies(&p).len(), 1);
        assert_eq!(mount.root, "/", "{mount:?}");
    }
}

/// Where the hierarchy is not the user namespace's, what can be seen already is bound.
#[test]
fn in_a_user_namespace() {
    let root = rootfs();
    for namespaces in ["-mpniuC", "-mpniu"] {
        let path = root.path();
        let args = ["--root", path.to_str().unwrap(), "--cgroup", "/sys/fs/cgroup"];
        let chain =
            catena_tests::tool("idmap").arg("-r").then("ns-enter", [namespaces]).then("rootfs-prep", args);
        let p = chain.probe_at("/probe");
        let found = hierarchies(&p);
        assert!(!found.is_empty(), "{:?}", p.mounts);
        assert!(
            found.iter().all(|m| m.has("ro") && m.has("nosuid") && m.has("nodev") && m.has("noexec")),
            "{found:#?}"
        );
    }
}
