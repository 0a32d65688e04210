//! Joining a group that is there: no limit of it is touched, nothing of it is removed.

use crate::plan::{Plan, wants_group};
use chain::cgroup::{Hierarchies, Hierarchy, Version};
use chain::spec::{CgApply, Existing};
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

/// How it is joined.
#[derive(Clone, Debug)]
pub(crate) struct Joins {
    /// Whose group it is instead where v2 takes no process. None: nobody's, or it is that one already.
    instead: Option<i32>,
    /// pidfd of that one.
    process: Option<RawFd>,
}

/// The group, and nothing else about groups.
pub(crate) fn resolve(
    existing: &Existing,
    spec: &CgApply,
    hierarchies: &Hierarchies,
    plan: &mut Plan,
) -> Result<()> {
    if wants_group(spec) || spec.exclusive {
        let detail = "existing excludes cgroupsPath, resources and exclusive";
        return Err(Error::usage("join a cgroup", detail));
    }
    if let Some(pid) = existing.process.filter(|pid| *pid <= 0) {
        return Err(Error::usage("join a cgroup", format_args!("existing.process: {pid} is no pid")));
    }
    // Whoever asks for a group below means that one.
    let asked = existing.below.contains_key("");
    plan.group = Some(hierarchies.existing(existing)?);
    plan.keep = true;
    plan.joins = Some(Joins { instead: existing.process.filter(|_| !asked), process: None });
    Ok(())
}

/// What the state knows of the process.
pub(crate) fn known(plan: &mut Plan, process: Option<RawFd>) {
    if let Some(joins) = &mut plan.joins {
        joins.process = process;
    }
}

/// As an error of it begins; None for a group that is made.
pub(crate) fn doing(plan: &Plan) -> Option<String> {
    plan.joins.as_ref().map(|_| format!("join the container: adding pid {} to cgroups", std::process::id()))
}

/// Opens its directories.
pub(crate) fn hold(plan: &mut Plan) -> Result<()> {
    let doing = doing(plan).unwrap_or_default();
    let Some(group) = &mut plan.group else { return Ok(()) };
    for dir in &mut group.dirs {
        // Whoever started the chain can have forked into it.
        plan.in_v2 |= dir.version == Version::V2 && dir.is_own();
        if !dir.hold()? {
            let error = Error::call(&doing, format_args!("openat({})", dir.path), Errno::ENOENT);
            return match dir.version {
                Version::V2 => elsewhere(plan, error).map(drop),
                Version::V1 => Err(error),
            };
        }
    }
    Ok(())
}

/// Puts this process into the group.
pub(crate) fn join(plan: &mut Plan) -> Result<()> {
    let Some(group) = &plan.group else { return Ok(()) };
    if plan.in_v2 {
        return group.join_v1();
    }
    match group.join(0) {
        Err(error) if plan.joins.is_some() => {
            let doing = doing(plan).unwrap_or_default();
            elsewhere(plan, Error { doing, ..error })?;
            plan.group.as_ref().map_or(Ok(()), |group| group.join(0))
        }
        other => other,
    }
}

/// cgroups(7), "no internal processes": a container that may write its cgroups moves itself into one below and gives its
/// controllers away, and then its own group takes no process any more; or it leaves that group for another, and somebody
/// removes it. Then the command goes where the container's first process is; gives that directory.
pub(crate) fn elsewhere(plan: &mut Plan, error: Error) -> Result<Rc<OwnedFd>> {
    let Some(joins) = &mut plan.joins else { return Err(error) };
    let (Some(pid), Some(Errno::EBUSY | Errno::ENOENT | Errno::ENODEV), Some(group)) =
        (joins.instead.take(), error.errno(), &mut plan.group)
    else {
        return Err(error);
    };
    let theirs = Hierarchies::detect_for(&pid.to_string())?;
    // If it lives now, that was its own group and not that of a successor with its number.
    prove(joins.process)?;
    let Some(mut dir) = theirs.v2().and_then(Hierarchy::own_dir) else { return Err(error) };
    if !dir.hold()? {
        return Err(error);
    }
    let fd = dir.fd()?;
    group.replace_v2(dir);
    Ok(fd)
}

fn prove(process: Option<RawFd>) -> Result<()> {
    let doing = "join the cgroup of the container's first process";
    let Some(fd) = process else { return Ok(()) };
    let fd = chain::sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    match chain::supervise::has_ended(fd)? {
        true => Err(Error::new(Class::Missing, doing, "it has ended")),
        false => Ok(()),
    }
}
