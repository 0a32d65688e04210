//! The landing: the last link's final act, in one process with nothing between.
//!
//! User, groups, capabilities, secure bits, no_new_privs, the LSM label and the filter do not all survive a further
//! exec, so cap-drop and seccomp-load only resolve and check; what they resolved travels here as [`Landing`], and
//! whichever link is last calls [`land`].

mod block;
mod command;
mod credentials;
mod filter;
mod gate;
mod hooks;
mod keyring;
mod label;
mod leaf;
mod listener;
mod rehearsal;
mod stdio;
mod terminal;
mod typing;

pub use leaf::enter as enter_groups;
pub use rehearsal::{Denied, rehearse};

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::meet::{self, Message};
use crate::sched::Attr;
use crate::state::State;
use crate::sys::process::prctl;
use crate::{report, sys};
use filter::Filter;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};

/// What the last link will do, all names resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Landing {
    /// The command, when it does not stand behind the last `--`: what `runner` read from config.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// Working directory, inside the root the landing finds itself in. Left out: where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Bytes>,
    /// User, groups, umask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Ids>,
    /// The five capability sets, as masks by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapSets>,
    /// Secure bits, the whole mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub securebits: Option<u32>,
    /// Set no_new_privs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// Flags for seccomp(2); the program is the fd `filter` of the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_flags: Option<u64>,
    /// What the agent of a notifying filter is told besides, where the landing tells it itself (`listenerMetadata`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Limits set last: (RLIMIT_* number, soft, hard).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<(u32, u64, u64)>,
    /// A scheduler that a fork would lose, or that may not fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Attr>,
    /// Name of a new session keyring; empty for one without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_keyring: Option<String>,
    /// Label of the command, for `attr/apparmor/exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// Label of the command, for `attr/exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
    /// Signal the command gets when its supervisor dies; a change of credentials clears it, so it is set again here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub death_signal: Option<i32>,
    /// Start a new session (always with a terminal).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub new_session: bool,
    /// With a terminal: standard streams that are none stay what they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redirected: bool,
    /// A filter of its own against typing into a terminal that is shared with others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_typing: bool,
}

/// A command and its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// argv.
    pub args: Vec<Bytes>,
    /// Environment, `KEY=VALUE`.
    pub env: Vec<Bytes>,
}

/// Who the command is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// User id; None leaves it.
    pub uid: Option<u32>,
    /// Group id; None leaves it.
    pub gid: Option<u32>,
    /// Supplementary groups, exactly these; None leaves them.
    pub groups: Option<Vec<u32>>,
    /// File mode creation mask; None leaves it.
    pub umask: Option<u32>,
}

/// The five sets as masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapSets {
    /// What can ever be gained again by exec.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over an exec by file capabilities.
    pub inheritable: u64,
    /// Kept over an exec.
    pub ambient: u64,
}

/// Does all of it and becomes the command. Comes back only with the reason why not.
pub fn land(tool: &str, state: &State, argv: &[OsString]) -> Error {
    match try_land(tool, state, argv) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_land(tool: &str, state: &State, argv: &[OsString]) -> Result<Infallible> {
    let landing = &state.landing;
    all_layers_done(state)?;
    let (argv, env) = command::words(landing, argv)?;
    let program = argv[0].clone();

    // The filter's program is read while there is still an fd table to read it through.
    let filter = filter::read(state)?;

    if landing.command.is_some() {
        command::exists(&program, &env, landing)?;
    }
    // What the creator's own output went to must not stay open for as long as a container waits: whoever reads it to
    // its end would wait as well.
    if let Some(terminal) = state.fds.terminal {
        terminal::take(terminal, landing)?;
    } else if landing.new_session {
        terminal::new_session()?;
    }
    stdio::give_to_user(landing)?;
    if let Some(gate) = state.fds.gate {
        let last: Vec<RawFd> =
            state.fds.meet.into_iter().chain([gate]).chain(state.fds.groups.iter().copied()).collect();
        close_others(state, &last)?;
    }
    // Told to whoever creates the container, unless hooks have to be forked later.
    let hooks = state.hooks.as_ref().filter(|hooks| !hooks.start_container.is_empty());
    if let Some(scheduler) = landing.scheduler.filter(|_| hooks.is_none()) {
        scheduler.set()?;
    }
    // The gate: nothing below happens before somebody says start.
    stand_by(state)?;
    if let Some(fd) = state.fds.block {
        block::wait(fd)?;
    }

    let filter = filter.map(|program| filter::Filter::new(program, state)).transpose()?;
    if let Some(name) = &landing.session_keyring {
        keyring::make(name)?;
    }
    if let Some(hooks) = hooks {
        hooks::start(hooks, state, filter.as_ref(), &env)?;
        landing.scheduler.map_or(Ok(()), |scheduler| scheduler.set())?;
    }
    enter_groups(state)?;
    assume(state, filter.as_ref(), || {
        report::status(&json!({"tool": tool, "event": "exec", "program": program.to_string_lossy()}));
        bear_witness(state)
    })?;
    let error = command::exec(&program, &argv, &env);
    if let Some(fd) = state.fds.witness {
        meet::send_error(fd, tool, &error);
    }
    Err(error)
}

/// From here on what was kept stays.
fn bear_witness(state: &State) -> Result<()> {
    let Some(fd) = state.fds.witness else { return Ok(()) };
    let fd = sys::fd::borrow(fd).cannot("end the chain", format_args!("fcntl({fd})"))?;
    meet::send(fd, &Message::Ready, None)
}

/// Becomes who the command is to be, with nothing open but what the command gets. `last` is called while there are still
/// fds of ours.
fn assume(state: &State, filter: Option<&Filter>, last: impl FnOnce() -> Result<()>) -> Result<()> {
    let landing = &state.landing;
    // A private procfs for the labels, while mounting is still permitted.
    let labels = label::files(landing)?;

    // No fd crosses but those that were asked for: not a leaked directory (CVE-2024-21626), not a link, not the state.
    let label_fds = labels.iter().map(|(fd, _)| fd.as_raw_fd());
    let told = filter.and_then(Filter::told_by).into_iter().chain(state.fds.witness);
    let ours: Vec<RawFd> = label_fds.chain(told).collect();
    close_others(state, &ours)?;
    keep_fds(&state.fds.keep)?;

    for (fd, label) in labels {
        label::write(fd.as_fd(), &label)?;
        drop(fd);
    }
    // Without no_new_privs, loading wants CAP_SYS_ADMIN, so it comes before the capabilities go.
    let late = landing.no_new_privs || prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(1);
    if !late {
        load_filters(landing, filter)?;
    }

    let early_cwd = enter_cwd(landing);
    credentials::assume(landing)?;
    if let Some(signal) = landing.death_signal {
        rearm_death_signal(signal, state)?;
    }
    // Root may enter what the user may not, and the other way round on network file systems.
    early_cwd.or_else(|_| enter_cwd(landing))?;
    cwd_is_inside()?;

    last()?;
    for (resource, soft, hard) in &landing.rlimits {
        set_rlimit(*resource, *soft, *hard)?;
    }
    // Rust's start-up ignores SIGPIPE, and an ignored signal stays ignored over exec: a pipeline in the container
    // would never end.
    default_sigpipe()?;
    if late { load_filters(landing, filter) } else { Ok(()) }
}

/// Tells the runner that only the command is left to do, waits until it has written down that this container exists
/// (a container that nobody knows of must not run), then at the start gate if there is one.
fn stand_by(state: &State) -> Result<()> {
    let doing = "wait for the runner";
    let gate = state.fds.gate.map(|gate| Ok((gate, gate::Ends::hold()?))).transpose()?;
    if let Some(socket) = state.fds.meet {
        let socket = sys::fd::borrow(socket).cannot(doing, "fcntl")?;
        meet::send(socket, &Message::Ready, None)?;
        meet::wait_for_go(socket)?;
    }
    if let Some((gate, ends)) = gate {
        let gate = sys::fd::borrow(gate).cannot("wait for start", "fcntl(gate)")?;
        report::errors_to(gate::wait(gate, ends)?.into_raw_fd());
    }
    Ok(())
}

/// Every layer of the plan has a receipt, and the receipt says the kernel agreed.
fn all_layers_done(state: &State) -> Result<()> {
    let doing = "start the command";
    if let Some(layer) = state.current() {
        return Err(Error::new(
            Class::Internal,
            doing,
            format_args!("the layer of {} has no receipt", layer.tool),
        ));
    }
    for (layer, receipt) in state.layers.iter().zip(&state.receipts) {
        if layer.tool != receipt.tool || !receipt.verified {
            let tool = layer.tool;
            return Err(Error::new(
                Class::Internal,
                doing,
                format_args!("the layer of {tool} was not proven"),
            ));
        }
    }
    Ok(())
}

/// That against typing first, for the command's own may refuse to load another.
fn load_filters(landing: &Landing, filter: Option<&Filter>) -> Result<()> {
    if landing.no_typing {
        typing::forbid()?;
    }
    filter.map_or(Ok(()), Filter::load)
}

/// Closes every fd from 3 up except the kept ones and those the landing still writes to, `ours` among them, which exec
/// closes.
fn close_others(state: &State, ours: &[RawFd]) -> Result<()> {
    let mut stay: Vec<RawFd> = state.fds.keep.iter().copied().chain(report::fds()).collect();
    stay.extend(ours);
    stay.extend(state.fds.parent);
    stay.retain(|fd| *fd > 2);
    stay.sort_unstable();
    stay.dedup();
    let doing = "close what the command must not have";
    let mut from = 3;
    for fd in &stay {
        sys::fd::close_range(from, *fd as u32 - 1).cannot(doing, "close_range")?;
        let borrowed = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
        sys::fd::set_cloexec(borrowed, true).cannot(doing, "fcntl(F_SETFD)")?;
        from = *fd as u32 + 1;
    }
    sys::fd::close_range(from, u32::MAX).cannot(doing, "close_range")
}

fn keep_fds(keep: &[RawFd]) -> Result<()> {
    for fd in keep {
        let doing = format_args!("keep fd {fd} for the command");
        let borrowed = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
        sys::fd::set_cloexec(borrowed, false).cannot(doing, "fcntl(F_SETFD)")?;
    }
    Ok(())
}

fn enter_cwd(landing: &Landing) -> Result<()> {
    let Some(cwd) = &landing.cwd else { return Ok(()) };
    rustix::process::chdir(cwd.as_path())
        .cannot(format_args!("make {cwd} the working directory"), format_args!("chdir({cwd})"))
}

/// A working directory outside the root has no absolute path: the kernel says "(unreachable)" (CVE-2024-21626).
fn cwd_is_inside() -> Result<()> {
    let cwd =
        rustix::process::getcwd(Vec::new()).cannot("prove that the working directory is inside", "getcwd")?;
    if cwd.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Error::new(
        Class::Denied,
        "start the command",
        format_args!("its working directory {} is outside the root", cwd.to_string_lossy()),
    ))
}

/// Once more after the change of credentials; a supervisor that died in between is seen on its pidfd.
fn rearm_death_signal(signal: i32, state: &State) -> Result<()> {
    let doing = "die with the supervisor";
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0).cannot(doing, "prctl(PR_SET_PDEATHSIG)")?;
    let Some(parent) = state.fds.parent else { return Ok(()) };
    let parent = sys::fd::borrow(parent).cannot(doing, format_args!("fcntl({parent})"))?;
    if crate::supervise::has_ended(parent)? {
        return Err(Error::new(Class::Conflict, "start the command", "the supervisor is gone"));
    }
    Ok(())
}

fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let doing = format_args!("set resource limit {resource} to {soft}:{hard}");
    sys::process::prlimit(0, resource, Some((soft, hard)))
        .cannot(doing, format_args!("prlimit({resource})"))?;
    let found =
        sys::process::prlimit(0, resource, None).cannot(doing, format_args!("prlimit({resource})"))?;
    if found != (soft, hard) {
        let found = format!("{}:{}", found.0, found.1);
        return Err(Error::readback(
            format_args!("resource limit {resource}"),
            format_args!("{soft}:{hard}"),
            found,
        ));
    }
    Ok(())
}

fn default_sigpipe() -> Result<()> {
    crate::supervise::default_action(nix::sys::signal::Signal::SIGPIPE)
}
