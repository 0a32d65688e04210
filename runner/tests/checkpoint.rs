//! checkpoint and restore take every option of runc and crun, and say what they cannot do before anything is made.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires};
use common::Bundle;

const BOTH: [&str; 17] = [
    "--image-path",
    "img",
    "--work-path",
    "work",
    "--tcp-established",
    "--ext-unix-sk",
    "--shell-job",
    "--lazy-pages",
    "--file-locks",
    "--manage-cgroups-mode",
    "ignore",
    "--network-lock",
    "nftables",
    "--empty-ns",
    "network",
    "--auto-dedup",
    "--debug",
];

#[test]
fn a_container_is_not_checkpointed_and_goes_on() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("exec sleep 60");
    let more = [
        "--parent-path",
        "p",
        "--leave-running",
        "--tcp-skip-in-flight",
        "--link-remap",
        "--status-fd",
        "9",
        "--page-server",
        "127.0.0.1:1",
        "--pre-dump",
    ];
    let checkpoint =
        || bundle.runner(["checkpoint"]).args(BOTH).args(more).arg(&bundle.id).cwd(bundle.dir()).run();
    checkpoint().refuses(1, "container does not exist");
    bundle.create().succeeds();
    checkpoint().refuses(1, "it is created");
    bundle.start().succeeds();
    checkpoint().refuses(1, "not carried out yet");
    assert_eq!(bundle.status(), "running");
    assert!(!bundle.rootfs.parent().join("img").exists());
    for (flag, value) in
        [("--manage-cgroups-mode", "medium"), ("--empty-ns", "mount"), ("--network-lock", "no")]
    {
        bundle.runner(["checkpoint", flag, value, &bundle.id]).run().refuses(1, "is not possible");
    }
    drop(bundle);
    leftovers.check();
}

#[test]
fn nothing_is_restored_and_nothing_made() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("exec sleep 60");
    let more = [
        "--bundle",
        bundle.dir(),
        "--detach",
        "--pid-file",
        "p",
        "--console-socket",
        "s",
        "--tcp-close",
        "--no-subreaper",
        "--no-pivot",
        "--lsm-profile",
        "apparmor:x",
        "--lsm-mount-context",
        "c",
    ];
    let restore = || bundle.runner(["restore"]).args(BOTH).args(more).arg(&bundle.id).cwd(bundle.dir()).run();
    restore().refuses(1, "not carried out yet");
    assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
    assert!(!bundle.rootfs.parent().join("p").exists());
    bundle.runner(["restore", "../x"]).run().refuses(1, "as a container id");
    bundle.create().succeeds();
    restore().refuses(1, "already exists");
    drop(bundle);
    leftovers.check();
}
