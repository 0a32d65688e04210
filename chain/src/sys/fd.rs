//! Fds that arrive as numbers, and what is done to all fds at once.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes ownership of fd `n`, which another program gave us by number (a state, `--status-fd`, `--plan fd:N`).
/// Must be called once per number; the link's start does so before anything else opens or closes fds.
pub fn adopt(n: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads a flag and fails with EBADF on a number that is no fd.
    check(unsafe { libc::fcntl(n, libc::F_GETFD) }.into())?;
    // SAFETY: the number was just seen to be open, and it is ours: it was handed over by exec for this purpose.
    Ok(unsafe { OwnedFd::from_raw_fd(n) })
}

/// Borrows fd `n` for the rest of the process: stdin, stdout, stderr and the like, which nobody closes.
pub fn borrow(n: RawFd) -> Result<BorrowedFd<'static>, Errno> {
    // SAFETY: F_GETFD reads a flag and fails with EBADF on a number that is no fd.
    check(unsafe { libc::fcntl(n, libc::F_GETFD) }.into())?;
    // SAFETY: the number is open, and callers use it for fds that stay open until exec.
    Ok(unsafe { BorrowedFd::borrow_raw(n) })
}

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let flag = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD changes one flag of an fd that the borrow keeps open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flag) }.into()).map(drop)
}

/// Marks every fd from `first` to `last` close-on-exec: close_range(2), Linux 5.11; one fcntl per fd before that.
pub fn cloexec_range(first: u32, last: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: marking for close at exec leaves every fd valid in this process.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) };
    match check(ret) {
        Err(Errno::ENOSYS | Errno::EINVAL) => cloexec_one_by_one(first, last),
        other => other.map(drop),
    }
}

/// No fd is beyond the limit for them, but for one that was open when the limit fell.
fn highest(last: u32) -> Result<u32, Errno> {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.1;
    Ok(last.min(limit.min(1 << 20) as u32))
}

fn cloexec_one_by_one(first: u32, last: u32) -> Result<(), Errno> {
    for n in first..=highest(last)? {
        // SAFETY: as above, fd by fd; a number that is no fd gives EBADF, which is no error here.
        unsafe { libc::fcntl(n as RawFd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

fn close_one_by_one(first: u32, last: u32) -> Result<(), Errno> {
    for n in first..=highest(last)? {
        // SAFETY: as for close_range, fd by fd.
        unsafe { libc::close(n as RawFd) };
    }
    Ok(())
}

/// Closes every fd from `first` to `last`. For the landing only, which owns no fd any more.
pub fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    // SAFETY: integers only; the landing uses none of the fds in the range again.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        // Before Linux 5.9.
        Err(Errno::ENOSYS) => close_one_by_one(first, last),
        other => other.map(drop),
    }
}

/// A counter that the kernel adds to, eventfd(2): nonblocking, close-on-exec.
pub fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: eventfd takes two numbers and gives a new fd.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())?;
    // SAFETY: the fd is new, so nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
