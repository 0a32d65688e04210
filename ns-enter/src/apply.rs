//! The operations, in order.

use crate::fork::Fork;
use crate::inside;
use crate::join::{dumpable, enter, guard};
use crate::net;
use crate::persist::Kept;
use crate::resolve::{Plan, flag_names, make};
use crate::targets::{Target, Targets};
use crate::terminal::{self, Pty};
use crate::verify::Before;
use chain::meet::{self, Message};
use chain::name::ToolName;
use chain::net::Outside;
use chain::oci::NamespaceKind;
use chain::state::{Receipt, State};
use chain::supervise::{self, Side, Supervised, default_action};
use chain::sys::caps;
use chain::sys::process::{Forked, fork};
use chain::userns::settle;
use chain::{Cannot, Class, Error, Result, nest, proc, report, sys};
use nix::errno::Errno;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Which process this is afterwards.
pub(crate) enum Outcome {
    /// The one that goes on with the chain.
    Inside(Receipt),
    /// The one that stayed outside, to look after the command.
    Outside(Supervised, Held),
    /// The first process of the new pid namespace, a reaper for the one that goes on.
    First(Supervised),
    /// The one that stayed outside, and somebody else looks after the command.
    HandedOver,
}

/// What who stays outside holds for the command.
#[derive(Default)]
pub(crate) struct Held {
    /// Network devices, to be given back at the end.
    devices: Option<net::Inside>,
    /// Its terminal's other end.
    pty: Option<Pty>,
    /// Namespaces that are to outlive it.
    kept: Option<Kept>,
}

/// Enters what `plan` says.
pub(crate) fn all(
    plan: &Plan,
    targets: &Targets,
    root: Option<OwnedFd>,
    kept: Option<Kept>,
    state: &mut State,
) -> Result<Outcome> {
    // The host's /proc, while it is the host's: afterwards it may be anything, or not be there.
    let proc = proc::host()?;
    let before = Before::look(plan, proc.as_fd())?;
    let joins: Vec<&Target> = targets.list.iter().filter(|t| plan.join.contains(&t.kind)).collect();
    if !joins.is_empty() {
        guard(state)?;
    }
    let process = targets.process.as_ref().map(AsFd::as_fd);
    let pty = terminal::prepare(plan, state)?;
    let mut leaving = net::look(&plan.net, proc.as_fd())?;
    if plan.fork == Fork::HandOver && plan.make.is_empty() {
        enter(&joins, process)?;
        let ours = Ours { proc, root };
        return joined_before_fork(plan, targets, &before, ours, leaving, state);
    }
    let (early, late) = in_time(plan, &joins);

    // A caller may have left SIGCHLD ignored (Erlang's port programs do), and then wait(2) fails in everything below.
    default_action(nix::sys::signal::Signal::SIGCHLD)?;
    let late = match enter(&early, process) {
        // A pid namespace that belongs to the user namespace to join: the power over it is in there.
        Err(error) if error.errno() == Some(Errno::EPERM) && late.iter().any(is_user) => {
            let with_it = |t: &&Target| is_user(t) || t.kind == NamespaceKind::Pid;
            let (first, then): (Vec<_>, Vec<_>) = joins.iter().copied().partition(with_it);
            enter(&first, process)?;
            then
        }
        other => other.map(|()| late)?,
    };
    if plan.nest {
        if plan.makes(NamespaceKind::User) {
            make(NamespaceKind::User.clone_flag()).map_err(why)?;
            settle(proc.as_fd(), state)?;
        }
        nest::enter(proc.as_fd(), state).map_err(why)?;
    }
    // Who is asked to end with a device in its hands puts it back first.
    let held = plan.net.give_back.then(supervise::hold).transpose()?;
    let returning = match leaving.take_if(|_| plan.net.give_back) {
        Some(leaving) => Some(enter_network(plan, leaving, proc.as_fd())?),
        None => None,
    };
    match plan.fork {
        Fork::No => {
            enter(&late, process)?;
            if plan.flags() != 0 {
                make(plan.flags()).map_err(why)?;
            }
        }
        Fork::Supervise => match supervise::split(plan.flags(), state) {
            Ok(Side::Supervisor(child)) => {
                if !joins.is_empty() {
                    dumpable(true)?;
                }
                report::status(&json!({"tool": ToolName::NsEnter, "event": "child", "pid": child.pid()}));
                kept.as_ref().map_or(Ok(()), |kept| kept.keep(&child, proc.as_fd()))?;
                return Ok(Outcome::Outside(child, Held { devices: returning, pty, kept }));
            }
            Ok(Side::Child) => {
                drop(pty);
                kept.map_or(Ok(()), |kept| kept.wait(state))?;
                held.map_or(Ok(()), supervise::Held::release)?;
                enter(&late, process)?;
            }
            Err(error) => {
                returning.as_ref().map_or(Ok(()), net::Inside::give_back)?;
                return Err(of_fork(error, plan));
            }
        },
        Fork::HandOver => {
            if hand_over(plan, state)? {
                return Ok(Outcome::HandedOver);
            }
            enter(&late, process)?;
        }
    }

    let moved = inside::set_up(plan, proc.as_fd(), leaving, state)?;
    let ns = before.prove(plan, targets, proc.as_fd(), plan.fork != Fork::No)?;
    root.map_or(Ok(()), take_root)?;
    if plan.init
        && let Side::Supervisor(child) = supervise::split(0, state)?
    {
        return Ok(Outcome::First(child));
    }
    Ok(Outcome::Inside(receipt(plan, ns, returning.or(moved).as_ref())))
}

/// Who gives network devices back goes where they go itself: their new namespace lives as long as it does.
fn enter_network(plan: &Plan, leaving: Outside, proc: BorrowedFd<'_>) -> Result<net::Inside> {
    if plan.makes(NamespaceKind::Network) {
        make(NamespaceKind::Network.clone_flag()).map_err(why)?;
    }
    net::enter(leaving, &plan.net, proc)
}

/// Where nothing is made, all is joined and proven by a process that nobody inside can see, being in no pid namespace of
/// theirs yet; only then it forks, into that one. The child has no directory from outside, not even /proc, for those
/// inside who may look at any process (CVE-2016-9962).
fn joined_before_fork(
    plan: &Plan,
    targets: &Targets,
    before: &Before,
    ours: Ours,
    leaving: Option<Outside>,
    state: &mut State,
) -> Result<Outcome> {
    let proc = ours.proc.as_fd();
    let moved = inside::set_up(plan, proc, leaving, state)?;
    let ns = before.prove(plan, targets, proc, false)?;
    let receipt = receipt(plan, ns, moved.as_ref());
    ours.root.map_or(Ok(()), take_root)?;
    drop((ours.proc, moved));
    match hand_over(plan, state)? {
        true => Ok(Outcome::HandedOver),
        false => Ok(Outcome::Inside(receipt)),
    }
}

/// Directories that no child has.
struct Ours {
    proc: OwnedFd,
    root: Option<OwnedFd>,
}

/// Where the mount namespace is ours as well, the root directory alone keeps a container apart.
fn take_root(root: OwnedFd) -> Result<()> {
    let doing = "take the root of the process that is joined";
    rustix::process::fchdir(&root).cannot(doing, "fchdir(root)")?;
    rustix::process::chroot(".").cannot(doing, "chroot(.)")
}

fn receipt(plan: &Plan, ns: BTreeMap<NamespaceKind, u64>, moved: Option<&net::Inside>) -> Receipt {
    let asked = || json!(plan.net.devices.iter().map(|d| [&d.from, &d.to]).collect::<Vec<_>>());
    let by_runner = plan.net.by_runner.then(asked);
    let applied = json!({
        "netDevices": moved.map(net::Inside::told).or(by_runner),
        "made": plan.make, "joined": plan.join, "forked": plan.fork != Fork::No, "hostname": plan.hostname,
        "disableUserNamespaces": plan.nest, "domainname": plan.domainname, "loopback": plan.loopback, "timeOffsets": plan.time_offsets,
        "sysctl": plan.sysctls.iter().map(|s| [&s.path, &s.value]).collect::<Vec<_>>(),
    });
    let mut receipt = Receipt::verified(ToolName::NsEnter, applied);
    receipt.degraded.clone_from(&plan.degraded);
    receipt.ns = ns;
    receipt
}

/// Waits for the command; its status. Until then nothing of the chain's stays open here: whoever reads a kept pipe or
/// the status lines sees their end when the command, or the last link, closes them.
pub(crate) fn look_after(mut child: Supervised, held: Held, state: &State) -> Result<u8> {
    let doing = "close what only the command is to have";
    report::status_to(-1);
    let mut own = vec![child.pidfd().as_raw_fd(), child.signal_fd().as_raw_fd()];
    own.extend(held.devices.iter().flat_map(net::Inside::fds));
    own.extend(held.kept.iter().flat_map(Kept::fds).map(|fd| fd.as_raw_fd()));
    own.extend(held.pty.iter().flat_map(Pty::fds).map(|fd| fd.as_raw_fd()));
    own.sort_unstable();
    let mut from = 3;
    for fd in own.iter().map(|fd| *fd as u32) {
        sys::fd::close_range(from, fd - 1).cannot(doing, format_args!("close_range({from}, {})", fd - 1))?;
        from = fd + 1;
    }
    sys::fd::close_range(from, u32::MAX).cannot(doing, format_args!("close_range({from})"))?;
    // Before Linux 5.9 they are still there.
    for fd in state.fds.all().filter(|fd| *fd > 2 && !own.contains(fd)) {
        drop(sys::fd::adopt(fd));
    }
    let status = match &held.pty {
        Some(pty) => pty.carry(&mut child),
        None => child.wait(),
    };
    held.devices.as_ref().map_or(Ok(()), net::Inside::give_back)?;
    held.kept.as_ref().map_or(Ok(()), Kept::conclude)?;
    status
}

fn is_user(target: &&Target) -> bool {
    target.kind == NamespaceKind::User
}

/// Which namespaces are joined before the fork and which by the child, so that the process that stays outside lives in
/// no more of them than it must: a pid namespace is entered by fork alone; a new namespace belongs to the user
/// namespace of whoever makes it, so a joined one comes before; and joining others wants the privilege that a new user
/// namespace takes away.
fn in_time<'a>(plan: &Plan, joins: &[&'a Target]) -> (Vec<&'a Target>, Vec<&'a Target>) {
    let joins_user = joins.iter().any(is_user);
    let all_early = joins_user && !plan.make.is_empty() || plan.makes(NamespaceKind::User);
    let stays_in = |kind| kind == NamespaceKind::Network && plan.net.give_back;
    joins.iter().partition(|t| all_early || t.kind == NamespaceKind::Pid || stays_in(t.kind))
}

/// Forks a child of our parent and tells the runner its pid; true in the process that stays behind.
fn hand_over(plan: &Plan, state: &State) -> Result<bool> {
    let doing = "hand the container's first process over";
    let Some(meet) = state.fds.meet else {
        return Err(Error::new(Class::Internal, doing, "nobody waits for it"));
    };
    let meet = sys::fd::borrow(meet).cannot(doing, "fcntl(meet)")?;
    let flags = plan.flags() | libc::CLONE_PARENT;
    let forked =
        fork(flags as u32 as u64).cannot(doing, format_args!("clone3(CLONE_PARENT|{})", flag_names(flags)));
    match forked.map_err(why)? {
        Forked::Child => Ok(false),
        Forked::Parent(pid, pidfd) => {
            meet::send(meet, &Message::Pid(pid), Some(pidfd.as_fd()))?;
            Ok(true)
        }
    }
}

fn of_fork(error: Error, plan: &Plan) -> Error {
    match error.call.as_deref() {
        Some(call) if call.starts_with("clone3") => {
            let doing =
                if plan.make.is_empty() { "put a child into the pid namespace" } else { "make namespaces" };
            let call = Some(format!("clone3({})", flag_names(plan.flags())));
            why(Error { doing: doing.into(), call, ..error })
        }
        _ => error,
    }
}

/// CAP_SYS_ADMIN of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;

/// Causes why namespaces cannot be made, found by looking.
pub(crate) fn why(error: Error) -> Error {
    let privileged = caps::get().is_ok_and(|held| held.effective & 1 << CAP_SYS_ADMIN != 0);
    let user = error.call.as_deref().is_some_and(|call| call.contains("CLONE_NEWUSER"));
    match error.errno() {
        // That one wants no privilege.
        Some(Errno::EPERM) if user => error
            .why("it makes no user namespace: this process is in a chroot, or its host keeps them from ordinary users"),
        Some(Errno::EPERM) if !privileged => error
            .why("the caller is not privileged")
            .cure("idmap -r -- ns-enter …, which makes a user namespace first"),
        Some(Errno::ENOSPC | Errno::EUSERS) => {
            error.why("a limit below /proc/sys/user is reached, or too many are nested")
        }
        Some(Errno::EINVAL) => error.why("this kernel lacks one of them").cure("--try KIND"),
        Some(Errno::ENOMEM) => {
            error.why("the pid namespace to join has no first process any more, or memory is short")
        }
        _ => error,
    }
}

/// A file below /proc/self as text, for proofs.
pub(crate) fn own_file(proc: BorrowedFd<'_>, name: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&proc::read_at(proc, &format!("self/{name}"))?).into_owned())
}
