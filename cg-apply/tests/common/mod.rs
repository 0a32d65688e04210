//! A cgroup of one test: looked at by path, from outside of the tool, and removed when the test ends, however it ends.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use catena_tests::{Mount, TempDir, requires};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Version of a controller here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Where a controller is; None, and the test is skipped aloud, where it is not.
pub(crate) fn controller(name: &str) -> Option<Version> {
    if !requires::root() {
        return None;
    }
    if requires::cgroup_mount(name).is_some() {
        return Some(Version::V1);
    }
    requires::cgroup_v2_controller(name).then_some(Version::V2)
}

/// The hierarchies that a group has a directory in: all with a controller, `name=systemd`, and v2.
pub(crate) fn hierarchies() -> Vec<Mount> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let counts = |m: &Mount| {
        let other =
            m.options.iter().chain(&m.super_options).any(|o| o.starts_with("name=") && o != "name=systemd");
        m.fstype == "cgroup2" || m.fstype == "cgroup" && !other
    };
    Mount::parse_all(&text).into_iter().filter(counts).collect()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Group(String);

impl Group {
    /// A name that nobody has.
    pub(crate) fn new() -> Group {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Group(format!("/cg-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed)))
    }

    /// The absolute cgroupsPath.
    pub(crate) fn path(&self) -> &str {
        &self.0
    }

    /// A path below it.
    pub(crate) fn below(&self, rest: &str) -> String {
        format!("{}/{rest}", self.0)
    }

    /// Every directory that it could have.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        hierarchies().iter().map(|m| Path::new(&m.point).join(&self.0[1..])).collect()
    }

    /// Those that exist.
    pub(crate) fn present(&self) -> Vec<PathBuf> {
        self.dirs().into_iter().filter(|d| d.exists()).collect()
    }

    /// It is there, in every hierarchy.
    #[track_caller]
    pub(crate) fn expect_there(&self) {
        assert_eq!(self.present(), self.dirs(), "the group's directories");
    }

    /// It is nowhere.
    #[track_caller]
    pub(crate) fn expect_gone(&self) {
        assert!(self.present().is_empty(), "left behind: {:?}", self.present());
    }

    /// Its directory for this controller; of v2 where no v1 hierarchy has it.
    pub(crate) fn dir(&self, controller: &str) -> PathBuf {
        let mount = requires::cgroup_mount(controller).or_else(|| requires::cgroup_mount("unified"));
        mount.expect("some hierarchy is mounted").join(&self.0[1..])
    }

    /// One of its files, without the last newline.
    #[track_caller]
    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        let path = self.dir(controller).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_string()
    }

    /// Writes one of its files.
    #[track_caller]
    pub(crate) fn write(&self, controller: &str, file: &str, value: &str) {
        let path = self.dir(controller).join(file);
        std::fs::write(&path, value).unwrap_or_else(|e| panic!("{} = {value}: {e}", path.display()));
    }

    /// Every process in it or below, in any hierarchy.
    pub(crate) fn procs(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.present().iter().flat_map(|d| procs(d)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills what is in it and removes it, with what is below.
    pub(crate) fn remove(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.present().is_empty() && Instant::now() < end {
            for dir in self.present() {
                for (file, value) in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")] {
                    if dir.join(file).exists() {
                        std::fs::write(dir.join(file), value).unwrap_or(());
                    }
                }
            }
            for pid in self.procs() {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or(());
            }
            self.present().iter().for_each(|d| remove_tree(d));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn procs(dir: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|l| l.parse().ok());
    own.chain(children(dir).iter().flat_map(|d| procs(d))).collect()
}

fn remove_tree(dir: &Path) {
    children(dir).iter().for_each(|d| remove_tree(d));
    std::fs::remove_dir(dir).unwrap_or(());
}

/// A config.json with this `linux` section.
pub(crate) fn config(dir: &TempDir, linux: &str, process: &str) -> PathBuf {
    dir.file(
        "config.json",
        format!(r#"{{"ociVersion":"1.0.2","process":{{{process}}},"linux":{{{linux}}}}}"#),
    )
}

/// A plan with one layer of cg-apply, for `runner --plan`.
pub(crate) fn plan(dir: &TempDir, spec: &str) -> PathBuf {
    dir.file(
        "plan.json",
        format!(r#"{{"catena":1,"layers":[{{"tool":"cg-apply","spec":{spec}}}],"complete":true}}"#),
    )
}

/// Is this process still there (and no zombie)?
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
