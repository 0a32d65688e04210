//! What a test must not leave behind: a cgroup, a mount, a process.

use crate::requires::cgroup_mounts;
use crate::running::wait_until;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Every process of a test has it in its environment.
pub(crate) const MARK: &str = "CATENA_TEST";

/// This test's value of [`MARK`]: tests are threads of one process.
pub(crate) fn mark() -> OsString {
    format!("{}.{:?}", std::process::id(), std::thread::current().id()).into()
}

/// What was there before.
#[derive(Debug)]
pub struct Leftovers {
    cgroups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
}

impl Leftovers {
    /// Looks at what is there now.
    pub fn watch() -> Leftovers {
        Leftovers { cgroups: cgroups(), mounts: mounts() }
    }

    /// Nothing new remained. Tests beside this one make and remove things too, so it waits a little for all to go.
    #[track_caller]
    pub fn check(&self) {
        let found = self.after(Duration::from_secs(10));
        assert!(found.is_empty(), "left behind:\n{found}");
    }

    /// What is new, line by line, when all of it is gone or this time is over.
    pub fn after(&self, patience: Duration) -> String {
        let mut found = String::new();
        wait_until(Instant::now() + patience, || {
            found = self.found();
            found.is_empty()
        });
        found
    }

    fn found(&self) -> String {
        let cgroups = cgroups();
        let mounts = mounts();
        let cgroups = cgroups
            .difference(&self.cgroups)
            .filter(|p| !of_another_test(p))
            .map(|p| format!("cgroup {}", p.display()));
        let mounts = mounts.difference(&self.mounts).map(|m| format!("mount {m}"));
        let processes = processes().into_iter().map(|p| format!("process {p}"));
        cgroups.chain(mounts).chain(processes).collect::<Vec<_>>().join("\n")
    }
}

fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<PathBuf> = cgroup_mounts().into_iter().map(|m| m.point.into()).collect();
    while let Some(dir) = todo.pop() {
        let entries = std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok);
        todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        found.insert(dir);
    }
    found
}

fn mounts() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The options of the one cgroup2 are the system's: for a moment, another test's criu has them changed.
    text.lines().map(|line| line.split_once(" - cgroup2 ").map_or(line, |(mount, _)| mount).into()).collect()
}

/// Processes of this test that are still there, by pid and command line.
pub fn processes() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = entries.filter(|e| e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let line = |dir: PathBuf| {
        let words = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        format!("{}: {}", dir.display(), String::from_utf8_lossy(&words).replace('\0', " "))
    };
    numbers.map(|e| e.path()).filter(|p| is_ours(p)).map(line).collect()
}

/// Is the process behind this folder of /proc one of this test?
fn is_ours(dir: &Path) -> bool {
    let wanted = [MARK.as_bytes(), b"=", mark().as_encoded_bytes()].concat();
    let env = std::fs::read(dir.join("environ")).unwrap_or_default();
    env.split(|b| *b == 0).any(|entry| entry == wanted)
}

/// A cgroup in which somebody lives who is not of this test.
fn of_another_test(cgroup: &Path) -> bool {
    let pids = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    !pids.is_empty() && pids.lines().all(|pid| !is_ours(&Path::new("/proc").join(pid)))
}
