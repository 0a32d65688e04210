//! `--tty`: the command cannot type into the terminal of whoever started it.

use crate::resolve::Plan;
use chain::proxy::{self, Between};
use chain::spec::Tty;
use chain::state::State;
use chain::supervise::Supervised;
use chain::sys::process::{pty_peer, pty_unlock};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, minor, openat};
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

const DOING: &str = "give the command a terminal of its own";

/// Ours, and the end of the command's that stays with us.
pub(crate) struct Pty {
    ours: OwnedFd,
    master: OwnedFd,
}

/// Before the fork: leaves to the landing what it is to do, and makes the terminal if there is to be one.
pub(crate) fn prepare(plan: &Plan, state: &mut State) -> Result<Option<Pty>> {
    match plan.tty {
        None => {}
        Some(Tty::Filter) => state.landing.no_typing = true,
        Some(Tty::Setsid) => state.landing.new_session = true,
        Some(Tty::Pty) => return make(state).map(Some),
    }
    Ok(None)
}

fn make(state: &mut State) -> Result<Pty> {
    let ours = ours()?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(CWD, "/dev/ptmx", flags, Mode::empty()).cannot(DOING, "open(/dev/ptmx)")?;
    let stat = fstat(&master).cannot(DOING, "fstat(/dev/ptmx)")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) {
        return Err(Error::new(Class::Denied, DOING, "/dev/ptmx is no pty multiplexer"));
    }
    pty_unlock(master.as_fd()).cannot(DOING, "ioctl(TIOCSPTLCK)")?;
    let peer = pty_peer(master.as_fd()).cannot(DOING, "ioctl(TIOCGPTPEER)")?;
    // The keys that erase, interrupt and stop are those the user has chosen.
    let modes = tcgetattr(&ours).cannot(DOING, "tcgetattr")?;
    tcsetattr(&peer, OptionalActions::Now, &modes).cannot(DOING, "tcsetattr")?;
    // The supervisor hands on what changes; the command may ask before that.
    let size = tcgetwinsize(&ours).cannot(DOING, "ioctl(TIOCGWINSZ)")?;
    tcsetwinsize(&peer, size).cannot(DOING, "ioctl(TIOCSWINSZ)")?;
    state.landing.redirected = true;
    state.fds.terminal = Some(peer.into_raw_fd());
    Ok(Pty { ours, master })
}

/// The terminal that this process was started on, wherever its streams go.
fn ours() -> Result<OwnedFd> {
    let streams = [stdin(), stdout(), stderr()];
    match streams.into_iter().find(|fd| isatty(fd)) {
        Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 3).cannot(DOING, "fcntl(F_DUPFD_CLOEXEC)"),
        None => openat(CWD, "/dev/tty", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .cannot(DOING, "open(/dev/tty)")
            .map_err(|e| e.why("this process has none").cure("--tty=setsid")),
    }
}

impl Pty {
    /// Of what is open here, what is needed until the end.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.ours.as_fd(), self.master.as_fd()]
    }

    /// Carries bytes until the command ends; its status.
    pub(crate) fn carry(&self, child: &mut Supervised) -> Result<u8> {
        // What was redirected is the command's.
        dup2_stdin(&self.ours).cannot(DOING, "dup2(0)")?;
        dup2_stdout(&self.ours).cannot(DOING, "dup2(1)")?;
        proxy::run(&self.master, child, &Between { beside: None, terminals: true })
    }
}
