//! What the kernel tells of a group by itself: that its memory was out, and that memory, CPUs or disks get scarce.

use super::freeze::read_whole;
use super::usage::counter;
use super::{Dir, Group, Version};
use crate::error::{Cannot, Class, Error, Result};
use crate::sys::fd::eventfd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

/// How scarce memory is, in v1's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is reclaimed.
    Low,
    /// It is reclaimed with effort: swapped out, dropped from caches in use.
    Medium,
    /// It is about to be out.
    Critical,
}

impl Level {
    /// v1's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::Medium => "medium",
            Level::Critical => "critical",
        }
    }

    /// v2 has no such levels, but the time that is lost by waiting for memory.
    fn stall(self) -> Stall {
        let (kind, percent) = match self {
            Level::Low => ("some", 5),
            Level::Medium => ("some", 20),
            Level::Critical => ("full", 20),
        };
        let window = Duration::from_secs(2);
        Stall { resource: "memory".into(), kind: kind.into(), time: window * percent / 100, window }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Level, String> {
        let all = [Level::Low, Level::Medium, Level::Critical];
        all.into_iter().find(|level| level.as_str() == word).ok_or_else(|| "low, medium or critical".into())
    }
}

/// Time lost within a window of time: a trigger of pressure stall information, v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// `cpu`, `memory`, `io`, `irq`.
    pub resource: String,
    /// `some` or `full`.
    pub kind: String,
    /// How much.
    pub time: Duration,
    /// In how long.
    pub window: Duration,
}

impl FromStr for Stall {
    type Err = String;

    /// `memory:some:100ms:2s`
    fn from_str(word: &str) -> std::result::Result<Stall, String> {
        let wrong = || "not as memory:some:100ms:2s".to_string();
        let parts: Vec<&str> = word.split(':').collect();
        let [resource, kind, time, window] = parts.as_slice() else { return Err(wrong()) };
        if !["cpu", "memory", "io", "irq"].contains(resource) || !["some", "full"].contains(kind) {
            return Err(wrong());
        }
        let (time, window) = (duration(time)?, duration(window)?);
        if time > window {
            return Err(format!("{wrong}: more time than there is in the window", wrong = wrong()));
        }
        Ok(Stall { resource: (*resource).into(), kind: (*kind).into(), time, window })
    }
}

/// Go's durations, as runc takes them.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
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
        nanos += crate::size::scaled(number, unit).ok_or_else(wrong)?;
        rest = &tail[unit_end..];
    }
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err(wrong()),
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Memory was out.
    Oom,
    /// Memory is as scarce as this, or scarcer.
    Level(Level),
    /// So much time was lost.
    Stall(Stall),
}

/// One source of news.
pub struct Alarm {
    news: News,
    source: Source,
}

enum Source {
    /// v1 adds to a counter, and once more when the group is removed.
    Counter(OwnedFd, Dir),
    /// `memory.events`, and how many were killed when we looked last.
    Events(OwnedFd, u64),
    /// A trigger: each wake is one.
    Trigger(OwnedFd),
}

impl Alarm {
    /// Of memory that is out; None where nobody counts memory.
    pub fn oom(group: &Group) -> Result<Option<Alarm>> {
        for dir in &group.dirs {
            let source = match dir.version {
                Version::V1 if dir.read("memory.oom_control")?.is_some() => {
                    Source::Counter(told_by(dir, "memory.oom_control", "")?, dir.clone())
                }
                Version::V2 if dir.read("memory.events")?.is_some() => {
                    let events = dir.open_file("memory.events")?;
                    let killed = killed(events.as_fd())?;
                    Source::Events(events, killed)
                }
                _ => continue,
            };
            return Ok(Some(Alarm { news: News::Oom, source }));
        }
        Ok(None)
    }

    /// Of memory that gets scarce.
    pub fn level(group: &Group, level: Level) -> Result<Alarm> {
        for dir in group.dirs.iter().filter(|dir| dir.version == Version::V1) {
            // Nobody may read it, but it is there.
            if dir.open_file("memory.pressure_level").is_ok() {
                let counter = told_by(dir, "memory.pressure_level", level.as_str())?;
                return Ok(Alarm { news: News::Level(level), source: Source::Counter(counter, dir.clone()) });
            }
        }
        Ok(Alarm { news: News::Level(level), ..Alarm::stall(group, &level.stall())? })
    }

    /// Of time that is lost.
    pub fn stall(group: &Group, stall: &Stall) -> Result<Alarm> {
        let doing = format_args!("watch the {} pressure", stall.resource);
        let Some(dir) = group.v2() else {
            return Err(Error::new(Class::Unsupported, doing, "pressure is told by cgroup v2 alone"));
        };
        let file = format!("{}.pressure", stall.resource);
        let value = format!("{} {} {}", stall.kind, stall.time.as_micros(), stall.window.as_micros());
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let path = format!("{}/{file}", dir.path);
        let fd = openat(dir.fd()?.as_fd(), file, flags, Mode::empty())
            .cannot(doing, format_args!("open({path})"))
            .map_err(explain)?;
        rustix::io::write(&fd, value.as_bytes())
            .cannot(doing, format_args!("write({path}, {value})"))
            .map_err(explain)?;
        Ok(Alarm { news: News::Stall(stall.clone()), source: Source::Trigger(fd) })
    }

    /// For poll(2).
    pub fn poll_fd(&self) -> PollFd<'_> {
        match &self.source {
            Source::Counter(fd, _) => PollFd::new(fd.as_fd(), PollFlags::POLLIN),
            Source::Events(fd, _) | Source::Trigger(fd) => PollFd::new(fd.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// What it tells.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// How often it has happened since we asked last; `woken` says what poll(2) found.
    pub fn happened(&mut self, woken: PollFlags) -> Result<u64> {
        match &mut self.source {
            Source::Counter(counter, dir) => {
                let mut count = [0; 8];
                let counted = match rustix::io::read(counter, &mut count) {
                    Err(rustix::io::Errno::AGAIN) => return Ok(0),
                    other => other
                        .cannot("watch the memory", "read(eventfd)")
                        .map(|_| u64::from_ne_bytes(count))?,
                };
                let is_gone = dir.open_at_once()?.is_none();
                Ok(counted.saturating_sub(is_gone.into()))
            }
            Source::Events(events, before) => {
                let now = killed(events.as_fd())?;
                Ok(now.saturating_sub(std::mem::replace(before, now)))
            }
            Source::Trigger(_) => Ok(woken.contains(PollFlags::POLLPRI).into()),
        }
    }

    /// A group that is gone wakes for ever.
    pub fn is_over(&self, woken: PollFlags) -> bool {
        woken.contains(PollFlags::POLLERR) && matches!(self.source, Source::Trigger(_))
    }
}

/// v1: an eventfd that counts what this file has to tell.
fn told_by(dir: &Dir, file: &str, more: &str) -> Result<OwnedFd> {
    let counter = eventfd().cannot("watch the memory", "eventfd")?;
    let control = dir.open_file(file)?;
    let line = format!("{} {} {more}", counter.as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", line.trim_end())?;
    Ok(counter)
}

fn killed(events: BorrowedFd<'_>) -> Result<u64> {
    match read_whole(events, "memory.events") {
        // The group is gone.
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(0),
        other => other.map(|text| counter(&text, "oom_kill")),
    }
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(Errno::ENOENT | Errno::EOPNOTSUPP) => {
            error.class(Class::Unsupported).why("this kernel does not account pressure (psi=1 turns it on)")
        }
        Some(Errno::EINVAL) => error
            .class(Class::Usage)
            .why("a window is from 500 ms to 10 s; without CAP_SYS_RESOURCE, of 2 s or a multiple of it"),
        _ => error,
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

    #[test]
    fn a_stall_in_one_word() {
        let stall: Stall = "memory:some:100ms:2s".parse().unwrap();
        assert_eq!((stall.time, stall.window), (Duration::from_millis(100), Duration::from_secs(2)));
        for bad in ["", "memory", "disk:some:1ms:2s", "cpu:most:1ms:2s", "cpu:some:3s:2s", "cpu:some:1:2"] {
            assert!(bad.parse::<Stall>().is_err(), "{bad}");
        }
    }
}
