//! The process that makes the namespaces, and stays in them for as long as it must.

use super::pair;
use crate::apply::{self, Outcome};
use crate::fork::Fork;
use crate::init::harmless;
use crate::{resolve, targets};
use chain::meet::{self, Message};
use chain::oci::NamespaceKind;
use chain::spec::NsEnter;
use chain::state::State;
use chain::supervise::has_ended;
use chain::sys::process::{Forked, exit_now, fork, pidfd_open, pidfd_signal, prctl};
use chain::{Cannot, Class, Error, Result, sys, target};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const DOING: &str = "keep namespaces";

/// It, as whoever started it sees it.
pub(super) struct Keeper {
    /// Its pid.
    pub(super) pid: i32,
    /// It.
    pub(super) pidfd: OwnedFd,
    /// `PID:INODE`, where this kernel's pidfds have inodes.
    pub(super) exact: Option<String>,
    /// It stays if it is told to go on here, and otherwise ends with us.
    pub(super) socket: OwnedFd,
}

impl Keeper {
    /// Kills it, and waits until it is gone.
    pub(super) fn end(&self) -> Result<()> {
        end(self.pidfd.as_fd())
    }
}

/// Kills the process, and waits until it is gone.
pub(super) fn end(pidfd: BorrowedFd<'_>) -> Result<()> {
    match pidfd_signal(pidfd, libc::SIGKILL) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other.cannot("end the keeper of namespaces", "pidfd_send_signal(SIGKILL)")?,
    }
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).cannot("end the keeper of namespaces", "poll(pidfd)"),
        }
    }
}

/// Starts it; when this returns, the namespaces are as `spec` wants them.
pub(super) fn start(spec: &NsEnter, state: &mut State) -> Result<Keeper> {
    let (ours, theirs) = pair()?;
    let first = match fork(0).cannot(DOING, "clone3")? {
        Forked::Child => {
            drop(ours);
            let told = make(spec, state, &theirs).unwrap_or_else(|error| {
                let message = Message::Error { tool: "ns-enter".into(), error: Box::new(error) };
                meet::send(theirs.as_fd(), &message, None).is_ok()
            });
            exit_now(i32::from(!told))
        }
        Forked::Parent(pid, _) => pid,
    };
    drop(theirs);
    // Two processes may say these, and so in any order.
    let (mut told, mut ready) = (None, false);
    let pid = loop {
        if let (Some(pid), true) = (told, ready) {
            break pid;
        }
        match meet::receive(ours.as_fd())? {
            Some((Message::Pid(n), _)) => told = Some(n),
            Some((Message::Ready, _)) => ready = true,
            Some((Message::Error { error, .. }, _)) => return Err(*error),
            _ => return Err(Error::new(Class::Internal, DOING, "the keeper ended without a word")),
        }
    };
    let pidfd = pidfd_open(pid).cannot(DOING, format_args!("pidfd_open({pid})"))?;
    // It stands between us and the first process of a pid namespace, which is what stays.
    if pid != first {
        end(pidfd_open(first).cannot(DOING, format_args!("pidfd_open({first})"))?.as_fd())?;
        chain::canary::reap(first)?;
    }
    if has_ended(pidfd.as_fd())? {
        return Err(Error::new(Class::Conflict, DOING, "the keeper was killed"));
    }
    let inode = target::inode(&pidfd)?;
    let exact = format!("{pid}:{inode}").parse::<target::Target>().ok().filter(|t| t.open().is_ok());
    Ok(Keeper { pid, pidfd, exact: exact.map(|t| t.to_string()), socket: ours })
}

/// In the child. Comes back only where another one stays.
fn make(spec: &NsEnter, state: &mut State, socket: &OwnedFd) -> Result<bool> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).cannot(DOING, "prctl(PR_SET_PDEATHSIG)")?;
    let own = NsEnter {
        tty: None,
        personality: None,
        init: false,
        net_devices: Default::default(),
        give_back: false,
        persist: Vec::new(),
        ..spec.clone()
    };
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .cannot(DOING, "open(/dev/null)")?;
    let mut targets = targets::open(&own, None)?;
    let plan = resolve::resolve(&own, &resolve::facts(&own, &targets, state)?)?;
    let root = targets.root.take();
    match apply::all(&plan, &targets, root, None, state)? {
        Outcome::Inside(_) => {
            drop(targets);
            if plan.fork == Fork::No {
                meet::send(socket.as_fd(), &Message::Pid(std::process::id() as i32), None)?;
            }
            // Whoever has made a user namespace as an ordinary user is to find it again without a capability.
            let seen = plan.makes(NamespaceKind::User) && !rustix::process::geteuid().is_root();
            stay(socket, &null, seen)
        }
        Outcome::Outside(child, _) => {
            meet::send(socket.as_fd(), &Message::Pid(child.pid()), None)?;
            loop {
                nix::unistd::pause();
            }
        }
        Outcome::First(_) | Outcome::HandedOver => {
            Err(Error::new(Class::Internal, DOING, "another process was made"))
        }
    }
}

/// Keeps nothing but the namespaces: no file, no capability, no terminal. As the first process of a pid namespace it
/// leaves to the kernel to reap.
fn stay(socket: &OwnedFd, null: &OwnedFd, seen: bool) -> Result<bool> {
    let socket = rustix::io::fcntl_dupfd_cloexec(socket, 3).cannot(DOING, "fcntl(F_DUPFD_CLOEXEC)")?;
    rustix::process::chdir("/").cannot(DOING, "chdir(/)")?;
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(e) => return Err(e).cannot(DOING, "setsid"),
    }
    let streams = dup2_stdin(null).and_then(|()| dup2_stdout(null)).and_then(|()| dup2_stderr(null));
    streams.cannot(DOING, "dup2(/dev/null)")?;
    let n = socket.as_raw_fd() as u32;
    if n > 3 {
        sys::fd::close_range(3, n - 1).cannot(DOING, format_args!("close_range(3, {})", n - 1))?;
    }
    sys::fd::close_range(n + 1, u32::MAX).cannot(DOING, format_args!("close_range({})", n + 1))?;
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    sys::process::sigaction(Signal::SIGCHLD, &ignore).cannot(DOING, "sigaction(SIGCHLD)")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).cannot(DOING, "sigprocmask")?;
    harmless(0, seen)?;
    // What a change of credentials has not cleared: from here on its life is the socket's.
    prctl(libc::PR_SET_PDEATHSIG, 0, 0).cannot(DOING, "prctl(PR_SET_PDEATHSIG)")?;
    meet::send(socket.as_fd(), &Message::Ready, None)?;
    match meet::receive(socket.as_fd())? {
        Some((Message::Go, _)) => {}
        _ => exit_now(0),
    }
    drop(socket);
    loop {
        nix::unistd::pause();
    }
}
