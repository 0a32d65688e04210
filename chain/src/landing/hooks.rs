//! startContainer hooks: in the container, after somebody said start. Each is landed as the command is, with its user,
//! capabilities, label and filter; who waits for it stays who it is, so that no filter stands between them.

use super::{Filter, assume};
use crate::error::Result;
use crate::hook::{ChainHooks, Stage};
use crate::state::State;
use std::ffi::CString;

/// Runs them. One that names no environment has the command's, as runc has it.
pub(super) fn start(
    hooks: &ChainHooks,
    state: &State,
    filter: Option<&Filter>,
    env: &[CString],
) -> Result<()> {
    let mut own = state.clone();
    own.fds.keep.clear();
    own.fds.status = None;
    // Dies with who waits for it.
    own.landing.death_signal = Some(libc::SIGKILL);
    let mut list = hooks.start_container.clone();
    for hook in &mut list {
        hook.env = hook.env.take().filter(|env| !env.is_empty());
    }
    let stage = Stage { kind: "startContainer", env, enter: &|| assume(&own, filter, || Ok(())) };
    let pid = nix::unistd::getpid().as_raw();
    let state = crate::oci::ContainerState { status: "created".into(), pid, ..hooks.state.clone() };
    stage.run(&list, &state)
}
