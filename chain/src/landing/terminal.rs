//! The command's session, and its terminal.

use super::Landing;
use crate::error::{Cannot, Result};
use crate::sys;
use rustix::io::Errno;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use rustix::termios::isatty;
use std::os::fd::RawFd;

/// Who leads a session already cannot start one, and need not.
pub(super) fn new_session() -> Result<()> {
    match rustix::process::setsid() {
        Err(rustix::io::Errno::PERM) if rustix::process::getsid(None) == Ok(rustix::process::getpid()) => {
            Ok(())
        }
        other => other.map(drop).cannot("start a new session", "setsid"),
    }
}

/// Makes it the terminal of a new session, and the command's standard streams.
pub(super) fn take(fd: RawFd, landing: &Landing) -> Result<()> {
    let doing = "give the command its terminal";
    let tty = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    new_session()?;
    sys::process::set_controlling_terminal(tty).cannot(doing, "ioctl(TIOCSCTTY)")?;
    if let Some(uid) = landing.user.as_ref().and_then(|u| u.uid) {
        // The terminal belongs to its user, as after a login. One from outside may have a group that a user namespace does
        // not map; the command has it open all the same.
        match rustix::fs::fchown(tty, Some(rustix::fs::Uid::from_raw(uid)), None) {
            Err(Errno::PERM | Errno::INVAL) if landing.redirected => {}
            other => other.cannot(doing, "fchown(terminal)")?,
        }
    }
    // What somebody redirected is no terminal, and stays redirected.
    if !landing.redirected || isatty(stdin()) {
        dup2_stdin(tty).cannot(doing, "dup2(0)")?;
    }
    if !landing.redirected || isatty(stdout()) {
        dup2_stdout(tty).cannot(doing, "dup2(1)")?;
    }
    if !landing.redirected || isatty(stderr()) {
        dup2_stderr(tty).cannot(doing, "dup2(2)")?;
    }
    Ok(())
}
