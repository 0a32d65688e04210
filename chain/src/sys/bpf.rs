//! bpf(2), as far as a program that decides on devices of a cgroup needs it.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// The first members of `union bpf_attr` for BPF_PROG_LOAD, as of Linux 4.15.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The members for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The members for BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The members for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first members of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// One call; `attr` is the struct that belongs to `command`.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    let (attr, size) = (std::ptr::from_mut(attr), size_of::<T>());
    // SAFETY: the kernel reads and writes at most `size` bytes of `attr`; every pointer inside was made from a slice or
    // a struct that the caller of this private function holds across the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) })
}

/// Loads a program for devices of a cgroup. `name` shows in `bpftool prog`; at most 15 bytes of it.
pub fn load_device_program(program: &[Instruction], name: &str) -> Result<OwnedFd, Errno> {
    // The program calls no helper, so the kernel asks for no particular licence; it wants a string.
    let license = c"MIT";
    let mut load = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    super::fd::adopt(bpf(PROG_LOAD, &mut load)? as RawFd)
}

/// Attaches a device program to a cgroup beside those that are there: an access is granted when all of them grant it.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attach = attachment(cgroup, program);
    attach.attach_flags = ALLOW_MULTI;
    bpf(PROG_ATTACH, &mut attach).map(drop)
}

/// Takes a device program off a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    bpf(PROG_DETACH, &mut attachment(cgroup, program)).map(drop)
}

fn attachment(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Attach {
    Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: 0,
    }
}

/// Ids of the device programs attached to this very cgroup.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    // The kernel attaches at most 64 (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0_u32; 64];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    Ok(ids.iter().take(query.prog_cnt as usize).copied().collect())
}

/// A program by its id.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    // prog_id, next_id, open_flags.
    let mut attr = [id, 0, 0];
    super::fd::adopt(bpf(PROG_GET_FD_BY_ID, &mut attr)? as RawFd)
}

/// Id and name of a program.
pub fn program_info(program: BorrowedFd<'_>) -> Result<(u32, String), Errno> {
    let mut info = ProgInfo::default();
    let mut attr = ObjectInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    // The kernel wrote through the address in `attr`, which the compiler cannot see.
    let name = std::hint::black_box(info).name;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok((info.id, String::from_utf8_lossy(&name[..end]).into_owned()))
}
