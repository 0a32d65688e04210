//! What is said of a command that has ended: that it was killed for want of memory, and the report. Looked up while its
//! cgroup is there, and only where it can be so.

use crate::{cgroup, log};
use chain::bytes::Bytes;
use chain::cgroup::{Ended, Group, Memory, Report};
use chain::oci::Config;
use chain::supervise::has_ended;
use chain::{Class, Error, Result};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// How many were killed so far in a container that has a limit of its own: those were not the command that comes now.
pub(crate) fn before(config: &Config, group: &Group) -> Result<u64> {
    let memory = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()?.memory.as_ref()?.limit);
    memory.map_or(Ok(0), |_| group.memory().map(|memory| memory.oom_kills))
}

/// Of a command with this status, in the container with these cgroups.
pub(crate) fn tell(status: u8, cgroups: &[Bytes], before: u64, doing: &str) -> Result<()> {
    if status != KILLED {
        return Ok(());
    }
    let memory = Group::at(cgroups)?.memory()?;
    let memory = Memory { oom_kills: memory.oom_kills.saturating_sub(before), ..memory };
    if let Some(why) = memory.killed() {
        log::tell(&Error::new(Class::Denied, doing, why));
    }
    Ok(())
}

/// As [`tell`], and reports.
pub(crate) fn report(
    to: &Report,
    since: Instant,
    status: u8,
    signal: Option<i32>,
    cgroups: &[Bytes],
    doing: &str,
) -> Result<()> {
    let group = Group::at(cgroups)?;
    let ended = Ended::read(Some(&group), since, status, signal)?;
    if let Some(why) = &ended.why {
        log::tell(&Error::new(Class::Denied, doing, why));
    }
    to.write(&ended)
}

/// Of a container that was started, and has ended by now perhaps.
pub(crate) fn at_once(process: BorrowedFd<'_>, cgroups: &[Bytes], doing: &str) -> Result<()> {
    if has_ended(process)? { tell(KILLED, cgroups, 0, doing) } else { Ok(()) }
}

/// What a chain died of that did not live to say it, in the group at this path.
pub(crate) fn of_chain(error: Error, path: &Bytes) -> Error {
    if error.detail.as_deref() != Some(crate::meeting::SILENT) {
        return error;
    }
    let memory = cgroup::expected(path).and_then(|folders| Group::at(&folders)?.memory());
    match memory.ok().and_then(|memory| memory.killed()) {
        Some(why) => Error::new(Class::Denied, error.doing, why),
        None => error,
    }
}
