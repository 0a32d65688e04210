//! checkpoint: runc's and crun's options, carried out by criu-ctl, which is told the container's layers as a plan and
//! finds out itself what of it comes from outside.

use crate::cli::Args;
use crate::container::{Container, StateRoot, Status};
use crate::meeting::of_tool;
use crate::{delete, log};
use chain::meet::{self, Message};
use chain::oci::Config;
use chain::plan::{Layer, Plan};
use chain::state::sealed;
use chain::{Cannot, Class, Error, Result, share, sys};
use clap::{Args as Group, ValueEnum};
use rustix::fs::{SeekFrom, seek};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of both.
#[derive(Group, Debug)]
pub(crate) struct Common {
    /// The container
    pub(crate) id: String,
    /// Folder of the images
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Folder of criu's logs
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// With established TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// With unix sockets whose other end is outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// With a terminal of the caller's
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// Fetch memory when it is used
    #[arg(long)]
    lazy_pages: bool,
    /// With file locks
    #[arg(long)]
    file_locks: bool,
    /// What becomes of cgroups
    #[arg(long, value_name = "MODE", default_value = "soft")]
    manage_cgroups_mode: CgroupsMode,
    /// How packets are held back
    #[arg(long, value_name = "WAY")]
    network_lock: Option<NetworkLock>,
    /// Make this namespace anew, with nothing in it
    #[arg(long, value_name = "KIND")]
    empty_ns: Vec<EmptyNamespace>,
    /// Drop pages that a later image has too
    #[arg(long)]
    auto_dedup: bool,
}

/// Options of checkpoint.
#[derive(Group, Debug)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    common: Common,
    /// Folder of an earlier pre-dump, relative to the images
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// With files that have no name any more
    #[arg(long)]
    link_remap: bool,
    /// fd that gets a NUL when lazy pages can be fetched
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// Server that takes the pages
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Take the memory only, and leave the container running
    #[arg(long)]
    pre_dump: bool,
}

/// criu's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CgroupsMode {
    Soft,
    Full,
    Strict,
    Ignore,
}

/// criu's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkLock {
    Iptables,
    Nftables,
    Skip,
}

/// The one kind that criu knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmptyNamespace {
    Network,
}

impl CgroupsMode {
    fn word(self) -> &'static str {
        match self {
            CgroupsMode::Soft => "soft",
            CgroupsMode::Full => "full",
            CgroupsMode::Strict => "strict",
            CgroupsMode::Ignore => "ignore",
        }
    }
}

impl NetworkLock {
    fn word(self) -> &'static str {
        match self {
            NetworkLock::Iptables => "iptables",
            NetworkLock::Nftables => "nftables",
            NetworkLock::Skip => "skip",
        }
    }
}

/// A command line of criu-ctl.
pub(crate) struct Words(pub(crate) Vec<OsString>);

impl Words {
    pub(crate) fn flag(&mut self, word: &str, given: bool) {
        self.0.extend(given.then(|| word.into()));
    }

    pub(crate) fn value(&mut self, word: &str, value: Option<impl Into<OsString>>) {
        self.0.extend(value.map(|value| [word.into(), value.into()]).into_iter().flatten());
    }
}

impl Common {
    /// `criu-ctl VERB …`, with what both share. `plan` and `meet` are fds that it gets.
    pub(crate) fn words(&self, verb: &str, args: &Args, config: &Config, plan: RawFd, meet: RawFd) -> Words {
        let mut words = Words(vec!["criu-ctl".into(), verb.into()]);
        words.value("-D", Some(&self.image_path));
        words.value("-W", self.work_path.as_ref());
        words.value("--plan", Some(format!("fd:{plan}")));
        words.value("--meet-fd", Some(meet.to_string()));
        words.value("--criu", args.globals.criu.as_ref());
        words.value("--config", criu_config(config));
        words.flag("--tcp-established", self.tcp_established);
        words.flag("--ext-unix-sk", self.ext_unix_sk);
        words.flag("--shell-job", self.shell_job);
        words.flag("--lazy-pages", self.lazy_pages);
        words.flag("--file-locks", self.file_locks);
        words.flag("--auto-dedup", self.auto_dedup);
        words.value("--manage-cgroups", Some(self.manage_cgroups_mode.word()));
        words.value("--network-lock", self.network_lock.map(NetworkLock::word));
        words.value("--empty-ns", (!self.empty_ns.is_empty()).then_some("network"));
        words
    }
}

/// The file of criu's own options: the annotation's, else crun's where there is one, else runc's. criu passes over one
/// that is not there. An empty annotation means none.
fn criu_config(config: &Config) -> Option<PathBuf> {
    let crun = Path::new("/etc/criu/crun.conf");
    match config.annotations.get("org.criu.config").map(String::as_str) {
        Some("") => None,
        Some(path) => Some(path.into()),
        None if crun.is_file() => Some(crun.into()),
        None => Some("/etc/criu/runc.conf".into()),
    }
}

/// What criu-ctl has to know of a container: its namespaces and its root.
pub(crate) fn plan(config: &Config, folder: &Path) -> Result<OwnedFd> {
    let layers =
        vec![Layer::of(&share::ns_enter(config, folder)?)?, Layer::of(&share::rootfs_prep(config, folder)?)?];
    let text = Plan { layers, ..Plan::default() }.to_json()?;
    let doing = "tell criu-ctl of the container";
    let fd = sealed(c"catena-plan", &text).cannot(doing, "memfd_create(catena-plan)")?;
    seek(&fd, SeekFrom::Start(0)).cannot(doing, "lseek")?;
    Ok(fd)
}

/// Where criu-ctl is: beside this program, else in PATH.
pub(crate) fn criu_ctl() -> Result<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|exe| Some(exe.parent()?.join("criu-ctl")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("criu-ctl"));
    beside
        .into_iter()
        .chain(listed)
        .find(|path| path.is_file())
        .ok_or_else(|| Error::new(Class::Missing, "start criu-ctl", "not beside this program, not in PATH"))
}

/// The two ends of a meeting.
pub(crate) fn meeting() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot("start criu-ctl", "socketpair")
}

/// `runner checkpoint`.
pub(crate) fn checkpoint(root: &StateRoot, args: &Args, options: &Checkpoint) -> Result<u8> {
    let id = &options.common.id;
    let container = root.container(id)?;
    container.lock()?;
    let status = container.status()?;
    if matches!(status, Status::Created | Status::Stopped) {
        let detail = format!("container cannot be checkpointed: it is {}", status.as_str());
        return Err(Error::new(Class::Conflict, format_args!("checkpoint {id}"), detail));
    }
    let config = container.config()?;
    let plan = plan(&config, container.record.bundle.as_path())?;
    let (ours, theirs) = meeting()?;
    let words = options.words(args, &container, &config, plan.as_raw_fd(), theirs.as_raw_fd());
    run(&words.0, vec![plan, theirs], &ours, id)?;
    drop(container);
    if !options.leave_running && !options.pre_dump {
        delete::destroy(root, id)?;
    }
    Ok(0)
}

impl Checkpoint {
    fn words(&self, args: &Args, container: &Container, config: &Config, plan: RawFd, meet: RawFd) -> Words {
        let verb = if self.pre_dump { "pre-dump" } else { "dump" };
        let mut words = self.common.words(verb, args, config, plan, meet);
        words.value("-t", Some(container.record.pid.to_string()));
        words.value("--parent-path", self.parent_path.as_ref());
        words.value("--page-server", self.page_server.as_ref());
        words.value("--freeze-cgroup", freezer(container));
        words.flag("--tcp-skip-in-flight", self.tcp_skip_in_flight);
        words.flag("--link-remap", self.link_remap);
        if !self.pre_dump {
            words.flag("--stdio", true);
            words.flag("--leave-running", self.leave_running);
            words.value("--ready-fd", self.status_fd.map(|fd| fd.to_string()));
        }
        words
    }
}

/// The folder by which all of it is frozen.
fn freezer(container: &Container) -> Option<PathBuf> {
    let has = |file: &str| {
        let paths = container.record.cgroups.iter().map(|path| path.as_path());
        paths.into_iter().find(|path| path.join(file).exists()).map(Path::to_path_buf)
    };
    has("freezer.state").or_else(|| has("cgroup.freeze"))
}

/// Runs criu-ctl to its end; what it has to say comes over the meeting.
fn run(words: &[OsString], given: Vec<OwnedFd>, meet: &OwnedFd, id: &str) -> Result<()> {
    let doing = format_args!("checkpoint {id}");
    for fd in &given {
        sys::fd::set_cloexec(fd.as_fd(), false).cannot(doing, "fcntl(F_SETFD)")?;
    }
    let program = criu_ctl()?;
    let spawned = Command::new(&program).args(&words[1..]).spawn();
    // Our copy of its end would keep the meeting open for ever.
    drop(given);
    let mut child = spawned.cannot(doing, format_args!("execve({})", program.display()))?;
    let told = listen(meet);
    let status = child.wait().cannot(doing, "wait4(criu-ctl)")?;
    told?;
    match status.success() {
        true => Ok(()),
        false => {
            Err(Error::new(Class::Internal, doing, format_args!("criu-ctl ended without a word: {status}")))
        }
    }
}

fn listen(meet: &OwnedFd) -> Result<()> {
    loop {
        match meet::receive(meet.as_fd())? {
            None => return Ok(()),
            Some((Message::Error { tool, error }, _)) => return Err(of_tool(&tool, *error)),
            Some((Message::Warning { tool, text }, _)) => log::warn(format_args!("{text} ({tool})")),
            Some(_) => {}
        }
    }
}
