//! delete: the first process is gone, then the cgroup, then the state; in that order, so that what is left after any
//! failure can be deleted again.

use crate::cli::Delete;
use crate::container::{Container, StateRoot, Status};
use crate::hooks::After;
use crate::matching;
use chain::sys::process::pidfd_signal;
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// How long a killed process may take to end, in milliseconds: one in an uninterruptible sleep may take for ever.
const PATIENCE: u16 = 10_000;

/// `runner delete`.
pub(crate) fn delete(root: &StateRoot, options: &Delete) -> Result<u8> {
    matching::each(root, &options.id, options.regex, |id| one(root, id, options.force))
}

fn one(root: &StateRoot, id: &str, by_force: bool) -> Result<()> {
    if by_force {
        return force(root, id);
    }
    let container = root.container(id)?;
    container.lock()?;
    let status = container.status()?;
    if matches!(status, Status::Running | Status::Paused) {
        return Err(Error::new(
            Class::Conflict,
            format_args!("delete {id}"),
            format_args!("it is {}, not stopped", status.as_str()),
        )
        .cure(format_args!("runner kill {0} KILL, or runner delete --force {0}", id)));
    }
    end(container)
}

/// When this comes back, there is no container of that id, and nobody is about to make one.
fn force(root: &StateRoot, id: &str) -> Result<()> {
    let found = match root.container(id) {
        Err(error) if error.class == Class::Missing => {
            root.settle(id)?;
            root.container(id)
        }
        other => other,
    };
    match found.and_then(killed_and_locked) {
        Err(error) if error.class == Class::Missing => root.settle(id),
        other => end(other?),
    }
}

/// Killed first: a start that waits for what does not come holds the lock until its container ends.
fn killed_and_locked(container: Container) -> Result<Container> {
    kill_first_process(&container)?;
    container.lock()?;
    Ok(container)
}

/// Deletes a container that this very process ran.
pub(crate) fn destroy(root: &StateRoot, id: &str) -> Result<()> {
    match root.container(id).and_then(killed_and_locked) {
        // Somebody else deleted it while it ran: that is what we wanted.
        Err(error) if error.class == Class::Missing => Ok(()),
        other => end(other?),
    }
}

fn end(container: Container) -> Result<()> {
    stop(&container)?;
    if let Some(unit) = &container.record.unit {
        crate::systemd::stop(unit)?;
    }
    crate::cgroup::remove(&container.record.cgroups)?;
    container.record.rdt.as_ref().map_or(Ok(()), |rdt| rdt.remove())?;
    let poststop = After::of_record(&container.record);
    container.forget()?;
    poststop.run();
    Ok(())
}

/// Ends everything that runs in it.
pub(crate) fn stop(container: &Container) -> Result<()> {
    kill_first_process(container)?;
    crate::cgroup::empty(&container.record.cgroups)
}

/// SIGKILL, then waits on the pidfd: no sleep, no loop.
fn kill_first_process(container: &Container) -> Result<()> {
    let doing = format_args!("end {}", container.record.id);
    let Some(pidfd) = container.pidfd()? else { return Ok(()) };
    match pidfd_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(e) => return Err(Error::call(doing, "pidfd_send_signal(SIGKILL)", e)),
    }
    crate::cgroup::thaw(&container.record.cgroups)?;
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(PATIENCE)).cannot(doing, "poll(pidfd)")? {
        0 => Err(Error::new(
            Class::Conflict,
            doing,
            format_args!("its first process outlives SIGKILL by {PATIENCE} ms"),
        )),
        _ => Ok(()),
    }
}
