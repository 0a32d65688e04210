//! The mounts that can be reached here, by the kernel's own list.

use chain::proc::{parse_mountinfo, private, read_at};
use chain::sys::mount::listmount;
use chain::{Cannot, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Ids that are asked for at once.
const AT_ONCE: usize = 512;

/// The lasting ids of all mounts here, in order; before Linux 6.8 there is no such list.
pub(crate) fn all() -> std::result::Result<Vec<u64>, Errno> {
    let mut all = Vec::new();
    loop {
        let (done, last) = (all.len(), all.last().copied().unwrap_or(0));
        all.resize(done + AT_ONCE, 0);
        let more = listmount(last, &mut all[done..])?;
        all.truncate(done + more);
        if more < AT_ONCE {
            all.sort_unstable();
            return Ok(all);
        }
    }
}

/// Which of these is on no mount that mountinfo lists.
pub(crate) fn missing(fds: &[BorrowedFd<'_>]) -> Result<Option<usize>> {
    let proc = private()?;
    let there = parse_mountinfo(&read_at(proc.as_fd(), "self/mountinfo")?);
    for (at, fd) in fds.iter().enumerate() {
        let id = crate::root::mount_id(*fd).cannot("prove the mounts", "statx(STATX_MNT_ID)")?;
        if !there.iter().any(|mount| mount.id == id) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::lasting_id;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    #[test]
    fn what_is_mounted_is_listed_and_what_is_not_is_not() {
        let open = |path: &str| openat(CWD, path, OFlags::PATH, Mode::empty()).unwrap();
        // The end of a pipe is on a mount of the kernel's own.
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        let (root, proc) = (open("/"), open("/proc"));
        let fds = [root.as_fd(), proc.as_fd(), pipe.as_fd()];
        match all() {
            Ok(list) => {
                let listed = fds.map(|fd| list.binary_search(&lasting_id(fd).unwrap()).is_ok());
                assert_eq!(listed, [true, true, false]);
            }
            Err(error) => assert_eq!(error, Errno::ENOSYS),
        }
    }
}
