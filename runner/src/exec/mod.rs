//! exec: one more process in a container, by a chain whose links join instead of making.
//!
//! Its defaults come from the config that the state keeps, never from the bundle. The first process is known by a pidfd
//! that is opened before its start time is compared, and that pidfd is what the links join by: a pid that was given away
//! again leads nowhere.

mod cgroup;
mod cli;
mod plan;
mod process;

pub(crate) use cli::Exec;

use crate::cli::Args;
use crate::container::{Container, StateRoot};
use crate::create::inherited;
use crate::filter::{self, Keep};
use crate::meeting::{Front, of_tool, start_chain};
use crate::{agent, ended, log, pidfile, terminal};
use chain::cgroup::Group;
use chain::meet::{self, Message};
use chain::oci::Config;
use chain::proxy::{self, Between};
use chain::state::State;
use chain::supervise::{Supervised, default_action, has_ended};
use chain::sys::process::pidfd_signal;
use chain::{Cannot, Class, Error, Result, next};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Status of a failure of ours: what runc says, for the command's own may be anything below.
pub(crate) const FAILED: u8 = 255;

/// How long after one process of a group that is killed the others may end.
const ONE_BY_ONE: Duration = Duration::from_millis(100);

/// `runner exec`: the command's status, 128+n for signal n; 0 if nobody waits for it.
pub(crate) fn exec(root: &StateRoot, args: &Args, options: &Exec) -> Result<u8> {
    // Looked at before anything of ours has such a number.
    let keep = inherited(options.preserve_fds)?;
    let container = root.container(&options.id())?;
    let group = Group::at(&container.record.cgroups)?;
    let first = first_process(&container, &group, options)?;
    let mut config = container.config()?;
    process::put_into(&mut config, options)?;
    check_terminal(&config, options)?;
    if args.common.block_fd.is_some() {
        return Err(chain::Error::usage("read the command line", "--block-fd belongs to --plan"));
    }
    let mut state = plan::state(&container.record, &config, options, !args.common.print)?;
    if args.common.print {
        return crate::plan::print(&state).map(|()| 0);
    }
    state.fds.keep = keep;
    state.fds.status = args.common.status_fd;
    state.debug = log::is_debug();
    state.fds.process = Some(first.as_raw_fd());
    let _program = filter::look(container.root.as_fd(), &mut state, Keep::No)?;
    let tools: Vec<_> = state.layers.iter().map(|l| (l.tool, None)).collect();
    let next::Opened { tools, mounts } = next::open_tools(&tools)?;
    state.fds.tools = tools;
    log::tools_are_open();
    // A caller may have left it ignored, and then no child's end is told.
    default_action(Signal::SIGCHLD)?;
    // The quick way in: cg-apply finds itself there, and need not fork. Whoever names CPUs for before wants to be there.
    let affinity = config.process.as_ref().and_then(|process| process.exec_cpu_affinity.as_ref());
    let early = affinity.is_some_and(|affinity| affinity.initial.is_some());
    let v2 = group.v2().filter(|_| options.cgroup.is_empty() && !early);
    // Only who waits for it says what it ended by.
    let before = if options.detach { 0 } else { ended::before(&config, &group)? };
    let place = (&container, first.as_fd());
    launch(state, place, before, v2.map(|dir| dir.fd()).transpose()?.as_deref(), options, mounts)
}

/// A pidfd of the container's first process. One that waits for start has its namespaces and mounts already.
fn first_process(container: &Container, group: &Group, options: &Exec) -> Result<OwnedFd> {
    let id = &container.record.id;
    let Some(first) = container.pidfd()? else {
        return Err(Error::new(Class::Conflict, "exec in a stopped container", id));
    };
    if !options.ignore_paused && group.is_frozen().unwrap_or(false) {
        return Err(Error::new(Class::Conflict, "exec in a paused container", id)
            .cure("--ignore-paused: the command goes on when the container does"));
    }
    Ok(first)
}

fn check_terminal(config: &Config, options: &Exec) -> Result<()> {
    let wants = config.process.as_ref().is_some_and(|p| p.terminal);
    let doing = "give the command a terminal";
    match (wants, &options.console_socket) {
        (true, None) if options.detach => Err(Error::usage(doing, "nobody is there to hold it")
            .cure("--console-socket SOCKET, or exec without --detach")),
        (false, Some(_)) => {
            Err(Error::usage(doing, "--console-socket is given, and no terminal is asked for"))
        }
        _ => Ok(()),
    }
}

/// What the chain told.
#[derive(Default)]
struct Met {
    process: Option<(i32, OwnedFd)>,
    terminal: Option<OwnedFd>,
}

fn launch(
    state: State,
    (container, first): (&Container, BorrowedFd<'_>),
    before: u64,
    cgroup: Option<&OwnedFd>,
    options: &Exec,
    mounts: Vec<OwnedFd>,
) -> Result<u8> {
    let (meet, mut front) = start_chain(state, None, cgroup.map(AsFd::as_fd))?;
    // While the chain is at work: the last to close one waits until no CPU looks at it any more.
    drop(mounts);
    let mut met = Met::default();
    let heard = listen((meet.as_fd(), &mut front), options, &mut met);
    let heard = heard.map_err(|error| end_or(error, container, first));
    if heard.is_err() && met.process.is_none() {
        met.process = front.who_failed(meet.as_fd());
    }
    let result = heard.and_then(|()| let_go(meet, (container, first), before, options, &mut met));
    if result.is_err() {
        let process = met.process.as_ref().map(|(_, process)| process.as_fd());
        if let Some(process) = process {
            // Nobody knows of it: it may hang where nothing ends it, in a cgroup that is frozen.
            pidfd_signal(process, libc::SIGKILL).unwrap_or(());
        }
        front.reap_failed(process);
    } else if options.detach {
        // Its command is for whoever adopts it, and it is not.
        front.reap_quietly();
    }
    result
}

/// Listens until only the command is left to do, and who it will be is known: two processes say so, in any order.
fn listen((meet, front): (BorrowedFd<'_>, &mut Front), options: &Exec, met: &mut Met) -> Result<()> {
    let mut ready = false;
    while !ready || met.process.is_none() {
        let told = if met.process.is_some() { meet::receive(meet)? } else { front.hear(meet)? };
        if let Some((message, _)) = &told {
            log::heard(message, true);
        }
        match told {
            None => return Err(silent()),
            Some((Message::Front(pid), _)) => front.is_now(pid)?,
            Some((Message::Pid(pid), Some(fd))) => met.process = Some((pid, fd)),
            Some((Message::Terminal, Some(fd))) => {
                met.terminal = terminal::hand_over(fd, options.console_socket.as_deref())?;
            }
            Some((Message::Error { tool, error }, _)) => return Err(of_tool(&tool, *error)),
            Some((Message::Warning { tool, text }, _)) => log::warn(format_args!("{text} ({tool})")),
            Some((Message::Ready, _)) => ready = true,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Tells whoever wants to know which process it is, lets it become the command, and waits for that, if asked to.
fn let_go(
    meet: OwnedFd,
    (container, first): (&Container, BorrowedFd<'_>),
    before: u64,
    options: &Exec,
    met: &mut Met,
) -> Result<u8> {
    let (pid, pidfd) = met.process.as_ref().ok_or_else(silent)?;
    if let Some(path) = &options.pidfd_socket {
        terminal::send_fd(path, pidfd.as_fd(), "give the pidfd to the pidfd socket")?;
    }
    if let Some(path) = &options.pid_file {
        pidfile::write(path, *pid)?;
    }
    // Before it runs, so that no signal for it is lost.
    let doing = "wait for the command";
    let waits = |pidfd: &OwnedFd| {
        let own = pidfd.try_clone().cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
        Supervised::adopt(*pid, own)
    };
    let mut child = if options.detach { None } else { Some(waits(pidfd)?) };
    let agent = || agent::of(container, *pid, container.status()?);
    meet::send(meet.as_fd(), &Message::Go, None)
        .and_then(|()| agent::until_exec(meet.as_fd(), "exec in the container", &agent))
        .map_err(|error| end_or(error, container, first))?;
    drop(meet);
    let status = match (&mut child, &met.terminal) {
        (None, _) => return Ok(0),
        (Some(child), Some(master)) => proxy::run(master, child, &Between::default())?,
        (Some(child), None) => child.wait()?,
    };
    ended::tell(status, &container.record.cgroups, before, "run the command to its end")?;
    Ok(status)
}

/// The error of a chain; or that the container ended meanwhile, for then whatever a link says comes of that.
fn end_or(error: Error, container: &Container, first: BorrowedFd<'_>) -> Error {
    // One that says nothing was killed, perhaps a moment before the others.
    let has_no_call = error.errno().is_none() && matches!(error.class, Class::Internal | Class::Conflict);
    let is_silent = has_no_call || error.errno() == Some(Errno::EPIPE);
    let patience = if is_silent { ONE_BY_ONE } else { Duration::ZERO };
    let (id, end) = (&container.record.id, Instant::now() + patience);
    // A process that ends gives up its namespaces first, and waits for what is left in its pid namespace last.
    let link = format!("/proc/{}/ns/mnt", container.record.pid);
    let has_left = || std::fs::read_link(&link).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    loop {
        if has_left() || has_ended(first).unwrap_or(false) {
            return Error::new(Class::Conflict, "exec in a stopped container", id)
                .why(format_args!("its first process ended meanwhile: {error}"));
        }
        if Instant::now() >= end {
            return error;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn silent() -> Error {
    Error::new(Class::Internal, "exec in the container", "its chain ended without a word")
        .why("it was killed, perhaps by the memory limit of the container")
}
