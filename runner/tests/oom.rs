//! A container that was killed for want of memory is said to have been, wherever somebody looks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires};
use common::Bundle;
use serde_json::{Value, json};

const LIMIT: u64 = 16 << 20;

fn limited(args: [&str; 3]) -> Bundle {
    Bundle::of(args).set("/linux/resources/memory", json!({"limit": LIMIT, "swap": LIMIT}))
}

/// Kernels before 5.19 do not know the peak of v2.
#[track_caller]
fn says(stderr: &str) {
    let known = ["(peak 16 MiB, 1 oom kill)", "(1 oom kill)"];
    let said = |end: &&str| stderr.contains(&format!("killed by its memory limit of 16 MiB {end}"));
    assert!(known.iter().any(said), "{stderr}");
}

#[test]
fn a_run_says_it_and_reports_it() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = limited(["/probe", "eat-memory", "64M"]);
    let file = format!("{}/report", bundle.dir());
    let out = bundle.runner(["run", "--report", &file, "--bundle", bundle.dir(), &bundle.id]).run();
    out.fails(137, &format!("runner: cannot run {} to its end: ", bundle.id));
    says(&out.stderr);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["exit"], json!({"signal": "SIGKILL"}));
    assert_eq!((&report["memory"]["oomKills"], &report["exceeded"]), (&json!(1), &json!("memory")));
    says(report["error"].as_str().unwrap());
    let log = format!("{}/log", bundle.dir());
    let out = bundle.runner(["--log", &log, "run", "--bundle", bundle.dir(), &bundle.id]).run();
    assert_eq!(out.status, 137);
    says(&std::fs::read_to_string(&log).unwrap());
    drop(bundle);
    leftovers.check();
}

#[test]
fn one_that_was_killed_otherwise_is_not_said_to_want_memory() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = limited(["/bin/sh", "-c", "exit 137"]);
    let file = format!("{}/report", bundle.dir());
    bundle.runner(["run", "--report", &file, "--bundle", bundle.dir(), &bundle.id]).run().exits(137);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&report["exit"], &report["error"]), (&json!({"code": 137}), &Value::Null));
    // What nobody waits for nobody reports, and a file that cannot be made is known before the container is.
    let detached = ["run", "--detach", "--report", &file, "--bundle", bundle.dir(), &bundle.id];
    bundle.runner(detached).run().refuses(1, "--report");
    let nowhere = ["run", "--report", "/proc/catena-none/x", "--bundle", bundle.dir(), &bundle.id];
    bundle.runner(nowhere).run().refuses(1, "cannot write the report");
    drop(bundle);
    leftovers.check();
}

#[test]
fn so_does_an_exec() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = limited(["/bin/sh", "-c", "exec sleep 60"]);
    bundle.create().succeeds();
    bundle.start().succeeds();
    let out = bundle.runner(["exec", &bundle.id, "/probe", "eat-memory", "64M"]).run();
    says(&out.fails(137, "runner: cannot run the command to its end: ").stderr);
    assert_eq!(bundle.status(), "running");
    // The next one is killed for another reason.
    bundle.runner(["exec", &bundle.id, "/bin/sh", "-c", "kill -KILL $$"]).run().exits(137);
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_limit_that_no_container_fits_in_is_the_reason() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo ran").set("/linux/resources/memory", json!({"limit": 65536}));
    let out = bundle.create();
    out.refuses(1, "memory");
    assert!(out.stderr.contains("killed by its memory limit of 64 KiB"), "{out:?}");
    drop(bundle);
    leftovers.check();
}

/// The links run in the container's group, but it is not charged for their programs.
#[test]
fn a_small_program_has_enough_in_one_mebibyte() {
    if !requires::controller("memory") {
        return;
    }
    let leftovers = Leftovers::watch();
    let limits = json!({"limit": 1 << 20, "swap": 1 << 20});
    let bundle = Bundle::of(["/bin/true"]).set("/linux/resources/memory", limits);
    // In user-mode Linux a program takes longer.
    let times = if requires::cgroup_mount("memory").is_some() { 20 } else { 6 };
    for _ in 0..times {
        bundle.run().succeeds();
    }
    drop(bundle);
    leftovers.check();
}
