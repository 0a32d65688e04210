//! What rootfs-prep refuses: the command never runs, the sentence names what is wrong, and nothing is left.

mod common;

use catena_tests::{StatusLog, TempDir, requires, rootfs, shell, tool};
use common::{Outside, bare, behind, prep, rooted, there, tree};
use serde_json::json;

#[track_caller]
fn refused(args: &[&str], text: &str) {
    let root = rootfs();
    let before = tree(&root.path());
    rooted(&root, args).command(["/bin/echo", "ran"]).run().refuses(125, text);
    assert_eq!(tree(&root.path()), before, "{args:?} changed the root");
}

/// Every mount would be the host's; not even the folders for them are made.
#[test]
fn in_the_hosts_mount_namespace() {
    let root = rootfs();
    let path = root.path();
    let path = path.to_str().unwrap();
    let before = tree(&root.path());
    let outside = Outside::new();
    let target = outside.at("new");
    for args in [
        vec!["--root", path],
        vec!["--root", path, "--no-defaults", "--tmpfs", "/new"],
        vec!["--root", path, "--no-pivot"],
        vec!["--tmpfs", target.as_str()],
        vec!["--dir", target.as_str()],
        vec!["--symlink", "x", target.as_str()],
        vec!["--mask", "/etc/passwd"],
        vec!["--propagation", "shared"],
        vec![],
    ] {
        let log = StatusLog::new();
        let run = tool("rootfs-prep").args(&args).args(["--status-fd", "9"]).fd(log.fd(), 9);
        run.command(["echo", "ran"]).run().refuses(125, "mount namespace");
        log.expect_error("order");
        assert!(log.of("receipt").is_empty());
    }
    outside.is_untouched();
    assert_eq!(tree(&root.path()), before);
}

/// ns-enter without `-m` is no help, and neither is another process's namespace that the kernel shows to be the host's.
#[test]
fn behind_namespaces_that_are_not_the_mount_namespace() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let path = root.path();
    let run =
        tool("ns-enter").arg("-pniu").then("rootfs-prep", [std::ffi::OsStr::new("--root"), path.as_os_str()]);
    let out = run.command(["echo", "ran"]).run();
    out.refuses(125, "mount namespace");
    assert!(out.stderr.contains("try: "), "{out:?}");
}

/// One that somebody made for himself: a pivot would take his root away from him.
#[test]
fn in_a_mount_namespace_that_the_caller_lives_in() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let before = tree(&root.path());
    let names = "ls -d /etc /proc/self";
    for prep in ["rootfs-prep", "ns-enter -pniu -- rootfs-prep", "unshare -n rootfs-prep"] {
        let inner = format!("{prep} --root rootfs -- echo ran; R=$?; {names} >seen || exit 9; exit $R");
        let line = format!("exec unshare -m --propagation private bash -c '{inner}'");
        shell(&line).cwd(root.parent()).run().refuses(125, "who started this lives in this mount namespace");
    }
    assert_eq!(tree(&root.path()), before);
    // Who only waits for it does not mind.
    for space in ["unshare -m", "unshare -mpf", "unshare -mpf --propagation slave ns-enter -n --"] {
        let line = format!("exec {space} rootfs-prep --root rootfs -- /bin/echo ran");
        let out = shell(&line).cwd(root.parent()).run();
        assert_eq!(out.succeeds().stdout, "ran\n", "{space}");
    }
}

/// A namespace of one's own whose root is shared spreads every mount to where it came from.
#[test]
fn in_a_namespace_whose_mounts_spread() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    std::fs::create_dir(dir.join("x")).unwrap();
    let inner = "exec unshare -m --propagation unchanged rootfs-prep --tmpfs $PWD/x -- echo ran";
    let line = format!("exec unshare -m --propagation shared bash -c '{inner}'");
    shell(&line).cwd(&dir).run().refuses(125, "the root mount is shared");
}

#[test]
fn a_root_that_is_none() {
    let dir = TempDir::new();
    dir.file("file", "x");
    let folder = rootfs();
    std::os::unix::fs::symlink(folder.path(), dir.join("link")).unwrap();
    let before = tree(&folder.path());
    for (name, text) in [
        ("missing", "No such file or directory (ENOENT)"),
        ("missing/below", "No such file or directory (ENOENT)"),
        ("file", "it is not a folder"),
        ("file/below", "Not a directory (ENOTDIR)"),
        ("link", "it is a symbolic link"),
        ("link/", "it is a symbolic link"),
        ("link/.", "it is a symbolic link"),
        ("", ""),
    ] {
        let run = prep(["--root", name]).cwd(&dir).command(["/bin/echo", "ran"]).run();
        run.refuses(125, text);
    }
    assert_eq!(tree(&folder.path()), before);
    let plan = json!({"catena": 1, "layers": [{"tool": "rootfs-prep", "spec": {"root": {"path": "relative"}}}], "complete": true});
    let plan = dir.file("plan", plan.to_string());
    let args = ["--plan", plan.to_str().unwrap()];
    tool("rootfs-prep").args(args).command(["echo", "ran"]).run().refuses(125, "");
}

#[test]
fn flags_that_are_wrong() {
    refused(&["--bogus"], "unknown option --bogus");
    refused(&["stray"], "stray is neither an option nor behind --");
    refused(&["--bind", "/etc"], "--bind");
    refused(&["--proc"], "--proc");
    refused(&["--bind", "", "/x"], "");
    refused(&["--tmpfs", ""], "it is empty");
    refused(&["--propagation", "rshard"], "rootfsPropagation: 'rshard' is not known");
    refused(&["--chdir", ""], "cwd: it is empty");
    refused(&["--mount", "type=tmpfs"], "target= is missing");
    refused(&["--mount", "target=/x"], "type= is missing");
    refused(&["--mount", "type=bind,target=/x"], "source= is missing");
    refused(&["--bind", "/etc", "/x/y", "--tmpfs", "/x"], "would hide --bind /etc /x/y");
    refused(&["--tmpfs", "/"], "'/' would hide all that is there");
    refused(&["--keep-fd", "77"], "77");
}

#[test]
fn the_present_root_cannot_be_made_read_only() {
    let out = behind("-m", ["--read-only", "/"]).command(["echo", "ran"]).run();
    out.refuses(125, "--read-only / is for a new one");
}

#[test]
fn mounts_that_the_kernel_does_not_know() {
    refused(
        &["--no-defaults", "--mount", "type=nosuchfs,target=/new"],
        "fsopen(nosuchfs): No such device (ENODEV)",
    );
    refused(&["--no-defaults", "--tmpfs", "/new:sizzle=1"], "sizzle");
    refused(&["--no-defaults", "--tmpfs", "/new:size=lots"], "lots");
    refused(&["--no-defaults", "--tmpfs", "/new:mode=99"], "mode=99");
    refused(
        &["--no-defaults", "--mount", "type=bind,source=/etc,target=/new,nosiud"],
        "unknown option 'nosiud'",
    );
    refused(&["--no-defaults", "--mount", "type=proc,target=/new,tmpcopyup"], "tmpcopyup is for tmpfs");
    refused(&["--no-defaults", "--mount", "target=/etc,remount,ro"], "nothing is mounted there");
    refused(&["--no-defaults", "--mount", "target=/new,remount,ro"], "ENOENT");
}

/// The place for it is not made either.
#[test]
fn a_source_that_is_missing() {
    let root = rootfs();
    for flag in ["--bind", "--ro-bind", "--dev-bind"] {
        let out = bare(&root, &[flag, "/no/such/source", "/new"]).command(["/bin/echo", "ran"]).run();
        out.refuses(125, "cannot bind /no/such/source on /new");
        assert!(out.stderr.contains("(ENOENT)"), "{out:?}");
    }
    assert!(!there(&root, "new").exists());
    let log = StatusLog::new();
    let out = bare(&root, &["--bind", "/no/such/source", "/new", "--status-fd", "9"]).fd(log.fd(), 9);
    out.command(["/bin/echo", "ran"]).run().refuses(125, "open_tree(/no/such/source)");
    let error = log.expect_error("missing");
    assert_eq!(error["errno"], "ENOENT");
}

#[test]
fn a_file_on_a_folder_and_a_folder_on_a_file() {
    let root = rootfs();
    let out = bare(&root, &["--bind", "/etc/passwd", "/tmp"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "the source is a file, and /tmp a folder");
    let out = bare(&root, &["--bind", "/etc", "/etc/passwd"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "/etc/passwd is there and is no folder");
    bare(&root, &["--tmpfs", "/etc/passwd/x"]).command(["/bin/echo", "ran"]).run().refuses(125, "(ENOTDIR)");
    bare(&root, &["--dir", "/etc/passwd"]).command(["/bin/echo", "ran"]).run().refuses(125, "is no folder");
    bare(&root, &["--symlink", "x", "/etc/passwd"])
        .command(["/bin/echo", "ran"])
        .run()
        .refuses(125, "something else");
}

#[test]
fn devices_that_are_none() {
    for bad in [
        "/dev/x",
        "/dev/x:c",
        "/dev/x:c:1",
        "/dev/x:c:1:2:9",
        "/dev/x:z:1:2",
        "/dev/x:c:1:-2",
        "/dev/x:c:1:4294967296",
        "/dev/x:p:1:2:3",
    ] {
        refused(&["--mknod", bad], &format!("--mknod {bad}"));
    }
    refused(&["--mknod", "/:p"], "'/' is a folder");
    let root = rootfs();
    let config = |device: serde_json::Value| {
        root.config(&json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/", "user": {}},
            "linux": {"devices": [device]}}))
    };
    for (device, text) in [
        (json!({"path": "/dev/x", "type": "x", "major": 1, "minor": 3}), "devices[0].type"),
        (json!({"path": "/dev/x", "type": "c", "major": 1}), "devices[0].minor"),
        (json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}), "devices[0].major"),
        (json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 99_999_999_999_i64}), "devices[0].minor"),
        (json!({"path": "", "type": "p"}), "devices[0].path"),
    ] {
        let path = config(device);
        let run = prep(["--oci", path.to_str().unwrap()]).command(["/bin/echo", "ran"]).run();
        run.refuses(125, text);
    }
    assert!(!there(&root, "dev/x").exists());
}

/// What is there already is not taken for the device that was asked for.
#[test]
fn a_device_whose_place_is_taken() {
    if !requires::root() || !requires::capability("MKNOD") {
        return;
    }
    let root = rootfs();
    root.file("dev/null", "a file");
    common::link(&root, "dev/zero", "/etc/passwd");
    let out = bare(&root, &["--mknod", "/dev/null:c:1:3"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "what is there is regularfile, not char 1:3");
    let out = bare(&root, &["--mknod", "/dev/zero:c:1:5"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "what is there is symlink, not char 1:5");
}

#[test]
fn a_procfs_without_a_new_pid_namespace() {
    let root = rootfs();
    let path = root.path();
    let args = ["--root", path.to_str().unwrap(), "--no-defaults", "--proc", "/proc"];
    let log = StatusLog::new();
    let run =
        behind("-m", args).args(["--status-fd", "9"]).fd(log.fd(), 9).command(["/bin/echo", "ran"]).run();
    run.refuses(125, "the pid namespace is not a new one");
    assert!(run.stderr.contains("try: ns-enter -mp"), "{run:?}");
    log.expect_error("order");
}

/// /proc is what labels are written through.
#[test]
fn mounts_on_and_in_proc() {
    refused(&["--tmpfs", "/proc"], "'tmpfs' is not of type proc");
    refused(&["--bind", "/etc", "/proc"], "the source is not a procfs");
    for inside in ["/proc/self/attr", "/proc/sys", "/proc/../proc/1", "//proc/./sys/kernel"] {
        refused(&["--bind", "/etc", inside], "it is inside /proc");
    }
    refused(&["--tmpfs", "/proc/fd"], "it is inside /proc");
}

/// Whoever holds the other end of a terminal must be there before one is made.
#[test]
fn a_terminal_without_a_runner() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let spaces = json!({"tool": "ns-enter", "spec": {"namespaces": [{"type": "mount"}]}});
    let layer = json!({"tool": "rootfs-prep", "spec": {"root": {"path": root.path()}, "terminal": true}});
    let plan = format!("{{\"catena\":1,\"layers\":[{spaces},{layer}],\"complete\":true}}");
    let plan = root.file("plan", plan);
    let run = tool("cap-drop").args(["--all", "--plan"]).arg(plan).command(["/bin/echo", "ran"]);
    run.run().refuses(125, "cannot give the container a terminal: nobody is there to hold its other end");
}
