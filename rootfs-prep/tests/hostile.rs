//! One image with every trick: links at all the places that a runtime mounts on, makes or hides, absolute, relative and
//! leading nowhere. Whatever becomes of the container, the host stays as it is.

mod common;

use catena_tests::{Leftovers, TempRootfs, requires, rootfs, tool};
use common::{Outside, bare, link};
use serde_json::{Value, json};
use std::path::Path;

/// What the default bundle touches.
const PLACES: [&str; 14] = [
    "dev",
    "dev/null",
    "dev/console",
    "dev/pts",
    "dev/ptmx",
    "dev/shm",
    "dev/fd",
    "etc",
    "etc/resolv.conf",
    "proc",
    "sys",
    "sys/fs/cgroup",
    "vol",
    "work",
];

/// A link at each place alone, and links at all of them, in one of three ways.
fn hostile(places: &[&str], target: impl Fn(&str) -> String) -> TempRootfs {
    let root = rootfs();
    for place in places {
        // The folder above is there, or is made with a file in it.
        if let Some(above) = Path::new(place).parent().filter(|above| !root.path().join(above).is_dir()) {
            root.file(&format!("{}/file", above.display()), "");
        }
        link(&root, place, target(place));
    }
    root
}

/// The mounts, devices, masks and paths of an engine's config, with volumes over what images like to fake.
fn config(root: &TempRootfs, terminal: bool) -> Value {
    tool("runner").args(["spec", "--bundle"]).arg(root.parent()).run().succeeds();
    let path = root.parent().join("config.json");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("it was written")).expect("JSON");
    config["process"]["terminal"] = terminal.into();
    config["process"]["args"] = json!(["/bin/true"]);
    config["process"]["cwd"] = "/work/deep".into();
    config["root"]["readonly"] = false.into();
    let more = json!([
        {"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]},
        {"destination": "/vol/made", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    ]);
    let mounts = config["mounts"].as_array_mut().expect("a list");
    mounts.extend(more.as_array().expect("a list").clone());
    config["linux"]["maskedPaths"]
        .as_array_mut()
        .expect("a list")
        .extend([json!("/etc/shadow"), json!("/vol/hidden")]);
    config["linux"]["readonlyPaths"].as_array_mut().expect("a list").push(json!("/etc/passwd"));
    config["linux"]["devices"] = json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}, {"path": "/vol/pipe", "type": "p"}]);
    std::fs::write(path, config.to_string()).expect("it can be written");
    config
}

fn run(root: &TempRootfs, outside: &Outside) -> i32 {
    let state = root.parent().join("state");
    let id = format!("hostile-{}", std::process::id());
    let out = tool("runner")
        .args(["--root", state.to_str().expect("text"), "run", "--bundle"])
        .arg(root.parent())
        .arg(&id)
        .run();
    outside.is_untouched();
    assert!(out.status <= 1, "{out:?}");
    if out.status == 1 {
        assert!(out.stderr.contains("cannot "), "{out:?}");
    }
    out.status
}

#[test]
fn links_at_every_place_leave_the_host_as_it_is() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let outside = Outside::new();
    let up = "../".repeat(12);
    let ways: [&dyn Fn(&str) -> String; 5] = [
        &|_| outside.at("folder"),
        &|_| format!("{up}{}", outside.at("folder").trim_start_matches('/')),
        &|_| outside.at("file"),
        &|_| outside.at("missing/deep"),
        &|place| format!("/proc/1/root{}/{place}", outside.path().display()),
    ];
    let (mut ran, mut refused) = (0, 0);
    for (n, way) in ways.into_iter().enumerate() {
        let alone = PLACES.iter().skip(n).step_by(5).map(|place| vec![*place]);
        for places in std::iter::once(PLACES.to_vec()).chain(alone) {
            // One inside another cannot be a link as well.
            let inner = |p: &&&str| !places.iter().any(|q| p.starts_with(&format!("{q}/")));
            let places: Vec<&str> = places.iter().filter(inner).copied().collect();
            let root = hostile(&places, way);
            config(&root, false);
            match run(&root, &outside) {
                0 => ran += 1,
                _ => refused += 1,
            }
        }
    }
    // A link is followed inside the root, as a process there would; only some places must be no links.
    assert!(ran > 4 && refused > 4, "{ran} ran, {refused} were refused");
    drop(outside);
    leftovers.check();
}

/// In a directory that the image swaps for a link all the time, many names are made: none of them comes out.
#[test]
fn a_thousand_names_in_a_folder_that_becomes_a_link() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
    let (root, outside) = (rootfs(), Outside::new());
    std::fs::create_dir(root.path().join("d")).expect("a folder can be made");
    link(&root, "evil", outside.path());
    let flags = ["--dir", "--symlink", "--mknod", "--tmpfs"];
    let names: Vec<Vec<String>> = (0..250)
        .map(|n| {
            let at = format!("/d/{n}/deep");
            match flags[n % 4] {
                "--symlink" => vec!["--symlink".into(), "x".into(), at],
                "--mknod" => vec!["--mknod".into(), format!("{at}:p")],
                flag => vec![flag.into(), at],
            }
        })
        .collect();
    let args: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
    let (d, evil) = (root.path().join("d"), root.path().join("evil"));
    let inside = root.path().join(outside.at("").trim_start_matches('/'));
    let made = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                renameat_with(CWD, &d, CWD, &evil, RenameFlags::EXCHANGE).expect("both are there");
                swaps.fetch_add(1, Relaxed);
            }
        });
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Often enough that the link was followed at least once, inside.
            let since = std::time::Instant::now();
            for round in 0.. {
                let out = bare(&root, &args).command(["/bin/true"]).run();
                if out.status != 0 {
                    out.refuses(125, "cannot ");
                }
                if round >= 4 && (inside.is_dir() || since.elapsed().as_secs() > 60) {
                    break;
                }
            }
        }));
        stop.store(true, Relaxed);
        rounds
    });
    outside.is_untouched();
    if let Err(panic) = made {
        std::panic::resume_unwind(panic);
    }
    assert!(swaps.load(Relaxed) > 100, "nobody swapped anything");
    assert!(inside.is_dir(), "no name was ever made through the link, inside");
}

/// What others can write to on the host is no /sys/fs/cgroup of a rootless container (CVE-2023-25809): where /sys is the
/// caller's own, what is mounted in it is read-only as well.
#[test]
fn a_sys_that_is_the_callers_lets_no_cgroup_be_written() {
    let root = rootfs();
    let line = "find /sys/fs/cgroup -name 'cgroup.*' -o -name tasks 2>/dev/null | while read f; do (echo 0 >$f) 2>/dev/null && echo wrote $f; done; \
        find /sys/fs/cgroup -type d 2>/dev/null | head -50 | while read d; do mkdir $d/x 2>/dev/null && echo made $d; done; grep -c cgroup /proc/self/mountinfo";
    // No network namespace: a fresh sysfs would be the host's network's, and is not permitted.
    let path = root.path();
    let args = ["--root", path.to_str().expect("text")];
    let chain = tool("idmap").arg("-r").then("ns-enter", ["-mpiuC"]).then("rootfs-prep", args);
    let out = chain.command(["/bin/sh", "-c", line]).run();
    let seen: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!(seen.len(), 1, "{out:?}");
    assert_ne!(seen[0], "0", "the caller's cgroups are there: {out:?}");
}
