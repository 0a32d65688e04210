//! Processes: clone3 with a pidfd, execveat, prctl, ids, rlimits, keyrings, terminals.

use super::check;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `struct clone_args` of linux/sched.h, as far as Linux 5.7 has it.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// The child is born in the v2 cgroup that [`CloneArgs::cgroup`] is open on.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork this is.
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the new one's pid and a pidfd for it.
    Parent(i32, OwnedFd),
}

/// clone3(2), Linux 5.3, as a fork with `flags` (CLONE_NEW*, CLONE_PARENT). Only for programs of one thread, which
/// all tools are: the child continues on a copy of everything.
pub fn fork(flags: u64) -> Result<Forked, Errno> {
    fork_into(flags, None)
}

/// As [`fork`], with the child in this v2 cgroup from its first moment (Linux 5.7). Moving it there later would make the
/// kernel hold up every fork and exit of the system, and wait some ten milliseconds before it could.
pub fn fork_into(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    let parent = flags & libc::CLONE_PARENT as u64 != 0;
    let args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        // With CLONE_PARENT the child takes over our own exit signal, and naming one is EINVAL.
        exit_signal: if parent { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child runs on a copy of this stack, so returning twice is as sound as fork(2); the
    // kernel writes one int to `pidfd`, which lives across the call.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), size_of::<CloneArgs>()) };
    match check(ret)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32, super::fd::adopt(pidfd)?)),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// execveat(fd, "", argv, envp, AT_EMPTY_PATH): runs what `fd` refers to, wherever its path went.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    let (fd, path, flag) = (fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: both arrays end in NULL and point to C strings that live until the call returns, if it does.
    unsafe { libc::syscall(libc::SYS_execveat, fd, path, argv.as_ptr(), envp.as_ptr(), flag) };
    Errno::last()
}

/// execve(2) of one exact path.
pub fn exec_path(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end in NULL and point to C strings that live until the call returns, if it does.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// prctl(2) with integer arguments only.
pub fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<i64, Errno> {
    // SAFETY: every option used with this wrapper takes integers, so the kernel touches no memory of ours.
    check(unsafe { libc::prctl(option, arg2, arg3, 0_u64, 0_u64) }.into())
}

/// Real, effective and saved user id at once. setresuid(2) by number: libc's wrapper signals other threads, and there
/// are none.
pub fn set_uids(uid: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Real, effective and saved group id at once.
pub fn set_gids(gid: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` gids from the slice and keeps no pointer.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Limits of one resource by number (RLIMIT_*), for process `pid` (0: this one): sets `new`, gives the old.
pub fn prlimit(pid: i32, resource: u32, new: Option<(u64, u64)>) -> Result<(u64, u64), Errno> {
    let new = new.map(|(soft, hard)| libc::rlimit64 { rlim_cur: soft, rlim_max: hard });
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new_ptr = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let old_ptr = std::ptr::from_mut(&mut old);
    // SAFETY: `new` is NULL or one rlimit64 that is read, `old` one that is written; both live across the call.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, new_ptr, old_ptr) })?;
    Ok((old.rlim_cur, old.rlim_max))
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING, name): a new session keyring, so that the caller's keys stay outside. An empty
/// name makes one without a name, which nobody else can join. With a name it may be one that was there.
pub fn join_session_keyring(name: &CStr) -> Result<i64, Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = if name.is_empty() { std::ptr::null() } else { name.as_ptr() };
    // SAFETY: the kernel copies the name, or takes NULL for none.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) })
}

/// keyctl(KEYCTL_DESCRIBE): `type;uid;gid;permissions;name` of a key, as much of it as is asked about here.
pub fn describe_key(key: i64) -> Result<Vec<u8>, Errno> {
    const KEYCTL_DESCRIBE: libc::c_int = 6;
    let mut text = vec![0; 256];
    let (at, room) = (text.as_mut_ptr(), text.len());
    // SAFETY: the kernel writes at most `room` bytes to `text`, which lives across the call.
    let size = check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key, at, room) })?;
    text.truncate(size as usize);
    Ok(text)
}

/// personality(2); gives the old one.
pub fn personality(persona: u64) -> Result<i64, Errno> {
    // SAFETY: an integer only.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) })
}

/// TIOCGPTPEER: the other end of a pty by fd, so that no path under /dev/pts is looked up (CVE-2025-52565).
pub fn pty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const TIOCGPTPEER: libc::c_ulong = 0x5441;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes open flags as an integer and returns a new fd.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), TIOCGPTPEER, flags) }.into())?;
    super::fd::adopt(fd as RawFd)
}

/// TIOCSPTLCK: unlocks the other end of a pty.
pub fn pty_unlock(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let zero: libc::c_int = 0;
    // SAFETY: the kernel reads one int, which lives across the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, std::ptr::from_ref(&zero)) }.into())
        .map(drop)
}

/// TIOCSCTTY: makes the terminal the controlling one of this session.
pub fn set_controlling_terminal(tty: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the ioctl takes an integer.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// TIOCSWINSZ: rows and columns.
pub fn set_window_size(tty: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize, which lives across the call.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) }.into())
        .map(drop)
}

/// TIOCGWINSZ: rows and columns.
pub fn window_size(tty: BorrowedFd<'_>) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize, which lives across the call.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ, std::ptr::from_mut(&mut size)) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// pidfd_send_signal(2), Linux 5.1.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a NULL siginfo is allowed and means "as kill(2)".
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) }).map(drop)
}

/// pidfd_open(2), Linux 5.3.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    super::fd::adopt(fd as RawFd)
}

/// pidfd_open(2) of one thread (PIDFD_THREAD, Linux 6.9), to which alone signals then go.
pub fn pidfd_of_thread(tid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) })?;
    super::fd::adopt(fd as RawFd)
}

/// sigaction(2) to a default or ignoring action, which runs no code of ours.
pub fn sigaction(
    signal: nix::sys::signal::Signal,
    action: &nix::sys::signal::SigAction,
) -> Result<(), Errno> {
    // SAFETY: callers pass SIG_DFL or SIG_IGN, so no handler can run at a bad moment.
    unsafe { nix::sys::signal::sigaction(signal, action) }.map(drop)
}

/// _exit(2): for a forked child that must not run its parent's code.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(status) }
}
