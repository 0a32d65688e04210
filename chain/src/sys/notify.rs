//! The listener of a filter, from the side of who is asked: seccomp_unotify(2).

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A call that a filter asks about.
#[derive(Clone, Copy, Debug)]
pub struct Notified {
    /// What the answer names.
    pub id: u64,
    /// The thread that makes it, as the pid namespace of who is asked numbers it.
    pub pid: u32,
    /// Its number.
    pub number: i32,
    /// AUDIT_ARCH_* of linux/audit.h.
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// Waits for the next call that the filter behind `listener` asks about. ENOENT: whoever made it is gone.
pub fn notified(listener: BorrowedFd<'_>) -> Result<Notified, Errno> {
    let mut call = std::mem::MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: the kernel wants zeroes, and fills them.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, call.as_mut_ptr()) };
    check(ret.into())?;
    // SAFETY: zeroes are a value, and the kernel has written another.
    let call = unsafe { call.assume_init() };
    let data = call.data;
    Ok(Notified { id: call.id, pid: call.pid, number: data.nr, arch: data.arch, args: data.args })
}

/// Answers a call by its id: with an errno (0: it is told that it succeeded, with 0), or lets it take place (Linux 5.5).
/// ENOENT: nobody waits for that any more.
pub fn answer(listener: BorrowedFd<'_>, id: u64, errno: Option<i32>) -> Result<(), Errno> {
    let goes_on = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let (error, flags) = errno.map_or((0, goes_on), |errno| (-errno, 0));
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: a whole answer, which outlives the call.
    let ret = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, std::ptr::from_mut(&mut answer))
    };
    check(ret.into()).map(drop)
}

/// Whether somebody still waits for the answer to this call: what was read about its pid before is then about the one
/// who made it.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64, which lives across the call.
    let ret = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&id))
    };
    check(ret.into()).is_ok()
}

/// Who asks and who answers take turns on one CPU (Linux 6.6), which spares waking another for every call.
pub fn take_turns(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the request takes a number.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    check(ret.into()).map(drop)
}
