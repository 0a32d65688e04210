//! Hooks around the new root: the runner's own, which it runs when it hears that the mounts are there, and those of the
//! container's namespaces, run here with the host's paths still in reach and the new root for a working directory.

use crate::place::Place;
use chain::hook::{ChainHooks, Stage};
use chain::meet::{self, Message};
use chain::oci::ContainerState;
use chain::state::State;
use chain::{Cannot, Class, Error, Result, next, sys};
use rustix::fs::Mode;
use rustix::process::{fchdir, getpid, umask};

/// Whether somebody will look for the new root at the path it has in the host's tree.
pub(crate) fn wanted(state: &State) -> bool {
    state.hooks.as_ref().is_some_and(|hooks| hooks.meet || !hooks.create_container.is_empty())
}

/// Lets the runner run its hooks, then runs ours. What was run is struck from the state: later links need not know it.
pub(crate) fn run(state: &mut State, place: &Place, mask: Mode) -> Result<()> {
    let Some(hooks) = &mut state.hooks else { return Ok(()) };
    if std::mem::take(&mut hooks.meet) {
        let doing = "wait for the runner's hooks";
        let socket = state.fds.meet.ok_or_else(|| Error::new(Class::Internal, doing, "nobody has any"))?;
        let socket = sys::fd::borrow(socket).cannot(doing, "fcntl(meet)")?;
        meet::send(socket, &Message::Mounted, None)?;
        meet::wait_for_go(socket)?;
    }
    create_container(hooks, place, mask)
}

fn create_container(hooks: &mut ChainHooks, place: &Place, mask: Mode) -> Result<()> {
    let list = std::mem::take(&mut hooks.create_container);
    if list.is_empty() {
        return Ok(());
    }
    let enter = || {
        umask(mask);
        fchdir(place.root.fd()).cannot("enter the new root", "fchdir(root)")
    };
    let stage = Stage { kind: "createContainer", env: &next::environment(), enter: &enter };
    let pid = getpid().as_raw_nonzero().get();
    stage.run(&list, &ContainerState { status: "creating".into(), pid, ..hooks.state.clone() })
}
