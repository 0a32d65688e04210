//! tmpcopyup: what a tmpfs is about to hide is copied into it first, fd by fd. Links are copied, never followed.

use crate::build::readable;
use chain::bytes::Bytes;
use chain::{Cannot, Error, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, mknodat,
    openat, readlinkat, sendfile, statat, symlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Deeper trees are refused: each level holds two fds.
const DEEPEST: usize = 200;

/// Copies everything below the folder `from` into the folder `to`.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: &Bytes) -> Result<()> {
    let doing = format!("copy what is in {at} to its tmpfs");
    let from = readable(from).cannot(&doing, "openat")?;
    let to = readable(to).cannot(&doing, "openat")?;
    folder(&from, &to, DEEPEST, &doing)?;
    like(&to, &fstat(&from).cannot(&doing, "fstat")?, None).cannot(&doing, "futimens")
}

fn folder(from: &OwnedFd, to: &OwnedFd, depth: usize, doing: &str) -> Result<()> {
    if depth == 0 {
        return Err(Error::usage(doing, format_args!("it is deeper than {DEEPEST} folders")));
    }
    for entry in Dir::read_from(from).cannot(doing, "getdents")? {
        let entry = entry.cannot(doing, "getdents")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let shown = name.to_string_lossy().into_owned();
        one(from, to, name, depth, doing).map_err(|e| match e.call.is_some() {
            true => e,
            false => e.why(shown),
        })?;
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, depth: usize, doing: &str) -> Result<()> {
    let shown = name.to_string_lossy();
    let said = |call: &str| format!("{call}({shown})");
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).cannot(doing, said("fstatat"))?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU).cannot(doing, said("mkdirat"))?;
            let source =
                openat(from, name, read | OFlags::DIRECTORY, Mode::empty()).cannot(doing, said("openat"))?;
            let copy =
                openat(to, name, read | OFlags::DIRECTORY, Mode::empty()).cannot(doing, said("openat"))?;
            folder(&source, &copy, depth - 1, doing)?;
            like(&copy, &stat, Some(&source)).cannot(doing, said("fchown"))
        }
        FileType::RegularFile => {
            let source = openat(from, name, read, Mode::empty()).cannot(doing, said("openat"))?;
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = openat(to, name, write, Mode::RUSR | Mode::WUSR).cannot(doing, said("openat"))?;
            content(&source, &copy).cannot(doing, said("copy_file_range"))?;
            like(&copy, &stat, Some(&source)).cannot(doing, said("fchown"))
        }
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new()).cannot(doing, said("readlinkat"))?;
            symlinkat(target.as_c_str(), to, name).cannot(doing, said("symlinkat"))?;
            owner(to, name, &stat).cannot(doing, said("fchownat"))
        }
        // A socket without its listener is nothing.
        FileType::Socket => Ok(()),
        kind => match mknodat(to, name, kind, mode, stat.st_rdev) {
            // Where no devices can be made, there are none to copy either that could be opened.
            Err(Errno::PERM) if kind != FileType::Fifo => Ok(()),
            other => other.and_then(|()| owner(to, name, &stat)).cannot(doing, said("mknodat")),
        },
    }
}

fn owner(dir: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode (after the owner, which takes set-user-ID away), attributes of `source`, times.
fn like(copy: &OwnedFd, stat: &Stat, source: Option<&OwnedFd>) -> rustix::io::Result<()> {
    if let Some(source) = source {
        fchown(copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        attributes(source, copy)?;
    }
    let time = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(copy, &times)
}

/// Extended attributes (file capabilities are one), as far as a tmpfs of this kernel has them.
fn attributes(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = vec![0; 1 << 16];
    let size = match flistxattr(from.as_fd(), names.as_mut_slice()) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in names[..size].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let size = match fgetxattr(from.as_fd(), name, value.as_mut_slice()) {
            Ok(size) => size,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(e) => return Err(e),
        };
        match fsetxattr(to.as_fd(), name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn content(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    const CHUNK: usize = 1 << 30;
    loop {
        match copy_file_range(from, None, to, None, CHUNK) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Not between these two file systems.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => break,
            Err(e) => return Err(e),
        }
    }
    loop {
        match sendfile(to, from, None, CHUNK) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
    }
}
