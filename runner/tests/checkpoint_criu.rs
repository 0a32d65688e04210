//! Containers that are taken off the machine and brought back with a real criu: in the lane `tests/lanes/in-trixie`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, requires, shell};
use common::Bundle;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Whether this is the lane with a criu that works; says so where it is not.
fn in_lane() -> bool {
    let there = std::env::var_os("CATENA_LANE").is_some_and(|lane| lane == "trixie");
    there || requires::skip("needs the lane of criu: tests/lanes/in-trixie")
}

/// It writes one number a line into /count, and never the same twice.
const COUNTS: &str = "while :; do i=$((i+1)); echo $i >>/count; sleep 0.02; done";

fn counter() -> Bundle {
    counting(COUNTS)
}

fn counting(line: &str) -> Bundle {
    Bundle::sh(line).set("/root/readonly", json!(false))
}

/// The numbers so far.
fn numbers(bundle: &Bundle) -> Vec<usize> {
    let text = std::fs::read_to_string(bundle.rootfs.path().join("count")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

/// It counts on from where it is, and nobody counts beside it.
#[track_caller]
fn counts_on(bundle: &Bundle) {
    let then = numbers(bundle).len();
    wait_for("it counts on", || numbers(bundle).len() > then + 3);
    let numbers = numbers(bundle);
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn images(bundle: &Bundle) -> PathBuf {
    bundle.rootfs.parent().join("img")
}

fn checkpoint<const N: usize>(bundle: &Bundle, flags: [&str; N]) -> Output {
    bundle.runner(["checkpoint", "--image-path"]).arg(images(bundle)).args(flags).arg(&bundle.id).run()
}

/// Detached; its output would keep our pipes open for as long as the container lives.
fn restore(bundle: &Bundle, flags: &str) -> Output {
    let (root, dir, img) = (bundle.state.path().display(), bundle.dir(), images(bundle));
    let line = format!(
        "runner --root {root} restore -d --bundle {dir} --image-path {} {flags} {} >{dir}/out2 2>{dir}/err </dev/null; \
         s=$?; cat {dir}/err >&2; exit $s",
        img.display(),
        bundle.id
    );
    shell(&line).run()
}

#[test]
fn a_container_goes_on_where_it_was() {
    if !in_lane() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = counter().up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    // Another id and another cgroup.
    bundle.id += "b";
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.exec([], ["/bin/cat", "/proc/1/comm"]).run().succeeds().stdout.trim(), "sh");
    let groups = bundle.exec([], ["/bin/cat", "/proc/1/cgroup"]).run().stdout;
    assert!(groups.lines().all(|line| line.ends_with(&bundle.id)), "{groups}");
    // And once more.
    checkpoint(&bundle, ["--leave-running"]).succeeds();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    drop(bundle);
    leftovers.check();
}

#[test]
fn restored_in_the_foreground_its_status_comes_back() {
    if !in_lane() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle =
        counting("until [ -e /go ]; do i=$((i+1)); echo $i >>/count; sleep 0.02; done; exit 41").up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    let line = format!(
        "runner --root {} restore --bundle {dir} --image-path {} {} >{dir}/out2 2>&1",
        bundle.state.path().display(),
        images(&bundle).display(),
        bundle.id,
        dir = bundle.dir()
    );
    let running = shell(&line).spawn();
    counts_on(&bundle);
    std::fs::write(bundle.rootfs.path().join("go"), "").unwrap();
    running.wait().exits(41);
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    drop(bundle);
    leftovers.check();
}
