//! create: starts the chain, meets it, writes the container down. run does the same and goes on.

use crate::bundle::Bundle;
use crate::cgroup::Expected;
use crate::cli::{Args, Create};
use crate::container::{Record, StateRoot, start_time};
use crate::draft::Draft;
use crate::filter::{self, Keep};
use crate::globals::Manager;
use crate::janitor::Janitor;
use crate::meeting::{Met, meet_chain, start_chain};
use crate::notify::{self, Notify};
use crate::{activation, ended, hooks, id, late, log, pidfile, plan, terminal, time};
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::oci::{Config, NamespaceKind};
use chain::state::State;
use chain::supervise::Supervised;
use chain::{Cannot, Class, Error, Result, next, sys};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A container that exists and stands at the gate.
pub(crate) struct Launched {
    /// Its record.
    pub(crate) record: Record,
    /// Its first process.
    pub(crate) pidfd: OwnedFd,
    /// The same, if it is to be waited for.
    pub(crate) child: Option<Supervised>,
    /// The master of its terminal, if nobody else got it.
    pub(crate) terminal: Option<OwnedFd>,
    /// The meeting socket: closed by the exec of the command.
    pub(crate) meet: OwnedFd,
    /// Where the command says that it is ready, if somebody wants to hear it.
    pub(crate) notify: Option<Notify>,
}

/// `runner create`.
pub(crate) fn create(root: &StateRoot, args: &Args, options: &Create) -> Result<u8> {
    launch(root, args, options, Gate::Closed, true).map(|_| 0)
}

/// Whether the command waits for start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It waits.
    Closed,
    /// It goes on at once.
    Open,
}

/// Makes a container up to its gate; None when `--print` asked for the plan alone. What fails on the way is unmade by
/// the janitor.
pub(crate) fn launch(
    root: &StateRoot,
    args: &Args,
    options: &Create,
    gate: Gate,
    detach: bool,
) -> Result<Option<Launched>> {
    id::check(&options.id)?;
    let bundle = Bundle::read(args, options)?;
    terminal::check(&bundle.config, options, detach)?;
    let notify = notify::manager().filter(|_| !args.common.print);
    let notify = notify.map(|_| root.draft(&options.id).map(|draft| notify::mount(&draft))).transpose()?;
    let mut state = plan::state(&bundle, &options.id, options, args, notify)?;
    if args.common.print {
        return plan::print(&state).map(|()| None);
    }
    state.fds.keep = preserved(options.preserve_fds)?;
    state.fds.status = args.common.status_fd;
    state.debug = log::is_debug();
    let root_fd = root.open(true)?;
    let filter = filter::look(root_fd.as_fd(), &mut state, Keep::Yes)?;
    let tools: Vec<_> = state.layers.iter().map(|l| (l.tool, None)).collect();
    let next::Opened { tools, mounts } = next::open_tools(&tools)?;
    log::tools_are_open();
    state.fds.tools = tools;

    let cgroup = cgroup_path(&bundle.config, &options.id, args)?;
    let expected = Expected::of(&bundle.config, cgroup, &options.id);
    let poststop = hooks::After::of_bundle(&bundle, &options.id);
    let janitor = Janitor::start(root_fd.as_fd(), &options.id, &expected, &poststop, mounts)?;
    match make(root_fd, &bundle, options, state, gate, detach, &janitor) {
        Ok(launched) => {
            janitor.dismiss()?;
            filter.keep();
            Ok(Some(launched))
        }
        Err(error) => {
            let error = ended::of_chain(error, &expected.cgroup);
            janitor.clean_up(root, &options.id, &expected)?;
            Err(error)
        }
    }
}

/// Where the group will be; empty for none of ours: a scope of systemd's goes with the chain.
pub(crate) fn cgroup_path(config: &Config, id: &str, args: &Args) -> Result<Bytes> {
    if args.manager() != Manager::Cgroupfs {
        return Ok(Bytes::default());
    }
    let path = config.linux.as_ref().and_then(|l| l.cgroups_path.clone()).filter(|p| !p.0.is_empty());
    let path = path.unwrap_or_else(|| id.into());
    // Else cg-apply would refuse it, and then the janitor, who would look for it, once more.
    chain::cgroup::check_path(&path).map(|()| path)
}

fn make(
    root: OwnedFd,
    bundle: &Bundle,
    options: &Create,
    state: State,
    gate: Gate,
    detach: bool,
    janitor: &Janitor,
) -> Result<Launched> {
    let draft = Draft::make(root, &options.id)?;
    janitor.knows_folder(draft.dir.as_fd())?;
    if notify::manager().is_some() {
        notify::make_folder(draft.dir.as_fd())?;
    }
    let (gate, notify) = match gate {
        Gate::Closed => (Some(make_gate(draft.dir.as_fd())?), None),
        Gate::Open => (None, Notify::listen(draft.dir.as_fd())?),
    };
    let (meet, mut front) = start_chain(state, gate, None)?;
    // While the chain is at work.
    draft.write("config.json", &bundle.text)?;
    let mut first = None;
    let met = match meet_chain((meet.as_fd(), &mut front), &mut first, janitor, bundle, options) {
        Ok(met) => met,
        Err(error) => {
            // A chain that still waits for our word ends when the socket does.
            drop(meet);
            front.reap_failed(first.as_ref().map(AsFd::as_fd));
            return Err(error);
        }
    };
    front.reap_quietly();
    let written = look_after(&met, detach).and_then(|child| {
        write_down(&draft, bundle, options, &met, meet.as_fd(), janitor).map(|record| (child, record))
    });
    match written {
        Ok((child, record)) => {
            Ok(Launched { record, pidfd: met.pidfd, child, terminal: met.terminal, meet, notify })
        }
        Err(error) => {
            crate::janitor::end(met.pidfd.as_fd())?;
            Err(error)
        }
    }
}

/// Before it goes on, so that no signal for it ends us instead.
pub(crate) fn look_after(met: &Met, detach: bool) -> Result<Option<Supervised>> {
    if detach {
        return Ok(None);
    }
    let pidfd = met.pidfd.try_clone().cannot("wait for the command", "fcntl(F_DUPFD_CLOEXEC)")?;
    Supervised::adopt(met.pid, pidfd).map(Some)
}

/// Makes the container exist for everybody, and lets it go on.
pub(crate) fn write_down(
    draft: &Draft,
    bundle: &Bundle,
    options: &Create,
    met: &Met,
    meet: BorrowedFd<'_>,
    janitor: &Janitor,
) -> Result<Record> {
    let mut record = record(bundle, options, met)?;
    late::tighten(&bundle.config, &record)?;
    // Known to the janitor before the container may go on, written down before it does.
    janitor.knows_process(met.pid, met.pidfd.as_fd())?;
    if let Some(path) = &options.pidfd_socket {
        terminal::send_fd(path, met.pidfd.as_fd(), "give the pidfd to the pidfd socket")?;
    }
    if let Some(path) = &options.pid_file {
        pidfile::write(path, met.pid)?;
    }
    let told = janitor.holds(meet).and_then(|()| let_go_on(draft, &mut record, meet));
    if let (Err(_), Some(path)) = (&told, &options.pid_file) {
        pidfile::remove(path)?;
    }
    told.map(|()| record)
}

fn let_go_on(draft: &Draft, record: &mut Record, meet: BorrowedFd<'_>) -> Result<()> {
    draft.commit(record)?;
    meet::send(meet, &Message::Go, None).or_else(|error| {
        draft.take_back()?;
        Err(match error.errno() {
            Some(nix::errno::Errno::EPIPE) => gone_already().why("nobody was left to hear that it may go on"),
            _ => error,
        })
    })
}

/// `--preserve-fds N`, and socket activation's fds as well: 3 and up.
fn preserved(count: u32) -> Result<Vec<RawFd>> {
    inherited(count.saturating_add(activation::count()))
}

/// So many fds from 3 up that the caller left us. What is close-on-exec came by no exec, so it is a file of our own.
pub(crate) fn inherited(count: u32) -> Result<Vec<RawFd>> {
    let one = |n: u32| {
        let n = n as RawFd;
        let (doing, call) = (format!("preserve fd {n}"), format!("fcntl({n})"));
        let fd = sys::fd::borrow(n).cannot(&doing, &call)?;
        match rustix::io::fcntl_getfd(fd).cannot(&doing, &call)?.contains(rustix::io::FdFlags::CLOEXEC) {
            true => Err(Error::call(doing, call, nix::errno::Errno::EBADF)),
            false => Ok(n),
        }
    };
    (3..3_u32.saturating_add(count)).map(one).collect()
}

/// A listening socket in the container's folder. Bound through the folder's fd: a socket's path is at most 107 bytes
/// long, an engine's state folder often more.
fn make_gate(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let doing = "make the start gate";
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socket")?;
    bind(&socket, &gate_address(dir)?).cannot(doing, "bind(gate)")?;
    listen(&socket, 8).cannot(doing, "listen(gate)")?;
    Ok(socket)
}

/// Where the gate of the container in `dir` is.
pub(crate) fn gate_address(dir: BorrowedFd<'_>) -> Result<rustix::net::SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/gate", dir.as_raw_fd());
    rustix::net::SocketAddrUnix::new(path).cannot("find the start gate", "sockaddr_un")
}

fn gone_already() -> Error {
    Error::new(Class::Conflict, "make the container", "its first process is gone already")
}

fn record(bundle: &Bundle, options: &Create, met: &Met) -> Result<Record> {
    let config = &bundle.config;
    if met.cgroups.folders.is_empty() && !own_pid_namespace(config) && !rustix::process::geteuid().is_root() {
        log::warn(format_args!(
            "{} has no cgroup and no pid namespace of its own, so that what its first process leaves behind is not \
             found to be ended. Such configuration is strongly discouraged",
            options.id
        ));
    }
    Ok(Record {
        oci_version: config.oci_version.clone(),
        id: options.id.clone(),
        pid: met.pid,
        bundle: Bytes::from(bundle.path.as_path()),
        rootfs: rootfs(bundle),
        created: time::stamp(),
        annotations: config.annotations.clone(),
        owner: rustix::process::getuid().as_raw(),
        start_time: start_time(met.pid).ok_or_else(gone_already)?,
        boot: None,
        cgroups: met.cgroups.folders.clone(),
        unit: met.cgroups.unit.clone(),
        rdt: met.cgroups.rdt.clone(),
        own_pid_namespace: own_pid_namespace(config),
        no_new_keyring: options.no_new_keyring,
        restored_in_time: met.restored_in_time,
        hooks: hooks::of_record(config),
    })
}

fn rootfs(bundle: &Bundle) -> Bytes {
    let path = bundle.config.root.as_ref().map(|r| r.path.clone()).unwrap_or_default();
    Bytes::from(bundle.path.join(path.as_path()).as_path())
}

fn own_pid_namespace(config: &Config) -> bool {
    let namespaces = config.linux.as_ref().map(|l| l.namespaces.as_slice()).unwrap_or_default();
    namespaces.iter().any(|ns| ns.kind == NamespaceKind::Pid && ns.path.is_none())
}
