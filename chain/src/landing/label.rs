//! The label that a security module gives the command at its exec. It is consumed by the next exec, so only the landing
//! can set it.

use super::Landing;
use crate::error::{Cannot, Class, Error, Result};
use crate::proc;
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The files to write and what to write, opened while mounting a procfs is still permitted. AppArmor's own file where
/// the kernel has it, else the one that all modules share (kernels before 5.8).
pub(super) fn files(landing: &Landing) -> Result<Vec<(OwnedFd, String)>> {
    let mut files = Vec::new();
    if landing.apparmor.is_none() && landing.selinux.is_none() {
        return Ok(files);
    }
    let proc = proc::private().ok();
    let proc = proc.as_ref().map(AsFd::as_fd);
    if let Some(profile) = &landing.apparmor {
        let doing = format!("set the AppArmor profile {profile}");
        let fd = open(proc, "self/attr/apparmor/exec", &doing)
            .or_else(|_| open(proc, "self/attr/exec", &doing))?;
        files.push((fd, format!("exec {profile}")));
    }
    if let Some(label) = &landing.selinux {
        let fd = open(proc, "self/attr/exec", &format!("set the label {label}"))?;
        files.push((fd, label.clone()));
    }
    Ok(files)
}

/// Below the private procfs; where the kernel refuses one (a user namespace that sees only a masked /proc), below /proc,
/// if the file there is one of procfs and not something mounted over it (CVE-2019-16884).
fn open(private: Option<BorrowedFd<'_>>, path: &str, doing: &str) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let Some(proc) = private {
        return openat(proc, path, flags, Mode::empty()).cannot(doing, format_args!("open({path})"));
    }
    let path = format!("/proc/{path}");
    let fd = openat(CWD, &path, flags, Mode::empty()).cannot(doing, format_args!("open({path})"))?;
    let kind = fstatfs(&fd).cannot(doing, format_args!("fstatfs({path})"))?.f_type;
    match kind == PROC_SUPER_MAGIC {
        true => Ok(fd),
        false => Err(Error::new(Class::Denied, doing, format_args!("{path} is not a file of procfs"))),
    }
}

/// One write, as these files want it.
pub(super) fn write(fd: BorrowedFd<'_>, label: &str) -> Result<()> {
    let doing = format!("set the label '{label}'");
    let written = rustix::io::write(fd, label.as_bytes()).cannot(&doing, "write(attr/exec)")?;
    match written == label.len() {
        true => Ok(()),
        false => {
            Err(Error::new(Class::Internal, doing, format_args!("write(attr/exec) took {written} bytes")))
        }
    }
}
