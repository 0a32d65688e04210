//! Memory taken in rounds, and containers whose cgroup is a scope of systemd's: in the lane `vm`, whose kernel tells which
//! pages were written to. In the lane `trixie` none can tell, and that is said.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, tool, until};
use common::Bundle;
use common::criu::{COUNTS, checkpoint, counting, counts_on, images, restore};
use serde_json::{Value, json};

/// It has a few MiB of memory, in a process that never forks: a dump would find them twice between a fork and the exec
/// after it.
fn large() -> Bundle {
    let held = "a=$(head -c 4000000 /dev/zero | tr '\\0' x); : >/held; read line";
    counting(&format!(
        "while :; do sleep 1000; done | {{ {held}; }} & until [ -e /held ]; do sleep 0.02; done; {COUNTS}"
    ))
}

/// Where the kernel cannot tell which pages were written to, that is said, and it goes on.
#[test]
fn memory_is_taken_in_rounds_or_it_is_said_why_not() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = large().up();
    counts_on(&bundle);
    let folder = bundle.rootfs.parent().to_path_buf();
    let round =
        bundle.runner(["checkpoint", "--pre-dump", "--image-path"]).arg(folder.join("round")).arg(&bundle.id);
    if tool("criu-ctl").args(["check", "--feature", "mem_dirty_track"]).run().status == 0 {
        round.run().succeeds();
        counts_on(&bundle);
        checkpoint(&bundle, ["--parent-path", "../round"]).succeeds();
        // Its four MiB were in the round, and the dump has what was written to since.
        let pages = |folder: &str, member: &str| {
            let out = shell(&format!("criu-ctl show --json {}/{folder}", bundle.dir())).run();
            let told: Value = serde_json::from_str(&out.succeeds().stdout).unwrap();
            told["dump"][member].as_u64().unwrap()
        };
        let told = ["pages_written", "pages_skipped_parent"].map(|member| pages("img", member));
        assert!(pages("round", "pages_written") > 900);
        assert!(told[0] < 500 && told[1] > 900, "{told:?}");
        restore(&bundle, "").succeeds();
    } else {
        let why = "this kernel does not tell which pages were written to";
        for out in [round.run(), checkpoint(&bundle, ["--parent-path", "../round"])] {
            out.refuses(1, "Tracking memory is not available");
            assert!(out.stderr.contains(why), "{out:#?}");
            assert_eq!(bundle.status(), "running");
        }
    }
    counts_on(&bundle);
    drop(bundle);
    leftovers.check();
}

/// What a mount of criu's own takes away from the whole system.
fn has_options() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (_, options) = mounts.lines().find_map(|line| line.split_once(" - cgroup2 ")).unwrap();
    options.contains("nsdelegate") && options.contains("memory_recursiveprot")
}

#[test]
fn a_scope_comes_back_as_a_scope() {
    if !requires::criu() || !requires::systemd() {
        return;
    }
    // The test beside this one has a criu at work, too.
    let options_are_there = || until("the options are there", has_options);
    options_are_there();
    let leftovers = Leftovers::watch();
    let bundle = counting(COUNTS);
    let unit = format!("catena-{}.scope", bundle.id);
    let limits = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 50}});
    let path = json!(format!("system.slice:catena:{}", bundle.id));
    let bundle = bundle.set("/linux/cgroupsPath", path).set("/linux/resources", limits);
    let (root, dir, img) = (bundle.state.path().display(), bundle.dir(), images(&bundle));
    let runner = format!("runner --root {root} --systemd-cgroup");
    let told = |property: &str| {
        let out = shell(&format!("systemctl show {unit} --value -p {property}")).run();
        out.succeeds().stdout.trim().to_string()
    };
    let is_a_scope = || {
        let limits = ["ActiveState", "MemoryMax", "TasksMax"].map(told);
        assert_eq!(limits, ["active", "67108864", "50"]);
        let group = format!("/sys/fs/cgroup/system.slice/{unit}");
        let pid = bundle.state()["pid"].to_string();
        let procs = std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap();
        assert!(procs.lines().any(|line| line == pid), "{pid} is not among {procs}");
        assert_eq!(std::fs::read_to_string(format!("{group}/pids.max")).unwrap(), "50\n");
    };
    let is_gone = || {
        until("the scope is gone", || told("LoadState") == "not-found");
    };
    let quietly = |line: String| {
        shell(&format!("{runner} {line} >{dir}/said 2>&1 </dev/null; s=$?; cat {dir}/said >&2; exit $s"))
            .run()
            .succeeds();
    };
    quietly(format!("run -d --bundle {dir} {}", bundle.id));
    counts_on(&bundle);
    is_a_scope();
    quietly(format!("checkpoint --image-path {} {}", img.display(), bundle.id));
    is_gone();
    quietly(format!("restore -d --bundle {dir} --image-path {} {}", img.display(), bundle.id));
    counts_on(&bundle);
    is_a_scope();
    options_are_there();
    quietly(format!("delete --force {}", bundle.id));
    is_gone();
    drop(bundle);
    leftovers.check();
}
