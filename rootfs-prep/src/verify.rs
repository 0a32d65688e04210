//! Reads back what the kernel holds: every mount of ours is where it was asked for, of its type, with its flags.

use crate::listed;
use crate::path::{above, from_root};
use crate::place::{Mounted, Place};
use chain::bindings::{MOUNT, mount_of};
use chain::sys::mount::attr;
use chain::{Cannot, Error, Result};
use rustix::fs::{AtFlags, fstatfs, statx};
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Type names and their numbers in linux/magic.h.
const MAGIC: [(&str, i64); 7] = [
    ("proc", 0x9fa0),
    ("sysfs", 0x6265_6572),
    ("tmpfs", 0x0102_1994),
    ("devpts", 0x1cd1),
    ("mqueue", 0x1980_0202),
    ("cgroup", 0x0027_e0eb),
    ("cgroup2", 0x6367_7270),
];

/// Flags as fstatfs(2) shows them (ST_*), and as mount_setattr(2) sets them.
pub(crate) const FLAGS: [(i64, u64, &str); 6] = [
    (1, attr::RDONLY, "ro"),
    (2, attr::NOSUID, "nosuid"),
    (4, attr::NODEV, "nodev"),
    (8, attr::NOEXEC, "noexec"),
    (2048, attr::NODIRATIME, "nodiratime"),
    (8192, attr::NOSYMFOLLOW, "nosymfollow"),
];

/// Proves all of it; gives what is there, a line per mount.
///
/// A mount that is listed is there, and a path that leads elsewhere by now (by a link that a later mount changed) is no
/// fault of it. So paths are looked at only for what is in no list, and where there is none.
pub(crate) fn all(place: &Place) -> Result<Vec<String>> {
    let lines = place.mounted.iter().map(|mounted| flags_of(mounted, mounted.fd.as_fd()));
    let lines = lines.collect::<Result<_>>()?;
    let list = listed::all().unwrap_or_default();
    let listed = |mounted: &Mounted| list.binary_search(&mounted.id).is_ok();
    if !place.mounted.iter().all(listed) {
        are_there(&lost(place, listed))?;
    }
    Ok(lines)
}

/// Those that are neither listed nor where they were mounted, though nothing hides them.
fn lost(place: &Place, listed: impl Fn(&Mounted) -> bool) -> Vec<&Mounted> {
    let mut lost = Vec::new();
    // From the last one: what a later mount is on, or above, is hidden.
    let mut later = HashSet::with_capacity(place.mounted.len());
    for mounted in place.mounted.iter().rev() {
        let hidden = || later.contains(&b"/"[..]) || above(&mounted.at.0).any(|path| later.contains(path));
        if !listed(mounted) && !hidden() && !is_at_its_place(place, mounted) {
            lost.push(mounted);
        }
        later.insert(mounted.at.0.as_slice());
    }
    lost
}

/// The tree that was taken along is a copy: each mount that can be seen in it has the type and the flags of its original.
pub(crate) fn carried(place: &Place) -> Result<()> {
    let mut later = HashSet::new();
    for mounted in place.mounted.iter().rev() {
        if !above(&mounted.at.0).any(|path| later.contains(path)) {
            let at = |fd: OwnedFd| flags_of(mounted, fd.as_fd());
            let (Ok(led), Ok(there)) = (place.root.open(&mounted.at), place.root.open_nofollow(&mounted.at))
            else {
                continue;
            };
            at(led).or_else(|error| at(there).or(Err(error)))?;
        }
        later.insert(mounted.at.0.as_slice());
    }
    Ok(())
}

/// The flags and the type of one, from the mount itself.
fn flags_of(mounted: &Mounted, fd: BorrowedFd<'_>) -> Result<String> {
    let at = &mounted.at;
    let stat = fstatfs(fd).cannot(format_args!("prove the mount on {at}"), "fstatfs")?;
    let (found, kind) = (stat.f_flags as i64, stat.f_type as i64);
    if MAGIC.iter().any(|(name, magic)| *name == mounted.kind && kind != *magic) {
        return Err(other_type(mounted, format_args!("{kind:#x}")));
    }
    let set = FLAGS.iter().filter(|(shown, ..)| found & shown != 0);
    as_asked(mounted, set.fold(0, |all, (_, flag, _)| all | flag))
}

fn other_type(mounted: &Mounted, found: impl std::fmt::Display) -> Error {
    Error::readback(format_args!("the mount on {}", mounted.at), &mounted.kind, format_args!("type {found}"))
}

/// The flags that it has (MOUNT_ATTR_*) are those that were asked for; gives its line.
fn as_asked(mounted: &Mounted, found: u64) -> Result<String> {
    let at = &mounted.at;
    let mut line = format!("{at} {}", mounted.kind);
    for (_, flag, name) in FLAGS {
        let is = found & flag != 0;
        if mounted.asked.set & flag != 0 && !is || mounted.asked.clear & flag != 0 && is {
            let found = if is { "set" } else { "not set" };
            return Err(Error::readback(
                format_args!("the mount on {at}"),
                name,
                format_args!("it is {found}"),
            ));
        }
        if is {
            line.push(' ');
            line.push_str(name);
        }
    }
    Ok(line)
}

/// Whether the path leads to it. By now the root is ours, or is what it was, so links in it are its own; or it is
/// mounted on a link, or is one.
fn is_at_its_place(place: &Place, mounted: &Mounted) -> bool {
    let leads = |more: AtFlags| {
        let (path, flags) = (from_root(&mounted.at), AtFlags::NO_AUTOMOUNT | more);
        let found = statx(place.root.fd(), path, flags, MOUNT);
        found.is_ok_and(|found| mount_of(&found) == Some(mounted.id))
    };
    leads(AtFlags::empty()) || leads(AtFlags::SYMLINK_NOFOLLOW)
}

/// The last place to look.
fn are_there(lost: &[&Mounted]) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let fds: Vec<_> = lost.iter().map(|mounted| mounted.fd.as_fd()).collect();
    match listed::missing(&fds)? {
        Some(at) => {
            let Mounted { at, kind, .. } = lost[at];
            Err(Error::readback(format_args!("the mount on {at}"), kind, "it is not there"))
        }
        None => Ok(()),
    }
}
