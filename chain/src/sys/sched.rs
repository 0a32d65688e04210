//! How a task is scheduled, where it may run, and where its memory comes from.

use super::check;
use nix::errno::Errno;

/// `struct sched_attr` of linux/sched/types.h, as Linux 5.3 has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Of this struct; set by the call.
    pub size: u32,
    /// SCHED_*
    pub policy: u32,
    /// SCHED_FLAG_*
    pub flags: u64,
    /// Of SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// Of SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// The same.
    pub deadline: u64,
    /// The same.
    pub period: u64,
    /// Of utilization clamps.
    pub util_min: u32,
    /// The same.
    pub util_max: u32,
}

/// sched_setattr(2) of this process.
pub fn set_attr(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the kernel reads one sched_attr of the size in it, which lives across the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) }).map(drop)
}

/// sched_getattr(2) of `pid`; 0: of this process.
pub fn attr(pid: i32) -> Result<SchedAttr, Errno> {
    let mut attr = SchedAttr::default();
    let (at, size) = (std::ptr::from_mut(&mut attr), size_of::<SchedAttr>());
    // SAFETY: the kernel writes at most `size` bytes to the sched_attr, which lives across the call.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, pid, at, size, 0) })?;
    Ok(attr)
}

/// IOPRIO_WHO_PROCESS of linux/ioprio.h.
const WHO_PROCESS: libc::c_int = 1;

/// ioprio_set(2) of this process.
pub fn set_io_priority(value: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// ioprio_get(2) of `pid`; 0: of this process.
pub fn io_priority(pid: i32) -> Result<i32, Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, pid) }).map(|value| value as i32)
}

/// sched_setaffinity(2) of this process: bit N of `mask` for CPU N. The kernel leaves out what the cpuset does not have.
pub fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads at most as many bytes as the slice has.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// sched_getaffinity(2) of `pid` (0: this process) into `mask`, which has room for every CPU of the kernel.
pub fn affinity(pid: i32, mask: &mut [u64]) -> Result<(), Errno> {
    let (room, at) = (size_of_val(mask), mask.as_mut_ptr());
    // SAFETY: the kernel writes at most as many bytes as the slice has.
    check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, pid, room, at) }).map(drop)
}

/// As many nodes as a kernel can have (MAX_NUMNODES at its largest), in words.
pub const NODE_WORDS: usize = 16;

/// Bit N for memory node N.
pub type Nodes = [u64; NODE_WORDS];

/// The kernel takes one off this number.
const MAX_NODE: usize = NODE_WORDS * 64 + 1;

/// set_mempolicy(2).
pub fn set_memory_policy(mode: i32, nodes: &Nodes) -> Result<(), Errno> {
    let none = nodes.iter().all(|word| *word == 0);
    let at = if none { std::ptr::null() } else { nodes.as_ptr() };
    let most = if none { 0 } else { MAX_NODE };
    // SAFETY: the kernel reads `most - 1` bits, which are those of the array, or nothing.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, at, most) }).map(drop)
}

/// get_mempolicy(2) of this process: mode with flags, and nodes.
pub fn memory_policy() -> Result<(i32, Nodes), Errno> {
    let (mut mode, mut nodes) = (0_i32, Nodes::default());
    let (at, nowhere) = (nodes.as_mut_ptr(), std::ptr::null::<libc::c_void>());
    // SAFETY: the kernel writes one int and `MAX_NODE - 1` bits, which are those of the array; both live across the call.
    check(unsafe {
        libc::syscall(libc::SYS_get_mempolicy, std::ptr::from_mut(&mut mode), at, MAX_NODE, nowhere, 0)
    })?;
    Ok((mode, nodes))
}
