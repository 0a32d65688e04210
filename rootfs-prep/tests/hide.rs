//! Masked and read-only paths, for folders and files, and the read-only root.

mod common;

use catena_tests::{Probe, TempRootfs, requires, rootfs};
use common::{bare, rooted, there};

#[track_caller]
fn sh(root: &TempRootfs, args: &[&str], line: &str) -> String {
    bare(root, args).command(["/bin/sh", "-c", line]).run().succeeds().stdout.clone()
}

fn seen(root: &TempRootfs, args: &[&str]) -> Probe {
    bare(root, &[args, &["--proc", "/proc"]].concat()).probe_at("/probe")
}

#[test]
fn a_masked_file_is_empty_and_a_masked_folder_too() {
    let root = rootfs();
    root.file("etc/secret", "secret");
    root.file("srv/secrets/key", "secret");
    let args = [
        "--mask",
        "/etc/secret",
        "--mask",
        "/srv/secrets",
        "--mask",
        "/etc/../home",
        "--mask",
        "/no/such/path",
    ];
    let p = seen(&root, &args);
    for path in ["/etc/secret", "/srv/secrets", "/home"] {
        p.expect_hidden(path);
    }
    let line = "cat /etc/secret; ls -A /srv/secrets; touch /srv/secrets/x 2>/dev/null || echo read-only; \
                echo gone >/etc/secret; cat /etc/secret; cat /srv/secrets/key 2>/dev/null || echo hidden";
    assert_eq!(sh(&root, &args, line), "read-only\nhidden\n");
    assert_eq!(std::fs::read_to_string(there(&root, "etc/secret")).unwrap(), "secret");
    assert!(!there(&root, "no").exists());
}

#[test]
fn a_path_that_is_named_twice_is_covered_once() {
    let root = rootfs();
    root.file("srv/secrets/key", "secret");
    let args = ["--mask", "/srv/secrets", "--mask", "/etc", "--mask", "/srv/secrets", "--proc", "/proc"];
    assert_eq!(sh(&root, &args, "ls -A /srv/secrets; grep -c ' /srv/secrets ' /proc/self/mountinfo"), "1\n");
}

/// A mask is on top of whatever the plan mounts there.
#[test]
fn masks_cover_mounts() {
    let (root, host) = (rootfs(), catena_tests::TempDir::new());
    host.file("key", "secret");
    let source = host.path().to_str().unwrap();
    let args = ["--mask", "/vol/key", "--mask", "/all", "--bind", source, "/vol", "--bind", source, "/all"];
    assert_eq!(sh(&root, &args, "cat /vol/key; ls -A /all"), "");
    assert_eq!(std::fs::read_to_string(host.join("key")).unwrap(), "secret");
}

/// What is masked stays masked for root inside: it has no right to unmount what it did not mount.
#[test]
fn a_mask_cannot_be_taken_off() {
    let root = rootfs();
    root.file("etc/secret", "secret");
    let args = ["--mask", "/etc/secret"];
    let out = bare(&root, &args).then("cap-drop", ["--all"]);
    let out = out.command(["/bin/sh", "-c", "umount /etc/secret 2>/dev/null; cat /etc/secret"]).run();
    assert_eq!(out.stdout, "", "{out:?}");
}

#[test]
fn read_only_paths_refuse_writes_and_so_does_all_below() {
    let root = rootfs();
    root.file("etc/conf", "text");
    root.file("srv/data/file", "text");
    let args = [
        "--tmpfs",
        "/srv/data/tmp",
        "--read-only",
        "/etc/conf",
        "--read-only",
        "/srv/data",
        "--read-only",
        "/no/such",
    ];
    let p = seen(&root, &args);
    p.expect_mount_options("/etc/conf", &["ro"]);
    p.expect_mount_options("/srv/data", &["ro"]);
    p.expect_mount_options("/srv/data/tmp", &["ro", "nosuid", "nodev"]);
    let line = "for f in /etc/conf /srv/data/file /srv/data/new /srv/data/tmp/new; do (echo x >$f) 2>/dev/null && echo wrote $f; done; \
                cat /etc/conf /srv/data/file; echo y >/srv/beside";
    assert_eq!(sh(&root, &args, line), "texttext");
    assert!(there(&root, "srv/beside").exists());
}

#[test]
fn a_read_only_root_and_what_may_be_written_in_it() {
    let root = rootfs();
    let p =
        rooted(&root, &["--read-only", "/", "--tmpfs", "/run/new", "--chdir", "/work"]).probe_at("/probe");
    p.expect_mount_options("/", &["ro"]);
    assert_eq!(p.cwd.as_deref(), Some("/work"));
    let args = [
        "--read-only",
        "/",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--bind",
        root.parent().to_str().unwrap(),
        "/mnt",
    ];
    let line = "touch /x 2>/dev/null || echo root; touch /etc/x 2>/dev/null || echo etc; touch /tmp/x && touch /mnt/x && echo ok";
    assert_eq!(sh(&root, &args, line), "root\netc\nok\n");
    assert!(root.parent().join("x").exists());
}

/// What engines hide in every container; each that this kernel has.
#[test]
fn the_default_masks() {
    let root = rootfs();
    let args = ["--proc", "/proc", "--sys", "/sys", "--mask-default"];
    let p = bare(&root, &args).probe_at("/probe");
    let mut hidden = 0;
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ] {
        if std::path::Path::new(path).exists() {
            p.expect_hidden(path);
            hidden += 1;
        }
    }
    assert!(hidden > 2, "this kernel has next to nothing to hide?");
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        if std::path::Path::new(path).exists() {
            p.expect_mount_options(path, &["ro"]);
        }
    }
    let line = "(echo 1 >/proc/sys/kernel/panic) 2>/dev/null && echo wrote; (echo x >/proc/sysrq-trigger) 2>/dev/null && echo wrote; \
                wc -c </proc/keys";
    assert_eq!(sh(&root, &args, line).trim(), "0");
}

/// Of a container in a user namespace: a mount that is more open than the one outside must not be had again.
#[test]
fn a_masked_proc_cannot_be_mounted_afresh() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    let line = "mkdir /tmp/p && mount -t proc p /tmp/p 2>/dev/null && echo mounted; true";
    let chain = rooted(&root, &[]).then("cap-drop", ["--all"]);
    let out = chain.command(["/bin/sh", "-c", &format!("unshare -Urmpf sh -c '{line}'")]).run();
    assert_eq!(out.stdout, "", "{out:?}");
}
