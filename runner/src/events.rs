//! events: what a container uses, at intervals, and that its memory was out, at once; one JSON line each, in runc's
//! shape. Ends with the container.

use crate::container::{Container, StateRoot, Status};
use crate::stats;
use chain::bytes::Bytes;
use chain::cgroup::{Dir, Group, Version, read_whole};
use chain::sys::fd::eventfd;
use chain::{Cannot, Class, Error, Result, report};
use clap::Args as Options;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Options of events.
#[derive(Options, Debug)]
pub(crate) struct Events {
    /// The container
    id: String,
    /// Time between two lines, as 5s, 500ms, 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// One line, now
    #[arg(long)]
    stats: bool,
}

/// `runner events`.
pub(crate) fn events(root: &StateRoot, options: &Events) -> Result<u8> {
    let id = &options.id;
    let container = root.container(id)?;
    let doing = format!("tell what {id} uses");
    let pidfd = match container.status()? {
        Status::Stopped => None,
        _ => container.pidfd()?,
    };
    let Some(pidfd) = pidfd else { return Err(Error::new(Class::Conflict, doing, "container not running")) };
    let cgroups = &container.record.cgroups;
    if cgroups.is_empty() {
        return Err(crate::cgroup::none(doing));
    }
    if options.stats {
        return tell_stats(id, cgroups).map(|()| 0);
    }
    watch(&container, pidfd.as_fd(), options.interval).map(|()| 0)
}

fn tell_stats(id: &str, cgroups: &[Bytes]) -> Result<()> {
    tell("stats", id, Some(stats::of(&Group::at(cgroups)?)?))
}

/// Members in runc's order, which shell scripts look for. An id needs no escapes.
fn tell(kind: &str, id: &str, data: Option<Value>) -> Result<()> {
    let data = data.map_or_else(String::new, |data| format!(",\"data\":{data}"));
    report::stdout(format!("{{\"type\":\"{kind}\",\"id\":\"{id}\"{data}}}\n").as_bytes())
}

/// Of a container that memory was out in: what was killed, in words and numbers. The group may be gone by now.
fn tell_end(id: &str, cgroups: &[Bytes]) -> Result<()> {
    let memory = Group::at(cgroups)?.memory()?;
    let Some(why) = memory.killed() else { return Ok(()) };
    let data =
        json!({"message": why, "limit": memory.limit, "peak": memory.peak, "oomKills": memory.oom_kills});
    tell("oom-kill", id, Some(data))
}

fn watch(container: &Container, pidfd: BorrowedFd<'_>, interval: Duration) -> Result<()> {
    let (id, cgroups) = (&container.record.id, &container.record.cgroups);
    let mut memory = Memory::watch(cgroups)?;
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(pidfd, memory.as_ref(), next)?;
        for _ in 0..memory.as_mut().map_or(Ok(0), Memory::out)? {
            tell("oom", id, None)?;
        }
        if ended {
            return tell_end(id, cgroups);
        }
        if Instant::now() >= next {
            tell_stats(id, cgroups)?;
            next += interval;
        }
    }
}

/// Until something happens or it is time; says whether the first process has ended.
fn wait(pidfd: BorrowedFd<'_>, memory: Option<&Memory>, until: Instant) -> Result<bool> {
    let mut fds = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
    if let Some(memory) = memory {
        fds.push(PollFd::new(memory.fd(), memory.wakes_by()));
    }
    // Rounded up, or the last millisecond would be spent turning round.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Err(Errno::EINTR) => Ok(false),
        other => {
            other.cannot("wait for events", "poll")?;
            Ok(fds[0].revents().is_some_and(|events| !events.is_empty()))
        }
    }
}

/// Who tells that memory was out.
enum Memory {
    /// A counter that v1 adds to.
    V1(OwnedFd),
    /// `memory.events`, and how many were killed when we looked last.
    V2(OwnedFd, u64),
}

impl Memory {
    /// None where no hierarchy counts memory.
    fn watch(cgroups: &[Bytes]) -> Result<Option<Memory>> {
        for dir in &Group::at(cgroups)?.dirs {
            match dir.version {
                Version::V1 if dir.read("memory.oom_control")?.is_some() => {
                    return Memory::watch_v1(dir).map(Some);
                }
                Version::V2 if dir.read("memory.events")?.is_some() => {
                    let events = dir.open_file("memory.events")?;
                    let killed = killed(events.as_fd())?;
                    return Ok(Some(Memory::V2(events, killed)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn watch_v1(dir: &Dir) -> Result<Memory> {
        let counter = eventfd().cannot("watch the memory", "eventfd")?;
        let control = dir.open_file("memory.oom_control")?;
        dir.write("cgroup.event_control", &format!("{} {}", counter.as_raw_fd(), control.as_raw_fd()))?;
        Ok(Memory::V1(counter))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Memory::V1(fd) | Memory::V2(fd, _) => fd.as_fd(),
        }
    }

    fn wakes_by(&self) -> PollFlags {
        match self {
            Memory::V1(_) => PollFlags::POLLIN,
            Memory::V2(..) => PollFlags::POLLPRI,
        }
    }

    /// How often memory was out since we asked last.
    fn out(&mut self) -> Result<u64> {
        match self {
            Memory::V1(counter) => {
                let mut count = [0; 8];
                match rustix::io::read(counter, &mut count) {
                    Err(rustix::io::Errno::AGAIN) => Ok(0),
                    other => {
                        other.cannot("watch the memory", "read(eventfd)").map(|_| u64::from_ne_bytes(count))
                    }
                }
            }
            Memory::V2(events, before) => {
                let now = killed(events.as_fd())?;
                Ok(now.saturating_sub(std::mem::replace(before, now)))
            }
        }
    }
}

fn killed(events: BorrowedFd<'_>) -> Result<u64> {
    let text = match read_whole(events, "memory.events") {
        // The group is gone.
        Err(error) if error.errno() == Some(Errno::ENODEV) => return Ok(0),
        other => other?,
    };
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(line.and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// Go's durations.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "not a time above 0, as 5s, 500ms, 1m30s".to_string();
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit = match &tail[..unit_end] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        nanos += chain::size::scaled(number, unit).ok_or_else(wrong)?;
        rest = &tail[unit_end..];
    }
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, millis) in
            [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0.1s", 100)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0s", "5", "s", "-1s", "5 s", "1d", "1.5.5s", "99999999999999h", "5sx"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
