//! The agent of a filter: a process that listens on a Unix socket, and is given the listener of each filter that asks it,
//! as the specification's "container process state": one message of JSON with the fd, one connection for each.

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::oci::ContainerState;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with,
};
use serde::Serialize;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The version of the specification whose protocol this is.
pub const VERSION: &str = "1.3.0";

/// What the specification calls the fd that goes along.
const SECCOMP_FD: &str = "seccompFd";

/// What the agent reads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    state: ContainerState,
}

impl ProcessState {
    /// Of the process `pid`, which the filter is on.
    pub fn new(pid: i32, metadata: Option<String>, state: ContainerState) -> ProcessState {
        let metadata = metadata.filter(|text| !text.is_empty());
        ProcessState { oci_version: VERSION, fds: [SECCOMP_FD], pid, metadata, state }
    }
}

/// Connects to the agent at this path; `@NAME` is the abstract socket NAME.
pub fn connect(path: &Bytes) -> Result<OwnedFd> {
    let doing = "ask the seccomp agent";
    let address = match path.0.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None if path.0.starts_with(b"/") => SocketAddrUnix::new(path.as_path()),
        None => return Err(Error::usage(doing, format_args!("'{path}' is not an absolute path"))),
    };
    let address = address.cannot(doing, format_args!("sockaddr_un({path})"))?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socket")?;
    connect_to(&socket, &address)
        .cannot(doing, format_args!("connect({path})"))
        .map_err(|error| error.why("failed to connect with seccomp agent: is it running?"))?;
    Ok(socket)
}

/// Tells it of a process, and gives it the listener of that process's filter.
pub fn tell(socket: BorrowedFd<'_>, told: &ProcessState, listener: BorrowedFd<'_>) -> Result<()> {
    let doing = "hand the listener of the filter to the seccomp agent";
    let text = serde_json::to_vec(told).map_err(|e| Error::new(Class::Internal, doing, e))?;
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(&text)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .cannot(doing, "sendmsg")?;
    // A stream may take less at once than it is given; the fd went with the first byte.
    let mut rest = &text[sent..];
    while !rest.is_empty() {
        let sent = rustix::net::send(socket, rest, SendFlags::NOSIGNAL).cannot(doing, "send")?;
        rest = &rest[sent..];
    }
    Ok(())
}
