//! A filter that asks an agent about some calls: its listener is made by loading it, and has to reach the agent before
//! any call that is asked about can come back.

use crate::agent::{self, ProcessState};
use crate::error::{Cannot, Class, Error, Result};
use crate::meet::{self, Message};
use crate::oci::ContainerState;
use crate::report;
use crate::state::State;
use crate::sys;
use crate::sys::seccomp::Instruction;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd, RawFd};

const DOING: &str = "hand over the listener of the filter";

/// Who gets the listener.
pub(super) enum Recipient {
    /// The `runner` that waits for the exec, who knows the container and tells the agent.
    Runner(RawFd),
    /// The agent itself, over a connection that was made while its path could be reached; and what it is told.
    Agent(RawFd, Box<ProcessState>),
}

impl Recipient {
    /// Who it is here.
    pub(super) fn of(state: &State) -> Result<Recipient> {
        match (state.fds.agent, report::listener()) {
            (Some(agent), _) => Ok(Recipient::Agent(agent, Box::new(told(state)))),
            (None, Some(runner)) => Ok(Recipient::Runner(runner)),
            (None, None) => Err(Error::new(Class::Internal, DOING, "nobody was named who would take it")),
        }
    }

    /// The fd it goes over.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Recipient::Runner(fd) | Recipient::Agent(fd, _) => *fd,
        }
    }

    /// Loads the filter, and comes back when the listener has arrived. If it does not, it is closed, and every call that
    /// is asked about is ENOSYS; the command is not run.
    pub(super) fn load(&self, program: &[Instruction], flags: u64, call: &str) -> Result<()> {
        let mut given = Ok(());
        let loaded = sys::listener::load(program, flags, &mut |listener| given = self.give(listener));
        loaded.cannot("load the filter", call).map_err(|error| match error.errno() {
            Some(Errno::EBUSY) => error.why("a filter that is in force here has a listener, and there is one at most"),
            Some(Errno::EINVAL) => error.why("this kernel may not know its flags: listeners came with Linux 5.0, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV with 5.19"),
            _ => error,
        })?;
        given
    }

    /// Done beside the filter.
    fn give(&self, listener: OwnedFd) -> Result<()> {
        let to = sys::fd::borrow(self.fd()).cannot(DOING, "fcntl")?;
        match self {
            Recipient::Agent(fd, told) => {
                agent::tell(to, told, listener.as_fd())?;
                // An agent may read to the end before it listens, and the exec, which would close it, may be asked about.
                sys::fd::adopt(*fd).cannot(DOING, "fcntl").map(drop)
            }
            Recipient::Runner(_) => {
                meet::send(to, &Message::Listener, Some(listener.as_fd()))?;
                drop(listener);
                meet::wait_for_go(to)
            }
        }
    }
}

/// What an agent is told where there is no runner: the pid as this process itself sees it.
fn told(state: &State) -> ProcessState {
    let pid = nix::unistd::getpid().as_raw();
    let of = state.hooks.as_ref().map(|hooks| hooks.state.clone()).unwrap_or_default();
    let oci_version = if of.oci_version.is_empty() { agent::VERSION.into() } else { of.oci_version.clone() };
    let container = ContainerState { oci_version, status: "creating".into(), pid, ..of };
    ProcessState::new(pid, state.landing.listener.clone(), container)
}
