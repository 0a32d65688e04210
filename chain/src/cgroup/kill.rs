//! What is in a group, and how it ends.

use super::dir::{PATH_FLAGS, write_at};
use super::{Dir, Group, Version};
use crate::error::{Cannot, Class, Error, Result};
use crate::sys::process::{pidfd_open, pidfd_signal};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{AtFlags, Dir as Listing, FileType, Mode, OFlags, openat, statat};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long processes that were killed may take to leave. One that hangs in the kernel (NFS, a dying disk) takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many processes are held by fd at once: a group can have more of them than we may have files.
const BATCH: usize = 32;

/// Some pids for a message.
pub fn list(pids: &[i32]) -> String {
    let some: Vec<String> = pids.iter().take(8).map(ToString::to_string).collect();
    let more = if pids.len() > some.len() { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}

impl Group {
    /// Every process in it or in a group below it, in whatever hierarchy.
    pub fn procs(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        for dir in &self.dirs {
            pids.extend(dir.procs()?);
        }
        Ok(pids.into_iter().collect())
    }

    /// Whether it is frozen, or being frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        for dir in &self.dirs {
            if dir.is_frozen()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Freezes or thaws everything in it, without waiting.
    pub fn freeze(&self, on: bool) -> Result<()> {
        let dir = self.freezer()?;
        match dir.version {
            Version::V1 => dir.write("freezer.state", if on { "FROZEN" } else { "THAWED" }),
            Version::V2 => dir.write("cgroup.freeze", if on { "1" } else { "0" }),
        }
    }

    /// Kills everything in it and below, and waits until it is empty, for ten seconds at most.
    pub fn kill(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut doomed = self.kill_at_once()?;
        // Of processes that fork and end faster than they can be listed twice, none may be in hand.
        while !doomed.is_empty() || !self.procs()?.is_empty() {
            if doomed.is_empty() {
                doomed = self.kill_frozen()?;
            }
            if !wait_for_end(&doomed, end)? || Instant::now() > end {
                let held: Vec<i32> = doomed.iter().map(|(pid, _)| *pid).collect();
                let pids = if held.is_empty() { self.procs()? } else { held };
                return Err(Error::new(
                    Class::Conflict,
                    "kill what is in the cgroup",
                    format_args!("{} do not die", list(&pids)),
                )
                .why("a process that hangs in the kernel cannot be killed before it comes back"));
            }
            // Before others are opened.
            doomed.clear();
        }
        Ok(())
    }

    /// Kills what v2 has in it, and gives some of that; none where there is no way to. What is in a v1 group and was led
    /// out of the v2 one is not reached this way.
    fn kill_at_once(&self) -> Result<Vec<(i32, OwnedFd)>> {
        self.doomed()?;
        let Some(dir) = self.v2() else { return Ok(Vec::new()) };
        let inside = dir.procs()?;
        let doomed = self.held(&inside[..inside.len().min(BATCH)])?;
        if inside.is_empty() || !dir.kill_v2()? {
            return Ok(Vec::new());
        }
        // What v1 holds frozen does not die of v2's kill before it is thawed.
        self.thaw_if_frozen()?;
        Ok(doomed)
    }

    /// Frozen, none of them forks away from under us; a frozen process dies when it is thawed. Gives some of them.
    fn kill_frozen(&self) -> Result<Vec<(i32, OwnedFd)>> {
        let can_freeze = self.dirs.iter().any(Dir::is_freezer);
        if can_freeze {
            gone_or(self.freeze(true))?;
        }
        let killed = self.signalled(libc::SIGKILL);
        if can_freeze {
            gone_or(self.freeze(false))?;
        }
        killed
    }

    /// Lets what is frozen in it go on: to its end, if it was killed.
    pub fn thaw_if_frozen(&self) -> Result<()> {
        if self.is_frozen()? { gone_or(self.freeze(false)) } else { Ok(()) }
    }

    /// Sends a signal to every process in it or below it.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.signalled(signal).map(drop)
    }

    /// As [`Group::signal`]; gives the last of them, as many as are held at once.
    fn signalled(&self, signal: i32) -> Result<Vec<(i32, OwnedFd)>> {
        let mut last = Vec::new();
        for pids in self.doomed()?.chunks(BATCH) {
            // Before others are opened.
            last.clear();
            last = self.held(pids)?;
            signal_all(&last, signal)?;
        }
        Ok(last)
    }

    /// Its processes, none of which may be one that is never killed.
    fn doomed(&self) -> Result<Vec<i32>> {
        let pids = self.procs()?;
        // 0 is a process that this pid namespace does not show.
        let never = |pid: &&i32| **pid == 0 || **pid == 1 || **pid == std::process::id() as i32;
        match pids.iter().find(never) {
            None => Ok(pids),
            Some(pid) => {
                let detail = format_args!("process {pid} is in it, which is no container's").to_string();
                Err(Error::new(Class::Conflict, "reach what is in the cgroup", detail))
            }
        }
    }

    /// These of its processes by pidfd. A pid may have been another process's by the time it was opened; one that is
    /// listed still is the one.
    fn held(&self, pids: &[i32]) -> Result<Vec<(i32, OwnedFd)>> {
        let mut handles = Vec::with_capacity(pids.len());
        for pid in pids {
            match pidfd_open(*pid) {
                Ok(fd) => handles.push((*pid, fd)),
                Err(Errno::ESRCH) => {}
                Err(e) => {
                    return Err(Error::call(
                        "reach what is in the cgroup",
                        format_args!("pidfd_open({pid})"),
                        e,
                    ));
                }
            }
        }
        if !handles.is_empty() {
            let still = self.procs()?;
            handles.retain(|(pid, _)| still.binary_search(pid).is_ok());
        }
        Ok(handles)
    }
}

/// A group may be removed as soon as its processes have ended: nothing is to be frozen in it then, and nothing to be
/// thawed. Where only its files told that it had a freezer, it seems to have none.
fn gone_or(done: Result<()>) -> Result<()> {
    match done {
        Err(e) if matches!(e.class, Class::Missing | Class::Unsupported) => Ok(()),
        other => other,
    }
}

fn signal_all(processes: &[(i32, OwnedFd)], signal: i32) -> Result<()> {
    for (pid, fd) in processes {
        match pidfd_signal(fd.as_fd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => {
                let call = format!("pidfd_send_signal({pid}, {signal})");
                return Err(Error::call("reach what is in the cgroup", call, e));
            }
        }
    }
    Ok(())
}

/// Whether all of them ended in time: a pidfd can be read when its process has.
pub(super) fn wait_for_end(processes: &[(i32, OwnedFd)], end: Instant) -> Result<bool> {
    let mut left = processes.iter();
    let mut next = left.next();
    while let Some((pid, fd)) = next {
        let time = end.saturating_duration_since(Instant::now()).as_millis();
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => next = left.next(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::call("wait for what is killed", format_args!("poll({pid})"), e)),
        }
    }
    Ok(true)
}

impl Dir {
    pub(super) fn is_freezer(&self) -> bool {
        match self.version {
            Version::V2 => true,
            // A group found again by its paths alone does not know its controllers.
            Version::V1 => {
                self.has("freezer")
                    || self.controllers.is_empty() && self.read("freezer.state").is_ok_and(|s| s.is_some())
            }
        }
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        match self.version {
            Version::V2 => Ok(self.read("cgroup.freeze")?.is_some_and(|s| s.trim() == "1")),
            Version::V1 if !self.is_freezer() => Ok(false),
            Version::V1 => Ok(self.read("freezer.state")?.is_some_and(|s| s.trim() != "THAWED")),
        }
    }

    /// Every process in it or below it.
    pub(super) fn procs(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(fd) = self.open()? {
            self.collect(fd.as_fd(), &mut pids)?;
        }
        Ok(pids)
    }

    pub(super) fn collect(&self, dir: BorrowedFd<'_>, pids: &mut Vec<i32>) -> Result<()> {
        // A threaded group below lists no processes; its threads are those of the processes above it.
        let text = match super::dir::read_at(dir, "cgroup.procs", &self.path) {
            Err(e) if e.errno() == Some(Errno::EOPNOTSUPP) => None,
            other => other?,
        };
        pids.extend(text.unwrap_or_default().lines().filter_map(|l| l.parse::<i32>().ok()));
        for name in self.children(dir)? {
            match openat(dir, name.as_slice(), PATH_FLAGS, Mode::empty()) {
                Ok(child) => self.collect(child.as_fd(), pids)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(Error::call(format_args!("look into {}", self.path), "open", e)),
            }
        }
        Ok(())
    }

    /// Shows this file of the group, and of each group below, to `seen`.
    pub(super) fn each_below(&self, seen: &mut dyn FnMut(&str), file: &str) -> Result<()> {
        self.open()?.map_or(Ok(()), |fd| self.each_at(fd.as_fd(), seen, file))
    }

    /// Shows each group below, with its path from the first one.
    pub(super) fn each_group(&self, above: &[u8], seen: &mut dyn FnMut(&[u8], Dir)) -> Result<()> {
        let Some(fd) = self.open_at_once()? else { return Ok(()) };
        for name in self.children(fd.as_fd())? {
            // Each directory below adds a link to the two that every directory has.
            let has_more =
                statat(&fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_nlink > 2);
            let mut dir = Dir { fd: None, made: 0, path: self.path.clone(), ..self.clone() };
            dir.path.0.extend([b"/".as_slice(), &name].concat());
            dir.below.push(name.clone());
            let path = if above.is_empty() { name } else { [above, b"/", &name].concat() };
            // A thousand groups in a dozen hierarchies are more directories than a process may have open.
            seen(&path, dir.clone());
            if has_more {
                dir.each_group(&path, seen)?;
            }
        }
        Ok(())
    }

    fn each_at(&self, dir: BorrowedFd<'_>, seen: &mut dyn FnMut(&str), file: &str) -> Result<()> {
        if let Some(text) = super::dir::read_at(dir, file, &self.path)? {
            seen(&text);
        }
        for name in self.children(dir)? {
            match openat(dir, name.as_slice(), PATH_FLAGS, Mode::empty()) {
                Ok(child) => self.each_at(child.as_fd(), seen, file)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(Error::call(format_args!("look into {}", self.path), "open", e)),
            }
        }
        Ok(())
    }

    pub(super) fn children(&self, dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
        let doing = format_args!("list the cgroup {}", self.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = match openat(dir, ".", flags, Mode::empty()) {
            Ok(fd) => Listing::new(fd).cannot(doing, "getdents")?,
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            Err(e) => return Err(Error::call(doing, format_args!("open({})", self.path), e)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory itself was removed meanwhile.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => break,
                Err(e) => return Err(Error::call(doing, "getdents", e)),
            };
            let name = entry.file_name().to_bytes();
            if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// cgroup.kill, Linux 5.14: everything below too, and no fork escapes it. It is not in a threaded group. False where
    /// it is not to be had.
    fn kill_v2(&self) -> Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        match write_at(fd.as_fd(), "cgroup.kill", "1") {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::OPNOTSUPP) => {
                Ok(false)
            }
            Err(e) => Err(Error::call(
                "kill what is in the cgroup",
                format_args!("write({}/cgroup.kill)", self.path),
                e,
            )),
        }
    }
}
