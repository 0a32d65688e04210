//! Somebody swaps folders of the root for links while it is built, many times over: nothing outside is ever touched.

mod common;

use catena_tests::{TempRootfs, rootfs};
use common::{Outside, bare};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// As many rounds as there is time for, and no more than that.
const ROUNDS: u32 = 200;
const TIME: Duration = Duration::from_secs(8);

/// Swaps `a` and `b` of the root, as fast as it can, while `round` is run again and again.
fn swapping(root: &TempRootfs, pairs: &[(&str, &str)], mut round: impl FnMut()) {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
    let at = |name: &str| root.path().join(name);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                for (a, b) in pairs {
                    renameat_with(CWD, at(a), CWD, at(b), RenameFlags::EXCHANGE).expect("both are there");
                }
                swaps.fetch_add(1, Relaxed);
            }
        });
        let since = Instant::now();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..ROUNDS {
                round();
                if since.elapsed() > TIME {
                    break;
                }
            }
        }));
        stop.store(true, Relaxed);
        if let Err(panic) = run {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(swaps.load(Relaxed) > ROUNDS, "nobody swapped anything");
}

/// Either it is refused, or the one mount of ours is inside; a link of the race never leads it out.
#[test]
fn a_mount_point_that_becomes_a_link() {
    let (root, outside) = (rootfs(), Outside::new());
    let target = outside.path();
    std::fs::create_dir(root.path().join("vol")).unwrap();
    std::fs::create_dir(root.path().join("vol/sub")).unwrap();
    common::link(&root, "evil", target);
    let (mut ran, mut refused) = (0, 0);
    swapping(&root, &[("vol", "evil")], || {
        let args = ["--mount", "type=tmpfs,source=mark,target=/vol/sub/deep", "--ro-bind", "/proc", "/proc"];
        let out = bare(&root, &args).command(["/probe"]).run();
        outside.is_untouched();
        if out.status == 0 {
            let mounts = out.probe().mounts.unwrap_or_default();
            let ours: Vec<&str> =
                mounts.iter().filter(|m| m.source == "mark").map(|m| m.point.as_str()).collect();
            assert_eq!(ours.len(), 1, "{mounts:?}");
            ran += 1;
        } else {
            out.refuses(125, "cannot ");
            refused += 1;
        }
    });
    assert!(ran > 0, "all {refused} rounds were refused");
}

/// The same for all that is made by name: folders, links, devices, masks.
#[test]
fn names_in_a_folder_that_becomes_a_link() {
    let (root, outside) = (rootfs(), Outside::new());
    std::fs::create_dir(root.path().join("d")).unwrap();
    root.file("d/file", "inside");
    root.file("d/folder/inner", "inside");
    common::link(&root, "evil", format!("../../../../../../../..{}", outside.path().display()));
    swapping(&root, &[("d", "evil")], || {
        let args = [
            "--dir",
            "/d/new/a",
            "--symlink",
            "x",
            "/d/new/b",
            "--mknod",
            "/d/new/c:p",
            "--mask",
            "/d/file",
            "--read-only",
            "/d/folder",
            "--tmpfs",
            "/d/folder:copyup",
            "--chdir",
            "/d/new/cwd",
        ];
        let out = bare(&root, &args).command(["/bin/true"]).run();
        outside.is_untouched();
        if out.status != 0 {
            out.refuses(125, "cannot ");
        }
    });
}

/// /proc must be an ordinary folder when the procfs comes on it: that is never where a link leads, and nowhere without the
/// masks, by whatever name it is found afterwards.
#[test]
fn a_proc_that_becomes_a_link() {
    let (root, outside) = (rootfs(), Outside::new());
    common::link(&root, "evil", "fake");
    let look =
        "[ -e /fake/self ] && echo where the link leads; cat /proc/version /evil/version 2>/dev/null; exit 0";
    let run = || {
        let args = ["--proc", "/proc", "--mask", "/proc/version"];
        bare(&root, &args).command(["/bin/sh", "-c", look]).run()
    };
    assert_eq!(run().succeeds().stdout, "");
    swapping(&root, &[("proc", "evil")], || {
        let out = run();
        outside.is_untouched();
        if out.status == 0 {
            assert_eq!(out.stdout, "", "{out:?}");
        } else {
            out.refuses(125, "cannot ");
        }
    });
}
