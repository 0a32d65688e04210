//! The process that becomes the chain, and what it tells on the meeting socket until it is ready for its command.

use crate::bundle::Bundle;
use crate::cgroup::Place;
use crate::cli::Create;
use crate::janitor::Janitor;
use crate::{hooks, log, terminal};
use chain::error::EXIT_OURS;
use chain::link::go_to_layer;
use chain::mapped::{self, Spaces};
use chain::meet::{self, Message};
use chain::name::ToolName;
use chain::net;
use chain::state::State;
use chain::{Cannot, Class, Error, Result, proc, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What a failed chain may take to end.
const SOON: u16 = 1000;

/// Starts the process that becomes the chain, in this v2 cgroup if the kernel can; gives our end of the meeting
/// socket and the process.
pub(crate) fn start_chain(
    mut state: State,
    gate: Option<OwnedFd>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, Front)> {
    let doing = "start the chain";
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socketpair")?;
    state.fds.meet = Some(theirs.as_raw_fd());
    state.fds.gate = gate.as_ref().map(AsRawFd::as_raw_fd);
    let mut failed = None;
    // What is meant for the runner's group, ^C or a kill, is not meant for the container.
    let leave = || match state.landing.new_session {
        true => rustix::process::setsid().cannot(doing, "setsid").map(drop),
        false => Ok(()),
    };
    let mut become_chain = || {
        failed = Some(match leave() {
            Ok(()) => go_to_layer(&state, &[]),
            Err(error) => error,
        });
        EXIT_OURS
    };
    let in_cgroup = cgroup.map(|cgroup| sys::spawn::vfork_into(&mut become_chain, 0, cgroup));
    let pid = match in_cgroup {
        Some(Ok(pid)) => pid,
        // Where the cgroup is refused, cg-apply tries again and says why.
        None | Some(Err(_)) => {
            sys::spawn::vfork(&mut become_chain).cannot(doing, "clone(CLONE_VM|CLONE_VFORK)")?
        }
    };
    if let Some(error) = failed {
        reap_quietly(pid);
        return Err(error);
    }
    // Our copies go, so that the end of the chain is the end of the socket.
    for fd in state.fds.tools.into_values() {
        drop(sys::fd::adopt(fd).cannot(doing, format_args!("fcntl({fd})"))?);
    }
    match Front::of(pid) {
        Ok(front) => Ok((ours, front)),
        Err(error) => {
            // A chain to which nobody listens ends.
            drop(ours);
            reap_quietly(pid);
            Err(error)
        }
    }
}

/// The process in which the chain goes on, a child of ours. It ends when the container's first process is there, or when
/// it has said who goes on in its place.
pub(crate) struct Front {
    /// The one that goes on.
    now: OwnedFd,
    /// Those before it.
    before: Vec<OwnedFd>,
}

impl Front {
    fn of(pid: i32) -> Result<Front> {
        Ok(Front { now: watched(pid)?, before: Vec::new() })
    }

    /// Another one goes on.
    pub(crate) fn is_now(&mut self, pid: i32) -> Result<()> {
        self.before.push(std::mem::replace(&mut self.now, watched(pid)?));
        Ok(())
    }

    /// Waits for the end of all of them.
    pub(crate) fn reap_quietly(self) {
        self.reap(None, PollTimeout::NONE);
    }

    /// Waits for all of them, and the first process if it is there, once a chain has failed: one that nobody waits for is a
    /// zombie of the container until init comes by, and the container cannot end before. Not for long, for a frozen cgroup
    /// may keep them from their end.
    pub(crate) fn reap_failed(self, process: Option<BorrowedFd<'_>>) {
        self.reap(process, PollTimeout::from(SOON));
    }

    fn reap(self, process: Option<BorrowedFd<'_>>, patience: PollTimeout) {
        let fronts = self.before.iter().chain([&self.now]).map(AsFd::as_fd);
        for process in process.into_iter().chain(fronts) {
            let mut end = [PollFd::new(process, PollFlags::POLLIN)];
            let ended = loop {
                match poll(&mut end, patience) {
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            if !ended.is_ok_and(|ended| ended > 0) {
                continue;
            }
            match waitid(WaitId::PidFd(process), WaitIdOptions::EXITED) {
                // Whose parent is not this process is somebody else's to wait for.
                Ok(_) | Err(rustix::io::Errno::CHILD) => {}
                Err(e) => log::warn(Error::call("wait for the chain's end", "waitid(P_PIDFD)", e)),
            }
        }
    }

    /// Not when it has handed over to those it made.
    fn was_ended(&self) -> Result<bool> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.now.as_fd()), how);
        let status = status.cannot("look at the chain's first process", "waitid(P_PIDFD)")?;
        Ok(status.is_some_and(|status| status.exit_status() != Some(0)))
    }

    /// What the chain says next, before it is known which process the container's first will be; None when nobody says
    /// any more, and also when the one is gone who alone can say that: the other would wait for our word, and we for its
    /// name.
    pub(crate) fn hear(&self, meet: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>> {
        self.hear_within(meet, PollTimeout::NONE)
    }

    /// Which process has failed, where another one was still to say so: it is a child of ours, to be waited for.
    pub(crate) fn who_failed(&mut self, meet: BorrowedFd<'_>) -> Option<(i32, OwnedFd)> {
        self.named_late(meet).unwrap_or_else(|error| {
            log::warn(error);
            None
        })
    }

    fn named_late(&mut self, meet: BorrowedFd<'_>) -> Result<Option<(i32, OwnedFd)>> {
        while let Some(told) = self.hear_within(meet, PollTimeout::from(SOON))? {
            match told {
                (Message::Front(pid), _) => self.is_now(pid)?,
                (Message::Pid(pid), Some(fd)) => return Ok(Some((pid, fd))),
                _ => {}
            }
        }
        Ok(None)
    }

    fn hear_within(
        &self,
        meet: BorrowedFd<'_>,
        patience: PollTimeout,
    ) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut either = [meet, self.now.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            match poll(&mut either, patience) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Error::call("hear from the chain", "poll", error)),
            }
        }
        // What it said before it went counts.
        match either[0].any() == Some(true) || !self.was_ended()? {
            true => meet::receive(meet),
            false => Ok(None),
        }
    }
}

fn watched(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty())).cannot("watch over the chain", "pidfd_open")
}

/// What the chain told.
pub(crate) struct Met {
    /// The first process.
    pub(crate) pid: i32,
    /// The same.
    pub(crate) pidfd: OwnedFd,
    /// The master of its terminal, if nobody else got it.
    pub(crate) terminal: Option<OwnedFd>,
    /// Its cgroup.
    pub(crate) cgroups: Place,
    /// See the record's.
    pub(crate) restored_in_time: bool,
}

/// Listens until the chain is ready for its command. If it is not to come to that, its process ends here: that nobody
/// listens to it any more would be a second error, and no news. It is left in `first`, to be waited for.
pub(crate) fn meet_chain(
    (meet, front): (BorrowedFd<'_>, &mut Front),
    first: &mut Option<OwnedFd>,
    janitor: &Janitor,
    bundle: &Bundle,
    options: &Create,
) -> Result<Met> {
    let (mut process, mut devices) = (None, None);
    let heard = listen_to_chain((meet, front), janitor, bundle, options, (&mut process, &mut devices));
    let (terminal, cgroups) = heard.or_else(|error| {
        // First, for they would end with their namespace.
        let returned = devices.as_ref().map_or(Ok(()), net::Inside::give_back);
        let named = process.take().or_else(|| front.who_failed(meet));
        if let Some((_, pidfd)) = named {
            let ended = crate::janitor::end(pidfd.as_fd());
            *first = Some(pidfd);
            ended?;
        }
        if let Err(also) = returned {
            log::warn(also);
        }
        Err(error)
    })?;
    let (pid, pidfd) = process.ok_or_else(|| {
        Error::new(Class::Internal, "meet the chain", "it is ready and never said which process it is")
    })?;
    Ok(Met { pid, pidfd, terminal, cgroups, restored_in_time: false })
}

fn listen_to_chain(
    (meet, front): (BorrowedFd<'_>, &mut Front),
    janitor: &Janitor,
    bundle: &Bundle,
    options: &Create,
    (process, devices): (&mut Option<(i32, OwnedFd)>, &mut Option<net::Inside>),
) -> Result<(Option<OwnedFd>, Place)> {
    let (mut terminal, mut cgroups) = (None, Place::default());
    let (mut mounted, mut ready, mut spaces) = (false, false, Spaces::default());
    // The one that stays behind says which process it is, that one how far it is: in any order.
    while !ready || process.is_none() {
        let told = if process.is_some() { meet::receive(meet)? } else { front.hear(meet)? };
        let Some((message, fd)) = told else { return Err(silent()) };
        log::heard(&message, false);
        match (message, fd) {
            (Message::Front(pid), _) => front.is_now(pid)?,
            (Message::Pid(pid), Some(fd)) => *process = Some((pid, fd)),
            (Message::Terminal, Some(fd)) => {
                terminal = terminal::hand_over(fd, options.console_socket.as_deref())?
            }
            (Message::Receipt(receipt), _) if receipt.tool == ToolName::CgApply => {
                janitor.knows_cgroup(&receipt)?;
                cgroups = Place::of(&receipt);
            }
            (Message::Mounted, _) => mounted = true,
            (Message::Map { maps, below, what }, Some(mount)) => {
                mapped::map(mount.as_fd(), spaces.of(&maps, &what)?, below, &what)?;
                meet::send(meet, &Message::Go, None)?;
            }
            (Message::Devices(wanted), Some(there)) => {
                let outside = net::look(&wanted, proc::host()?.as_fd(), log::warn)?;
                *devices = Some(outside.send(there.as_fd())?);
                meet::send(meet, &Message::Go, None)?;
            }
            (Message::Warning { tool, text }, _) => log::warn(format_args!("{text} ({tool})")),
            (Message::Error { tool, error }, _) => {
                // A link that fails takes back what it made itself.
                if cgroups.folders.is_empty() && cgroups.rdt.is_none() {
                    janitor.knows_no_cgroup()?;
                }
                return Err(of_tool(&tool, *error));
            }
            (Message::Ready, _) => ready = true,
            _ => {}
        }
        if let Some((pid, pidfd)) = process.as_ref().filter(|_| mounted) {
            mounted = false;
            janitor.knows_process(*pid, AsFd::as_fd(pidfd))?;
            hooks::create_runtime(bundle, &options.id, *pid)?;
            meet::send(meet, &Message::Go, None)?;
        }
    }
    Ok((terminal, cgroups))
}

/// What is known of a chain that was killed.
pub(crate) const SILENT: &str = "its chain ended without a word";

fn silent() -> Error {
    Error::new(Class::Internal, "make the container", SILENT)
        .why("it was killed, perhaps by the memory limit of its cgroup")
}

/// The tool's own sentence, with its name.
pub(crate) fn of_tool(tool: &str, error: Error) -> Error {
    if tool == "runner" {
        return error;
    }
    let cure = error.cure.filter(|cure| !is_of_the_tool(cure));
    Error { doing: format!("{} ({tool})", error.doing), cure, ..error }
}

/// What the user of a tool would type, which nobody can who has a bundle; `--no-pivot` is `runner`'s own too.
fn is_of_the_tool(cure: &str) -> bool {
    let first = cure.split(' ').next().unwrap_or_default();
    first.starts_with('-') && first != "--no-pivot" || ToolName::of_program(first.as_ref()).is_some()
}

fn reap_quietly(pid: i32) {
    while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::EINTR) {}
}
