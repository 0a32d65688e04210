//! The label that a security module gives the command at its exec. It is consumed by the next exec, so only the landing
//! can set it.

use super::Landing;
use crate::error::{Cannot, Class, Error, Result};
use crate::proc;
use nix::errno::Errno;
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
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let Some(proc) = private {
        return openat(proc, path, flags, Mode::empty())
            .cannot(doing, format_args!("open({path})"))
            .map_err(absent);
    }
    let path = format!("/proc/{path}");
    let fd = openat(CWD, &path, flags, Mode::empty())
        .cannot(doing, format_args!("open({path})"))
        .map_err(absent)?;
    let kind = fstatfs(&fd).cannot(doing, format_args!("fstatfs({path})"))?.f_type;
    match kind == PROC_SUPER_MAGIC {
        true => Ok(fd),
        false => Err(Error::new(Class::Denied, doing, format_args!("{path} is not a file of procfs"))),
    }
}

fn absent(error: Error) -> Error {
    if error.errno() == Some(Errno::ENOENT) { nobody_takes_it(error) } else { error }
}

/// What the kernel answers where the module is not built in, or not in force, or does not know the label's shape.
fn nobody_takes_it(error: Error) -> Error {
    error.class(Class::Unsupported).why("no security module that is in force here takes such a label")
}

/// What the next exec will give, in the kernel's words. SELinux without a policy takes every label, and gives none.
fn prove(fd: BorrowedFd<'_>, asked: &str, doing: &str) -> Result<()> {
    let mut found = vec![0; 4096];
    let size = rustix::io::pread(fd, &mut found, 0).cannot(doing, "read(attr/exec)")?;
    found.truncate(size);
    let found = String::from_utf8_lossy(&found);
    let found = found.trim_end_matches(['\0', '\n']);
    let same = match asked.strip_prefix("exec ") {
        // With the profile's mode behind it.
        Some(profile) => {
            found.strip_prefix(profile).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
        }
        // The kernel has its own way to write the categories behind user, role and type.
        None => found.splitn(4, ':').take(3).eq(asked.splitn(4, ':').take(3)),
    };
    match same {
        true => Ok(()),
        false => Err(nobody_takes_it(Error::new(
            Class::Unsupported,
            doing,
            format_args!("the kernel would give '{}' instead", found.escape_debug()),
        ))),
    }
}

/// One write, as these files want it, and read back.
pub(super) fn write(fd: BorrowedFd<'_>, label: &str) -> Result<()> {
    let doing = match label.strip_prefix("exec ") {
        Some(profile) => format!("set the AppArmor profile {profile}"),
        None => format!("set the label {label}"),
    };
    let written = rustix::io::write(fd, label.as_bytes())
        .cannot(&doing, "write(attr/exec)")
        .map_err(|e| if e.errno() == Some(Errno::EINVAL) { nobody_takes_it(e) } else { e })?;
    match written == label.len() {
        true => prove(fd, label, &doing),
        false => {
            Err(Error::new(Class::Internal, doing, format_args!("write(attr/exec) took {written} bytes")))
        }
    }
}
