//! Whose the group is: a container that has it for the root of its cgroup namespace may make groups below it, which wants
//! the folder and the files that the kernel lists as the delegatee's (cgroups(7), "Cgroup delegation"). Limits are none of
//! them. Of v2 only: v1 has no safe delegation.

use chain::cgroup::Group;
use chain::{Cannot, Class, Error, Result, proc};
use rustix::fs::{AtFlags, Uid, chownat, statat};
use std::os::fd::AsFd;

/// Their names, one a line; since Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What it was from the beginning, where there is no list.
const FEW: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives it to `uid`, and looks whether it is so.
pub(crate) fn give(group: &Group, uid: u32) -> Result<()> {
    let Some(dir) = group.v2() else { return Ok(()) };
    let doing = format_args!("give the cgroup {} to uid {uid}", dir.path);
    let list = proc::read(LIST).unwrap_or_else(|_| FEW.into());
    let list = String::from_utf8_lossy(&list).into_owned();
    let fd = dir.fd()?;
    let owner = Some(Uid::from_raw(uid));
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        match chownat(fd.as_fd(), name, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
            // A controller's that this group does not have.
            Err(rustix::io::Errno::NOENT) => {}
            other => other.cannot(doing, format_args!("chown({}/{name})", dir.path))?,
        }
    }
    chownat(fd.as_fd(), "", owner, None, AtFlags::EMPTY_PATH)
        .cannot(doing, format_args!("chown({})", dir.path))?;
    let found = statat(fd.as_fd(), "", AtFlags::EMPTY_PATH).cannot(doing, "fstat")?.st_uid;
    if found == uid {
        return Ok(());
    }
    Err(Error::new(Class::Internal, doing, format_args!("it is uid {found}'s")))
}
