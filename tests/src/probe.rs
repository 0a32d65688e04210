//! What the payload tells of the process it runs in. Whatever cannot be read there (no /proc, a filter) is absent.

use crate::mountinfo::Mount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The process as it found itself. The plain fields come from system calls, the optional ones from /proc.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// Its pid in its own pid namespace.
    pub pid: i32,
    /// Its parent's; 0 when that lives outside the pid namespace.
    pub ppid: i32,
    /// Session.
    pub session: i32,
    /// Process group.
    pub pgid: i32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// All user ids.
    pub uids: Ids,
    /// All group ids.
    pub gids: Ids,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Capability sets.
    pub caps: Caps,
    /// Secure bits.
    pub securebits: u32,
    /// no_new_privs.
    pub no_new_privs: bool,
    /// `Seccomp:` of /proc/self/status: 0 none, 2 filter.
    pub seccomp: Option<u32>,
    /// `Seccomp_filters:`.
    pub seccomp_filters: Option<u32>,
    /// Inodes of /proc/self/ns by name there.
    pub ns: BTreeMap<String, u64>,
    /// /proc/self/mountinfo.
    pub mounts: Option<Vec<Mount>>,
    /// Open fds by number.
    pub fds: BTreeMap<i32, Fd>,
    /// Which of 0, 1, 2 were closed when the program started (its runtime opens /dev/null there).
    pub closed_std: Vec<i32>,
    /// Resource limits by name: `nofile`.
    pub rlimits: BTreeMap<String, Limit>,
    /// Lines of /proc/self/cgroup.
    pub cgroup: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// uname -m.
    pub machine: String,
    /// Working directory, with the kernel's `(unreachable)` in front when it is outside the root.
    pub cwd: Option<String>,
    /// Names in the root folder.
    pub root: Option<Vec<String>>,
    /// /dev by name.
    pub dev: Option<BTreeMap<String, Dev>>,
    /// Signals.
    pub signals: Signals,
    /// Terminals.
    pub tty: Terminal,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Arguments, its own name first.
    pub args: Vec<String>,
    /// /proc/self/exe.
    pub exe: Option<String>,
    /// /proc/self/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// personality(2).
    pub personality: Option<u32>,
    /// Network interfaces.
    pub interfaces: Option<BTreeMap<String, Interface>>,
    /// /proc/self/timens_offsets: seconds by clock.
    pub time_offsets: Option<BTreeMap<String, i64>>,
    /// CLOCK_MONOTONIC in seconds.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME in seconds.
    pub boottime: i64,
    /// Nice value.
    pub nice: Option<i32>,
    /// sched_getscheduler(2).
    pub scheduler: Option<i32>,
    /// ioprio_get(2): class in the upper bits from 13.
    pub ioprio: Option<i32>,
    /// CPUs it may run on.
    pub cpus: Vec<usize>,
    /// Serial of the session keyring.
    pub session_keyring: Option<i64>,
    /// /proc/self/attr/current.
    pub label: Option<String>,
    /// PR_GET_DUMPABLE.
    pub dumpable: Option<i32>,
    /// PR_GET_PDEATHSIG.
    pub pdeathsig: Option<i32>,
    /// PR_GET_CHILD_SUBREAPER.
    pub subreaper: Option<bool>,
    /// /proc/self/status, field by field.
    pub status: Status,
    /// /proc/self/uid_map, line by line.
    pub uid_map: Option<Vec<String>>,
    /// /proc/self/gid_map, line by line.
    pub gid_map: Option<Vec<String>>,
    /// /proc/self/setgroups.
    pub setgroups: Option<String>,
    /// How many processes /proc shows.
    pub processes: Option<usize>,
}

/// Fields of /proc/self/status.
pub type Status = BTreeMap<String, String>;

/// Three ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
}

/// Five capability sets, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Bounding.
    pub bounding: u64,
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Ambient.
    pub ambient: u64,
}

/// An open fd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd {
    /// What /proc/self/fd/N reads; absent without /proc.
    pub target: Option<String>,
    /// Device and inode.
    pub file: (u64, u64),
    /// O_* flags.
    pub flags: i32,
}

/// A resource limit; None is infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Soft.
    pub soft: Option<u64>,
    /// Hard.
    pub hard: Option<u64>,
}

/// An entry of /dev.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dev {
    /// char, block, dir, link, file, other.
    pub kind: String,
    /// Permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a link, where it points.
    pub target: Option<String>,
}

/// Signals by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Blocked.
    pub blocked: Vec<i32>,
    /// Ignored.
    pub ignored: Vec<i32>,
}

/// Terminals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Can /dev/tty be opened: is there a controlling terminal?
    pub controlling: bool,
    /// Which of 0, 1, 2 are terminals.
    pub std: [bool; 3],
    /// Is our process group the terminal's foreground?
    pub foreground: bool,
}

/// A network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// IFF_UP.
    pub up: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// Has it an IPv4 address?
    pub address: bool,
}
