//! What is mounted is what was asked for: type, options, content, and who may write to it.

mod common;

use catena_tests::{Probe, TempDir, requires, rootfs};
use common::{bare, link, rooted, there};

/// `/proc` to look through, and nothing else.
const PROC: [&str; 2] = ["--proc", "/proc"];

fn seen(root: &catena_tests::TempRootfs, args: &[&str]) -> Probe {
    bare(root, &[args, &PROC].concat()).probe_at("/probe")
}

/// Runs this in the root, with a shell; what it printed.
#[track_caller]
fn sh(root: &catena_tests::TempRootfs, args: &[&str], line: &str) -> String {
    let out = bare(root, &[args, &PROC].concat()).command(["/bin/sh", "-c", line]).run();
    out.succeeds().stdout.clone()
}

#[test]
fn root_alone_has_what_a_container_is_expected_to_have() {
    let root = rootfs();
    let p = rooted(&root, &[]).probe_at("/probe");
    for (point, kind, options) in [
        ("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"][..]),
        ("/dev", "tmpfs", &["rw", "nosuid", "mode=755"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "ptmxmode=666", "mode=620"]),
        ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ] {
        p.expect_mounted(point, kind);
        p.expect_mount_options(point, options);
    }
    p.expect_mount_options("/", &["rw"]);
    for hidden in ["/proc/timer_list", "/proc/keys"] {
        p.expect_hidden(hidden);
    }
    p.expect_mount_options("/proc/sys", &["ro"]);
    assert_eq!((p.pid, p.processes), (1, Some(1)));
    assert_eq!(p.cwd.as_deref(), Some("/"));
    assert_eq!(sh(&root, &["--dev", "/dev"], "stat -c %a /dev /dev/shm /dev/pts"), "755\n1777\n755\n");
}

#[test]
fn no_defaults_is_the_root_alone() {
    let root = rootfs();
    let out = bare(&root, &[]).command(["/bin/sh", "-c", "ls /proc /dev /sys"]).run();
    assert_eq!(out.succeeds().stdout, "/dev:\n\n/proc:\n\n/sys:\n");
}

#[test]
fn binds_of_folders_and_files_for_reading_and_for_both() {
    let (root, host) = (rootfs(), TempDir::new());
    host.file("d/f", "folder");
    host.file("f", "file");
    let at = |name: &str| host.join(name).to_str().unwrap().to_string();
    let (d, f) = (at("d"), at("f"));
    let args =
        ["--bind", &d, "/rw/d", "--bind", &f, "/rw/f", "--ro-bind", &d, "/ro/d", "--ro-bind", &f, "/ro/f"];
    let p = seen(&root, &args);
    for point in ["/rw/d", "/rw/f"] {
        p.expect_mount_options(point, &["nosuid", "nodev"]);
        assert!(!p.mount_at(point).unwrap().options.contains(&"ro".into()));
    }
    for point in ["/ro/d", "/ro/f"] {
        p.expect_mount_options(point, &["ro", "nosuid", "nodev"]);
    }
    let line = "cat /ro/d/f /rw/f; echo new >/rw/d/g; echo more >>/rw/f; (echo x >/ro/d/f; echo x >/ro/f) 2>/dev/null; :";
    assert_eq!(sh(&root, &args, line), "folderfile");
    assert_eq!(std::fs::read_to_string(at("d/g")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(f).unwrap(), "filemore\n");
    assert_eq!(std::fs::read_to_string(at("d/f")).unwrap(), "folder");
    // Sources are the caller's, relative ones from where it stands.
    let args = ["--bind", "d", "/here", "--proc", "/proc"];
    let out = bare(&root, &args).cwd(&host).command(["/bin/cat", "/here/f"]).run();
    assert_eq!(out.succeeds().stdout, "folder");
}

/// A bind takes what is mounted below along; read-only goes for all of it.
#[test]
fn a_bind_takes_all_below_along() {
    if !requires::root() {
        return;
    }
    let (root, host) = (rootfs(), TempDir::new());
    std::fs::create_dir(host.join("sub")).unwrap();
    let mount =
        "mount -t tmpfs -o mode=777 below $PWD/sub && echo low >$PWD/sub/f && mount -t tmpfs deeper /mnt";
    let run = |bind: &str, line: &str| {
        let chain = format!(
            "ns-enter -mp -- rootfs-prep --root {} --no-defaults --proc /proc {bind} -- /bin/sh -c '{line}'",
            root.path().display()
        );
        let inner = format!("{mount} && exec {chain}");
        let script = host.file("script", inner);
        let out = catena_tests::shell(&format!("exec unshare -m bash {}", script.display())).cwd(&host).run();
        out.succeeds().stdout.clone()
    };
    let options = "grep /vol/sub /proc/self/mountinfo | cut -d\" \" -f6";
    assert_eq!(run("--ro-bind $PWD /vol", options).trim(), "ro,nosuid,nodev,relatime");
    assert_eq!(run("--bind $PWD /vol", options).trim(), "rw,nosuid,nodev,relatime");
    assert_eq!(
        run("--ro-bind $PWD /vol", "cat /vol/sub/f; touch /vol/sub/x 2>/dev/null || echo no"),
        "low\nno\n"
    );
    // One that asks for itself alone.
    let alone = "--mount type=bind,source=$PWD,target=/vol,bind,ro";
    assert_eq!(run(alone, "ls /vol/sub | wc -l").trim(), "0");
    let top = "--mount type=bind,source=$PWD,target=/vol,ro";
    assert_eq!(run(top, options).trim(), "rw,relatime");
}

#[test]
fn a_try_bind_is_left_out_when_its_source_is_missing() {
    let root = rootfs();
    for flag in ["--bind-try", "--ro-bind-try", "--dev-bind-try"] {
        let log = catena_tests::StatusLog::new();
        let args = [
            flag,
            "/no/such",
            "/tried",
            flag,
            "/etc/passwd",
            "/there",
            "--proc",
            "/proc",
            "--status-fd",
            "9",
        ];
        let p = bare(&root, &args).fd(log.fd(), 9).command(["/probe"]).run().probe();
        p.expect_not_mounted("/tried");
        assert!(p.mount_at("/there").is_some());
        let receipt = log.of("receipt").into_iter().find(|r| r["receipt"]["tool"] == "rootfs-prep").unwrap();
        assert_eq!(receipt["receipt"]["degraded"][0], "/tried: left out, its source is missing");
    }
    assert!(!there(&root, "tried").exists());
    // That it may be missing is all that is forgiven.
    bare(&root, &["--bind-try", "/etc", "/etc/passwd"])
        .command(["/bin/echo", "ran"])
        .run()
        .refuses(125, "no folder");
}

/// As many hosts have it on /dev/shm or binfmt_misc: the one below cannot be reached, and must not stop anything.
#[test]
fn a_mount_below_that_another_covers() {
    if !requires::root() {
        return;
    }
    let (root, host) = (rootfs(), TempDir::new());
    std::fs::create_dir(host.join("sub")).unwrap();
    let script = format!(
        "mount -t tmpfs one $PWD/sub && mount -t tmpfs two $PWD/sub && mkdir $PWD/sub/in && mount -t tmpfs three $PWD/sub/in && \
         exec ns-enter -mp -- rootfs-prep --root {} --no-defaults --proc /proc --ro-bind $PWD /vol -- /bin/sh -c \
         'grep -E \"(two|three)\" /proc/self/mountinfo | cut -d\" \" -f5,6'",
        root.path().display()
    );
    let script = host.file("script", script.replace("\\\"", "\""));
    let out = catena_tests::shell(&format!("exec unshare -m bash {}", script.display())).cwd(&host).run();
    let options = "ro,nosuid,nodev,relatime";
    assert_eq!(out.succeeds().stdout, format!("/vol/sub {options}\n/vol/sub/in {options}\n"));
}

/// Devices in a bind cannot be opened unless that was asked for.
#[test]
fn dev_bind_lets_devices_be_opened() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let open = |flag: &str| sh(&root, &[flag, "/dev/zero", "/z"], "head -c 2 /z 2>/dev/null | wc -c; :");
    assert_eq!((open("--bind").trim(), open("--dev-bind").trim()), ("0", "2"));
}

#[test]
fn a_tmpfs_has_its_size_and_mode_and_options() {
    let root = rootfs();
    let args = [
        "--tmpfs",
        "/a:size=1M,mode=1770,noexec",
        "--tmpfs",
        "/b:ro",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/etc:copyup",
    ];
    let p = seen(&root, &args);
    p.expect_mounted("/a", "tmpfs");
    p.expect_mount_options("/a", &["size=1024k", "mode=1770", "noexec", "nosuid", "nodev"]);
    p.expect_mount_options("/b", &["ro"]);
    let line = "stat -c %a /a /tmp; dd if=/dev/zero of=/a/f bs=64k count=32 2>/dev/null || echo full; \
                touch /b/x 2>/dev/null || echo read-only; cat /etc/passwd | head -1; echo x >/etc/new; \
                cp /bin/true /a/true 2>/dev/null; chmod 755 /a/true 2>/dev/null; /a/true 2>/dev/null || echo cannot run";
    // No /dev/zero: a source that is always there.
    let line = line.replace("if=/dev/zero", "if=/probe");
    let found = sh(&root, &args, &line);
    assert_eq!(found, "1770\n1777\nfull\nread-only\nroot:x:0:0:root:/root:/bin/sh\ncannot run\n");
    assert!(!there(&root, "etc/new").exists(), "a tmpfs wrote to what it hides");
}

/// What a tmpfs hides is copied with all that it has; links as links.
#[test]
fn copyup_copies_modes_owners_links_and_pipes() {
    use std::os::unix::fs::PermissionsExt;
    let root = rootfs();
    let file = root.file("data/sub/file", "content");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::set_permissions(there(&root, "data/sub"), std::fs::Permissions::from_mode(0o2770)).unwrap();
    link(&root, "data/link", "/etc/shadow");
    nix::unistd::mkfifo(&there(&root, "data/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let line =
        "stat -c '%n %a %F' /data/sub /data/sub/file /data/pipe; readlink /data/link; cat /data/sub/file";
    let found = sh(&root, &["--tmpfs", "/data:copyup"], line);
    assert_eq!(
        found,
        "/data/sub 2770 directory\n/data/sub/file 4751 regular file\n/data/pipe 400 fifo\n/etc/shadow\ncontent"
    );
}

#[test]
fn each_kind_by_its_own_flag() {
    let root = rootfs();
    let args = [
        "--sys",
        "/s",
        "--mqueue",
        "/q",
        "--devpts",
        "/p",
        "--dev",
        "/d",
        "--dir",
        "/made/deep",
        "--symlink",
        "made/deep",
        "/l",
    ];
    let p = seen(&root, &args);
    for (point, kind) in [
        ("/s", "sysfs"),
        ("/q", "mqueue"),
        ("/p", "devpts"),
        ("/d", "tmpfs"),
        ("/d/pts", "devpts"),
        ("/d/shm", "tmpfs"),
    ] {
        p.expect_mounted(point, kind);
    }
    p.expect_mount_options("/s", &["ro"]);
    let line = "ls /s | grep -c kernel; ls /p; readlink /l; stat -c %a /made; ls /d | tr '\\n' ' '; echo x >/d/null && cat /d/null";
    let found = sh(&root, &args, line);
    let dev = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ";
    assert_eq!(found, format!("1\nptmx\nmade/deep\n755\n{dev}"));
}

/// Two containers do not see each other's terminals and queues.
#[test]
fn a_devpts_and_queues_of_its_own() {
    let root = rootfs();
    let p = rooted(&root, &[]).probe_at("/probe");
    let host = catena_tests::shell("exec $PROBE").run().probe();
    let dev = |p: &Probe, kind: &str| {
        p.mounts.iter().flatten().filter(|m| m.fstype == kind).map(|m| m.dev.clone()).collect::<Vec<_>>()
    };
    assert!(dev(&p, "devpts").iter().all(|d| !dev(&host, "devpts").contains(d)));
    assert!(dev(&p, "mqueue").iter().all(|d| !dev(&host, "mqueue").contains(d)));
    assert!(dev(&p, "proc").iter().all(|d| !dev(&host, "proc").contains(d)));
}

#[test]
fn any_mount_with_any_option() {
    let root = rootfs();
    let args = [
        "--mount",
        "type=tmpfs,source=mine,target=/m,size=1m,nr_inodes=50,nosuid,noatime,nodiratime,nosymfollow",
        "--mount",
        "type=bind,src=/etc,dst=/b,readonly,noexec",
        "--mount",
        "type=tmpfs,destination=/t,tmpfs-size=2m,tmpfs-mode=700,strictatime",
        "--mount",
        "target=/m,remount,bind,ro",
        "--mount",
        "type=tmpfs,target=/s,rshared",
    ];
    let p = seen(&root, &args);
    let m = p.expect_mount_options(
        "/m",
        &["ro", "nosuid", "noatime", "nodiratime", "nosymfollow", "size=1024k", "nr_inodes=50"],
    );
    assert_eq!(m.source, "mine");
    p.expect_mount_options("/b", &["ro", "noexec"]);
    p.expect_mount_options("/t", &["size=2048k", "mode=700"]);
    assert!(!p.mount_at("/t").unwrap().has("relatime"));
    assert!(p.mount_at("/s").unwrap().propagation[0].starts_with("shared:"));
}

/// A tmpfs as the root: nothing of the host but what is bound.
#[test]
fn a_root_made_of_nothing() {
    let root = rootfs();
    let from = |name: &str| there(&root, name).to_str().unwrap().to_string();
    let (bin, probe) = (from("bin"), from("probe"));
    let args = [
        "--tmpfs",
        "/:size=1M",
        "--ro-bind",
        &bin,
        "/bin",
        "--ro-bind",
        &probe,
        "/probe",
        "--proc",
        "/proc",
        "--chdir",
        "/work/here",
    ];
    let p = common::prep(args).probe_at("/probe");
    p.expect_mounted("/", "tmpfs");
    p.expect_mount_options("/", &["rw"]);
    assert_eq!(p.root.as_ref().unwrap(), &["bin", "probe", "proc", "work"]);
    assert_eq!(p.cwd.as_deref(), Some("/work/here"));
    let p = common::prep(args.iter().chain(&["--read-only", "/"])).probe_at("/probe");
    p.expect_mount_options("/", &["ro"]);
    // A folder by --bind as well.
    let path = root.path();
    let p = common::prep(["--ro-bind", path.to_str().unwrap(), "/", "--proc", "/proc"]).probe_at("/probe");
    p.expect_mount_options("/", &["ro"]);
    assert!(p.root.unwrap().contains(&"probe".into()));
}

#[test]
fn the_working_directory_is_made() {
    let root = rootfs();
    let p = seen(&root, &["--chdir", "/work/below"]);
    assert_eq!(p.cwd.as_deref(), Some("/work/below"));
    assert!(there(&root, "work/below").is_dir());
    bare(&root, &["--chdir", "/etc/passwd"]).command(["/bin/echo", "ran"]).run().refuses(125, "is no folder");
}

/// Without the new namespaces --root still has something at /proc and /sys: the caller's own, and says so.
#[test]
fn what_may_be_less_is_told() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let log = catena_tests::StatusLog::new();
    let path = root.path();
    let run = common::behind("-m", ["--root", path.to_str().unwrap(), "--status-fd", "9"]).fd(log.fd(), 9);
    let p = run.command(["/probe"]).run().probe();
    p.expect_mounted("/proc", "proc");
    p.expect_mount_options("/sys", &["ro"]);
    assert!(p.processes.unwrap() > 1);
    let receipt = log.of("receipt").into_iter().find(|r| r["receipt"]["tool"] == "rootfs-prep").unwrap();
    let degraded = receipt["receipt"]["degraded"].to_string();
    assert!(
        degraded.contains("the pid namespace is not new")
            && degraded.contains("the network namespace is not new"),
        "{degraded}"
    );
}
