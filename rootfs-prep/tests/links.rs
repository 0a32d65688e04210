//! A hostile root: whatever links lie in it, nothing outside is made, mounted on or changed, and what is mounted shows
//! inside.

mod common;

use catena_tests::{TempRootfs, requires, rootfs};
use common::{Outside, bare, link, rooted, there};
use std::path::Path;

/// Where an absolute path of the host leads inside the root.
fn inside(root: &TempRootfs, path: &str) -> std::path::PathBuf {
    there(root, path)
}

/// A mount through a link to an absolute path of the host lands on that path inside the root, which is made.
#[test]
fn a_destination_that_is_a_link_to_the_host() {
    let (root, outside) = (rootfs(), Outside::new());
    let target = outside.at("folder");
    for (name, to) in
        [("abs", target.clone()), ("up", format!("../../../../../../../../{target}")), ("two", "abs".into())]
    {
        link(&root, name, to);
    }
    for at in ["/abs", "/up", "/two"] {
        let p = bare(&root, &["--tmpfs", &format!("{at}:size=4M"), "--ro-bind", "/proc", "/proc"])
            .probe_at("/probe");
        p.expect_mounted(&target, "tmpfs");
        p.expect_not_mounted(at);
    }
    assert!(inside(&root, &target).is_dir() && !inside(&root, &target).join("inner").exists());
    outside.is_untouched();
}

#[test]
fn a_bind_destination_that_is_a_link_to_a_file_of_the_host() {
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "etc/resolv.conf", outside.at("file"));
    let args = ["--bind", "/etc/hostname", "/etc/resolv.conf", "--ro-bind", "/proc", "/proc"];
    let p = bare(&root, &args).probe_at("/probe");
    p.expect_not_mounted("/etc/resolv.conf");
    let at = outside.at("file");
    assert!(p.mount_at(&at).is_some(), "{:?}", p.mounts);
    assert!(inside(&root, &at).is_file());
    outside.is_untouched();
}

/// The folders on the way are made where the links lead inside the root.
#[test]
fn a_link_in_the_middle_of_a_path() {
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "var/middle", outside.path());
    let args = [
        "--tmpfs",
        "/var/middle/new/deep",
        "--dir",
        "/var/middle/dir",
        "--symlink",
        "x",
        "/var/middle/sub/link",
    ];
    bare(&root, &args).command(["/bin/true"]).run().succeeds();
    for made in ["new/deep", "dir", "sub"] {
        assert!(inside(&root, &outside.at(made)).is_dir(), "{made}");
    }
    assert!(inside(&root, &outside.at("sub/link")).is_symlink());
    outside.is_untouched();
}

#[test]
fn dots_in_a_destination_do_not_lead_out() {
    let (root, outside) = (rootfs(), Outside::new());
    let up = "/../".repeat(20);
    for (at, lands) in [
        (format!("{up}{}", outside.at("folder")), outside.at("folder")),
        ("/tmp/../../../../x/y".into(), "/x/y".into()),
        ("relative/../../z".into(), "/z".into()),
    ] {
        let p = bare(&root, &["--tmpfs", &at, "--ro-bind", "/proc", "/proc"]).probe_at("/probe");
        p.expect_mounted(&lands, "tmpfs");
    }
    outside.is_untouched();
    assert!(!root.parent().join("x").exists() && !root.parent().join("z").exists());
}

#[test]
fn proc_and_sys_must_be_ordinary_folders() {
    for (name, target) in [
        ("proc", "/"),
        ("proc", "/tmp"),
        ("proc", "tmp"),
        ("proc", "../../../../proc"),
        ("proc", "/no/such"),
        ("sys", "/"),
        ("sys", "/etc"),
        ("sys", "proc"),
    ] {
        let root = rootfs();
        link(&root, name, target);
        let flag = format!("--{name}");
        let at = format!("/{name}");
        let out = bare(&root, &[&flag, &at]).command(["/bin/echo", "ran"]).run();
        out.refuses(125, "must be mounted on ordinary directory");
        rooted(&root, &[]).command(["/bin/echo", "ran"]).run().fails(125, "");
        assert!(!there(&root, "no").exists());
    }
    let root = rootfs();
    std::fs::remove_dir(there(&root, "proc")).unwrap();
    root.file("proc", "a file");
    bare(&root, &["--proc", "/proc"]).command(["/bin/echo", "ran"]).run().refuses(125, "ordinary directory");
    // On the way to it a link is as bad.
    link(&root, "way", "/tmp");
    bare(&root, &["--proc", "/way/proc"])
        .command(["/bin/echo", "ran"])
        .run()
        .refuses(125, "ordinary directory");
}

/// Other mounts must not come into /proc by a link, for the known names are all that may be covered there.
#[test]
fn a_link_into_proc() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    for target in ["/proc/self", "/proc/sys/kernel", "proc/1/attr"] {
        link(&root, "into", target);
        let out = bare(&root, &["--proc", "/proc", "--tmpfs", "/into"]).command(["/bin/echo", "ran"]).run();
        out.refuses(125, "cannot mount tmpfs on /into: it leads inside /proc");
    }
}

/// Links of /proc that are none, but doors: `/proc/1/root` of a process of the host is the host's root.
#[test]
fn a_magic_link_is_no_door() {
    let (root, outside) = (rootfs(), Outside::new());
    let pid = std::process::id();
    for (door, behind) in
        [(format!("/proc/{pid}/root"), outside.at("door")), ("/proc/self/cwd".into(), "door".into())]
    {
        link(&root, "door", &door);
        let at = format!("/door/{behind}");
        // The host's /proc, in which the processes of the host are.
        let out = bare(&root, &["--bind", "/proc", "/proc", "--dir", &at]).cwd(outside.path());
        let out = out.command(["/bin/true"]).run();
        assert!(matches!(out.status, 0 | 125), "{out:?}");
        outside.is_untouched();
    }
}

#[test]
fn a_dev_that_leads_to_the_hosts() {
    for target in ["/dev", "../../../../../dev", "dev"] {
        let root = rootfs();
        link(&root, "dev", target);
        // Inside the root that is a link to itself.
        rooted(&root, &[]).command(["/bin/echo", "ran"]).run().refuses(125, "(ELOOP)");
        bare(&root, &["--mknod", "/dev/catena-x:p"])
            .command(["/bin/echo", "ran"])
            .run()
            .refuses(125, "(ELOOP)");
        assert!(!Path::new("/dev/catena-x").exists());
    }
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "dev", outside.path());
    rooted(&root, &["--mknod", "/dev/pipe:p"]).command(["/bin/true"]).run().succeeds();
    outside.is_untouched();
    assert!(inside(&root, &outside.at("")).is_dir());
    // A name in it that leads out is not written through.
    let root = rootfs();
    for name in ["null", "x", "ptmx", "fd"] {
        link(&root, &format!("dev/{name}"), outside.at("new"));
    }
    let out = bare(&root, &["--mknod", "/dev/x:p"]).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "what is there is symlink, not fifo");
    outside.is_untouched();
}

#[test]
fn links_that_lead_nowhere_or_in_circles() {
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "dangling", outside.at("not-there/deep"));
    bare(&root, &["--tmpfs", "/dangling"]).command(["/bin/true"]).run().succeeds();
    assert!(inside(&root, &outside.at("not-there/deep")).is_dir());
    bare(&root, &["--bind", "/etc/hostname", "/dangling/file"]).command(["/bin/true"]).run().succeeds();
    outside.is_untouched();
    link(&root, "a", "b");
    link(&root, "b", "a");
    link(&root, "self", "self/self");
    for at in ["/a", "/a/x", "/self", "/self/x"] {
        for flag in ["--tmpfs", "--dir", "--mask", "--read-only"] {
            bare(&root, &[flag, at]).command(["/bin/echo", "ran"]).run().refuses(125, "(ELOOP)");
        }
    }
    // 39 links are a path, 41 are too many, as in the kernel.
    link(&root, "l0", "tmp");
    for n in 1..=41 {
        link(&root, &format!("l{n}"), format!("l{}", n - 1));
    }
    bare(&root, &["--tmpfs", "/l39"]).command(["/bin/true"]).run().succeeds();
    bare(&root, &["--tmpfs", "/l41"]).command(["/bin/echo", "ran"]).run().refuses(125, "(ELOOP)");
}

#[test]
fn a_masked_or_read_only_path_that_is_a_link() {
    let (root, outside) = (rootfs(), Outside::new());
    let (file, folder) = (outside.at("file"), outside.at("folder"));
    root.file(file.trim_start_matches('/'), "inside");
    root.file(&format!("{}/x", folder.trim_start_matches('/')), "inside");
    link(&root, "secret", &file);
    link(&root, "secrets", &folder);
    link(&root, "fixed", outside.path());
    let args =
        ["--ro-bind", "/proc", "/proc", "--mask", "/secret", "--mask", "/secrets", "--read-only", "/fixed"];
    let p = bare(&root, &args).probe_at("/probe");
    p.expect_hidden(&file);
    p.expect_hidden(&folder);
    p.expect_mount_options(outside.at("").trim_end_matches('/'), &["ro"]);
    outside.is_untouched();
    // A link to what is not there has nothing to hide.
    link(&root, "secret", outside.at("missing"));
    bare(&root, &["--mask", "/secret", "--read-only", "/secret"]).command(["/bin/true"]).run().succeeds();
    outside.is_untouched();
}

/// Masked by the container's /dev/null, which an image could have made a link to anything.
#[test]
fn a_dev_null_that_is_none_masks_nothing() {
    let (root, outside) = (rootfs(), Outside::new());
    root.file("etc/secret", "secret");
    for target in [outside.at("file"), "/etc/passwd".into()] {
        link(&root, "dev/null", target);
        bare(&root, &["--mask", "/etc/secret"])
            .command(["/bin/echo", "ran"])
            .run()
            .refuses(125, "not char 1:3");
    }
    outside.is_untouched();
}

#[test]
fn a_working_directory_that_leads_out() {
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "work", outside.at("new"));
    let p = bare(&root, &["--ro-bind", "/proc", "/proc", "--chdir", "/work"]).probe_at("/probe");
    assert_eq!(p.cwd.as_deref(), Some(outside.at("new").as_str()));
    assert!(inside(&root, &outside.at("new")).is_dir());
    outside.is_untouched();
}
