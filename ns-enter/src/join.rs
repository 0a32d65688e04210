//! Joining namespaces in which somebody lives: in which order, and what must not be seen from inside.

use crate::targets::Target;
use chain::oci::NamespaceKind;
use chain::spec::NsEnter;
use chain::state::State;
use chain::sys::process::prctl;
use chain::{Cannot, Class, Error, Result, sys};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{CWD, FileType, Mode, OFlags, SealFlags, fcntl_get_seals, fstat, fstatfs, fstatvfs, openat};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// linux/magic.h: the file system that holds the namespaces.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Kinds through which the processes inside come to see this one, or what it has.
const SEEN_BY: [NamespaceKind; 3] = [NamespaceKind::Pid, NamespaceKind::User, NamespaceKind::Mount];

/// Does `spec` join one of them, or leave a process of ours inside?
pub(crate) fn may_be_seen(spec: &NsEnter) -> bool {
    let stays = spec.init || !spec.persist.is_empty();
    stays || spec.namespaces.iter().any(|ns| ns.path.is_some() && SEEN_BY.contains(&ns.kind))
}

/// Was this program started from a read-only mount, or from a sealed copy?
pub(crate) fn program_is_read_only() -> Result<bool> {
    let doing = "look at our own program";
    let fd = openat(CWD, "/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, "open(/proc/self/exe)")?;
    let flags = fstatvfs(&fd).cannot(doing, "fstatvfs(/proc/self/exe)")?.f_flag;
    let sealed = fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    Ok(sealed || flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Before a join: no directory of ours may be reached from inside through /proc/PID/fd (CVE-2016-9962), nor another
/// namespace. None crosses the next exec, and until then nobody inside can look at this process at all.
pub(crate) fn guard(state: &State) -> Result<()> {
    let doing = "hide our directories from the namespaces to join";
    for entry in std::fs::read_dir("/proc/self/fd").cannot(doing, "open(/proc/self/fd)")? {
        let name = entry.cannot(doing, "getdents(/proc/self/fd)")?.file_name();
        let Some(n) = name.to_str().and_then(|n| n.parse::<RawFd>().ok()).filter(|n| *n > 2) else {
            continue;
        };
        // The listing's own fd is gone by now.
        let Ok(fd) = sys::fd::borrow(n) else { continue };
        let mode = fstat(fd).cannot(doing, format_args!("fstat({n})"))?.st_mode;
        // Not by NS_GET_NSTYPE: an fd by O_PATH answers no ioctl, and what refuses one may be anything.
        let held_by = || fstatfs(fd).cannot(doing, format_args!("fstatfs({n})"));
        let what = match FileType::from_raw_mode(mode) {
            FileType::Directory => "directory",
            _ if held_by()?.f_type == NSFS_MAGIC => "namespace",
            _ => continue,
        };
        if state.fds.keep.contains(&n) {
            let detail = format!("fd {n} is a {what}, and whoever lives in there could leave through it");
            return Err(Error::new(Class::Denied, format_args!("keep fd {n}"), detail));
        }
        sys::fd::set_cloexec(fd, true).cannot(doing, format_args!("fcntl({n}, F_SETFD)"))?;
    }
    dumpable(false)
}

/// PR_SET_DUMPABLE: whether processes of the same user may trace this one and read its /proc files.
pub(crate) fn dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(on), 0)
        .cannot("hide from other processes", format_args!("prctl(PR_SET_DUMPABLE, {})", u8::from(on)))
        .map(drop)
}

/// Joins all of `targets`. With a `process` in one call, or, where that does not work, one by one: first those that
/// our present privilege is good for, then the user namespace, then those that its privilege is good for.
pub(crate) fn enter(targets: &[&Target], process: Option<BorrowedFd<'_>>) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    if let Some(process) = process {
        let flags = targets.iter().fold(0, |flags, t| flags | t.kind.clone_flag());
        // Linux 5.8; refused as a whole when we have privilege over one namespace outside and over another inside.
        if setns(process, CloneFlags::from_bits_retain(flags)).is_ok() {
            return Ok(());
        }
    }
    let (users, others): (Vec<&Target>, Vec<&Target>) =
        targets.iter().partition(|t| t.kind == NamespaceKind::User);
    let mut refused: Vec<(&Target, Errno)> =
        others.iter().filter_map(|t| Some((*t, one(t).err()?))).collect();
    for user in users {
        one(user).map_err(|errno| why(error(user, errno), user))?;
        refused = refused
            .into_iter()
            .filter_map(|(t, first)| match one(t) {
                Ok(()) => None,
                Err(second) if second == first => Some((t, first)),
                Err(second) => Some((t, if second == Errno::EPERM { first } else { second })),
            })
            .collect();
        if let Some((target, errno)) = refused.first() {
            return Err(error(target, *errno)
                .why("tried with the privilege outside, and with that in the user namespace joined"));
        }
    }
    match refused.first() {
        Some((target, errno)) => Err(why(error(target, *errno), target)),
        None => Ok(()),
    }
}

fn one(target: &Target) -> std::result::Result<(), Errno> {
    setns(target.fd.as_fd(), CloneFlags::from_bits_retain(target.kind.clone_flag()))
}

fn error(target: &Target, errno: Errno) -> Error {
    let (kind, path) = (target.kind.as_str(), &target.path);
    Error::call(format_args!("join the {kind} namespace {path}"), format_args!("setns({path})"), errno)
}

fn why(error: Error, target: &Target) -> Error {
    match (error.errno(), target.kind) {
        (Some(Errno::EPERM), NamespaceKind::User) => {
            error.why("joining a user namespace wants to be its owner, or CAP_SYS_ADMIN in its parent")
        }
        (Some(Errno::EPERM), _) => error
            .why("this process has no CAP_SYS_ADMIN over it: the namespace belongs to another user namespace, or the caller has no privilege"),
        (Some(Errno::EINVAL), NamespaceKind::Pid) => error.why("it is no descendant of our own pid namespace"),
        _ => error,
    }
}
