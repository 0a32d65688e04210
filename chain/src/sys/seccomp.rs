//! seccomp(2).

use super::check;
use nix::errno::Errno;
use std::os::fd::RawFd;

/// `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// SECCOMP_FILTER_FLAG_NEW_LISTENER: load gives an fd on which notified calls arrive.
pub const FLAG_NEW_LISTENER: u64 = 1 << 3;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19: once the agent has taken up a call, only a fatal signal ends it.
pub const FLAG_WAIT_KILLABLE_RECV: u64 = 1 << 5;
/// What the kernel takes of filters with a listener alone.
pub const FLAGS_OF_LISTENERS: u64 = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV;

/// seccomp(SECCOMP_SET_MODE_FILTER): from here on every call of this process goes through `program`. A filter with a
/// listener is loaded by [`super::listener::load`].
pub fn load(program: &[Instruction], flags: u64) -> Result<(), Errno> {
    load_raw(program, flags).map(drop)
}

/// As [`load`]; the listener, if the flags ask for one.
pub(super) fn load_raw(program: &[Instruction], flags: u64) -> Result<RawFd, Errno> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let prog = std::ptr::from_ref(&fprog);
    // SAFETY: the kernel copies `len` instructions (same layout as struct sock_filter) before returning.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, prog) })
        .map(|ret| ret as RawFd)
}

/// Whether this kernel takes these flags for a filter: it looks at them before it reads the filter, and there is none.
pub fn knows(flags: u64) -> bool {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let none: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the kernel answers NULL with EFAULT, and loads nothing.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, none) })
        == Err(Errno::EFAULT)
}

/// Makes call `number` with every argument -1; its errno, if it failed. For a call that a filter refuses, or else the
/// kernel: -1 is no address, no fd and no length that anything takes.
pub fn refused_call(number: i64) -> Option<i32> {
    // SAFETY: no pointer among the arguments can be read or written, so no memory of ours is touched.
    check(unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) })
        .err()
        .map(|e| e as i32)
}

/// ioctl(-1, request): its errno, if it failed. For a request that a filter refuses, or else the kernel, for -1 is no fd.
pub fn refused_ioctl(request: libc::Ioctl) -> Option<i32> {
    // SAFETY: no fd, so no driver, and no pointer that anybody reads.
    check(unsafe { libc::ioctl(-1, request, 0) }.into()).err().map(|e| e as i32)
}
