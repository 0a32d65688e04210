//! What is left of the host inside, and what comes out to it: nothing, in either direction, unless it was asked for.

mod common;

use catena_tests::{Leftovers, Output, Probe, TempDir, copy_program, requires, rootfs, shell};
use common::{Outside, bare, behind, is_root, rooted, tree};

/// Every mount point is one of the container's own; nothing of the old root is mounted anywhere.
#[test]
fn after_the_pivot_only_its_own_mounts_are_there() {
    let root = rootfs();
    let p =
        bare(&root, &["--proc", "/proc", "--tmpfs", "/tmp", "--ro-bind", "/etc", "/etc"]).probe_at("/probe");
    let etc = |m: &&catena_tests::Mount| m.point.starts_with("/etc/");
    let below: Vec<String> = p.mounts.iter().flatten().filter(etc).map(|m| m.point.clone()).collect();
    let mut points: Vec<&str> = ["/", "/etc", "/proc", "/tmp"].into();
    points.extend(below.iter().map(String::as_str));
    points.sort_unstable();
    p.expect_mount_points(&points);
    // The one at / is the root, alone: no old one below or above it.
    assert_eq!(p.mounts.iter().flatten().filter(|m| m.point == "/").count(), 1);
    let names = p.root.unwrap();
    assert!(names.contains(&"probe".to_string()) && !names.contains(&"boot".to_string()), "{names:?}");
}

#[test]
fn without_a_pivot_no_proc_of_the_host_stays_in_reach() {
    let root = rootfs();
    let p = bare(&root, &["--no-pivot", "--proc", "/proc"]).probe_at("/probe");
    let all = p.mounts.as_ref().unwrap();
    assert_eq!(all.iter().filter(|m| m.fstype == "proc").count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|m| m.fstype == "sysfs").count(), 0, "{all:?}");
    assert_eq!(p.cwd.as_deref(), Some("/"));
    assert!(p.root.unwrap().contains(&"probe".to_string()));
}

#[test]
fn no_fd_leads_back() {
    let root = rootfs();
    let p = rooted(&root, &[]).probe_at("/probe");
    p.expect_only_std_fds();
    // Standard input was the host's /dev/null.
    assert_eq!(p.fd_target(0), "/dev/null");
    let own = bare(&root, &["--dev", "/dev", "--proc", "/proc"]);
    let out = own.command(["/bin/sh", "-c", "stat -L -c %d /proc/self/fd/0 /dev/null"]).run();
    let ids: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!(ids[0], ids[1], "stdin is another /dev/null than the container's");
}

/// Of a container that has ended nothing is left on the host but the folders that its mounts stood on.
#[test]
fn nothing_is_left_behind() {
    let leftovers = Leftovers::watch();
    let (root, outside) = (rootfs(), Outside::new());
    let before = tree(&root.path().join("etc"));
    let source = outside.at("folder");
    rooted(&root, &["--ro-bind", &source, "/mnt", "--tmpfs", "/tmp", "--mask", "/etc/passwd"])
        .command(["/bin/sh", "-c", "echo x >/tmp/y; ! (echo x >/mnt/y) 2>/dev/null"])
        .run()
        .succeeds();
    assert_eq!(tree(&root.path().join("etc")), before);
    assert!(tree(&root.path().join("dev")).len() == 1, "devices were made in the root's own /dev");
    assert!(!root.path().join("tmp/y").exists());
    outside.is_untouched();
    leftovers.check();
}

/// A link that fails half way leaves nothing mounted either.
#[test]
fn a_failure_half_way_leaves_nothing() {
    let leftovers = Leftovers::watch();
    let (root, outside) = (rootfs(), Outside::new());
    let args = ["--tmpfs", "/tmp", "--bind", "/etc", "/mnt", "--mount", "type=nosuchfs,target=/srv"];
    rooted(&root, &args).command(["/bin/echo", "ran"]).run().refuses(125, "nosuchfs");
    outside.is_untouched();
    leftovers.check();
}

/// In a mount namespace of the test, whose mounts are shared: `line`, then the mounts that were not there before.
fn shared_host(dir: &TempDir, line: &str) -> Output {
    let list = "cut -d' ' -f5 /proc/self/mountinfo | sort";
    let inner = format!("{list} >before; {line}; R=$?; {list} | diff before - ; exit $R");
    dir.file("inner", inner);
    // Shared among themselves, and with nobody outside.
    let own = "mount --make-rshared / && mount -t tmpfs own $PWD/vol && mount --make-shared $PWD/vol && \
               mount --bind $PWD/rootfs $PWD/rootfs";
    shell(&format!("exec unshare -m --propagation private bash -c '{own} && . ./inner'")).cwd(dir).run()
}

fn volume() -> TempDir {
    let dir = TempDir::new();
    for name in ["vol", "rootfs", "rootfs/bin", "rootfs/mnt", "rootfs/proc", "rootfs/tmp"] {
        std::fs::create_dir(dir.join(name)).expect("a folder can be made");
    }
    copy_program("/bin/busybox", dir.join("rootfs/bin/sh"));
    dir
}

/// Even where the host's mounts are all shared, nothing that is mounted inside shows up outside.
#[test]
fn mounts_do_not_spread_to_the_host() {
    if !requires::root() {
        return;
    }
    for propagation in [
        "",
        "--propagation private",
        "--propagation rslave",
        "--propagation slave",
        "--propagation unbindable",
    ] {
        let dir = volume();
        let line = format!(
            "ns-enter -mpniuC -- rootfs-prep --root rootfs {propagation} --bind vol /mnt --tmpfs /mnt/inner --tmpfs /tmp -- \
             /bin/sh -c \"mkdir /mnt/y && mount -t tmpfs later /mnt/y\""
        );
        let out = shared_host(&dir, &line);
        assert_eq!(out.succeeds().stdout, "", "{propagation}: a mount came out");
    }
}

/// With `rshared` the volumes are asked to spread, the root itself is not: what is mounted on a volume later comes out.
#[test]
fn with_rshared_nothing_of_the_root_itself_spreads() {
    if !requires::root() {
        return;
    }
    let dir = volume();
    let line = "ns-enter -mpniuC -- rootfs-prep --root rootfs --no-defaults --propagation rshared --proc /proc --tmpfs /tmp -- /bin/sh -c \
        \"mkdir /tmp/x && mount -t tmpfs later /tmp/x && cat /proc/self/mountinfo >/tmp/x/all && grep -c shared: /tmp/x/all\"";
    let out = shared_host(&dir, line);
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!(lines, ["4"], "the mounts inside are shared among themselves, and none of them came out");
}

fn root_propagation(kind: &str) -> Vec<String> {
    let root = rootfs();
    let p = bare(&root, &["--propagation", kind, "--proc", "/proc"]).probe_at("/probe");
    p.mount_at("/").expect("the root is mounted").propagation.clone()
}

#[test]
fn the_propagation_of_the_root_is_what_was_asked() {
    let starts = |kind: &str, word: &str| {
        let found = root_propagation(kind);
        assert!(found.iter().any(|p| p.starts_with(word)), "{kind}: {found:?}");
    };
    for kind in ["shared", "rshared"] {
        starts(kind, "shared:");
    }
    for kind in ["unbindable", "runbindable"] {
        starts(kind, "unbindable");
    }
    for kind in ["private", "rprivate"] {
        assert!(root_propagation(kind).is_empty(), "{kind}: {:?}", root_propagation(kind));
    }
}

/// What the host mounts on a volume later comes in with rslave, and only then.
#[test]
fn with_rslave_mounts_of_the_host_come_in() {
    if !requires::root() {
        return;
    }
    for (propagation, arrives) in [("rslave", "1"), ("rprivate", "0")] {
        let dir = volume();
        std::fs::create_dir(dir.join("fifo")).unwrap();
        let line = format!(
            "mkdir vol/late; mkfifo fifo/up fifo/down; unshare -m --propagation slave rootfs-prep --root rootfs \
             --propagation {propagation} --no-defaults --bind /proc /proc \
             --mount type=bind,source=vol,target=/mnt,{propagation} --bind fifo /tmp -- /bin/sh -c \
             \"echo >/tmp/up; read x </tmp/down; grep -c /mnt/late /proc/self/mountinfo\" & \
             read x <fifo/up; mount -t tmpfs late $PWD/vol/late; echo >fifo/down; wait $!; umount $PWD/vol/late; true"
        );
        let out = shared_host(&dir, &line);
        assert_eq!(out.stdout.trim(), arrives, "{propagation}: {out:?}");
    }
}

/// Without a root of its own: mounts are made in the present one, of this namespace alone, and nothing is made on what
/// is the host's, for that would stay.
#[test]
fn in_the_present_root_nothing_is_made() {
    let (outside, leftovers) = (Outside::new(), Leftovers::watch());
    let new = outside.at("new");
    let fresh = format!("{new}:c:1:3");
    let pipe = format!("{new}:p");
    for args in [
        vec!["--tmpfs", new.as_str()],
        vec!["--bind", "/etc", new.as_str()],
        vec!["--bind", "/etc/passwd", new.as_str()],
        vec!["--dir", new.as_str()],
        vec!["--symlink", "target", new.as_str()],
        vec!["--mknod", pipe.as_str()],
        vec!["--mknod", fresh.as_str()],
        vec!["--chdir", new.as_str()],
        vec!["--proc", new.as_str()],
    ] {
        behind("-mp", &args).command(["echo", "ran"]).run().refuses(125, "cannot ");
        outside.is_untouched();
    }
    leftovers.check();
}

#[test]
fn in_the_present_root_mounts_are_made_and_hide() {
    let outside = Outside::new();
    let folder = outside.at("folder");
    let args = [
        "--tmpfs",
        &folder,
        "--dir",
        &format!("{folder}/sub"),
        "--symlink",
        "x",
        &format!("{folder}/l"),
        "--mask",
        &outside.at("file"),
    ];
    let p: Probe = behind("-m", args).probe();
    p.expect_mounted(&folder, "tmpfs");
    p.expect_hidden(&outside.at("file"));
    outside.is_untouched();
    if is_root() {
        let args = ["--dev", &folder, "--read-only", "/etc"];
        let p = behind("-m", args).probe();
        p.expect_mounted(&format!("{folder}/pts"), "devpts");
        p.expect_mount_options("/etc", &["ro"]);
    }
    outside.is_untouched();
}

/// The default devices have no place in the host's own /dev.
#[test]
fn the_hosts_dev_is_left_alone() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let plan = r#"{"catena":1,"layers":[{"tool":"ns-enter","spec":{"namespaces":[{"type":"mount"}]}},{"tool":"rootfs-prep","spec":{"defaultDevices":true}}],"complete":true}"#;
    dir.file("plan", plan);
    let ptmx = std::fs::symlink_metadata("/dev/ptmx").unwrap();
    let out = shell("cap-drop --all --plan plan -- echo ran").cwd(&dir).run();
    out.refuses(125, "without a root of its own nothing is made");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::symlink_metadata("/dev/ptmx").unwrap().ino(), ptmx.ino());
}

/// The flag, as `runner` has it for a config without a mount namespace: the command is in the caller's, which is what it
/// was, and in a root of its own all the same.
#[test]
fn without_a_mount_namespace_the_callers_mounts_are_what_they_were() {
    if !requires::root() {
        return;
    }
    let (root, outside, leftovers) = (rootfs(), Outside::new(), Leftovers::watch());
    let path = root.path();
    let path = path.to_str().unwrap();
    let args = ["--root", path, "--no-mount-namespace", "--ro-bind", &outside.at("folder"), "/mnt"];
    let line = "cat /mnt/inner; touch /mnt/x 2>/dev/null || echo ro; readlink /proc/self/ns/mnt; \
        cat /proc/keys /proc/self/mountinfo; cd ../../..; test -e /probe && pwd";
    let out = behind("-p", args).command(["/bin/sh", "-c", line]).run();
    let here = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let expected = format!("hostro\n{}\n/\n", here.display());
    assert_eq!(out.succeeds().stdout, expected, "{out:?}");
    outside.is_untouched();
    // What would be shared with the caller is refused, and a root is wanted: every mount would be the caller's.
    let shared = ["--root", path, "--no-mount-namespace", "--propagation", "rshared"];
    behind("-p", shared).command(["/bin/echo", "ran"]).run().refuses(125, "nothing is shared");
    let none = ["--no-mount-namespace", "--tmpfs", &outside.at("folder")];
    behind("-p", none).command(["/bin/echo", "ran"]).run().refuses(125, "it wants a root");
    outside.is_untouched();
    leftovers.check();
}
