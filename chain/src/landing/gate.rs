//! The container's side of the start gate: a listening socket, whose connections say go.

use crate::error::{Cannot, Error, Result};
use crate::meet::{self, Message};
use crate::sys::process::exit_now;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const DOING: &str = "wait for start";

/// Waits until `runner start` connects to `gate` and asks. The connection stays open until exec closes it, and carries
/// the error if there is one.
pub(super) fn wait(gate: BorrowedFd<'_>, ends: Ends) -> Result<OwnedFd> {
    let connection = loop {
        ends.or_readable(gate)?;
        let connection = match rustix::net::accept_with(gate, rustix::net::SocketFlags::CLOEXEC) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(e) => return Err(Error::call(DOING, "accept(gate)", e)),
        };
        ends.or_readable(connection.as_fd())?;
        // Whoever connects and says nothing, or goes away again, did not start us.
        if matches!(meet::receive(connection.as_fd()), Ok(Some((Message::Go, _)))) {
            break connection;
        }
    };
    ends.release()?;
    Ok(connection)
}

/// The signals that end a process which does not care about them. The kernel drops them for the first process of a pid
/// namespace, so a created container could be told by SIGKILL alone that it is not wanted any more.
pub(super) struct Ends {
    before: SigSet,
    signals: SignalFd,
}

impl Ends {
    /// Held back they are not dropped: from before anybody can know of the container.
    pub(super) fn hold() -> Result<Ends> {
        let set = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).cannot(DOING, "sigprocmask")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Ends { before, signals: SignalFd::with_flags(&set, flags).cannot(DOING, "signalfd")? })
    }

    /// Comes back when there is something to read, or not at all.
    fn or_readable(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds =
                [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call(DOING, "poll(gate)", e)),
            }
            if let Ok(Some(info)) = self.signals.read_signal() {
                exit_now(128 + info.ssi_signo as i32);
            }
            if fds[0].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// As it was, for the command.
    fn release(self) -> Result<()> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None).cannot(DOING, "sigprocmask")
    }
}
