//! Removing a group, and waiting until it can be.

use super::create::remove_one;
use super::dir::PATH_FLAGS;
use super::freeze::{read_whole, wait_for_event};
use super::kill::{list, wait_for_end};
use super::{Dir, Group, Version};
use crate::error::{Cannot, Class, Error, Result};
use crate::sys::process::pidfd_open;
use nix::errno::Errno;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// How long processes that end by themselves may take to leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one look at v1 lasts: it tells of processes that end, but not of a thread that leaves a group.
const LOOK: Duration = Duration::from_millis(100);

impl Group {
    /// Removes it if no group is below it. Waits while processes leave.
    pub fn remove_leaf(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for dir in &mut self.dirs {
            let below = match dir.open()? {
                Some(fd) => dir.children(fd.as_fd())?,
                None => continue,
            };
            dir.fd = None;
            if below.is_empty() {
                dir.remove(end)?;
            }
        }
        Ok(())
    }

    /// Removes it and the groups below it, deepest first. Waits while dying processes leave; one that stays alive makes
    /// it fail. What is gone already is no error.
    pub fn remove(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for dir in &mut self.dirs {
            dir.fd = None;
            dir.remove(end)?;
            // Nothing is left of it to be undone, unless directories above it were made with it.
            if dir.made == 1 {
                dir.made = 0;
            }
        }
        Ok(())
    }
}

impl Dir {
    fn remove(&self, end: Instant) -> Result<()> {
        let Some((parent, name)) = self.parent()? else { return Ok(()) };
        self.remove_tree(parent.as_fd(), &name, end)
    }

    /// The directory above and the last component; None when that directory is gone.
    fn parent(&self) -> Result<Option<(OwnedFd, Vec<u8>)>> {
        let path = self.path.as_path();
        let doing = format_args!("remove the cgroup {}", self.path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(Class::Internal, doing, "it is no path of a group"));
        };
        match openat(CWD, parent, PATH_FLAGS, Mode::empty()) {
            Ok(fd) => Ok(Some((fd, name.as_bytes().to_vec()))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::call(doing, format_args!("open({})", parent.display()), e)),
        }
    }

    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &[u8], end: Instant) -> Result<()> {
        let mut pause = Duration::ZERO;
        loop {
            match remove_one(parent, name) {
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                // Groups below, or a process that has not quite left.
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
                Err(e) => return Err(self.cannot_remove(e)),
            }
            let Ok(dir) = openat(parent, name, PATH_FLAGS, Mode::empty()) else { continue };
            let children = self.children(dir.as_fd())?;
            for child in &children {
                self.remove_tree(dir.as_fd(), child, end)?;
            }
            if !children.is_empty() && remove_one(parent, name).is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(self.still_used(dir.as_fd(), name)?);
            }
            if !self.wait_until_left(dir.as_fd(), end)? {
                // The last one may have left since. If the kernel knows of nobody in it and says once more that it is in
                // use, there is nothing to wait for but time.
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
                pause = (pause * 2).clamp(Duration::from_micros(500), Duration::from_millis(50));
            }
        }
    }

    /// Waits until the last process has left, however it goes; false where none is seen.
    fn wait_until_left(&self, dir: BorrowedFd<'_>, end: Instant) -> Result<bool> {
        match self.version {
            Version::V2 => self.wait_for_event(dir, end),
            Version::V1 => self.wait_for_processes(dir, end),
        }
    }

    /// v2 tells when a group has become empty.
    fn wait_for_event(&self, dir: BorrowedFd<'_>, end: Instant) -> Result<bool> {
        let name = format!("{}/cgroup.events", self.path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let events = match openat(dir, "cgroup.events", flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => return Ok(true),
            other => {
                other.cannot(format_args!("remove the cgroup {}", self.path), format_args!("open({name})"))?
            }
        };
        let mut waited = false;
        loop {
            match read_whole(events.as_fd(), &name) {
                Ok(text) if text.lines().any(|line| line == "populated 1") => {}
                // Somebody has removed it.
                Err(error) if error.errno() == Some(Errno::ENODEV) => return Ok(true),
                other => return other.map(|_| waited),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            wait_for_event(events.as_fd(), left)?;
            waited = true;
        }
    }

    /// v1 does not, but a process that has ended has left all its groups before its pidfd tells of it.
    fn wait_for_processes(&self, dir: BorrowedFd<'_>, end: Instant) -> Result<bool> {
        let mut pids = Vec::new();
        self.collect(dir, &mut pids)?;
        // One is enough: the others are looked at in the next round.
        let seen = pids.into_iter().filter(|pid| *pid > 0).find_map(|pid| Some((pid, pidfd_open(pid).ok()?)));
        let Some(one) = seen else { return Ok(false) };
        wait_for_end(&[one], end.min(Instant::now() + LOOK)).map(|_| true)
    }

    fn still_used(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Error> {
        let mut pids = Vec::new();
        self.collect(dir, &mut pids)?;
        let name = OsStr::from_bytes(name).display();
        let error = self.cannot_remove(Errno::EBUSY);
        Ok(error.why(format_args!("{name} holds {}", list(&pids))).cure("--kill"))
    }

    fn cannot_remove(&self, errno: Errno) -> Error {
        let path = &self.path;
        Error::call(format_args!("remove the cgroup {path}"), format_args!("rmdir({path})"), errno)
    }
}
