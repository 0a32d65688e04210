//! A container's group of Intel RDT lives as long as the container; on a tree of folders that stands in for resctrl.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, TempDir, requires, shell, until};
use common::Bundle;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn create(bundle: &Bundle, tree: &TempDir) -> catena_tests::Output {
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    let line = format!(
        "runner --root {root} create --bundle {dir} {id} >{dir}/out 2>{dir}/err </dev/null; s=$?; cat {dir}/err >&2; exit $s"
    );
    shell(&line).env("CATENA_RESCTRL", tree.path()).run()
}

fn is_empty(tree: &TempDir) -> bool {
    fs::read_dir(tree.path()).unwrap().count() == 0
}

#[test]
fn it_is_named_after_the_container_changed_joined_and_deleted() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let bundle = Bundle::sh("exec sleep 60")
        .set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}));
    create(&bundle, &tree).succeeds();
    let pid = bundle.state()["pid"].to_string();
    let folder = tree.path().join(&bundle.id);
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!(read("schemata"), "L3:0=f\n");
    let counted = format!("mon_groups/{}/tasks", bundle.id);
    // Who joined was the chain's first process: what it forks is there too.
    assert!(read("tasks").parse::<i32>().unwrap() > 0 && !read(&counted).is_empty());
    bundle.start().succeeds();
    let tasks = read("tasks");
    let env = |tool: catena_tests::Tool| tool.env("CATENA_RESCTRL", tree.path());
    env(bundle.runner(["exec", &bundle.id, "true"])).run().succeeds();
    assert_ne!(read("tasks"), tasks, "an exec joins it");
    let update = |schema: &str| env(bundle.runner(["update", "--l3-cache-schema", schema, &bundle.id])).run();
    update("L3:0=3").succeeds();
    assert_eq!(read("schemata"), "L3:0=3\n");
    update("3").refuses(1, "'3' is not as L3:0=ff");
    assert_eq!(bundle.state()["pid"].to_string(), pid);
    env(bundle.runner(["delete", "--force", &bundle.id])).run().succeeds();
    assert!(is_empty(&tree), "it goes with the container");
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_create_that_fails_leaves_none() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let bundle = Bundle::of(["/no-such-program"]).set("/linux/intelRdt", json!({"schemata": ["L3:0=f"]}));
    create(&bundle, &tree).refuses(1, "/no-such-program");
    assert!(is_empty(&tree));
    // Where nothing else of the chain's is to be removed, too.
    let line = format!(
        "runner --cgroup-manager disabled --root {} run --bundle {} {}",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    shell(&line).env("CATENA_RESCTRL", tree.path()).run().refuses(1, "/no-such-program");
    assert!(is_empty(&tree));
    let bundle = Bundle::sh("exec sleep 60");
    create(&bundle, &tree).succeeds();
    let out = bundle.runner(["update", "--mem-bw-schema", "MB:0=50", &bundle.id]).run();
    out.refuses(1, "it was made without linux.intelRdt");
    drop(bundle);
    leftovers.check();
}

/// The runner at a create whose chain stands still: it made a group that counts, and where it would join is a FIFO.
fn stuck(bundle: &Bundle, tree: &TempDir) -> (catena_tests::Running, PathBuf) {
    let gold = tree.path().join("gold");
    let counted = gold.join("mon_groups").join(&bundle.id);
    if !gold.exists() {
        fs::create_dir(&gold).unwrap();
        nix::unistd::mkfifo(&gold.join("tasks"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let create = bundle.runner(["create", "--bundle", bundle.dir(), &bundle.id]);
    let runner = create.env("CATENA_RESCTRL", tree.path()).spawn();
    until("the group that counts", || counted.exists());
    (runner, counted)
}

/// Kills the links of a create on this tree, whatever they go on as meanwhile.
fn kill_cg_apply(tree: &TempDir) {
    let ours = format!("CATENA_RESCTRL={}", tree.path().display());
    let is_ours = |process: &Path| {
        fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "cg-apply\n")
            && fs::read(process.join("environ"))
                .is_ok_and(|env| env.split(|b| *b == 0).any(|v| v == ours.as_bytes()))
    };
    for process in fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        if is_ours(&path)
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
        {
            assert_eq!(error, Errno::ESRCH);
        }
    }
}

#[test]
fn one_whose_link_or_runner_was_killed_before_it_told_of_it_does_not_stay() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let rdt = json!({"closID": "gold", "schemata": ["L3:0=f"], "enableMonitoring": true});
    let bundle = Bundle::sh("echo RAN").set("/linux/intelRdt", rdt);
    let (mut runner, counted) = stuck(&bundle, &tree);
    until("the runner ends", || {
        kill_cg_apply(&tree);
        runner.is_over()
    });
    runner.wait().refuses(1, "its chain ended without a word");
    assert!(!counted.exists());

    let (mut runner, counted) = stuck(&bundle, &tree);
    runner.kill();
    until("the group goes", || {
        kill_cg_apply(&tree);
        !counted.exists()
    });
    until("the draft goes", || fs::read_dir(bundle.state.path()).unwrap().count() == 0);
    assert!(tree.path().join("gold").exists(), "another's group stays");
    drop(bundle);
    leftovers.check();
}

#[test]
fn none_stays_of_a_runner_that_is_killed_at_any_moment_of_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let bundle = Bundle::sh("echo RAN").set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f"}));
    let delete = || bundle.runner(["delete", "--force", &bundle.id]).env("CATENA_RESCTRL", tree.path()).run();
    let time = |_| {
        let begun = Instant::now();
        create(&bundle, &tree).succeeds();
        let time = begun.elapsed();
        delete().succeeds();
        time
    };
    // The least of them, for one that was held up would make the kills late.
    let whole = (0..5).map(time).min().unwrap();
    let mut unmade = 0;
    for step in 0..40_u32 {
        let create = bundle.runner(["create", "--bundle", bundle.dir(), &bundle.id]);
        let mut runner = create.env("CATENA_RESCTRL", tree.path()).spawn();
        std::thread::sleep(whole * step / 40);
        runner.kill();
        let names = || -> Vec<_> {
            fs::read_dir(bundle.state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        until("it is whole or gone", || names().is_empty() || names() == [bundle.id.as_str()]);
        unmade += u32::from(names().is_empty());
        delete();
        until("the group goes", || is_empty(&tree));
    }
    assert!(unmade > 5, "the kills came too late to mean anything");
    drop(bundle);
    leftovers.check();
}

#[test]
fn what_somebody_of_its_name_left_goes_with_it_and_what_is_in_use_stays() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let bundle = Bundle::sh("exec sleep 60").set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f"}));
    let folder = tree.path().join(&bundle.id);
    let life = || {
        create(&bundle, &tree).succeeds();
        let delete = bundle.runner(["delete", "--force", &bundle.id]);
        delete.env("CATENA_RESCTRL", tree.path()).run().succeeds();
    };
    fs::create_dir(&folder).unwrap();
    life();
    assert!(!folder.exists());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("tasks"), std::process::id().to_string()).unwrap();
    life();
    assert!(folder.exists());
    drop(bundle);
    leftovers.check();
}

#[test]
fn what_it_may_have_and_what_it_uses_is_told_with_the_rest() {
    if !requires::controller("pids") {
        return;
    }
    let leftovers = Leftovers::watch();
    let tree = TempDir::new();
    let put = |path: &str, text: &str| {
        let path = tree.path().join(path);
        let above: Vec<_> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        above.iter().rev().for_each(|folder| fs::create_dir(folder).unwrap());
        fs::write(path, text).unwrap();
    };
    put("info/L3/cbm_mask", "fffff\n");
    put("info/L3/min_cbm_bits", "1\n");
    put("info/L3/num_closids", "16\n");
    put("schemata", "    MB:0=100\n    L3:0=fffff\n");
    let bundle = Bundle::sh("exec sleep 60")
        .set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}));
    create(&bundle, &tree).succeeds();
    let counted = format!("{0}/mon_groups/{0}/mon_data/mon_L3_00", bundle.id);
    put(&format!("{counted}/llc_occupancy"), "4096\n");
    put(&format!("{counted}/mbm_total_bytes"), "70000\n");
    put(&format!("{counted}/mbm_local_bytes"), "Unavailable\n");
    let told =
        bundle.runner(["events", "--stats", &bundle.id]).env("CATENA_RESCTRL", tree.path()).run().json();
    let expected = json!({
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff",
        "l3_cache_schema": "L3:0=f",
        "mbm_stats": [{"mbm_total_bytes": 70000}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    });
    assert_eq!(told["data"]["intel_rdt"], expected, "{told:#}");
    // In the kernel's own tree the counters go with their folder.
    fs::remove_dir_all(tree.path().join(&counted).parent().unwrap()).unwrap();
    drop(bundle);
    leftovers.check();
}
