//! Who gets the container's terminal: the engine over its console socket, or the proxy.

use crate::cli::Create;
use chain::oci::Config;
use chain::{Cannot, Error, Result, proxy};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};
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
        (true, Some(_)) if !detach => {
            Err(Error::usage(doing, "--console-socket is given, and it is our own that it would have")
                .cure("--detach, or no --console-socket"))
        }
        _ => Ok(()),
    }
}

/// What becomes of the master: the console socket's, or ours.
pub(crate) fn hand_over(master: OwnedFd, console_socket: Option<&Path>) -> Result<Option<OwnedFd>> {
    let Some(path) = console_socket else {
        plain_lines(master.as_fd())?;
        // Before the command runs, which may ask for it first of all.
        proxy::follow_size(&master);
        return Ok(Some(master));
    };
    send_fd(path, master.as_fd(), "give the terminal to the console socket").map(|()| None)
}

/// Ends lines as the command does: a carriage return before each newline is for our own terminal to add, if our output
/// goes to one, and nothing that a file or a pipe should get.
fn plain_lines(master: BorrowedFd<'_>) -> Result<()> {
    let doing = "pass the command's lines on as they are";
    let mut modes = tcgetattr(master).cannot(doing, "tcgetattr(terminal)")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(master, OptionalActions::Now, &modes).cannot(doing, "tcsetattr(terminal)")
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
