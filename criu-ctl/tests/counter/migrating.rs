//! Migrations, and what must be so after them.

use super::{Counter, criu_ctl, processes_with, wait_for};
use catena_tests::{TempDir, Tool};
use std::path::{Path, PathBuf};

pub(crate) fn migrate(pid: i32, there: &Path, flags: &str) -> Tool {
    criu_ctl("migrate", there, &format!("-t {pid} {flags}"))
}

/// A counter whose number is free as soon as it has ended.
pub(crate) fn started(dir: &TempDir, script: &str) -> Counter {
    let mut counter = Counter::running(dir, script);
    counter.hand_over();
    counter
}

pub(crate) fn network_of(pid: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
}

/// The roots of the trees with this mark: a child looks like its parent until it has become its command.
pub(crate) fn roots(mark: &str) -> Vec<i32> {
    let all = processes_with(mark);
    let parent = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<i32>().ok())
    };
    all.iter().copied().filter(|pid| parent(pid).is_some_and(|parent| !all.contains(&parent))).collect()
}

/// The tree counts on, as one that was never started anew.
#[track_caller]
pub(crate) fn expect_it_counts(counter: &Counter) {
    let then = counter.last();
    wait_for("it counts on", || counter.last() > then + 3);
    counter.expect_every_number_once();
}

/// The source runs, and the destination is as it was before.
#[track_caller]
pub(crate) fn expect_nothing_happened(counter: &Counter, there: &Path) {
    expect_it_counts(counter);
    assert_eq!(roots(&counter.mark), [counter.pid], "it runs once, where it ran");
    assert!(!there.exists() || std::fs::read_dir(there).unwrap().next().is_none(), "something is left there");
}
