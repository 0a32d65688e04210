//! What the tests of ns-enter share: the kinds, a process whose namespaces can be joined, an ordinary user.
#![allow(dead_code, reason = "each test binary uses its part")]

use catena_tests::{Probe, Running, Tool, requires, shell};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Letter of ns-enter, name in config.json, name in /proc/PID/ns; only what this kernel has.
pub(crate) fn kinds() -> Vec<(&'static str, &'static str, &'static str)> {
    let all = [
        ("-m", "mount", "mnt"),
        ("-u", "uts", "uts"),
        ("-i", "ipc", "ipc"),
        ("-n", "network", "net"),
        ("-p", "pid", "pid"),
        ("-U", "user", "user"),
        ("-C", "cgroup", "cgroup"),
        ("-T", "time", "time"),
    ];
    all.into_iter().filter(|(_, _, name)| Path::new("/proc/self/ns").join(name).exists()).collect()
}

/// Exactly the namespaces `new` (names in /proc) are not those of this test; nothing waits for the children either.
#[track_caller]
pub(crate) fn expect_exactly_new(seen: &Probe, new: &[&str]) {
    for (_, _, name) in kinds() {
        if new.contains(&name) {
            seen.expect_ns_differs(&[name]);
        } else {
            seen.expect_ns_same(&[name]);
        }
    }
    for kind in ["pid", "time"] {
        assert_eq!(seen.ns.get(&format!("{kind}_for_children")), seen.ns.get(kind), "{kind}_for_children");
    }
}

/// Inode of a namespace of `pid` (a number, `self`).
#[track_caller]
pub(crate) fn inode(pid: impl std::fmt::Display, name: &str) -> u64 {
    let path = format!("/proc/{pid}/ns/{name}");
    std::fs::metadata(&path).unwrap_or_else(|e| panic!("{path}: {e}")).ino()
}

/// A process that lives in namespaces of its own, and sleeps.
pub(crate) struct Target {
    running: Running,
    /// Its pid out here.
    pub(crate) pid: i32,
}

impl Target {
    /// Made by unshare(1) with these flags, so that nothing of ours is taken for granted.
    pub(crate) fn new(flags: &str) -> Target {
        Target::by(shell(&format!("exec unshare {flags} --fork --kill-child -- \"$PROBE\" sleep")))
    }

    /// All kinds but user.
    pub(crate) fn full() -> Target {
        let time = if Path::new("/proc/self/ns/time").exists() { "-T" } else { "" };
        Target::new(&format!("-muinpC {time}"))
    }

    /// The child of what `tool` starts; it says `ready`.
    #[track_caller]
    pub(crate) fn by(tool: Tool) -> Target {
        let mut running = tool.timeout(std::time::Duration::from_secs(60)).spawn();
        assert_eq!(running.line(), "ready");
        let pid = child_of(running.pid()).expect("it has a child");
        Target { running, pid }
    }

    /// Ends it, and waits until nobody can be joined any more.
    pub(crate) fn end(&mut self) {
        self.running.kill();
        let path = format!("/proc/{}", self.pid);
        while Path::new(&path).exists() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// `/proc/PID/ns/NAME`.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid)
    }

    /// `seen` is exactly in these of its namespaces, and in our own otherwise.
    #[track_caller]
    pub(crate) fn expect_joined(&self, seen: &Probe, names: &[&str]) {
        for (_, _, name) in kinds() {
            let wanted = if names.contains(&name) { inode(self.pid, name) } else { inode("self", name) };
            assert_eq!(seen.ns.get(name), Some(&wanted), "{name}, joined should be {names:?}");
        }
    }
}

/// The first child of `pid`.
pub(crate) fn child_of(pid: i32) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|child| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(pid)
    })
}

/// Uid and gid of the ordinary user that root becomes here.
pub(crate) const ID: u32 = 54_321;

/// `line` as an ordinary user, and as a shell reads it: that one for root, else the caller.
pub(crate) fn as_user(line: &str) -> Tool {
    if nix::unistd::geteuid().is_root() {
        let user = format!("setpriv --reuid {ID} --regid {ID} --clear-groups --inh-caps=-all");
        return shell(&format!("exec {user} bash -c \"$LINE\"")).env("LINE", line).cwd("/");
    }
    shell(line)
}

/// Can an ordinary user make a user namespace here?
pub(crate) fn user_namespaces() -> bool {
    as_user("unshare -Ur true").run().status == 0
        || requires::skip("needs user namespaces for ordinary users")
}
