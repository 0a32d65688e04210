//! A runner killed at any moment of create leaves no cgroup, mount, process or state, and the command never runs.

mod common;

use catena_tests::{Leftovers, requires};
use common::Bundle;
use std::time::{Duration, Instant};

#[test]
fn killed_at_any_moment_of_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo RAN >/dev/console; echo RAN");
    let whole = Instant::now();
    bundle.create().succeeds();
    let whole = whole.elapsed();
    bundle.delete().succeeds();
    let (mut unmade, mut made) = (0, 0);
    for step in 0..60_u32 {
        let mut runner = bundle.runner(["create", "--bundle", bundle.dir(), &bundle.id]).spawn();
        std::thread::sleep(whole * step / 50);
        runner.kill();
        drop(runner);
        // Either there is a whole container, or in a moment there is nothing.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let names: Vec<_> =
                std::fs::read_dir(bundle.state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            if names.is_empty() {
                unmade += 1;
                break;
            }
            if names == [bundle.id.as_str()] {
                assert_eq!(bundle.status(), "created", "killed after {step}/50");
                bundle.delete().succeeds();
                made += 1;
                break;
            }
            assert!(Instant::now() < deadline, "killed after {step}/50: {names:?}");
            std::thread::sleep(Duration::from_millis(5));
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
    let deadline = Instant::now() + Duration::from_secs(5);
    let left = || {
        std::fs::read_dir(bundle.state.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>()
    };
    while !left().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(bundle);
    leftovers.check();
}
