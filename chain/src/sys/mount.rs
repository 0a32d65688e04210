//! mount_setattr(2), open_tree_attr(2) and listmount(2), which rustix does not have.

use super::check;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// MOUNT_ATTR_* to set.
    pub attr_set: u64,
    /// MOUNT_ATTR_* to clear.
    pub attr_clr: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE; 0 leaves it.
    pub propagation: u64,
    /// User namespace fd, with MOUNT_ATTR_IDMAP.
    pub userns_fd: u64,
}

/// MOUNT_ATTR_* of linux/mount.h.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x0000_0001;
    /// No set-user-ID.
    pub const NOSUID: u64 = 0x0000_0002;
    /// No devices.
    pub const NODEV: u64 = 0x0000_0004;
    /// No execution.
    pub const NOEXEC: u64 = 0x0000_0008;
    /// Mask of the access time modes, which are an enumeration.
    pub const ATIME: u64 = 0x0000_0070;
    /// Value in that mask.
    pub const RELATIME: u64 = 0x0000_0000;
    /// Value in that mask.
    pub const NOATIME: u64 = 0x0000_0010;
    /// Value in that mask.
    pub const STRICTATIME: u64 = 0x0000_0020;
    /// No directory access times.
    pub const NODIRATIME: u64 = 0x0000_0080;
    /// Map ids by `userns_fd`.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Do not follow symlinks.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// mount_setattr(2), Linux 5.12. `flags`: AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, flags: i32, attr: &MountAttr) -> Result<(), Errno> {
    let (attr, size) = (std::ptr::from_ref(attr), size_of::<MountAttr>());
    let (dir, path) = (dir.as_raw_fd(), path.as_ptr());
    // SAFETY: the kernel reads `size` bytes of `attr` and the string, both borrowed for the call, and keeps neither.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, dir, path, flags, attr, size) }).map(drop)
}

/// open_tree_attr(2), Linux 6.15: open_tree(2), and mount_setattr(2) on what it opens. AT_RECURSIVE counts for both.
pub fn open_tree_attr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: u32,
    attr: &MountAttr,
) -> Result<OwnedFd, Errno> {
    /// Not in the libc crate; new calls have the same number everywhere.
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
    let (attr, size) = (std::ptr::from_ref(attr), size_of::<MountAttr>());
    let (dir, path) = (dir.as_raw_fd(), path.as_ptr());
    // SAFETY: the kernel reads `size` bytes of `attr` and the string, both borrowed for the call, and keeps neither.
    let fd = check(unsafe { libc::syscall(SYS_OPEN_TREE_ATTR, dir, path, flags, attr, size) })?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// listmount(2), Linux 6.8: the ids of mounts that can be reached from this process's root, as STATX_MNT_ID_UNIQUE tells
/// them, in order, from the first one above `after`. Gives how many there was place for.
pub fn listmount(after: u64, ids: &mut [u64]) -> Result<usize, Errno> {
    /// Not in the libc crate; new calls have the same number everywhere.
    const SYS_LISTMOUNT: libc::c_long = 458;
    /// `struct mnt_id_req` of linux/mount.h: its size, what is listed (LSMT_ROOT), and from where on.
    #[repr(C)]
    struct Request(u32, u32, u64, u64);
    let request = Request(size_of::<Request>() as u32, 0, u64::MAX, after);
    let (ask, room, count) = (std::ptr::from_ref(&request), ids.as_mut_ptr(), ids.len());
    // SAFETY: the kernel reads `request`, as long as it says, and writes at most `count` numbers to `ids`.
    check(unsafe { libc::syscall(SYS_LISTMOUNT, ask, room, count, 0) }).map(|listed| listed as usize)
}
