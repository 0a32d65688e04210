//! Files whose content the caller hands over by fd: made in the root, or mounted from memory.

mod common;

use catena_tests::{Leftovers, TempDir, requires, rootfs, shell};
use common::{Outside, bare, link, there};
use std::fs::File;

#[test]
fn one_fd_is_read_many_times_from_its_start() {
    let leftovers = Leftovers::watch();
    let (root, dir) = (rootfs(), TempDir::new());
    let file = File::open(dir.file("in", "content\0\u{ff}")).expect("it is there");
    let args = [
        "--tmpfs",
        "/t",
        "--perms",
        "0640",
        "--file",
        "7",
        "/t/a",
        "--bind-data",
        "7",
        "/t/b",
        "--ro-bind-data",
        "7",
        "/new/c",
    ];
    let line = "cat /t/a /t/b /new/c | md5sum | cut -c1-6; stat -c '%n %a' /t/* /new/c; echo x >>/t/b && wc -c </t/b; \
                (echo x >>/new/c) 2>/dev/null || echo read-only; ls -A /";
    let all = [&args[..], &["--proc", "/proc"]].concat();
    let out = bare(&root, &all).fd(file, 7).command(["/bin/sh", "-c", line]).run();
    let before: Vec<&str> = out.succeeds().stdout.lines().take(6).collect();
    let sum = shell("printf 'content\\0\u{ff}%.0s' 1 2 3 | md5sum | cut -c1-6").run().stdout;
    assert_eq!(before, [sum.trim(), "/t/a 640", "/t/b 600", "/new/c 600", "12", "read-only"], "{out:?}");
    assert!(!out.stdout.contains("data"), "the place it was made in is gone: {out:?}");
    assert_eq!(std::fs::read_to_string(dir.join("in")).unwrap(), "content\0\u{ff}");
    assert!(there(&root, "new/c").metadata().unwrap().len() == 0, "a mount point, and nothing in it");
    leftovers.check();
}

/// A pipe can be read once, and that is kept.
#[test]
fn a_pipe_serves_two() {
    let root = rootfs();
    let line = format!(
        "exec 7< <(printf piped); exec {} -mp -- rootfs-prep --root {} --no-defaults --ro-bind-data 7 /a --ro-bind-data 7 /b -- /bin/cat /a /b",
        if common::is_root() { "ns-enter" } else { "idmap -r -- ns-enter" },
        root.path().display()
    );
    assert_eq!(shell(&line).run().succeeds().stdout, "pipedpiped");
    // In a plan the content travels, not the number.
    if !requires::root() {
        return;
    }
    let line = format!(
        "ns-enter -mp | rootfs-prep --root {} --no-defaults --ro-bind-data 7 /a 7< <(printf piped) | cap-drop --all -- /bin/cat /a",
        root.path().display()
    );
    assert_eq!(shell(&line).run().succeeds().stdout, "piped");
}

#[test]
fn what_is_there_is_not_written_to() {
    let (root, outside) = (rootfs(), Outside::new());
    root.file("etc/mine", "mine");
    link(&root, "etc/out", outside.at("file"));
    link(&root, "etc/dangling", outside.at("new"));
    let input = || File::open(outside.at("file")).expect("it is there");
    for at in ["/etc/mine", "/etc/out", "/etc/dangling", "/etc"] {
        let out = bare(&root, &["--file", "7", at]).fd(input(), 7).command(["/bin/echo", "ran"]).run();
        out.refuses(125, "something is there already");
    }
    assert_eq!(std::fs::read_to_string(there(&root, "etc/mine")).unwrap(), "mine");
    // A mount through the link lands inside the root.
    let args = ["--ro-bind-data", "7", "/etc/dangling"];
    bare(&root, &args).fd(input(), 7).command(["/bin/true"]).run().succeeds();
    outside.is_untouched();
}

#[test]
fn what_is_no_data() {
    let root = rootfs();
    let refused = |args: &[&str], text: &str| {
        bare(&root, args).command(["/bin/echo", "ran"]).run().refuses(125, text);
    };
    refused(&["--file", "77", "/x"], "cannot read fd 77: fcntl(77): Bad file number (EBADF)");
    refused(&["--file", "0", "/x"], "standard fds are the command's");
    refused(&["--file", "x", "/x"], "not an fd");
    // A number that the chain itself has open is not the caller's.
    for own in ["3", "4", "5", "6"] {
        refused(&["--file", own, "/x"], "(EBADF)");
    }
    refused(&["--perms", "999", "--dir", "/x"], "not a mode");
    refused(&["--perms", "700"], "--perms: no --dir");
    refused(&["--bind", "/etc", "/x/y", "--ro-bind-data", "3", "/x"], "");
    let big = TempDir::new();
    File::create(big.join("big")).unwrap().set_len((4 << 20) + 1).unwrap();
    let file = File::open(big.join("big")).unwrap();
    bare(&root, &["--file", "7", "/x"])
        .fd(file, 7)
        .command(["/bin/echo", "ran"])
        .run()
        .refuses(125, "more than 4 MiB");
    assert!(!there(&root, "x").exists());
}
