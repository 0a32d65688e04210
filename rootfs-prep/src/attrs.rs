//! Flags and propagation of a mount that is held by fd: mount_setattr(2), which works on one that is attached nowhere
//! yet. Before Linux 5.12 it is mount(2), mount by mount, and only once it is attached.

use crate::options::{Attrs, Propagation};
use crate::root::{inside, mount_id};
use chain::bytes::Bytes;
use chain::proc::{MountInfo, host, mounts};
use chain::sys::mount::{MountAttr, attr, mount_setattr};
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::libc;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
use rustix::process::fchdir;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Sets flags on a mount that is attached nowhere, or on it and all below. False: this kernel can do it only when it is
/// attached, by [`set`].
pub(crate) fn set_detached(
    mount: BorrowedFd<'_>,
    attrs: &Attrs,
    recursive: bool,
    doing: &str,
) -> Result<bool> {
    if attrs.is_empty() {
        return Ok(true);
    }
    match setattr(mount, &attrs.change(), recursive) {
        Ok(()) => Ok(true),
        Err(Errno::ENOSYS) => Ok(false),
        Err(e) => Err(locked(Error::call(doing, "mount_setattr", e), mount, attrs)),
    }
}

/// Sets flags on an attached mount, or on it and all below.
pub(crate) fn set(mount: BorrowedFd<'_>, attrs: &Attrs, recursive: bool, doing: &str) -> Result<()> {
    if set_detached(mount, attrs, recursive, doing)? {
        return Ok(());
    }
    let all = mounts()?;
    let id = mount_id(mount).cannot(doing, "statx(STATX_MNT_ID)")?;
    let gone = || Error::new(Class::Internal, doing, "it is not among the mounts here");
    let top = all.iter().find(|m| m.id == id).ok_or_else(gone)?;
    remount(mount, top, attrs, doing)?;
    if recursive {
        for below in all_below(top, &all) {
            if let Some(fd) = reach(mount, top, below, doing)? {
                remount(fd.as_fd(), below, attrs, doing)?;
            }
        }
    }
    Ok(())
}

/// Sets the propagation of an attached mount, or of it and all below.
pub(crate) fn set_propagation(mount: BorrowedFd<'_>, propagation: Propagation, doing: &str) -> Result<()> {
    let attr = MountAttr { propagation: propagation.flag, ..MountAttr::default() };
    match setattr(mount, &attr, propagation.recursive) {
        Err(Errno::ENOSYS) => {}
        other => return other.cannot(doing, "mount_setattr"),
    }
    let mut flags = match propagation.flag {
        libc::MS_SHARED => MountPropagationFlags::SHARED,
        libc::MS_SLAVE => MountPropagationFlags::DOWNSTREAM,
        libc::MS_UNBINDABLE => MountPropagationFlags::UNBINDABLE,
        _ => MountPropagationFlags::PRIVATE,
    };
    if propagation.recursive {
        flags |= MountPropagationFlags::REC;
    }
    by_path(mount, doing, |path| mount_change(path, flags))?.cannot(doing, "mount(propagation)")
}

fn setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> std::result::Result<(), Errno> {
    /// AT_RECURSIVE of linux/fcntl.h.
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = AtFlags::EMPTY_PATH.bits() as i32 | if recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(mount, c"", flags, attr)
}

/// Which flag it is that may not be changed. It may be one of a mount below.
fn locked(error: Error, mount: BorrowedFd<'_>, attrs: &Attrs) -> Error {
    if error.class != Class::Denied || attrs.clear == 0 && attrs.atime.is_none() {
        return error;
    }
    let there = rustix::fs::fstatfs(mount).map_or(0, |s| s.f_flags);
    let names: Vec<&str> = crate::verify::FLAGS
        .iter()
        .filter(|(shown, flag, _)| attrs.clear & flag != 0 && there & shown != 0)
        .map(|(_, _, name)| *name)
        .collect();
    let what = match (names.is_empty(), attrs.atime.is_some()) {
        (false, _) => format!("'{}' of the source is", names.join("', '")),
        (true, true) => "its access time is".into(),
        (true, false) => "a flag of a mount below it is".into(),
    };
    error.why(format_args!(
        "{what} locked: the mount came from a more privileged user namespace, which set it"
    ))
}

/// mount(2) sets all flags of a mount at once, so it is told those that are to stay as well.
fn remount(mount: BorrowedFd<'_>, now: &MountInfo, attrs: &Attrs, doing: &str) -> Result<()> {
    let flags = flags_after(now, attrs);
    by_path(mount, doing, |path| mount_remount(path, MountFlags::BIND | flags, c""))?
        .cannot(doing, format_args!("mount({}, MS_REMOUNT)", now.target))
        .map_err(|e| locked(e, mount, attrs))
}

/// Names in mountinfo, MOUNT_ATTR_* and MS_*.
const FLAGS: [(&str, u64, MountFlags); 6] = [
    ("ro", attr::RDONLY, MountFlags::RDONLY),
    ("nosuid", attr::NOSUID, MountFlags::NOSUID),
    ("nodev", attr::NODEV, MountFlags::NODEV),
    ("noexec", attr::NOEXEC, MountFlags::NOEXEC),
    ("nodiratime", attr::NODIRATIME, MountFlags::NODIRATIME),
    // MS_NOSYMFOLLOW of linux/mount.h, Linux 5.10.
    ("nosymfollow", attr::NOSYMFOLLOW, MountFlags::from_bits_retain(256)),
];

fn flags_after(now: &MountInfo, attrs: &Attrs) -> MountFlags {
    let has = |name: &str| now.options.iter().any(|o| o == name);
    let mut flags = MountFlags::empty();
    for (name, attr, flag) in FLAGS {
        if attrs.set & attr != 0 || has(name) && attrs.clear & attr == 0 {
            flags |= flag;
        }
    }
    let atime = attrs.atime.unwrap_or(match () {
        () if has("noatime") => attr::NOATIME,
        () if has("relatime") => attr::RELATIME,
        () => attr::STRICTATIME,
    });
    flags
        | match atime {
            attr::NOATIME => MountFlags::NOATIME,
            attr::RELATIME => MountFlags::RELATIME,
            _ => MountFlags::STRICTATIME,
        }
}

/// What stands on `top` and on what stands there, the lower ones first.
fn all_below<'a>(top: &MountInfo, all: &'a [MountInfo]) -> Vec<&'a MountInfo> {
    let on = |parent: u64| all.iter().filter(move |m| m.parent == parent && m.id != parent);
    let mut found: Vec<&MountInfo> = on(top.id).collect();
    let mut at = 0;
    while at < found.len() {
        found.extend(on(found[at].id));
        at += 1;
    }
    found
}

/// A mount below `top`, by a path from there; None if another one covers it. That loses nothing: who may take the cover
/// off may change the flags as well, for both want CAP_SYS_ADMIN where the mount namespace belongs.
fn reach(top: BorrowedFd<'_>, on: &MountInfo, below: &MountInfo, doing: &str) -> Result<Option<OwnedFd>> {
    let above = if on.target.0 == b"/" { &[][..] } else { on.target.0.as_slice() };
    let path = Bytes(below.target.0.strip_prefix(above).unwrap_or(&below.target.0).to_vec());
    let fd = match inside(top, &path) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(Error::call(doing, format_args!("openat({})", below.target), e)),
    };
    let found = mount_id(fd.as_fd()).cannot(doing, "statx(STATX_MNT_ID)")?;
    Ok((found == below.id).then_some(fd))
}

/// mount(2) takes a path. From the mount's own root that is `.`; to a file, and to a folder that is closed to us (a
/// tracefs in a /sys that a user binds), it leads by /proc, which must be one.
fn by_path<T>(mount: BorrowedFd<'_>, doing: &str, call: impl FnOnce(&str) -> T) -> Result<T> {
    let folder = FileType::from_raw_mode(fstat(mount).cannot(doing, "fstat")?.st_mode) == FileType::Directory;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let back = openat(CWD, ".", flags, Mode::empty()).cannot(doing, "open(.)")?;
    let entered = match folder.then(|| fchdir(mount)) {
        Some(Ok(())) => true,
        None | Some(Err(rustix::io::Errno::ACCESS)) => false,
        Some(Err(e)) => return Err(Error::call(doing, "fchdir", e)),
    };
    let result = if entered {
        call(".")
    } else {
        fchdir(host()?).cannot(doing, "fchdir(/proc)")?;
        call(&format!("self/fd/{}", mount.as_raw_fd()))
    };
    fchdir(back).cannot(doing, "fchdir(back)")?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, parent: u64, options: &str) -> MountInfo {
        let options = options.split(',').map(String::from).collect();
        MountInfo { id, parent, options, ..MountInfo::default() }
    }

    #[test]
    fn what_is_there_stays_and_what_is_asked_changes() {
        let now = mount(1, 1, "ro,nosuid,nodiratime,noatime");
        let nothing = flags_after(&now, &Attrs::default());
        let same = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODIRATIME | MountFlags::NOATIME;
        assert_eq!(nothing, same);
        let asked = Attrs { set: attr::NODEV, clear: attr::RDONLY, atime: Some(attr::RELATIME) };
        let after = MountFlags::NOSUID | MountFlags::NODIRATIME | MountFlags::NODEV | MountFlags::RELATIME;
        assert_eq!(flags_after(&now, &asked), after);
        assert_eq!(flags_after(&mount(1, 1, "rw"), &Attrs::default()), MountFlags::STRICTATIME);
        assert_eq!(flags_after(&mount(1, 1, "rw,relatime"), &Attrs::default()), MountFlags::RELATIME);
    }

    #[test]
    fn all_that_stands_on_a_mount_is_found_at_any_depth_and_nothing_beside_it() {
        let all =
            [mount(1, 1, "rw"), mount(5, 9, "rw"), mount(9, 2, "rw"), mount(2, 1, "rw"), mount(3, 1, "rw")];
        let ids = |of: u64| {
            let top = all.iter().find(|m| m.id == of).unwrap();
            all_below(top, &all).iter().map(|m| m.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(2), [9, 5]);
        assert_eq!(ids(1), [2, 3, 9, 5]);
        assert!(ids(5).is_empty());
    }
}
