//! The command's session and terminal, and the pipes that a container's engine made for its standard streams. To open
//! /dev/stdout is to open the pipe anew, and what is not root may do that only with a pipe of its own: half of all images
//! log that way.

use super::Landing;
use crate::error::{Cannot, Result};
use crate::sys;
use rustix::fs::{FileType, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use std::os::fd::RawFd;

/// Gives them to the command's user. No other kind of file: what somebody redirects to is no business of a container's
/// user, and /dev/null is the whole host's.
pub(super) fn give_to_user(landing: &Landing) -> Result<()> {
    let user = landing.user.as_ref().and_then(|user| user.uid).filter(|_| landing.command.is_some());
    let Some(uid) = user else { return Ok(()) };
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        if stat.st_uid == uid || FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // A pipe of somebody who is nobody in this user namespace.
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
            other => other.cannot("give the command its standard streams", "fchown")?,
        }
    }
    Ok(())
}

/// Who leads a session already cannot start one, and need not.
pub(super) fn new_session() -> Result<()> {
    match rustix::process::setsid() {
        Err(rustix::io::Errno::PERM) if rustix::process::getsid(None) == Ok(rustix::process::getpid()) => {
            Ok(())
        }
        other => other.map(drop).cannot("start a new session", "setsid"),
    }
}

pub(super) fn take_terminal(fd: RawFd, landing: &Landing) -> Result<()> {
    let doing = "give the command its terminal";
    let tty = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    new_session()?;
    sys::process::set_controlling_terminal(tty).cannot(doing, "ioctl(TIOCSCTTY)")?;
    if let Some(uid) = landing.user.as_ref().and_then(|u| u.uid) {
        // The terminal belongs to its user, as after a login.
        rustix::fs::fchown(tty, Some(rustix::fs::Uid::from_raw(uid)), None)
            .cannot(doing, "fchown(terminal)")?;
    }
    rustix::stdio::dup2_stdin(tty).cannot(doing, "dup2(0)")?;
    rustix::stdio::dup2_stdout(tty).cannot(doing, "dup2(1)")?;
    rustix::stdio::dup2_stderr(tty).cannot(doing, "dup2(2)")
}
