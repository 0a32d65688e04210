//! The one thing this link does: the program goes into a memfd for the landing.

use crate::plan::Plan;
use crate::program;
use chain::state::{State, sealed};
use chain::{Cannot, Result};
use std::os::fd::IntoRawFd;

/// Hands the filter to the landing. Loaded here it would filter the next link's own start, and the change of credentials.
pub(crate) fn all(plan: &Plan, state: &mut State) -> Result<()> {
    plan.hand_to(&mut state.landing);
    if let Some(code) = plan.code() {
        let fd = sealed(c"catena-filter", &program::bytes(code))
            .cannot("keep the filter for the landing", "memfd_create(catena-filter)")?;
        state.fds.filter = Some(fd.into_raw_fd());
    }
    // A runner finds the agent itself, where paths are its own.
    if let Some(path) = plan.agent.as_ref().and_then(|agent| agent.path.as_ref())
        && state.fds.meet.is_none()
    {
        let opened = state.fds.files.iter().find(|(name, _)| name == path).map(|(_, fd)| *fd);
        let connected = || chain::agent::connect(path).map(IntoRawFd::into_raw_fd);
        state.fds.agent = Some(opened.map_or_else(connected, Ok)?);
    }
    Ok(())
}
