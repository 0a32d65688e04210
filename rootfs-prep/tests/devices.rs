//! Devices: the default ones and others, with numbers, modes and owners, and the links of /dev.

mod common;

use catena_tests::{Probe, requires, rootfs, tool};
use common::{bare, is_root, link, rooted, there};

const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

#[track_caller]
fn expect_defaults(p: &Probe) {
    let dev = p.dev.as_ref().expect("/dev can be listed");
    for (name, major, minor) in DEFAULT {
        let found = &dev[name];
        assert_eq!(
            (found.kind.as_str(), found.major, found.minor, found.mode),
            ("char", major, minor, 0o666),
            "{name}"
        );
        if is_root() {
            assert_eq!((found.uid, found.gid), (0, 0), "{name}");
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(dev[name].target.as_deref(), Some(target), "{name}");
    }
    let core = dev.get("core").and_then(|c| c.target.as_deref());
    let kernel = std::path::Path::new("/proc/kcore").exists();
    assert_eq!(core, kernel.then_some("/proc/kcore"));
}

#[test]
fn the_default_devices_and_links() {
    let root = rootfs();
    let p = rooted(&root, &[]).probe_at("/probe");
    expect_defaults(&p);
    let mut names: Vec<&str> =
        p.dev.as_ref().unwrap().keys().map(String::as_str).filter(|n| *n != "core").collect();
    names.sort_unstable();
    let all = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(names, all, "no device of the host but these");
    let line = "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; (echo x >/dev/full) 2>/dev/null || echo full; \
                echo in | cat /dev/stdin; echo out >/dev/stdout; test -c /dev/ptmx && echo pty";
    let out = rooted(&root, &[]).command(["/bin/sh", "-c", line]).run();
    assert_eq!(out.succeeds().stdout, "3\n1\nfull\nin\nout\npty\n");
}

/// The caller's umask does not take a bit of what was asked for, and is the command's again.
#[test]
fn the_umask_has_no_say() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let line = format!(
        "umask 077; ns-enter -mpniuC -- rootfs-prep --root {} --mknod /dev/x:c:1:3:0642 --dir /dev/d --tmpfs /t -- /probe",
        root.path().display()
    );
    let p = catena_tests::shell(&line).run().probe();
    expect_defaults(&p);
    let dev = p.dev.as_ref().unwrap();
    assert_eq!((dev["x"].mode, dev["d"].mode, p.umask), (0o642, 0o755, 0o077));
}

#[test]
fn other_devices_by_number_mode_and_owner() {
    if !requires::root() || !requires::capability("MKNOD") {
        return;
    }
    let root = rootfs();
    let args = [
        "--mknod",
        "/dev/fuse:c:10:229:0640",
        "--mknod",
        "/dev/loop9:b:7:9",
        "--mknod",
        "/dev/deep/er/pipe:p:0600",
        "--mknod",
        "/dev/a:b:p",
    ];
    let p = rooted(&root, &args).probe_at("/probe");
    let dev = p.dev.as_ref().unwrap();
    let of = |name: &str| (dev[name].kind.as_str(), dev[name].major, dev[name].minor, dev[name].mode);
    assert_eq!(of("fuse"), ("char", 10, 229, 0o640));
    assert_eq!(of("loop9"), ("block", 7, 9, 0o666));
    assert_eq!((of("a:b").0, of("deep").0), ("other", "dir"));
    let config = root.config(&serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["x"], "cwd": "/", "user": {}},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}],
        "linux": {"devices": [{"path": "/dev/mine", "type": "u", "major": 1, "minor": 5, "fileMode": 8596, "uid": 7, "gid": 8}]}}));
    let p = common::prep(["--oci", config.to_str().unwrap()]).probe_at("/probe");
    let mine = &p.dev.as_ref().unwrap()["mine"];
    // 8596 is 020624: engines write the whole st_mode.
    assert_eq!((mine.major, mine.minor, mine.mode, mine.uid, mine.gid), (1, 5, 0o624, 7, 8));
    expect_defaults(&p);
}

/// In a root without a /dev of its own they are made in the image, once.
#[test]
fn a_device_that_is_there_already_is_taken() {
    if !requires::root() || !requires::capability("MKNOD") {
        return;
    }
    let root = rootfs();
    for _ in 0..2 {
        let out = bare(&root, &["--mknod", "/dev/null:c:1:3", "--mknod", "/dev/p:p"])
            .command(["/bin/ls", "/dev"])
            .run();
        assert_eq!(out.succeeds().stdout, "null\np\n");
    }
}

/// An image's own /dev/ptmx would be the host's multiplexer, or anything.
#[test]
fn ptmx_is_the_containers_own_whatever_the_image_has() {
    if !requires::root() || !requires::capability("MKNOD") {
        return;
    }
    let root = rootfs();
    link(&root, "dev/ptmx", "/etc/passwd");
    link(&root, "dev/fd", "/its/own");
    let config = root.config(&serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["x"], "cwd": "/", "user": {}}}));
    let p = common::prep(["--oci", config.to_str().unwrap()]).probe_at("/probe");
    let dev = p.dev.as_ref().unwrap();
    assert_eq!(dev["ptmx"].target.as_deref(), Some("pts/ptmx"));
    assert_eq!(dev["fd"].target.as_deref(), Some("/its/own"));
    assert!(there(&root, "etc/passwd").is_file());
}

/// Engines list all of the host's nodes for a privileged container.
#[test]
fn ptmx_is_the_containers_own_though_the_hosts_is_asked_for() {
    if !requires::root() || !requires::capability("MKNOD") {
        return;
    }
    let root = rootfs();
    let prep = |devices: serde_json::Value| {
        let config = root.config(&serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "process": {"args": ["x"], "cwd": "/", "user": {}}, "linux": {"devices": devices}}));
        common::prep(["--oci", config.to_str().unwrap()])
    };
    let host = serde_json::json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
    let p = prep(host).probe_at("/probe");
    assert_eq!(p.dev.as_ref().unwrap()["ptmx"].target.as_deref(), Some("pts/ptmx"));
    expect_defaults(&p);
    // Any other device of that name is no multiplexer, and not what is there.
    let other = prep(serde_json::json!([{"path": "/dev/ptmx", "type": "c", "major": 1, "minor": 3}]));
    other.command(["/probe"]).run().refuses(125, "what is there is symlink, not char 1:3");
}

/// Who binds the host's /dev has the host's devices, and nothing is made in it.
#[test]
fn a_bound_dev_is_left_as_it_is() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let before = std::fs::symlink_metadata("/dev/ptmx").unwrap();
    let p = rooted(&root, &["--dev-bind", "/dev", "/dev"]).probe_at("/probe");
    let host: Vec<String> =
        std::fs::read_dir("/dev").unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let dev = p.dev.as_ref().unwrap();
    assert!(host.iter().filter(|n| dev.contains_key(*n)).count() + 3 > host.len(), "{dev:?}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::symlink_metadata("/dev/ptmx").unwrap().ino(), before.ino());
}

/// A user namespace makes no devices: the host's own are bound, each proven to be the one.
#[test]
fn in_a_user_namespace_devices_are_bound() {
    let root = rootfs();
    let chain = |args: &[&str]| {
        let path = root.path();
        let all = [&["--root", path.to_str().unwrap()], args].concat();
        tool("idmap").arg("-r").then("ns-enter", ["-mpniuC"]).then("rootfs-prep", all)
    };
    let p = chain(&["--dev", "/elsewhere"]).probe_at("/probe");
    expect_defaults(&p);
    for (name, ..) in DEFAULT {
        for dev in ["/dev", "/elsewhere"] {
            let mount =
                p.mount_at(&format!("{dev}/{name}")).unwrap_or_else(|| panic!("{dev}/{name} is not bound"));
            assert!(mount.root.ends_with(name), "{mount:?}");
        }
    }
    let out = chain(&[]).command(["/bin/sh", "-c", "echo x >/dev/null; head -c 3 /dev/zero | wc -c"]).run();
    assert_eq!(out.succeeds().stdout.trim(), "3");
    // In a root without a /dev of its own the files they are bound on stay, and serve the next time.
    for _ in 0..2 {
        let bare = chain(&["--no-defaults", "--mknod", "/dev/null:c:1:3"]);
        bare.command(["/bin/sh", "-c", "echo x >/dev/null; test -c /dev/null"]).run().succeeds();
    }
    // A FIFO can be made; a device that the host has not cannot, nor one that is another there.
    chain(&["--mknod", "/dev/pipe:p"]).command(["/bin/test", "-p", "/dev/pipe"]).run().succeeds();
    let out = chain(&["--mknod", "/dev/no-such:c:1:3"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "the host's own would be bound, and it has none");
    let out = chain(&["--mknod", "/dev/sub/null:c:10:229"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "what is there is char 1:3, not char 10:229");
}
