//! The only unsafe code of the project: system calls that neither rustix nor nix offer, and fds that arrive as
//! numbers. Wrappers take borrowed fds and return owned ones.

pub mod arena;
pub mod bpf;
pub mod caps;
pub mod fd;
#[cfg(feature = "harness")]
pub mod harness;
pub mod listener;
pub mod mount;
pub mod namespaces;
pub mod notify;
pub mod process;
pub mod ptrace;
pub mod regex;
pub mod sched;
pub mod seccomp;
pub mod spawn;
mod startup;

use nix::errno::Errno;

/// A raw system call's result as the kernel means it.
pub(crate) fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}
