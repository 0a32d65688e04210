//! The container's terminal: to the engine over its console socket, or between our own terminal and the container's.

use crate::cli::Create;
use chain::oci::Config;
use chain::state::write_all;
use chain::supervise::Supervised;
use chain::sys::process::{set_window_size, window_size};
use chain::{Cannot, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Terminal and console socket go together as runc has it.
pub(crate) fn check(config: &Config, options: &Create, detach: bool) -> Result<()> {
    let wants = config.process.as_ref().is_some_and(|p| p.terminal);
    let doing = "give the container a terminal";
    match (wants, &options.console_socket) {
        (true, None) if detach => Err(Error::usage(doing, "nobody is there to hold it")
            .cure("--console-socket SOCKET, or run without --detach")),
        (false, Some(_)) => {
            Err(Error::usage(doing, "--console-socket is given, and process.terminal is false"))
        }
        _ => Ok(()),
    }
}

/// What becomes of the master: the console socket's, or ours.
pub(crate) fn hand_over(master: OwnedFd, options: &Create) -> Result<Option<OwnedFd>> {
    let Some(path) = &options.console_socket else { return Ok(Some(master)) };
    send_fd(path, master.as_fd(), "give the terminal to the console socket").map(|()| None)
}

/// Sends one fd to a listening stream socket, with a name, as runc does for terminals.
pub(crate) fn send_fd(path: &Path, fd: BorrowedFd<'_>, doing: &str) -> Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socket")?;
    let address = SocketAddrUnix::new(path).cannot(doing, format_args!("sockaddr_un({})", path.display()))?;
    connect(&socket, &address).cannot(doing, format_args!("connect({})", path.display()))?;
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"/dev/ptmx")], &rights, MsgFlags::MSG_NOSIGNAL, None)
        .cannot(doing, format_args!("sendmsg({})", path.display()))
        .map(drop)
}

/// Our own terminal in raw mode, for as long as this value lives.
struct Raw {
    before: Option<Termios>,
}

impl Raw {
    fn enter() -> Result<Raw> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(Raw { before: None });
        }
        let before = tcgetattr(stdin).cannot("put the terminal in raw mode", "tcgetattr(0)")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)
            .cannot("put the terminal in raw mode", "tcsetattr(0)")?;
        Ok(Raw { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that hung up needs no mode any more.
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before).unwrap_or(());
        }
    }
}

/// Carries bytes between our terminal and the container's until the command ends; its status.
pub(crate) fn proxy(master: &OwnedFd, child: &mut Supervised) -> Result<u8> {
    let raw = Raw::enter()?;
    follow_size(master);
    let status = carry(master, child);
    drop(raw);
    status
}

/// The container's window is as large as ours.
fn follow_size(master: &OwnedFd) {
    if let Ok((rows, columns)) = window_size(rustix::stdio::stdin()) {
        // A master whose other end is closed has no window.
        set_window_size(master.as_fd(), rows, columns).unwrap_or(());
    }
}

fn carry(master: &OwnedFd, child: &mut Supervised) -> Result<u8> {
    let doing = "carry the terminal's bytes";
    let (mut input_open, mut output_open) = (true, true);
    loop {
        let (input, output, signals) = {
            let nothing = PollFlags::empty();
            let stdin = rustix::stdio::stdin();
            let mut fds = [
                PollFd::new(child.signal_fd(), PollFlags::POLLIN),
                PollFd::new(master.as_fd(), if output_open { PollFlags::POLLIN } else { nothing }),
                PollFd::new(stdin, if input_open { PollFlags::POLLIN } else { nothing }),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call(doing, "poll", e)),
            }
            let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            (input_open && ready(&fds[2]), output_open && ready(&fds[1]), ready(&fds[0]))
        };
        if output {
            output_open = pass(master.as_fd(), rustix::stdio::stdout()).cannot(doing, "write(1)")?;
        }
        if input {
            input_open = pass(rustix::stdio::stdin(), master.as_fd()).cannot(doing, "write(terminal)")?;
            if !input_open {
                end_of_input(master).cannot(doing, "write(terminal)")?;
            }
        }
        if signals {
            let mut resized = false;
            let ended = child.handle_signals(|signal| resized |= signal == libc::SIGWINCH)?;
            if resized {
                follow_size(master);
            }
            if let Some(status) = ended {
                drain(master).cannot(doing, "write(1)")?;
                return Ok(status);
            }
        }
    }
}

/// One read, all of it written; false at the end. A pty whose other end is closed answers EIO.
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut buffer = [0; 1 << 13];
    match rustix::io::read(from, &mut buffer) {
        Ok(0) | Err(Errno::IO) => Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => Ok(true),
        Ok(n) => write_all(to, &buffer[..n]).map(|()| true),
        Err(e) => Err(e),
    }
}

/// Our input is a file or a pipe that ended: the terminal's way to say so is ^D at the start of a line.
fn end_of_input(master: &OwnedFd) -> rustix::io::Result<()> {
    match write_all(master.as_fd(), &[4]) {
        Err(Errno::IO) => Ok(()),
        other => other,
    }
}

/// What the command wrote before it ended is still in the pty.
fn drain(master: &OwnedFd) -> rustix::io::Result<()> {
    loop {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let waiting = poll(&mut fds, PollTimeout::ZERO).unwrap_or(0);
        if waiting == 0 || !pass(master.as_fd(), rustix::stdio::stdout())? {
            return Ok(());
        }
    }
}
