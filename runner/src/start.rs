//! start: knocks at the gate. The connection stays open until the command has replaced the last link, so a command that
//! cannot be run is this start's error and not a container that was never there.

use crate::container::{Container, StateRoot, Status};
use crate::create::gate_address;
use crate::notify::Notify;
use crate::{agent, delete, ended, hooks};
use chain::meet::{self, Message};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::os::fd::{AsFd, OwnedFd};

/// `runner start`.
pub(crate) fn start(root: &StateRoot, id: &str) -> Result<u8> {
    let container = root.container(id)?;
    container.lock()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(ended(id)),
        status => return Err(wrong(id, &format!("it is {}, not created", status.as_str()))),
    }
    let notify = Notify::listen(container.dir().as_fd())?;
    let pidfd = container.pidfd()?;
    let knocked = knock(&container)?;
    // From here on it is started, whatever comes of the command.
    unlinkat(container.dir(), "gate", AtFlags::empty()).cannot(format_args!("start {id}"), "unlink(gate)")?;
    agent::until_exec(knocked.as_fd(), &format!("start {id}"), &|| {
        agent::of(&container, container.record.pid, Status::Created)
    })?;
    if let Some(pidfd) = &pidfd {
        ended::at_once(pidfd.as_fd(), &container.record.cgroups, &format!("start {id}"))?;
    }
    poststart(&container)?;
    if let (Some(notify), Some(pidfd)) = (notify, pidfd) {
        notify.wait(container.record.pid, pidfd.as_fd())?;
    }
    Ok(0)
}

/// A container whose poststart hooks fail is stopped, and stays to be deleted. A hook may take long, or call us: nobody is
/// held off meanwhile, and the container may be gone after it.
fn poststart(container: &Container) -> Result<()> {
    container.unlock()?;
    let Err(error) = hooks::poststart(&container.record) else { return Ok(()) };
    match container.lock() {
        Err(gone) if gone.class == Class::Missing => {}
        other => other.and_then(|()| delete::stop(container))?,
    }
    Err(error)
}

fn knock(container: &Container) -> Result<OwnedFd> {
    let doing = format_args!("start {}", container.record.id);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socket")?;
    match connect(&socket, &gate_address(container.dir().as_fd())?) {
        // It was killed since we looked.
        Err(Errno::CONNREFUSED) => return Err(ended(&container.record.id)),
        other => other.cannot(doing, "connect(gate)")?,
    }
    match meet::send(socket.as_fd(), &Message::Go, None) {
        Err(e) if matches!(e.errno(), Some(nix::errno::Errno::EPIPE | nix::errno::Errno::ECONNRESET)) => {
            Err(ended(&container.record.id))
        }
        other => other.map(|()| socket),
    }
}

fn ended(id: &str) -> Error {
    wrong(id, "its first process has ended")
}

fn wrong(id: &str, why: &str) -> Error {
    Error::new(Class::Conflict, format_args!("start {id}"), why)
}
