//! Freezing a group, and waiting until it is so.

use super::{Dir, Group, Version};
use crate::error::{Cannot, Class, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the kernel may take to stop every task: one that hangs in a call it cannot leave keeps the others waiting.
const PATIENCE: Duration = Duration::from_secs(5);

impl Group {
    /// The directory whose processes can be frozen: v1's own hierarchy where there is one.
    pub(super) fn freezer(&self) -> Result<&Dir> {
        let v1 = self.dirs.iter().find(|d| d.version == Version::V1 && d.is_freezer());
        v1.or(self.v2()).ok_or_else(|| {
            Error::new(Class::Unsupported, "freeze a cgroup", "it is in no hierarchy that has a freezer")
        })
    }

    /// Freezes or thaws everything in it, and comes back when it is so. What cannot be frozen in time goes on as it was.
    pub fn freeze_and_wait(&self, on: bool) -> Result<()> {
        let dir = self.freezer()?;
        let end = Instant::now() + PATIENCE;
        let reached = match dir.version {
            Version::V1 => self.wait_v1(dir, on, end)?,
            Version::V2 => self.wait_v2(dir, on, end)?,
        };
        if reached {
            return Ok(());
        }
        let doing = format_args!("{} the cgroup {}", if on { "freeze" } else { "thaw" }, dir.path);
        if on {
            self.freeze(false)?;
        }
        let seconds = PATIENCE.as_secs();
        let error = Error::new(Class::Conflict, doing, format_args!("it is not so after {seconds} s"));
        Err(error.why(match on {
            true => "a process in it hangs in the kernel; all go on as before",
            false => "a group above it is frozen",
        }))
    }

    /// v1 tells nobody when the last task has stopped: it looks when it is asked. A task that was forked meanwhile is
    /// frozen by writing once more.
    fn wait_v1(&self, dir: &Dir, on: bool, end: Instant) -> Result<bool> {
        let word = if on { "FROZEN" } else { "THAWED" };
        let mut pause = Duration::from_micros(20);
        loop {
            self.freeze(on)?;
            if dir.read("freezer.state")?.is_some_and(|state| state.trim() == word) {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// v2 wakes whoever polls the group's events.
    fn wait_v2(&self, dir: &Dir, on: bool, end: Instant) -> Result<bool> {
        let events = dir.open_file("cgroup.events")?;
        self.freeze(on)?;
        let line = if on { "frozen 1" } else { "frozen 0" };
        loop {
            if read_whole(events.as_fd(), &format!("{}/cgroup.events", dir.path))?.lines().any(|l| l == line)
            {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            wait_for_event(events.as_fd(), left)?;
        }
    }
}

/// Sleeps until the kernel tells of a change in this file.
pub(super) fn wait_for_event(events: BorrowedFd<'_>, left: Duration) -> Result<()> {
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(events, PollFlags::POLLPRI)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(Error::call("wait for the cgroup", "poll(cgroup.events)", e)),
    }
}

/// What a file of the kernel says now, by an fd that is polled as well: each read starts at its beginning.
pub fn read_whole(fd: BorrowedFd<'_>, name: &str) -> Result<String> {
    // A page: such files have a few short lines.
    let mut text = vec![0; 4096];
    let n = rustix::io::pread(fd, &mut text, 0)
        .cannot(format_args!("read {name}"), format_args!("read({name})"))?;
    text.truncate(n);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Dir {
    /// Opens one of its files for reading and for poll.
    pub fn open_file(&self, file: &str) -> Result<OwnedFd> {
        let doing = format_args!("read {file} of the cgroup {}", self.path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.fd()?.as_fd(), file, flags, Mode::empty())
            .cannot(doing, format_args!("open({}/{file})", self.path))
    }
}
