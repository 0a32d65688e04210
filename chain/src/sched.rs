//! A task's scheduler: set, read back, and why not. What survives a fork `cg-apply` sets, while it has the host's
//! privileges; the rest only the landing can.

use crate::error::{Cannot, Class, Error, Result};
use crate::proc;
use crate::sys::sched::{self, SchedAttr};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// The policies of linux/sched.h, by number.
pub const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];

/// The flags of linux/sched.h, by bit.
pub const FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

const FIFO: u32 = 1;
const RR: u32 = 2;
const DEADLINE: u32 = 6;
const RESET_ON_FORK: u64 = 1;
/// What sched_getattr(2) gives back of a deadline task.
const OF_DEADLINE: u64 = 0b111;
/// CAP_SYS_NICE of linux/capability.h.
const CAP_SYS_NICE: u64 = 1 << 23;
/// No kernel has more CPUs.
pub const CPUS: usize = 65_536;

/// All of it by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attr {
    /// SCHED_*
    pub policy: u32,
    /// SCHED_FLAG_*
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99.
    pub priority: u32,
    /// In nanoseconds.
    pub runtime: u64,
    /// The same.
    pub deadline: u64,
    /// The same.
    pub period: u64,
}

impl Attr {
    /// As the kernel has it for `pid`; 0: this process.
    pub fn of(pid: i32) -> std::result::Result<Attr, Errno> {
        let SchedAttr { policy, flags, nice, priority, runtime, deadline, period, .. } = sched::attr(pid)?;
        Ok(Attr { policy, flags, nice, priority, runtime, deadline, period })
    }

    /// A deadline task may not fork (EAGAIN), and what is reset at a fork is lost with the first.
    pub fn survives_a_fork(&self) -> bool {
        self.policy != DEADLINE && self.flags & RESET_ON_FORK == 0
    }

    /// Sets it for this process, and reads it back.
    pub fn set(&self) -> Result<()> {
        let Attr { policy, flags, nice, priority, runtime, deadline, period } = *self;
        let wanted =
            SchedAttr { policy, flags, nice, priority, runtime, deadline, period, ..SchedAttr::default() };
        let doing = format_args!("set the scheduler {}", self.name());
        sched::set_attr(&wanted)
            .cannot(doing, format_args!("sched_setattr({self})"))
            .map_err(|e| self.explain(e))?;
        let found = Attr::of(0).cannot("prove the scheduler", "sched_getattr")?;
        if self.agrees(&found) { Ok(()) } else { Err(Error::readback("the scheduler", self, found)) }
    }

    fn name(&self) -> &'static str {
        POLICIES.get(self.policy as usize).copied().unwrap_or("SCHED_?")
    }

    /// Each policy has its own members, and the kernel gives back no other.
    fn agrees(&self, found: &Attr) -> bool {
        let kept = self.flags & if self.policy == DEADLINE { OF_DEADLINE } else { RESET_ON_FORK };
        // SCHED_FLAG_KEEP_POLICY and KEEP_PARAMS leave what there is.
        let (keeps_policy, keeps_params) = (self.flags & 8 != 0, self.flags & 16 != 0);
        let period = if self.period == 0 { self.deadline } else { self.period };
        let own = match self.policy {
            FIFO | RR => self.priority == found.priority,
            DEADLINE => {
                (self.runtime, self.deadline, period) == (found.runtime, found.deadline, found.period)
            }
            0 | 3 => self.nice == found.nice,
            _ => true,
        };
        found.flags & kept == kept && (keeps_policy || self.policy == found.policy) && (keeps_params || own)
    }

    fn explain(&self, error: Error) -> Error {
        match error.errno() {
            Some(Errno::EPERM) => match self.why_not() {
                Some(why) => error.why(why),
                None => error,
            },
            Some(Errno::EBUSY) if self.policy == DEADLINE => {
                error.why("the run time that deadline tasks may have on these CPUs is used up")
            }
            Some(Errno::EINVAL) if self.policy == DEADLINE => error.why(
                "runtime, deadline and period are in nanoseconds, runtime from 1024, each not above the next, and the \
                 period not below 100 µs",
            ),
            Some(Errno::EINVAL) => error.why("this kernel has no such policy, or no such flag for it"),
            Some(Errno::EOPNOTSUPP) => error.why("this kernel has no utilization clamps"),
            _ => error,
        }
    }

    fn why_not(&self) -> Option<String> {
        let held = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        if held & CAP_SYS_NICE == 0 {
            return Some("CAP_SYS_NICE is missing".into());
        }
        if proc::in_user_namespace() {
            return Some(
                "CAP_SYS_NICE is the user namespace's own, and the kernel asks for the host's".into(),
            );
        }
        if self.policy == DEADLINE && bound().unwrap_or(false) {
            let why = "its CPU affinity leaves some out: a deadline process scheduler can't be used together with \
                       AllowedCPUs (resources.cpu.cpus)";
            return Some(why.into());
        }
        matches!(self.policy, FIFO | RR)
            .then(|| "its cgroup has no real-time run time: resources.cpu.realtimeRuntime".into())
    }
}

impl Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self.policy {
            FIFO | RR => write!(f, ", priority {}", self.priority)?,
            DEADLINE => write!(f, ", {}/{}/{} ns", self.runtime, self.deadline, self.period)?,
            0 | 3 => write!(f, ", nice {}", self.nice)?,
            _ => {}
        }
        let named = FLAGS.iter().enumerate().filter(|(bit, _)| self.flags & 1 << bit != 0);
        named.map(|(_, name)| name).try_for_each(|name| write!(f, ", {name}"))
    }
}

/// Whether this process may not run on every CPU that is there.
fn bound() -> Option<bool> {
    let online = proc::read("/sys/devices/system/cpu/online").ok()?;
    let online = members(String::from_utf8_lossy(&online).trim(), CPUS)?;
    let mut mask = vec![0; CPUS / 64];
    sched::affinity(0, &mut mask).ok()?;
    Some(online.into_iter().any(|cpu| mask[cpu / 64] & 1 << (cpu % 64) == 0))
}

/// The members of a list as `0-3,7`, each below `limit`. None of what is no such list.
pub fn members(list: &str, limit: usize) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= limit {
            return None;
        }
        found.extend(first..=last);
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

fn number(word: &str) -> Option<usize> {
    let word = word.trim();
    // What parse() takes besides: a sign.
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok())?
}

/// A list of CPUs as the mask of sched_setaffinity(2), or the reason why it is none.
pub fn cpu_mask(field: &str, list: &str) -> Result<Vec<u64>> {
    let cpus = members(list, CPUS).ok_or_else(|| {
        let detail = format!("{field}: '{}' is no list of CPUs, as 0-3,7", list.escape_debug());
        Error::new(Class::Usage, "set the CPU affinity", detail)
    })?;
    let mut mask = vec![0; CPUS / 64];
    cpus.into_iter().for_each(|cpu| mask[cpu / 64] |= 1 << (cpu % 64));
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_or_none() {
        assert_eq!(members("0-2,7, 1", 8), Some(vec![0, 1, 2, 7]));
        for bad in ["", "a", "1-", "-1", "3-1", "0,,1", "8", "+1", "0-9876543210", "0-99999999999999999999"] {
            assert_eq!(members(bad, 8), None, "{bad}");
        }
        assert_eq!(cpu_mask("f", "0,65").unwrap()[..2], [1, 2]);
        assert!(cpu_mask("f", "65536").is_err());
    }

    #[test]
    fn another_value_is_noticed_and_what_the_policy_does_not_have_is_not() {
        let fifo = Attr { policy: FIFO, priority: 5, ..Attr::default() };
        assert!(fifo.agrees(&Attr { nice: 7, ..fifo }));
        assert!(!fifo.agrees(&Attr { priority: 6, ..fifo }));
        assert!(!fifo.agrees(&Attr { policy: RR, ..fifo }));
        let reset = Attr { flags: RESET_ON_FORK, ..fifo };
        assert!(!reset.agrees(&fifo));
        let deadline = Attr { policy: DEADLINE, runtime: 1, deadline: 2, ..Attr::default() };
        assert!(deadline.agrees(&Attr { period: 2, ..deadline }));
        assert!(!deadline.agrees(&Attr { period: 3, ..deadline }));
        assert!(!deadline.survives_a_fork() && !reset.survives_a_fork() && fifo.survives_a_fork());
    }
}
