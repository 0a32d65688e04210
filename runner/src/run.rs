//! run: create without a gate; then either leave, or look after the container until its command ends.

use crate::cli::{Args, Run};
use crate::container::StateRoot;
use crate::create::{Gate, Launched, launch, of_tool};
use crate::{delete, hooks, proxy};
use chain::meet::{self, Message};
use chain::supervise::Supervised;
use chain::sys::process::prctl;
use chain::{Cannot, Class, Error, Result};
use std::os::fd::AsFd;

/// `runner run`: the command's status, 128+n for signal n.
pub(crate) fn run(root: &StateRoot, args: &Args, options: &Run) -> Result<u8> {
    if !options.detach && !options.no_subreaper {
        // What the container's processes leave behind comes to us and not to init, without a pid namespace too.
        prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)
            .cannot("adopt what the container leaves", "prctl(SUBREAPER)")?;
    }
    let Some(launched) = launch(root, args, &options.create, Gate::Open, options.detach)? else {
        return Ok(0);
    };
    if let Err(error) = started(&launched).and_then(|()| hooks::poststart(&launched.record)) {
        delete::destroy(root, &launched.record.id)?;
        return Err(error);
    }
    if options.detach {
        return Ok(0);
    }
    let id = launched.record.id.clone();
    let status = look_after(launched);
    if !options.keep {
        delete::destroy(root, &id)?;
    }
    status
}

/// The exec closes the socket; anything else on it is the reason why there was none.
fn started(launched: &Launched) -> Result<()> {
    match meet::receive(launched.meet.as_fd())? {
        None => Ok(()),
        Some((Message::Error { tool, error }, _)) => Err(of_tool(&tool, *error)),
        Some(_) => Err(Error::new(
            Class::Internal,
            "start the command",
            "the chain said something else than it should",
        )),
    }
}

fn look_after(launched: Launched) -> Result<u8> {
    let mut child = Supervised::adopt(launched.record.pid, launched.pidfd)?;
    match launched.terminal {
        Some(master) => proxy::run(&master, &mut child),
        None => child.wait(),
    }
}
