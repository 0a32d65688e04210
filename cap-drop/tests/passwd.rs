//! Names are those of the root that the link runs in, whose files are hostile.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, Output, TempRootfs, requires, rootfs, tool};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// The command of a container made of `root`.
fn in_root(root: &TempRootfs, line: &str) -> Output {
    tool("ns-enter")
        .args(["-N", "-mp"])
        .then("rootfs-prep", ["--root".into(), root.path(), "--proc".into(), "/proc".into()])
        .then("cap-drop", line.split_whitespace())
        .command(["/probe"])
        .run()
}

/// Without openat2(2) a link of procfs cannot be told from another, so none is followed.
fn links_can_be_told_apart() -> bool {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    openat2(CWD, "/", OFlags::PATH, Mode::empty(), ResolveFlags::NO_MAGICLINKS).is_ok()
}

const NO_LINK: &str = "it is not a regular file";

fn replace(root: &TempRootfs, name: &str) -> std::path::PathBuf {
    let path = root.path().join(name);
    fs::remove_file(&path).unwrap();
    path
}

#[test]
fn a_name_is_looked_up_in_the_new_root() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    root.file("etc/passwd", "root:x:7:8::/:\ndaemon:x:4242:4243:::\n1000:x:0:0:::\napp:x:1000:1000:::\n");
    root.file("etc/group", "root:x:9:\naudio:x:29:app,x\nvideo:x:44:app\ntape:x:26:apps,ap\nslash:x:0:x\n");
    for (line, uid, gid, groups) in [
        ("--user daemon", 4242, 4243, &[][..]),
        ("--user root", 7, 8, &[]),
        ("--user daemon:root", 4242, 9, &[]),
        ("--user daemon:0", 4242, 0, &[]),
        ("--user app:audio", 1000, 29, &[]),
        ("--user app --groups video,5", 1000, 1000, &[5, 44]),
        ("--user app --init-groups", 1000, 1000, &[29, 44, 1000]),
        ("--user 1000 --init-groups", 1000, 1000, &[29, 44, 1000]),
        ("--user 1000:50 --init-groups", 1000, 50, &[29, 44, 50]),
        ("--user app:audio --init-groups", 1000, 29, &[29, 44]),
        ("--user 4242", 4242, 4243, &[]),
        // A number is never a name, whatever stands in the file (CVE-2016-3697).
        ("--user 1000", 1000, 1000, &[]),
        ("--user 1000:1000", 1000, 1000, &[]),
        ("--user 5000:audio", 5000, 29, &[]),
        ("--user 0", 0, 0, &[]),
    ] {
        let seen = in_root(&root, line).probe();
        seen.expect_user(uid, gid, groups);
    }
    for line in ["--user nobody", "--user sys", "--user daemon:daemon", "--user 5000"] {
        in_root(&root, line).refuses(125, "/etc/");
    }
}

#[test]
fn a_root_without_the_files_knows_numbers_only() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    replace(&root, "etc/passwd");
    replace(&root, "etc/group");
    in_root(&root, "--user 1000:1001 --groups 5").probe().expect_user(1000, 1001, &[5]);
    in_root(&root, "--user 0").probe().expect_user(0, 0, &[]);
    in_root(&root, "--user root").refuses(125, "'root' is not in /etc/passwd");
    in_root(&root, "--user 1000").refuses(125, "/etc/passwd has no line for it");
    in_root(&root, "--user 1000:tty").refuses(125, "'tty' is not in /etc/group");
    fs::remove_dir_all(root.path().join("etc")).unwrap();
    in_root(&root, "--user root").refuses(125, "'root' is not in /etc/passwd");
}

#[test]
fn what_is_no_file_is_not_read_and_does_not_hold_anybody_up() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (name, line) in [("etc/passwd", "--user app"), ("etc/group", "--user app:audio")] {
        let root = rootfs();
        let path = replace(&root, name);
        let since = Instant::now();
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o666)).unwrap();
        in_root(&root, line).refuses(125, "it is not a regular file");
        // A number needs neither.
        in_root(&root, "--user 1000:1000 --groups 5").probe().expect_user(1000, 1000, &[5]);
        fs::remove_file(&path).unwrap();
        // Opening some devices does something (a watchdog starts to count), so they are not even opened.
        for (major, minor) in [(1, 5), (10, 130)] {
            mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
            in_root(&root, line).refuses(125, "it is not a regular file");
            fs::remove_file(&path).unwrap();
        }
        let socket = UnixListener::bind(&path).unwrap();
        in_root(&root, line).refuses(125, "it is not a regular file");
        drop(socket);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        in_root(&root, line).refuses(125, "it is not a regular file");
        assert!(since.elapsed() < Duration::from_secs(10));
    }
    leftovers.check();
}

#[test]
fn a_link_leads_nowhere_outside() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let evil = root.parent().join("evil");
    fs::write(&evil, "evil:x:0:0:::\n").unwrap();
    let path = replace(&root, "etc/passwd");
    for target in ["../../evil", "../../../../../../../../evil", evil.to_str().unwrap()] {
        symlink(target, &path).unwrap();
        let text = if links_can_be_told_apart() { "'evil' is not in /etc/passwd" } else { NO_LINK };
        in_root(&root, "--user evil").refuses(125, text);
        fs::remove_file(&path).unwrap();
    }
    symlink("passwd", &path).unwrap();
    let text = if links_can_be_told_apart() { "(ELOOP)" } else { NO_LINK };
    in_root(&root, "--user evil").refuses(125, text);
}

/// The links of procfs are no paths: they lead to what a process has open, from wherever it is.
#[test]
fn a_link_of_procfs_leads_nowhere_at_all() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let evil = root.parent().join("evil");
    fs::write(&evil, "evil:x:0:0:::\n").unwrap();
    let path = replace(&root, "etc/passwd");
    for target in ["/proc/self/fd/0", "/proc/1/fd/0", "/proc/self/root/../evil", "/proc/self/fd/9/evil"] {
        symlink(target, &path).unwrap();
        let dir = fs::File::open(root.parent()).unwrap();
        let out = tool("ns-enter")
            .args(["-N", "-mp", "--keep-fd", "9"])
            .fd(dir, 9)
            .stdin(catena_tests::Stdin::File(evil.clone()))
            .then("rootfs-prep", ["--root".into(), root.path(), "--proc".into(), "/proc".into()])
            .then("cap-drop", ["--user", "evil"])
            .command(["/probe"])
            .run();
        out.refuses(125, if links_can_be_told_apart() { "(ELOOP)" } else { NO_LINK });
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_link_within_the_root_is_followed() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    root.file("usr/lib/passwd", "far:x:77:78:::");
    let path = replace(&root, "etc/passwd");
    for target in ["/usr/lib/passwd", "../usr/lib/passwd"] {
        symlink(target, &path).unwrap();
        let out = in_root(&root, "--user far");
        if links_can_be_told_apart() {
            out.probe().expect_user(77, 78, &[]);
        } else {
            out.refuses(125, NO_LINK);
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_and_one_below_that_is_read() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let file = fs::File::options().write(true).open(root.path().join("etc/passwd")).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    in_root(&root, "--user app").refuses(125, "16777217 bytes, more than the 16777216 that are read");
    file.set_len(1 << 40).unwrap();
    in_root(&root, "--user app").refuses(125, "more than the 16777216");
    file.set_len(16 << 20).unwrap();
    in_root(&root, "--user app").probe().expect_user(1000, 1000, &[]);
    in_root(&root, "--user none").refuses(125, "'none' is not in /etc/passwd");
}

#[test]
fn lines_that_are_none_are_passed_over() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let long = "y".repeat(100_000);
    let text = format!(
        "\n\n:::::::\n+::::::\n-app::::::\n#app:x:0:0\napp\napp:x\napp:x:0\napp:x::0:::\napp:x:0::::\napp:x:-1:0:::\n\
         app:x:0:-1:::\napp:x:4294967295:0:::\napp:x:0:4294967295:::\napp:x:99999999999999999999:0:::\napp:x:0x0:0:::\n\
         app:x: 0:0:::\n app:x:0:0:::\napp :x:0:0:::\n{long}:x:0:0:::\n{long}\napp\0:x:0:0:::\nAPP:x:0:0:::\napp:x:33:34"
    );
    for end in ["", "\n", "\r\n", ":\r\n"] {
        root.file(
            "etc/passwd",
            [text.as_bytes(), if end.contains('\r') { b":::" } else { b"" }, end.as_bytes()].concat(),
        );
        in_root(&root, "--user app").probe().expect_user(33, 34, &[]);
    }
    for line in ["--user app:+", "--user app:-app", "--user #app", "--user +"] {
        in_root(&root, line).refuses(125, "cannot find the");
    }
    let bytes =
        [&b"\xff\xfe\n\x00\x00\x00\napp:\xff:1:\xc3\nweb:\xff\xff:5:6:\xff::\xff\n"[..], &[0; 4096]].concat();
    root.file("etc/passwd", bytes);
    in_root(&root, "--user web").probe().expect_user(5, 6, &[]);
    in_root(&root, "--user app").refuses(125, "'app' is not in /etc/passwd");
}

#[test]
fn more_groups_than_the_kernel_takes_are_refused() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let lines: Vec<String> = (1..=65_537).map(|n| format!("g{n}:x:{n}:app\n")).collect();
    root.file("etc/group", lines.concat());
    in_root(&root, "--user app --init-groups").refuses(125, "65537 groups, and the kernel takes 65536");
    root.file("etc/group", lines[..2000].concat());
    assert_eq!(in_root(&root, "--user app --init-groups").probe().groups.len(), 2000);
}

/// The name service would load libraries of the root, and ask its daemons.
#[test]
fn no_name_service_is_asked() {
    if !requires::root() || !requires::command("getent") {
        return;
    }
    let root = rootfs();
    let socket = UnixListener::bind(root.parent().join("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    nix::unistd::mkfifo(&root.parent().join("nsswitch"), Mode::from_bits_truncate(0o666)).unwrap();
    let with_daemon = |line: &str| {
        let dir = root.parent().display();
        let inner = format!(
            "mount -t tmpfs none /run && mkdir /run/nscd && mount --bind {dir} /run/nscd && exec {line}"
        );
        catena_tests::shell(&format!("exec unshare -m --propagation private sh -c '{inner}'"))
    };
    let asked = || socket.accept().is_ok();
    // Who uses the name service asks its daemon first, and waits for an answer.
    let mut getent = with_daemon("getent passwd no_such_user").spawn();
    let since = Instant::now();
    while !asked() {
        assert!(since.elapsed() < Duration::from_secs(10), "getent did not ask");
        std::thread::sleep(Duration::from_millis(5));
    }
    getent.kill();
    while asked() {}
    let seen = with_daemon("cap-drop -N --user nobody -- $PROBE").run().probe();
    seen.expect_user(65534, 65534, &[]);
    let dir = root.parent().display();
    let line = format!(
        "mount --bind {dir}/nsswitch /etc/nsswitch.conf && exec cap-drop -N --user no_such_user -- $PROBE"
    );
    with_daemon(&format!("sh -c \"{line}\"")).run().refuses(125, "'no_such_user' is not in /etc/passwd");
    assert!(!asked(), "the name service was asked");
}
