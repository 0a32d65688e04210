//! The seccomp agent of a container: who is asked about the calls that its filter notifies. The landing sends the listener
//! of the filter here, as soon as there is one, and waits for the word that the agent has it.

use crate::container::{Container, Status};
use crate::meeting::of_tool;
use chain::agent::{ProcessState, connect, tell};
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::oci::ContainerState;
use chain::{Class, Error, Result};
use std::os::fd::{AsFd, BorrowedFd};

/// Whom to tell, and what.
pub(crate) struct Agent {
    path: Bytes,
    told: ProcessState,
}

/// The agent of `container`, for a filter on `pid`, its first process or one by exec. A startContainer hook has the
/// filter too, and is told of as the process that waits for it.
pub(crate) fn of(container: &Container, pid: i32, status: Status) -> Result<Agent> {
    let seccomp = container.config()?.linux.and_then(|linux| linux.seccomp).unwrap_or_default();
    let path = seccomp.listener_path.filter(|path| !path.is_empty()).ok_or_else(|| {
        Error::new(Class::Internal, "ask the seccomp agent", "linux.seccomp.listenerPath: missing")
    })?;
    let record = &container.record;
    let state = ContainerState {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status: status.as_str().into(),
        pid: record.pid,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    };
    let told = ProcessState::new(pid, seccomp.listener_metadata, state);
    Ok(Agent { path: path.as_str().into(), told })
}

/// Waits for the exec, which closes the socket, and passes on the listeners that come before; anything else on it is the
/// reason why there was no exec.
pub(crate) fn until_exec(
    socket: BorrowedFd<'_>,
    doing: &str,
    agent: &dyn Fn() -> Result<Agent>,
) -> Result<()> {
    loop {
        let told = meet::receive_heard(socket).map_err(|error| match error.errno() {
            // Not its exec closed it: by then it had read that it may go on.
            Some(nix::errno::Errno::ECONNRESET) => {
                Error::new(Class::Conflict, doing, "its first process ended before it heard of it")
            }
            _ => error,
        });
        match told? {
            None => return Ok(()),
            Some((Message::Listener, Some(listener))) => {
                let Agent { path, told } = agent()?;
                tell(connect(&path)?.as_fd(), &told, listener.as_fd())?;
                meet::send(socket, &Message::Go, None)?;
            }
            Some((Message::Error { tool, error }, _)) => return Err(of_tool(&tool, *error)),
            // Of a chain of one link it may come after all that this link had to say.
            Some((Message::Front(_), _)) => {}
            Some(_) => {
                return Err(Error::new(Class::Internal, doing, "it said something else than it should"));
            }
        }
    }
}
