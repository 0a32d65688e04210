//! A process, named so that no other can be meant: `PID`, `PID:INODE` as nsenter(1) and getino(1) have it, or `fd:N`, a
//! pidfd. A pid alone may have been given to somebody else by the time it is looked at.

use crate::error::{Cannot, Class, Error, Result};
use crate::{proc, sys};
use rustix::fs::{fstat, fstatfs};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::str::FromStr;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `PID`.
    Pid(i32),
    /// `PID:INODE`: the inode of its pidfd, which no other process will ever have.
    Inode(i32, u64),
    /// `fd:N`: its pidfd.
    Fd(RawFd),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Target, String> {
        let wrong = || format!("'{}' is no process: PID, PID:INODE or fd:N", text.escape_debug());
        let digits = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        let pid =
            |word: &str| word.parse::<i32>().ok().filter(|pid| digits(word) && *pid > 0).ok_or_else(wrong);
        match text.split_once(':') {
            None => pid(text).map(Target::Pid),
            Some(("fd" | "pidfd", fd)) if digits(fd) => fd.parse().map(Target::Fd).map_err(|_| wrong()),
            Some((word, inode)) if digits(inode) => {
                Ok(Target::Inode(pid(word)?, inode.parse().map_err(|_| wrong())?))
            }
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Pid(pid) => write!(f, "{pid}"),
            Target::Inode(pid, inode) => write!(f, "{pid}:{inode}"),
            Target::Fd(fd) => write!(f, "fd:{fd}"),
        }
    }
}

impl Target {
    /// Its pid, as our /proc numbers it.
    pub fn pid(&self) -> Result<i32> {
        match *self {
            Target::Pid(pid) | Target::Inode(pid, _) => Ok(pid),
            Target::Fd(fd) => pid_of(fd),
        }
    }

    /// Its pidfd: of exactly that process.
    pub fn open(&self) -> Result<OwnedFd> {
        let doing = format!("look at process {self}");
        match *self {
            Target::Pid(pid) => {
                sys::process::pidfd_open(pid).cannot(doing, format_args!("pidfd_open({pid})"))
            }
            Target::Inode(pid, inode) => {
                let fd = sys::process::pidfd_open(pid).cannot(&doing, format_args!("pidfd_open({pid})"))?;
                expect_inode(&fd, inode, &doing)?;
                Ok(fd)
            }
            Target::Fd(number) => {
                pid_of(number)?;
                let fd = sys::fd::borrow(number).cannot(&doing, format_args!("fcntl({number})"))?;
                rustix::io::fcntl_dupfd_cloexec(fd, 3)
                    .cannot(&doing, format_args!("fcntl({number}, F_DUPFD_CLOEXEC)"))
            }
        }
    }
}

/// PID_FS_MAGIC of linux/magic.h.
const PIDFS: i64 = 0x5049_4446;

fn expect_inode(fd: &OwnedFd, inode: u64, doing: &str) -> Result<()> {
    let fs = fstatfs(fd).cannot(doing, "fstatfs(pidfd)")?;
    #[allow(clippy::unnecessary_cast, reason = "not the same type everywhere")]
    if fs.f_type as i64 != PIDFS {
        let detail = "the pidfds of this kernel have no inodes of their own (Linux 6.9)";
        return Err(Error::new(Class::Unsupported, doing, detail));
    }
    let found = fstat(fd).cannot(doing, "fstat(pidfd)")?.st_ino;
    if found != inode {
        let detail = format!("its pid belongs to another process now, of inode {found}");
        return Err(Error::new(Class::Missing, doing, detail));
    }
    Ok(())
}

/// What `Pid:` in /proc/self/fdinfo says of a pidfd.
fn pid_of(fd: RawFd) -> Result<i32> {
    let doing = format_args!("look at process fd:{fd}");
    sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    let info = proc::read(&format!("/proc/self/fdinfo/{fd}"))?;
    match proc::status_field(&info, "Pid").and_then(|pid| pid.trim().parse::<i32>().ok()) {
        None => Err(Error::usage(doing, "it is no pidfd")),
        Some(pid) if pid > 0 => Ok(pid),
        Some(0) => Err(Error::new(Class::Missing, doing, "it is in no pid namespace that is seen from here")),
        Some(_) => Err(Error::new(Class::Missing, doing, "it has ended")),
    }
}

/// The inode of a pidfd, as `PID:INODE` has it.
pub fn inode(pidfd: &impl AsFd) -> Result<u64> {
    let fd = pidfd.as_fd();
    fstat(fd).map(|s| s.st_ino).cannot("look at a process", format_args!("fstat({})", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_name_a_process() {
        for (text, target) in [
            ("7", Target::Pid(7)),
            ("7:12", Target::Inode(7, 12)),
            ("fd:3", Target::Fd(3)),
            ("pidfd:3", Target::Fd(3)),
        ] {
            assert_eq!(text.parse::<Target>().unwrap(), target);
        }
        for bad in [
            "",
            "0",
            "-1",
            "+1",
            "x",
            "7:",
            ":7",
            "7:x",
            "fd:",
            "fd:x",
            "fd:-1",
            "0:1",
            "99999999999",
            "7:1:2",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_inode_is_another_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let fd = Target::Pid(own).open().unwrap();
        assert_eq!(Target::Fd(fd.as_raw_fd()).pid().unwrap(), own);
        let inode = inode(&fd).unwrap();
        match Target::Inode(own, inode).open() {
            Ok(_) => {
                let error = Target::Inode(own, inode + 1).open().unwrap_err();
                assert!(error.to_string().contains("belongs to another process now"), "{error}");
            }
            Err(error) => assert_eq!(error.class, Class::Unsupported, "{error}"),
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Target::Fd(file.as_raw_fd()).open().unwrap_err().to_string().contains("it is no pidfd"));
    }
}
