//! seccomp(2).

use super::check;
use nix::errno::Errno;
use std::os::fd::{OwnedFd, RawFd};

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

/// seccomp(SECCOMP_SET_MODE_FILTER): from here on every call of this process goes through `program`.
pub fn load(program: &[Instruction], flags: u64) -> Result<Option<OwnedFd>, Errno> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let prog = std::ptr::from_ref(&fprog);
    // SAFETY: the kernel copies `len` instructions (same layout as struct sock_filter) before returning.
    let ret = check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, prog) })?;
    if flags & FLAG_NEW_LISTENER != 0 { super::fd::adopt(ret as RawFd).map(Some) } else { Ok(None) }
}

/// Makes call `number` with every argument -1; its errno, if it failed. For a call that a filter refuses, or else the
/// kernel: -1 is no address, no fd and no length that anything takes.
pub fn refused_call(number: i64) -> Option<i32> {
    // SAFETY: no pointer among the arguments can be read or written, so no memory of ours is touched.
    check(unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) })
        .err()
        .map(|e| e as i32)
}
