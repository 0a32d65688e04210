//! A runner killed at any moment of create leaves no cgroup, mount, process or state, and the command never runs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, until};
use common::Bundle;
use std::ffi::OsString;
use std::time::{Duration, Instant};

fn left(bundle: &Bundle) -> Vec<OsString> {
    std::fs::read_dir(bundle.state.path()).unwrap().map(|e| e.unwrap().file_name()).collect()
}

#[test]
fn killed_at_any_moment_of_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo RAN >/dev/console; echo RAN");
    let time = |_| {
        let begun = Instant::now();
        bundle.create().succeeds();
        let time = begun.elapsed();
        bundle.delete().succeeds();
        time
    };
    // The least of them, for one that was held up would make the kills late.
    let whole = (0..5).map(time).min().unwrap();
    let (mut unmade, mut made) = (0, 0);
    for step in 0..60_u32 {
        let mut runner = bundle.runner(["create", "--bundle", bundle.dir(), &bundle.id]).spawn();
        std::thread::sleep(whole * step / 50);
        runner.kill();
        drop(runner);
        // Either there is a whole container, or in a moment there is nothing.
        let mut names = Vec::new();
        until(&format!("it is whole or gone, killed after {step}/50"), || {
            names = left(&bundle);
            names.is_empty() || names == [bundle.id.as_str()]
        });
        if names.is_empty() {
            unmade += 1;
        } else {
            assert_eq!(bundle.status(), "created", "killed after {step}/50");
            bundle.delete().succeeds();
            made += 1;
        }
    }
    eprintln!("{unmade} unmade, {made} whole");
    assert!(unmade > 5, "the kills came too late to mean anything");
    drop(bundle);
    leftovers.check();
}

#[test]
fn killed_at_any_moment_of_run() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("sleep 60");
    for step in 0..40_u64 {
        let mut runner = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
        std::thread::sleep(Duration::from_micros(step * 500));
        runner.kill();
        drop(runner);
        std::thread::sleep(Duration::from_millis(30));
        // A container that runs outlives its runner, as with runc; it can be deleted.
        bundle.delete().succeeds();
    }
    until("nothing is left", || left(&bundle).is_empty());
    drop(bundle);
    leftovers.check();
}
