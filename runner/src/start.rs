//! start: knocks at the gate. The connection stays open until the command has replaced the last link, so a command that
//! cannot be run is this start's error and not a container that was never there.

use crate::container::{Container, StateRoot, Status};
use crate::create::{gate_address, of_tool};
use crate::{delete, hooks};
use chain::meet::{self, Message};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{AtFlags, unlinkat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::os::fd::{AsFd, OwnedFd};

/// `runner start`.
pub(crate) fn start(root: &StateRoot, id: &str) -> Result<u8> {
    let container = root.container(id)?;
    container.lock()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(wrong(id, "its first process has ended")),
        status => return Err(wrong(id, &format!("it is {}, not created", status.as_str()))),
    }
    let knocked = knock(&container)?;
    // From here on it is started, whatever comes of the command.
    unlinkat(container.dir(), "gate", AtFlags::empty()).cannot(format_args!("start {id}"), "unlink(gate)")?;
    match meet::receive(knocked.as_fd())? {
        None => poststart(&container),
        Some((Message::Error { tool, error }, _)) => Err(of_tool(&tool, *error)),
        Some(_) => Err(Error::new(
            Class::Internal,
            format_args!("start {id}"),
            "it said something else than it should",
        )),
    }
}

/// A container whose poststart hooks fail is stopped, and stays to be deleted.
fn poststart(container: &Container) -> Result<u8> {
    let Err(error) = hooks::poststart(&container.record) else { return Ok(0) };
    delete::stop(container)?;
    Err(error)
}

fn knock(container: &Container) -> Result<OwnedFd> {
    let doing = format!("start {}", container.record.id);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot(&doing, "socket")?;
    connect(&socket, &gate_address(container.dir().as_fd())?).cannot(&doing, "connect(gate)")?;
    meet::send(socket.as_fd(), &Message::Go, None)?;
    Ok(socket)
}

fn wrong(id: &str, why: &str) -> Error {
    Error::new(Class::Conflict, format_args!("start {id}"), why)
}
