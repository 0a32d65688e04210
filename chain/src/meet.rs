//! The one socket on which `runner` and its chain meet (SOCK_SEQPACKET, a message each way at a time): the pid of the
//! first process, the terminal, readiness, errors; and the start gate.

use crate::error::{Cannot, Error, Result};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What the chain says to `runner`, and `runner` to the chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// The first process of the container, as the runner's pid namespace numbers it; with its pidfd.
    Pid(i32),
    /// The chain goes on in this process, a child of the runner's too, and the one that says so ends.
    Front(i32),
    /// The master of the container's pty comes with this message.
    Terminal,
    /// Namespaces and mounts are there, the root is not pivoted yet; waits for [`Message::Go`].
    Mounted,
    /// Please map the ids of the mount that comes with this message, for which power is wanted that only the runner has;
    /// waits for [`Message::Go`].
    Map {
        /// In ids of the host.
        maps: crate::mapped::Maps,
        /// All mounts below as well.
        below: bool,
        /// What it is for, for errors.
        what: String,
    },
    /// Please move these devices to the network namespace that comes with this message, for which power is wanted that
    /// only the runner has in a new user namespace; waits for [`Message::Go`].
    Devices(Vec<crate::net::Move>),
    /// Everything is done but the command; waits at the gate, if there is one.
    Ready,
    /// Go on.
    Go,
    /// The seccomp notification fd comes with this message.
    Listener,
    /// A receipt, for the log.
    Receipt(Box<crate::state::Receipt>),
    /// The container's folder in the state comes with this message, for the runner's janitor.
    Folder,
    /// Something is done otherwise than it was asked for, and goes on.
    Warning {
        /// Which tool.
        tool: String,
        /// What.
        text: String,
    },
    /// The chain ends here.
    Error {
        /// Which tool.
        tool: String,
        /// Why.
        error: Box<Error>,
    },
}

/// Sends `message`, with an fd if one goes along.
pub fn send(socket: BorrowedFd<'_>, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let doing = "tell the runner";
    let text =
        serde_json::to_vec(message).map_err(|e| Error::new(crate::error::Class::Internal, doing, e))?;
    let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&text)], control, MsgFlags::MSG_NOSIGNAL, None)
        .cannot(doing, "sendmsg")
        .map(drop)
}

/// Waits for a message; None when the other side is gone.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>> {
    receive_heard(socket)
        .or_else(|e| if e.errno() == Some(nix::errno::Errno::ECONNRESET) { Ok(None) } else { Err(e) })
}

/// As [`receive`]; ECONNRESET when the other side is gone and has not read all that it was told.
pub fn receive_heard(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>> {
    let doing = "hear from the other end of the chain";
    let mut buffer = vec![0; next_size(socket, doing)?];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let (size, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Error::call(doing, "recvmsg", e)),
            Ok(got) => break (got.bytes, first_fd(&got)?),
        }
    };
    if size == 0 {
        return Ok(None);
    }
    let message = crate::json::parse(&buffer[..size], doing)?;
    Ok(Some((message, fd)))
}

/// Waits for a message and tells how long it is; 0 when the other side is gone.
fn next_size(socket: BorrowedFd<'_>, doing: &str) -> Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
            Err(nix::errno::Errno::EINTR) => {}
            size => return size.cannot(doing, "recv(MSG_PEEK)"),
        }
    }
}

/// Waits for [`Message::Go`]. A runner that is gone was killed, or has said itself what failed: there is nobody to tell,
/// and nothing to go on for.
pub fn wait_for_go(socket: BorrowedFd<'_>) -> Result<()> {
    match receive(socket)? {
        Some((Message::Go, _)) => Ok(()),
        None => crate::sys::process::exit_now(i32::from(crate::error::EXIT_OURS)),
        Some(_) => {
            let detail = "it said something else than it should";
            Err(Error::new(crate::error::Class::Internal, "wait for the runner", detail))
        }
    }
}

fn first_fd(got: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> Result<Option<OwnedFd>> {
    let doing = "hear from the other end of the chain";
    for control in got.cmsgs().cannot(doing, "recvmsg(control)")? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            let Some(fd) = fds.first() else { continue };
            return crate::sys::fd::adopt(*fd).cannot(doing, "recvmsg(SCM_RIGHTS)").map(Some);
        }
    }
    Ok(None)
}

/// Sends an error; false when it could not be said. A runner that is gone has said why, or was killed: then there is
/// nobody to say it to.
pub(crate) fn send_error(socket: RawFd, tool: &str, error: &Error) -> bool {
    let message = Message::Error { tool: tool.to_string(), error: Box::new(clipped(error)) };
    match crate::sys::fd::borrow(socket).map(|fd| send(fd, &message, None)) {
        Ok(Err(e)) => matches!(e.errno(), Some(nix::errno::Errno::EPIPE | nix::errno::Errno::ECONNRESET)),
        sent => sent.is_ok(),
    }
}

/// Sends a warning; false when nobody is there to hear it.
pub(crate) fn send_warning(socket: RawFd, tool: &str, text: &str) -> bool {
    let message = Message::Warning { tool: tool.to_string(), text: clip(text) };
    crate::sys::fd::borrow(socket).is_ok_and(|fd| send(fd, &message, None).is_ok())
}

fn clip(text: &str) -> String {
    const TEXT_MAX: usize = 2000;
    match text.len() {
        0..=TEXT_MAX => text.to_string(),
        _ => format!("{}…", &text[..text.floor_char_boundary(TEXT_MAX)]),
    }
}

/// What a message has room for, even if every byte of it becomes an escape of six: a config can name a path of any
/// length, and an error that does not arrive whole says nothing.
fn clipped(error: &Error) -> Error {
    let clip = |text: &String| clip(text);
    Error {
        doing: clip(&error.doing),
        call: error.call.as_ref().map(clip),
        detail: error.detail.as_ref().map(clip),
        why: error.why.as_ref().map(clip),
        cure: error.cure.as_ref().map(clip),
        ..error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_error_of_any_length_arrives() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (here, there) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for long in ["\u{1}".repeat(100_000), "é".repeat(100_000)] {
            let error = Error::call(&long, &long, nix::errno::Errno::ENAMETOOLONG).why(&long).cure(&long);
            assert!(send_error(here.as_raw_fd(), "x", &error));
            let Some((Message::Error { error, .. }, None)) = receive(there.as_fd()).unwrap() else {
                panic!()
            };
            assert_eq!(error.errno(), Some(nix::errno::Errno::ENAMETOOLONG));
            assert!(long.starts_with(error.doing.trim_end_matches('…')) && error.doing.len() > 1900);
        }
    }
}
