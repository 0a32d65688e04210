//! Overlays: by flags and from a config, with changes to a folder, to memory, or none.

mod common;

use catena_tests::{Leftovers, TempDir, TempRootfs, requires, rootfs};
use common::{Outside, bare, prep};
use serde_json::json;

fn overlay() -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|l| l.ends_with("overlay")) || requires::skip("needs overlayfs")
}

/// Two layers that share a name, below a name that overlayfs parts lists at.
fn layers() -> TempDir {
    let dir = TempDir::new();
    dir.file("lo:w,er/both", "lower");
    dir.file("lo:w,er/low", "lower");
    dir.file("up/both", "upper");
    std::fs::create_dir(dir.join("changes")).expect("a folder can be made");
    std::fs::create_dir(dir.join("work")).expect("a folder can be made");
    dir
}

#[track_caller]
fn sh(root: &TempRootfs, dir: &TempDir, args: &[&str], line: &str) -> String {
    let run = bare(root, args).cwd(dir.path()).command(["/bin/sh", "-c", line]);
    run.run().succeeds().stdout.clone()
}

const TWO: [&str; 4] = ["--overlay-src", "lo:w,er", "--overlay-src", "up"];
const CHANGE: &str = "cat /o/both /o/low; rm /o/low; echo new >/o/new; ls /o | tr '\\n' ' '";

#[test]
fn the_last_source_is_on_top_and_changes_are_in_memory() {
    if !overlay() {
        return;
    }
    let leftovers = Leftovers::watch();
    let (root, dir) = (rootfs(), layers());
    let found = sh(&root, &dir, &[&TWO[..], &["--tmp-overlay", "/o"]].concat(), CHANGE);
    assert_eq!(found, "upperlowerboth new ");
    assert!(dir.join("lo:w,er/low").exists() && !dir.join("up/new").exists());
    let read = "cat /o/both; (echo x >/o/new) 2>/dev/null || echo read-only";
    assert_eq!(sh(&root, &dir, &[&TWO[..], &["--ro-overlay", "/o"]].concat(), read), "upperread-only\n");
    leftovers.check();
}

#[test]
fn changes_go_to_a_folder() {
    if !overlay() {
        return;
    }
    let (root, dir) = (rootfs(), layers());
    let args = [&TWO[..], &["--overlay", "changes", "work", "/o"]].concat();
    assert_eq!(sh(&root, &dir, &args, CHANGE), "upperlowerboth new ");
    assert_eq!(std::fs::read_to_string(dir.join("changes/new")).unwrap(), "new\n");
    assert!(dir.join("lo:w,er/low").exists());
    // What was removed stays so, for the marks were written: in a user namespace under names it may write.
    assert_eq!(sh(&root, &dir, &args, "ls /o | tr '\\n' ' '"), "both new ");
}

/// As engines write it for a volume; with more than fits into one option of fsconfig(2).
#[test]
fn a_config_with_many_long_layers() {
    if !overlay() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    let long = "x".repeat(100);
    for n in 0..4 {
        dir.file(&format!("{long}{n}/of{n}"), "");
    }
    std::fs::create_dir(dir.join("changes")).unwrap();
    std::fs::create_dir(dir.join("work")).unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    let lower: Vec<String> = (0..4).map(|n| at(&format!("{long}{n}"))).collect();
    let options = [
        format!("lowerdir={}", lower.join(":")),
        format!("upperdir={},workdir={}", at("changes"), at("work")),
        "private".into(),
    ];
    let config = root.config(&json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["x"], "cwd": "/", "user": {}},
        "mounts": [{"destination": "/o", "type": "overlay", "source": "overlay", "options": options}]}));
    let out =
        prep(["--oci", config.to_str().unwrap()]).command(["/bin/sh", "-c", "touch /o/new; ls /o"]).run();
    assert_eq!(out.succeeds().stdout, "new\nof0\nof1\nof2\nof3\n");
    assert!(dir.join("changes/new").exists());
}

#[test]
fn a_destination_that_is_a_link_stays_inside() {
    if !overlay() {
        return;
    }
    let (root, dir, outside) = (rootfs(), layers(), Outside::new());
    common::link(&root, "evil", outside.at("folder"));
    let args = [&TWO[..], &["--tmp-overlay", "/evil"]].concat();
    let line = format!("cat {}/both", outside.at("folder"));
    assert_eq!(sh(&root, &dir, &args, &line), "upper");
    outside.is_untouched();
}

#[test]
fn what_is_no_overlay() {
    let (root, dir) = (rootfs(), layers());
    let refused = |args: &[&str], text: &str| {
        let out = bare(&root, args).cwd(dir.path()).command(["/bin/echo", "ran"]).run();
        out.refuses(125, text);
    };
    refused(&["--tmp-overlay", "/o"], "no --overlay-src stands before it");
    refused(&["--overlay-src", "up"], "--overlay-src: no --overlay");
    refused(&["--overlay-src", "up", "--tmp-overlay", "/o", "--ro-overlay", "/p"], "no --overlay-src");
    refused(&["--bind", "/etc", "/o/x", "--overlay-src", "up", "--tmp-overlay", "/o"], "would hide");
    if overlay() {
        refused(
            &["--overlay-src", "none", "--tmp-overlay", "/o"],
            "cannot mount overlay on /o: fsconfig(overlay, ",
        );
    }
}
