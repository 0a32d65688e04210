//! A bind source that the caller opened and left open: `fd:N:INODE` in a layer. Nobody can put another file in its place,
//! as at a path; the inode guards against a number that means another fd by now.

use crate::bindings::{Seen, look};
use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::sys;
use rustix::fs::{CWD, fstat, readlinkat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a layer calls it.
pub fn word(fd: BorrowedFd<'_>, doing: &str) -> Result<Bytes> {
    let inode = fstat(fd).cannot(doing, "fstat")?.st_ino;
    Ok(format!("fd:{}:{inode}", fd.as_raw_fd()).as_str().into())
}

/// Whether a source is one.
pub fn is(source: &Bytes) -> bool {
    parse(source).is_some()
}

fn parse(source: &Bytes) -> Option<(RawFd, u64)> {
    let (number, inode) = str::from_utf8(&source.0).ok()?.strip_prefix("fd:")?.split_once(':')?;
    Some((number.parse().ok().filter(|n| *n >= 3)?, inode.parse().ok()?))
}

/// A mount of it that is attached nowhere, with all that is mounted below.
pub fn clone(source: &Bytes, doing: &str) -> Result<(OwnedFd, Seen)> {
    let (number, inode) =
        parse(source).ok_or_else(|| Error::usage(doing, format_args!("'{source}' is not fd:N:INODE")))?;
    let fd = sys::fd::borrow(number).cannot(doing, format_args!("fcntl({number})"))?;
    let given = look(fd).cannot(doing, "statx")?;
    if given.file.2 != inode {
        return Err(Error::new(Class::Conflict, doing, format_args!("fd {number} is another file by now")));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    match open_tree(fd, c"", flags | OpenTreeFlags::AT_EMPTY_PATH) {
        Ok(mount) => look(mount.as_fd()).cannot(doing, "statx").map(|seen| (mount, seen)),
        // It was opened in the mount namespace that ours is a copy of.
        Err(Errno::INVAL) => at_its_path(number, given, flags, doing),
        Err(e) => Err(Error::call(doing, format_args!("open_tree(fd {number})"), e)),
    }
}

/// The same file in our own mounts: where the kernel says that it is, and proven to be that one.
fn at_its_path(number: RawFd, given: Seen, flags: OpenTreeFlags, doing: &str) -> Result<(OwnedFd, Seen)> {
    let link = format!("/proc/self/fd/{number}");
    let path = readlinkat(CWD, link.as_str(), Vec::new()).cannot(doing, format_args!("readlink({link})"))?;
    let shown = path.to_string_lossy().into_owned();
    let mount = open_tree(CWD, path, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
        .cannot(doing, format_args!("open_tree({shown})"))?;
    let seen = look(mount.as_fd()).cannot(doing, "statx")?;
    if seen.file != given.file {
        let detail = format!("what is at {shown} is not what fd {number} is");
        return Err(Error::new(Class::Conflict, doing, detail));
    }
    Ok((mount, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_of_a_number_and_an_inode() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(is(&word(file.as_fd(), "x").unwrap()));
        for bad in ["fd:3", "fd:2:1", "fd:x:1", "fd:3:x", "/fd:3:1", "fd:3:1:2", ""] {
            assert!(!is(&bad.into()), "{bad}");
        }
    }

    #[test]
    fn a_number_that_is_another_file_is_refused() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let other = format!("fd:{}:1", file.as_raw_fd());
        let error = clone(&other.as_str().into(), "bind it").unwrap_err();
        assert!(error.to_string().contains("another file by now"), "{error}");
    }
}
