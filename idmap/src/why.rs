//! Causes, found by looking after a failure: the kernel says EPERM to a dozen different things.

use crate::plan::Kind;
use crate::resolve::Map;
use crate::subid::{self, Grant};
use chain::sys::caps;
use chain::userns::parse_map;
use chain::{Class, Error, proc};
use nix::errno::Errno;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitStatus;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SETFCAP: u32 = 31;

fn number(path: &str) -> Option<u64> {
    std::str::from_utf8(&proc::read(path).ok()?).ok()?.trim().parse().ok()
}

fn has(cap: u32) -> bool {
    caps::get().is_ok_and(|held| held.effective & 1 << cap != 0)
}

/// Why unshare(CLONE_NEWUSER) failed.
pub(crate) fn of_unshare(error: Error) -> Error {
    match error.errno() {
        Some(Errno::ENOSPC) if number("/proc/sys/user/max_user_namespaces") == Some(0) => error
            .why("user namespaces are switched off on this host")
            .cure("sysctl user.max_user_namespaces=10000"),
        Some(Errno::ENOSPC | Errno::EUSERS) => {
            error.why("the limit user.max_user_namespaces is reached, or 32 namespaces are nested")
        }
        Some(Errno::EINVAL) => {
            error.why("this kernel has no user namespaces, or this process has several threads")
        }
        Some(Errno::EPERM | Errno::EACCES) => of_denied_unshare(error),
        _ => error,
    }
}

fn of_denied_unshare(error: Error) -> Error {
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) && !has(CAP_SYS_ADMIN) {
        return error
            .why("this host lets root alone make user namespaces")
            .cure("sysctl kernel.unprivileged_userns_clone=1");
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) && !has(CAP_SYS_ADMIN) {
        return error
            .why("AppArmor restricts user namespaces on this host to programs that have a profile")
            .cure("an AppArmor profile for idmap with the rule `userns,`");
    }
    // In a chroot the kernel refuses, for the new namespace's root could leave it.
    if proc::mounts().is_ok_and(|mounts| !mounts.iter().any(|m| m.target.0 == b"/")) {
        return error.why("this process is in a chroot").cure("rootfs-prep --root, which pivots");
    }
    let filtered = proc::read("/proc/self/status").ok().and_then(|s| proc::status_field(&s, "Seccomp"));
    if filtered.is_some_and(|mode| mode != "0") {
        return error.why("a seccomp filter is in force here, and it may forbid this");
    }
    error
}

/// Why a map could not be written directly; runs in the old user namespace.
pub(crate) fn of_write(error: Error, map: &Map) -> Error {
    if error.errno() != Some(Errno::EPERM) {
        return error;
    }
    let outer = proc::read(&format!("/proc/self/{}", map.kind.file())).ok().and_then(|t| parse_map(&t).ok());
    let outer: Vec<Grant> = outer.unwrap_or_default().iter().map(|m| (m.container_id, m.size)).collect();
    if let Some(m) = map.lines.iter().find(|m| !covered(m.host_id, m.size, &outer)) {
        let range = format!("{}+{}", m.host_id, m.size);
        return error.why(format_args!("the ids {range} do not exist in the user namespace of the caller"));
    }
    if map.kind == Kind::User && !has(CAP_SETFCAP) && map.lines.iter().any(|m| m.host_id == 0) {
        return error.why("mapping user 0 of the caller wants CAP_SETFCAP (Linux 5.12)");
    }
    error
}

/// newuidmap's several lines as one of ours.
pub(crate) fn of_program(map: &Map, program: &Path, status: ExitStatus, stderr: &[u8]) -> Error {
    let name = map.kind.program();
    let said = String::from_utf8_lossy(stderr);
    let said = said.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("");
    let said = said.strip_prefix(name).map_or(said, |s| s.trim_start_matches([':', ' ']));
    let detail = if said.is_empty() { format!("{name}: {status}") } else { format!("{name}: {said}") };
    let error = Error::new(Class::Denied, format_args!("map {}s", map.kind.noun()), detail);

    let (path, uid) = (map.kind.grants_file(), rustix::process::getuid().as_raw());
    let own = match map.kind {
        Kind::User => uid,
        Kind::Group => rustix::process::getgid().as_raw(),
    };
    let grants = match subid::of(path, uid) {
        Ok(grants) => grants,
        Err(none) => {
            let cure = none.cure.unwrap_or_default();
            return error.why(none.detail.unwrap_or_default()).cure(cure);
        }
    };
    let granted = |host: u32, size: u32| host == own && size == 1 || covered(host, size, &grants);
    if let Some(m) = map.lines.iter().find(|m| !granted(m.host_id, m.size)) {
        let (user, range) = (subid::shown(uid), format!("{}+{}", m.host_id, m.size));
        return error
            .why(format_args!("{path} does not grant {range} to {user}"))
            .cure(subid::add_range(path, uid));
    }
    // Debian gives it file capabilities or the set-user-ID bit; copies and nosuid mounts lose both.
    if std::fs::metadata(program).is_ok_and(|m| m.mode() & 0o4000 == 0) {
        return error.why(format_args!(
            "{} is not set-user-ID, or its file capabilities are lost",
            program.display()
        ));
    }
    error
}

/// Whether the ranges together hold all of `first`+`size`.
fn covered(first: u32, size: u32, ranges: &[Grant]) -> bool {
    let end = u64::from(first) + u64::from(size);
    let mut at = u64::from(first);
    while at < end {
        let within =
            |&&(start, count): &&Grant| u64::from(start) <= at && at < u64::from(start) + u64::from(count);
        match ranges.iter().find(within) {
            Some(&(start, count)) => at = u64::from(start) + u64::from(count),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_lie_across_several_grants() {
        let grants = [(100, 10), (110, 10), (200, 5)];
        for (first, size, is) in
            [(100, 20, true), (105, 15, true), (100, 21, false), (99, 2, false), (200, 5, true)]
        {
            assert_eq!(covered(first, size, &grants), is, "{first}+{size}");
        }
        assert!(covered(0, u32::MAX, &[(0, u32::MAX)]));
        assert!(!covered(0, 1, &[]));
    }
}
