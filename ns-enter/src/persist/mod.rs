//! `--persist`: namespaces that outlive the command.
//!
//! A process of ours, the keeper, makes and sets up the namespaces; the command then joins them as anybody later will. A
//! file mounted elsewhere keeps a namespace without a process. The keeper stays where that is not enough: a pid
//! namespace is dead without its first process, a mount namespace is not for mounting, and not everybody may mount.

mod keeper;
mod places;
mod undo;

pub(crate) use places::{found, is_place};
pub(crate) use undo::unpersist;

use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::name::ToolName;
use chain::oci::{Namespace, NamespaceKind};
use chain::spec::NsEnter;
use chain::state::State;
use chain::supervise::Supervised;
use chain::target::Target;
use chain::{Cannot, Class, Error, Result, proc, sys};
use keeper::Keeper;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::str::FromStr;

/// What [`NOTE`] in a folder says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    /// Which namespaces are there, as files named as in /proc/PID/ns.
    namespaces: Vec<NamespaceKind>,
    /// The process that keeps them, if one does: `PID:INODE`, or `PID` where the kernel's pidfds have no inodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keeper: Option<String>,
    /// When that was started, as /proc/PID/stat has it: a pid alone may be another's by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
}

impl Note {
    /// The keeper, if it is still alive; an error if it is not.
    fn keeper(&self, doing: &str) -> Result<Option<OwnedFd>> {
        let Some(keeper) = &self.keeper else { return Ok(None) };
        let target = Target::from_str(keeper)
            .map_err(|what| Error::new(Class::Denied, doing, format_args!("{NOTE}: {what}")))?;
        let ended =
            || Error::new(Class::Missing, doing, format_args!("process {keeper}, its keeper, has ended"));
        let pidfd = target.open().map_err(|error| match error.errno() {
            Some(nix::errno::Errno::ESRCH) => ended(),
            _ => error,
        })?;
        match proc::start_time(target.pid()?) {
            Some(time) if Some(time) == self.started => Ok(Some(pidfd)),
            _ => Err(ended()),
        }
    }
}

/// The file in a folder that says what is kept there.
const NOTE: &str = "catena.json";

/// Namespaces that are there, and not yet kept by anything but this process.
pub(crate) struct Kept {
    keeper: Keeper,
    kinds: Vec<NamespaceKind>,
    places: Vec<places::Place>,
    /// To the command's side: it goes on when all is kept, and says when the chain has come to its end.
    command: OwnedFd,
}

/// Makes the namespaces, if any are to be kept, and turns `spec` into one that joins them.
pub(crate) fn make(spec: &mut NsEnter, state: &mut State) -> Result<Option<Kept>> {
    if spec.persist.is_empty() {
        return Ok(None);
    }
    refuse(spec)?;
    let places = places::look(&spec.persist, &spec.namespaces)?;
    let mapped = state.receipt(ToolName::Idmap).is_some_and(|r| r.ns.contains_key(&NamespaceKind::User));
    let keeper = keeper::start(spec, state)?;

    let mut kinds = Vec::new();
    for kind in NamespaceKind::ALL {
        let theirs = proc::namespace(&keeper.pid.to_string(), kind);
        let named = spec.namespaces.iter().any(|ns| ns.kind == kind) || mapped && kind == NamespaceKind::User;
        if named && (mapped && kind == NamespaceKind::User || theirs? != proc::namespace("self", kind)?) {
            kinds.push(kind);
        }
    }
    let path = |kind: NamespaceKind| Bytes::from(format!("/proc/{}/ns/{}", keeper.pid, kind.proc_name()));
    let joins = kinds.iter().filter(|kind| !mapped || **kind != NamespaceKind::User);
    spec.namespaces = joins.map(|kind| Namespace { kind: *kind, path: Some(path(*kind)) }).collect();
    spec.target.clone_from(&keeper.exact);
    // The keeper has done that.
    spec.init = false;
    spec.no_loopback = false;
    (spec.hostname, spec.domainname) = (None, None);
    spec.sysctl.clear();
    spec.time_offsets.clear();
    spec.veth.clear();
    spec.attempt.clear();

    let (command, theirs) = pair()?;
    state.fds.witness = Some(theirs.into_raw_fd());
    Ok(Some(Kept { keeper, kinds, places, command }))
}

/// Whether all that is asked for could be kept, as far as it can be seen before.
pub(crate) fn check(spec: &NsEnter) -> Result<()> {
    refuse(spec)?;
    places::look(&spec.persist, &spec.namespaces).map(drop)
}

fn refuse(spec: &NsEnter) -> Result<()> {
    let doing = "keep namespaces";
    if spec.hand_over || spec.no_fork {
        let name = if spec.hand_over { "handOver" } else { "noFork" };
        let detail = format!("persist and {name} exclude each other");
        return Err(Error::usage(doing, detail).why("who takes them back if the chain fails has to stay"));
    }
    if spec.disable_user_namespaces {
        let detail = "persist and disableUserNamespaces exclude each other";
        return Err(Error::usage(doing, detail).cure("idmap --disable-userns … -- ns-enter --persist …"));
    }
    Ok(())
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot("keep namespaces", "socketpair")
}

impl Kept {
    /// The command's side: waits until all is kept. A parent that is gone has said why.
    pub(crate) fn wait(self, state: &State) -> Result<()> {
        let fd = state.fds.witness.unwrap_or(-1);
        drop(self);
        meet::wait_for_go(sys::fd::borrow(fd).cannot("wait for what is kept", format_args!("fcntl({fd})"))?)
    }

    /// Our side: keeps them, and lets the command's side go on, or ends it.
    pub(crate) fn keep(&self, child: &Supervised, proc: BorrowedFd<'_>) -> Result<()> {
        let kept = places::keep(&self.places, &self.kinds, &self.keeper, proc);
        if kept.is_err() {
            keeper::end(child.pidfd())?;
        }
        if kept? {
            meet::send(self.keeper.socket.as_fd(), &Message::Go, None)?;
        }
        meet::send(self.command.as_fd(), &Message::Go, None)
    }

    /// Of what is open here, what is needed until the end.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.keeper.pidfd.as_fd(), self.keeper.socket.as_fd(), self.command.as_fd()]
    }

    /// When the command has ended: what was kept stays only if the chain had come to its end.
    pub(crate) fn conclude(&self) -> Result<()> {
        use rustix::net::{RecvFlags, recv};
        // That the end is reached, and then perhaps that the command is not there.
        let said =
            || recv(&self.command, &mut [0_u8; 1], RecvFlags::DONTWAIT).is_ok_and(|(size, _)| size > 0);
        if said() && !said() {
            return Ok(());
        }
        self.keeper.end()?;
        self.places.iter().try_for_each(|place| unpersist(&place.path))
    }
}

/// Which namespaces are kept at `path`, and how they are joined.
pub(crate) struct Found {
    /// By their files.
    pub(crate) namespaces: BTreeMap<NamespaceKind, Bytes>,
    /// The process that must be alive for that.
    pub(crate) keeper: Option<String>,
}

fn missing(doing: impl std::fmt::Display, path: &Bytes) -> Error {
    Error::new(Class::Missing, doing, format_args!("nothing is kept in {path}"))
}
