//! Device rules on a group: v1's list, v2's program. Each is read back.

use crate::devices::Exceptions;
use crate::plan::Devices;
use chain::cgroup::Dir;
use chain::sys::bpf::{self, Instruction};
use chain::{Cannot, Error, Result};
use nix::errno::Errno;
use std::os::fd::AsFd;

/// Names our programs among others on the same group, so that ours can be replaced.
const PROGRAM_NAME: &str = "catena_devices";

/// Puts the rules on the directory of the version that they are for.
pub(crate) fn limit(dir: &Dir, devices: &Devices) -> Result<()> {
    match devices {
        Devices::V1(exceptions) => limit_v1(dir, exceptions),
        Devices::V2(_, program) => limit_v2(dir, program),
    }
}

/// All denied (or allowed), then exception by exception; then the list is read back.
fn limit_v1(dir: &Dir, exceptions: &Exceptions) -> Result<()> {
    let (all, except) = match exceptions.default_allow {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    // A new group that is refused its rules is removed, so nobody needs to know what it had.
    let before = if dir.is_new() { None } else { dir.read("devices.list")? };
    dir.write(all, "a").map_err(|e| match e.errno() {
        Some(Errno::EINVAL) => e.why("the group has children, and then its list cannot start anew"),
        Some(Errno::EPERM) => e.why("its parent does not allow all devices"),
        _ => e,
    })?;
    let lines: Vec<String> = exceptions.lines().collect();
    if let Err(error) = dir.write_each(except, &lines) {
        before.map_or(Ok(()), |list| put_back_v1(dir, &list))?;
        return Err(match error.errno() {
            Some(Errno::EPERM) => error.why("its parent does not allow that device"),
            _ => error,
        });
    }
    // With everything allowed the kernel lists no exceptions.
    let expected = if exceptions.default_allow { vec!["a *:* rwm".to_string()] } else { lines };
    let text = dir.read("devices.list")?.unwrap_or_default();
    let mut listed: Vec<&str> = text.lines().collect();
    let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    if listed == expected {
        Ok(())
    } else {
        Err(Error::readback("devices.list", expected.join(", "), listed.join(", ")))
    }
}

/// The list that a group had before, as far as the kernel tells it.
fn put_back_v1(dir: &Dir, list: &str) -> Result<()> {
    let lines: Vec<String> = list.lines().map(String::from).collect();
    match lines.iter().any(|l| l.starts_with('a')) {
        true => dir.write("devices.allow", "a"),
        false => dir.write("devices.deny", "a").and_then(|()| dir.write_each("devices.allow", &lines)),
    }
}

/// A program of ours on the group. One that an earlier run of ours left there is taken off when the new one is in
/// force; those of others stay, for all of them must agree.
fn limit_v2(dir: &Dir, program: &[Instruction]) -> Result<()> {
    let doing = format_args!("limit devices in the cgroup {}", dir.path);
    let loaded = bpf::load_device_program(program, PROGRAM_NAME).cannot(doing, "bpf(PROG_LOAD)");
    let loaded = loaded.map_err(|e| match e.errno() {
        Some(Errno::EPERM) => {
            e.why("loading such a program needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN")
        }
        _ => e,
    })?;
    let (cgroup, program) = (dir.fd()?, loaded.as_fd());
    let old = if dir.is_new() {
        Vec::new()
    } else {
        bpf::device_programs(cgroup.as_fd()).cannot(doing, "bpf(PROG_QUERY)")?
    };
    bpf::attach_device_program(cgroup.as_fd(), program).cannot(doing, "bpf(PROG_ATTACH)")?;
    for id in old {
        let Ok(theirs) = bpf::program_by_id(id) else { continue };
        let (_, name) = bpf::program_info(theirs.as_fd()).cannot(doing, "bpf(OBJ_GET_INFO_BY_FD)")?;
        if name == PROGRAM_NAME {
            bpf::detach_device_program(cgroup.as_fd(), theirs.as_fd()).cannot(doing, "bpf(PROG_DETACH)")?;
        }
    }
    let (id, _) = bpf::program_info(program).cannot(doing, "bpf(OBJ_GET_INFO_BY_FD)")?;
    let attached = bpf::device_programs(cgroup.as_fd()).cannot(doing, "bpf(PROG_QUERY)")?;
    if attached.contains(&id) {
        Ok(())
    } else {
        Err(Error::readback("the device program", id, format_args!("{attached:?}")))
    }
}
