//! Who removes the group, and watches what is in it: a supervisor that stays outside of it, unless it is to be kept.

use crate::apply;
use crate::existing;
use crate::plan::Plan;
use crate::watch::{self, Watch};
use chain::cgroup::{Dir, Group};
use chain::error::EXIT_OURS;
use chain::link::Link;
use chain::meet::{self, Message};
use chain::state::State;
use chain::supervise::{Side, Supervised, split_into};
use chain::sys::{self, spawn::vfork_into};
use chain::{Cannot, Error, Result, report};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Holds all signals back from before the group is made: one that ended us half-way would leave it behind. They come to
/// the supervisor, who passes them on, when there is one. A group that is kept has no supervisor to wait for.
pub(crate) fn hold(plan: &mut Plan) -> Result<()> {
    if !plan.stays() {
        return Ok(());
    }
    plan.watch.as_mut().map_or(Ok(()), Watch::open)?;
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))
        .cannot("hold signals back", "sigprocmask")?;
    plan.held = Some(before);
    Ok(())
}

/// The command has the signal mask that we were started with.
fn let_go(plan: &mut Plan) -> Result<()> {
    match plan.held.take() {
        Some(before) => sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
            .cannot("let signals through again", "sigprocmask"),
        None => Ok(()),
    }
}

/// Forks where a group is to be removed at the end. In the child, which goes on with the chain: None. In the parent: the
/// status to end with, when everything is done.
pub(crate) fn stay(plan: &mut Plan, state: &mut State) -> Result<Option<u8>> {
    if !plan.stays() {
        return Ok(None);
    }
    let born_in = plan.group.as_ref().filter(|_| !plan.leaf);
    let v2 = born_in.and_then(Group::v2).map(Dir::fd).transpose()?;
    supervise(plan, state, v2.as_ref()).or_else(|error| undone(plan, error))
}

fn undone<T>(plan: &mut Plan, error: Error) -> Result<T> {
    plan.rdt_made.take().map_or(Ok(()), |made| made.remove())?;
    plan.group.as_mut().map_or(Ok(()), Group::undo)?;
    Err(error)
}

/// Kernels before 5.7 cannot fork into a cgroup, and before 5.3 there is no clone3.
fn too_old(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::ENOSYS | Errno::E2BIG | Errno::EINVAL))
}

fn supervise(plan: &mut Plan, state: &mut State, v2: Option<&Rc<OwnedFd>>) -> Result<Option<u8>> {
    let side = match split_into(0, v2.map(AsFd::as_fd), state) {
        Err(e) if v2.is_some() && too_old(e.errno()) => return supervise(plan, state, None),
        other => other.map_err(|e| explain(e, plan))?,
    };
    match side {
        Side::Child => {
            plan.in_v2 = v2.is_some();
            let_go(plan).map(|()| None)
        }
        Side::Supervisor(child) => see_out(plan, child).map(Some),
    }
}

fn see_out(plan: &mut Plan, mut child: Supervised) -> Result<u8> {
    let status = if plan.trial { child.wait() } else { watch::see_out(plan, &mut child) };
    if !plan.keep {
        plan.rdt_made.take().map_or(Ok(()), |made| made.remove())?;
    }
    if let Some(group) = plan.group.as_mut().filter(|_| !plan.keep) {
        clean_up(group)?;
    }
    status
}

/// How the chain goes on in the group; comes back only with the reason why not.
pub(crate) type GoOn = fn(&mut Plan, Link) -> Error;

/// Where forking is the quick way into a v2 group that is kept: that group. Whoever meets the chain on a socket learns the
/// first process from there, and does not mind which pid cg-apply has. Anybody else who says --keep wants the command to
/// be the very process he started.
pub(crate) fn quick_way(plan: &Plan, state: &State) -> Result<Option<Rc<OwnedFd>>> {
    let quick = plan.keep && !plan.leaf && plan.watch.is_none() && !plan.in_v2 && state.fds.meet.is_some();
    plan.group.as_ref().filter(|_| quick).and_then(Group::v2).map(Dir::fd).transpose()
}

/// Goes on as a child of our own parent that is in the group from its first moment. The runner is told who that is, for
/// it watches over the one that goes on.
pub(crate) fn change_over(plan: &mut Plan, link: Link, v2: &Rc<OwnedFd>, go_on: GoOn) -> Result<u8> {
    let meet = link.state.fds.meet;
    let mut link = Some(link);
    let mut on = || match link.take() {
        Some(link) => {
            plan.in_v2 = true;
            report::error("cg-apply", &go_on(plan, link))
        }
        None => EXIT_OURS,
    };
    let error = match vfork_into(&mut on, libc::CLONE_PARENT as u64, v2.as_fd()) {
        Ok(pid) => return say_who_goes_on(meet, pid).map(|()| 0),
        Err(errno) => errno,
    };
    // Nothing ran, so it is still here.
    let Some(link) = link else { return Ok(EXIT_OURS) };
    if too_old(Some(error)) {
        return Err(go_on(plan, link));
    }
    let doing = existing::doing(plan).unwrap_or("fork into the cgroup".into());
    let error = explain(Error::call(doing, "clone3(CLONE_INTO_CGROUP)", error), plan);
    match existing::elsewhere(plan, error) {
        Ok(v2) => change_over(plan, link, &v2, go_on),
        Err(error) => undone(plan, error),
    }
}

fn say_who_goes_on(meet: Option<RawFd>, pid: i32) -> Result<()> {
    let Some(meet) = meet else { return Ok(()) };
    let meet = sys::fd::borrow(meet).cannot("tell the runner who goes on", "fcntl(meet)")?;
    meet::send(meet, &Message::Front(pid), None)
}

fn explain(error: Error, plan: &Plan) -> Error {
    let path = plan.group.as_ref().and_then(Group::v2).map(|d| d.path.to_string()).unwrap_or_default();
    match error.errno() {
        Some(Errno::EAGAIN) => error.why(format_args!("a limit of tasks, of the user or of {path}, is reached")),
        Some(Errno::EBUSY) => error.why(format_args!("{path} gives controllers to children, so it may hold no process")),
        Some(Errno::EOPNOTSUPP) => {
            let kind = plan.group.as_ref().and_then(Group::v2).and_then(|dir| dir.read("cgroup.type").ok().flatten());
            let kind = kind.unwrap_or_default();
            error.why(format_args!("{path} is a '{}' cgroup, and only a 'domain' takes processes", kind.trim()))
        }
        Some(Errno::EACCES | Errno::EPERM) => error
            .why("this needs write permission there and in the common ancestor of both groups: they are not delegated"),
        _ => error,
    }
}

/// Whatever the command left in the group ends with it. A group that was there before us is not ours to empty.
fn clean_up(group: &mut Group) -> Result<()> {
    if group.dirs.iter().all(Dir::is_new) {
        if !group.procs()?.is_empty() {
            group.kill()?;
        }
        group.remove()?;
    }
    group.undo()
}

/// Takes back a group that is kept, when the chain could not go on in this very process: nobody else would.
pub(crate) fn give_up(plan: &mut Plan, error: Error) -> Error {
    match apply::abandon(plan) {
        Ok(()) => error,
        Err(also) if error.why.is_none() => error.why(format_args!("and then it {also}")),
        Err(_) => error,
    }
}
