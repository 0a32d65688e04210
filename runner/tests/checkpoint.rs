//! checkpoint and restore take every option of runc and crun, and refuse what cannot be before anything is made; a
//! container that could not be checkpointed goes on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires};
use common::Bundle;

const BOTH: [&str; 16] = [
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
        ".",
        "--leave-running",
        "--tcp-skip-in-flight",
        "--link-remap",
        "--status-fd",
        "2",
        "--page-server",
        "127.0.0.1:1",
        "--pre-dump",
    ];
    let checkpoint = || {
        bundle
            .runner(["--criu", "/nowhere/criu", "checkpoint"])
            .args(BOTH)
            .args(more)
            .arg(&bundle.id)
            .cwd(bundle.dir())
            .run()
    };
    checkpoint().refuses(1, "container does not exist");
    bundle.create().succeeds();
    checkpoint().refuses(1, "it is created");
    bundle.start().succeeds();
    checkpoint().refuses(1, "cannot start criu");
    assert_eq!(bundle.status(), "running");
    for (flag, value) in
        [("--manage-cgroups-mode", "medium"), ("--empty-ns", "mount"), ("--network-lock", "no")]
    {
        bundle.runner(["checkpoint", flag, value, &bundle.id]).run().refuses(1, "is not possible");
    }
    drop(bundle);
    leftovers.check();
}

/// No state, no cgroup, no process, no pid file.
#[test]
fn a_restore_that_fails_leaves_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("exec sleep 60");
    let folder = bundle.rootfs.parent().to_path_buf();
    let more = ["--bundle", bundle.dir(), "--detach", "--pid-file", "p", "--no-subreaper", "--no-pivot"];
    let labels = ["--tcp-close", "--lsm-profile", "apparmor:x", "--lsm-mount-context", "c"];
    let restore = || {
        let runner = bundle.runner(["--criu", "/nowhere/criu", "restore"]);
        runner.args(BOTH).args(more).args(labels).arg(&bundle.id).cwd(bundle.dir()).run()
    };
    let nothing_is_there = || {
        assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
        assert!(!folder.join("p").exists());
    };
    restore().refuses(1, "img): No such file or directory");
    nothing_is_there();
    std::fs::create_dir(folder.join("img")).unwrap();
    restore().refuses(1, "inventory.img is not there");
    std::fs::write(folder.join("img/inventory.img"), "").unwrap();
    restore().refuses(1, "cannot start criu");
    nothing_is_there();
    std::fs::write(folder.join("img/catena-dump-unfinished"), "").unwrap();
    restore().refuses(1, "its dump did not finish");
    nothing_is_there();
    bundle.runner(["restore", "../x"]).run().refuses(1, "as a container id");
    bundle.create().succeeds();
    restore().refuses(1, "already exists");
    drop(bundle);
    leftovers.check();
}

/// Whoever can write to the images decides what is opened.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("exec sleep 60");
    let folder = bundle.rootfs.parent().join("img");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("inventory.img"), "").unwrap();
    let pipe = folder.join("descriptors.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let restore = || {
        let runner = bundle.runner(["--criu", "/nowhere/criu", "restore", "--bundle", bundle.dir()]);
        runner.arg("--image-path").arg(&folder).arg(&bundle.id).run()
    };
    let start = std::time::Instant::now();
    restore().refuses(1, "descriptors.json is no file");
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    std::fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &pipe).unwrap();
    restore().refuses(1, "open(descriptors.json): Too many symbolic links encountered (ELOOP)");
    std::fs::remove_file(&pipe).unwrap();
    std::fs::write(&pipe, "[1]").unwrap();
    restore().refuses(1, "descriptors.json");
}
