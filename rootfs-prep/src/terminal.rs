//! The container's terminal: a pty from its own devpts, one end on /dev/console and the command's, the other for the
//! runner. No path below /dev/pts is looked up (CVE-2025-52565).

use crate::build::{attach, clone};
use crate::options::Attrs;
use crate::place::Place;
use crate::root::{Make, Root};
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::name::ToolName;
use chain::spec::RootfsPrep;
use chain::state::{Fds, Receipt};
use chain::sys::{self, process};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat};
use rustix::io::Errno;
use serde_json::json;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

/// A terminal of the container's own wants somebody at its other end, and a shell has one to give already.
pub(crate) fn of_the_caller(spec: &mut RootfsPrep) {
    if std::mem::take(&mut spec.terminal) {
        spec.console_size = None;
        let text =
            "process.terminal: the command has this shell's standard fds; only runner makes a terminal";
        chain::report::warn("rootfs-prep", text);
    }
}

/// Makes it.
pub(crate) fn make(place: &mut Place, size: Option<(u16, u16)>, fds: &mut Fds) -> Result<()> {
    let doing = "give the container a terminal";
    let holder = holder(fds, doing)?;
    let (master, peer) = pair(&place.root, size, doing)?;
    console(place, &peer, doing)?;
    hand_out(holder, &master, peer, fds)
}

/// Is a terminal all that is asked for? Then nothing is mounted, so it may be in a mount namespace that others live in:
/// a further command of a container.
pub(crate) fn is_all_of(spec: &RootfsPrep) -> bool {
    let alone = RootfsPrep { terminal: true, console_size: spec.console_size, ..RootfsPrep::default() };
    *spec == alone
}

/// Makes one in the root that is there. /dev/console stays the first process's.
pub(crate) fn alone(size: Option<(u16, u16)>, fds: &mut Fds) -> Result<Receipt> {
    let doing = "give the command a terminal";
    let holder = holder(fds, doing)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty()).cannot(doing, "open(/)")?;
    let (master, peer) = pair(&Root::present(root), size, doing)?;
    hand_out(holder, &master, peer, fds)?;
    Ok(Receipt::verified(ToolName::RootfsPrep, json!({"terminal": true})))
}

/// Who is to have the other end.
fn holder(fds: &Fds, doing: &str) -> Result<BorrowedFd<'static>> {
    let Some(meet) = fds.meet else {
        return Err(Error::usage(doing, "nobody is there to hold its other end: only `runner` is"));
    };
    sys::fd::borrow(meet).cannot(doing, "fcntl(meet)")
}

/// One end for the runner, the other for the command.
fn hand_out(holder: BorrowedFd<'_>, master: &OwnedFd, peer: OwnedFd, fds: &mut Fds) -> Result<()> {
    meet::send(holder, &Message::Terminal, Some(master.as_fd()))?;
    fds.terminal = Some(peer.into_raw_fd());
    Ok(())
}

/// Both ends.
fn pair(root: &Root, size: Option<(u16, u16)>, doing: &str) -> Result<(OwnedFd, OwnedFd)> {
    let master = multiplexer(root, doing)?;
    process::pty_unlock(master.as_fd()).cannot(doing, "ioctl(TIOCSPTLCK)")?;
    let peer = process::pty_peer(master.as_fd()).cannot(doing, "ioctl(TIOCGPTPEER)")?;
    if let Some((rows, columns)) = size {
        process::set_window_size(peer.as_fd(), rows, columns).cannot(doing, "ioctl(TIOCSWINSZ)")?;
    }
    Ok((master, peer))
}

/// `ptmx` of the devpts in the container, proven to be one: an image could have anything there.
fn multiplexer(root: &Root, doing: &str) -> Result<OwnedFd> {
    let pts = root
        .folder_without_links(&"/dev/pts".into())
        .cannot(doing, "openat2(/dev/pts)")
        .map_err(|e| e.why("the container has no devpts on /dev/pts"))?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let look = openat(&pts, c"ptmx", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, "openat(/dev/pts/ptmx)")?;
    let stat = fstat(&look).cannot(doing, "fstat(/dev/pts/ptmx)")?;
    let is_one =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(5, 2);
    if !is_one {
        return Err(Error::new(Class::Denied, doing, "/dev/pts/ptmx is no pty multiplexer"));
    }
    openat(&pts, c"ptmx", flags, Mode::empty()).cannot(doing, "openat(/dev/pts/ptmx)")
}

/// The command's end, bound on /dev/console: a plain file of ours, or whatever file or device is there, not followed.
fn console(place: &mut Place, peer: &OwnedFd, doing: &str) -> Result<()> {
    let at = Bytes::from("/dev/console");
    let (dev, _) = place.root.make(&"/dev".into(), Make::Folder).cannot(doing, "openat2(/dev)")?;
    crate::devices::may_make_in(place, dev.as_fd(), doing)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dev, c"console", flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::call(doing, "openat(/dev/console)", e)),
    }
    let target = openat(&dev, c"console", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, "openat(/dev/console)")?;
    let kind = FileType::from_raw_mode(fstat(&target).cannot(doing, "fstat(/dev/console)")?.st_mode);
    if matches!(kind, FileType::Symlink | FileType::Directory) {
        return Err(Error::new(Class::Denied, doing, "/dev/console must be an ordinary file"));
    }
    let mount = clone(peer.as_fd(), false, doing)?;
    attach(mount.as_fd(), target.as_fd(), doing, &at)?;
    place.keep(&at, mount, "bind", Attrs::default(), None)
}
