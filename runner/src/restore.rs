//! restore: a chain of one link, which makes the cgroup and enters it, and criu-ctl at its end, which brings the container
//! back in there. It meets us as a chain does, so what a create does around a chain is done here too: the janitor, the
//! record that is there before the first process runs, the hooks.

use crate::bundle::Bundle;
use crate::cgroup::{self, Place};
use crate::checkpoint::{Common, criu_ctl, meeting, plan};
use crate::cli::{Args, Create};
use crate::container::{Record, StateRoot};
use crate::create::{Launched, cgroup_path, look_after, write_down};
use crate::draft::Draft;
use crate::janitor::Janitor;
use crate::meeting::{Front, Met, of_tool, start_chain};
use crate::{agent, delete, ended, hooks, id, log, terminal, update};
use chain::bytes::Bytes;
use chain::landing::Command;
use chain::meet::{self, Message};
use chain::oci::{Config, NamespaceKind, Resources};
use chain::plan::Layer;
use chain::spec::CgApply;
use chain::state::State;
use chain::supervise::Supervised;
use chain::sys::process::prctl;
use chain::{Cannot, Class, Error, Result, ToolName, next, proc, share};
use clap::Args as Group;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Options of restore.
#[derive(Group, Debug)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Folder of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Do not wait for the command
    #[arg(short, long)]
    detach: bool,
    /// File to write the first process's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Close TCP connections
    #[arg(long)]
    tcp_close: bool,
    /// Do not adopt processes that the container leaves behind
    #[arg(long)]
    no_subreaper: bool,
    /// Move the root over / instead of pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// Another LSM profile, as apparmor:NAME or selinux:LABEL
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Another context of mounts
    #[arg(long, value_name = "LABEL")]
    lsm_mount_context: Option<String>,
}

impl Restore {
    /// What a create would be asked for.
    fn as_create(&self) -> Create {
        Create {
            id: self.common.id.clone(),
            bundle: self.bundle.clone(),
            config: None,
            console_socket: self.console_socket.clone(),
            pidfd_socket: None,
            pid_file: self.pid_file.clone(),
            no_pivot: self.no_pivot,
            no_new_keyring: false,
            preserve_fds: 0,
        }
    }

    fn words(&self, args: &Args, config: &Config, plan: i32, meet: i32) -> Vec<OsString> {
        let mut words = self.common.words("restore", args, config, plan, meet);
        words.flag("--detach", true);
        words.flag("--stdio", true);
        words.flag("--tcp-close", self.tcp_close);
        words.value("--lsm-profile", self.lsm_profile.as_ref());
        words.value("--lsm-mount-context", self.lsm_mount_context.as_ref());
        words.0
    }
}

/// `runner restore`: the command's status, 128+n for signal n; 0 if nobody waits for it.
pub(crate) fn restore(root: &StateRoot, args: &Args, options: &Restore) -> Result<u8> {
    let id = &options.common.id;
    id::check(id)?;
    match root.container(id) {
        Err(error) if error.class == Class::Missing => {}
        other => {
            other?;
            let doing = format_args!("restore {id}");
            return Err(Error::new(Class::Conflict, doing, "container with given ID already exists"));
        }
    }
    if options.no_pivot {
        log::warn("--no-pivot: criu knows no other way than pivot_root(2)");
    }
    // What criu-ctl leaves is ours to wait for.
    let adopt = |on| {
        prctl(libc::PR_SET_CHILD_SUBREAPER, on, 0)
            .cannot("adopt what criu leaves", "prctl(SUBREAPER)")
            .map(drop)
    };
    if !options.detach {
        adopt(1)?;
    }
    let (launched, chain) = launch(root, args, options)?;
    let went_on = agent::until_exec(launched.meet.as_fd(), "restore the container", &|| Err(silent()));
    // Its children are ours when it has been waited for.
    chain.reap_quietly();
    if let Err(error) = went_on.and_then(|()| hooks::poststart(&launched.record)) {
        delete::destroy(root, id)?;
        return Err(error);
    }
    let Launched { record, child, terminal, .. } = launched;
    let Some(mut child) = child else { return Ok(0) };
    if options.no_subreaper {
        adopt(0)?;
    }
    let status = crate::run::look_after(&mut child, terminal, None);
    let doing = format!("run {} to its end", record.id);
    let told = status.as_ref().map_or(Ok(()), |status| ended::tell(*status, &record.cgroups, 0, &doing));
    delete::destroy(root, &record.id)?;
    told.and(status)
}

/// Up to the moment before it goes on; with the chain. What fails on the way is unmade by the janitor.
fn launch(root: &StateRoot, args: &Args, options: &Restore) -> Result<(Launched, Front)> {
    let create = options.as_create();
    let bundle = Bundle::read(args, &create)?;
    terminal::check(&bundle.config, &create, options.detach)?;
    let job = Job { args, options, bundle, create };
    let layer = job.cg_apply()?;
    let cgroup = cgroup_path(&job.bundle.config, &job.create.id, args)?;
    let expected = cgroup::Expected::of(&job.bundle.config, cgroup, &job.create.id);
    let poststop = hooks::After::of_bundle(&job.bundle, &job.create.id);
    let root_fd = root.open(true)?;
    let janitor = Janitor::start(root_fd.as_fd(), &job.create.id, &expected, &poststop, Vec::new())?;
    match job.make(root_fd, &layer, &janitor) {
        Ok(launched) => janitor.dismiss().map(|()| launched),
        Err(error) => janitor.clean_up(root, &job.create.id, &expected).and(Err(error)),
    }
}

/// A restore at work.
struct Job<'a> {
    args: &'a Args,
    options: &'a Restore,
    bundle: Bundle,
    create: Create,
}

impl Job<'_> {
    /// Limits, but not what criu brings back with each process; and no limit of processes yet, for criu is some itself.
    fn cg_apply(&self) -> Result<CgApply> {
        let config = &self.bundle.config;
        let mut layer = share::cg_apply(config, &self.bundle.path)?;
        cgroup::name(&mut layer, config, &self.create.id, self.args)?;
        (layer.keep, layer.exclusive) = (true, true);
        if let Some(resources) = &mut layer.resources {
            resources.pids = None;
        }
        layer.rlimits = Default::default();
        layer.oom_score_adj = None;
        layer.scheduler = None;
        Ok(layer)
    }

    /// The chain; `plan` and `meet` are what criu-ctl gets.
    fn state(&self, layer: &CgApply, plan: &OwnedFd, meet: &OwnedFd) -> Result<State> {
        let given = [plan.as_raw_fd(), meet.as_raw_fd()];
        let mut words = self.options.words(self.args, &self.bundle.config, given[0], given[1]);
        words[0] = criu_ctl()?.into();
        let entry = |(key, value): (OsString, OsString)| [key.as_bytes(), b"=", value.as_bytes()].concat();
        let mut state = State::default();
        state.layers.push(Layer::of(layer)?);
        state.landing.command = Some(Command {
            args: words.iter().map(|word| Bytes::from(word.as_os_str())).collect(),
            env: std::env::vars_os().map(|variable| Bytes(entry(variable))).collect(),
        });
        // With the caller's terminal it stays in the caller's session.
        state.landing.new_session = !self.options.common.shell_job;
        state.fds.keep = given.to_vec();
        state.debug = log::is_debug();
        state.fds.tools = next::open_tools(&[(ToolName::CgApply, None)])?.tools;
        Ok(state)
    }

    fn make(&self, root: OwnedFd, layer: &CgApply, janitor: &Janitor) -> Result<(Launched, Front)> {
        let draft = Draft::make(root, &self.create.id)?;
        janitor.knows_folder(draft.dir.as_fd())?;
        // Not before the janitor was made, who would hold the other end of the meeting for as long as it sleeps.
        let plan = plan(&self.bundle.config, &self.bundle.path)?;
        let (ours, theirs) = meeting()?;
        let (meet, chain) = start_chain(self.state(layer, &plan, &theirs)?, None, None)?;
        drop((plan, theirs));
        let written = draft.write("config.json", &self.bundle.text).and_then(|()| {
            let cgroups = confined(meet.as_fd(), janitor)?;
            let met = restored(ours.as_fd(), janitor, &self.bundle, &self.create, cgroups)?;
            match self.write_down(&draft, &met, ours.as_fd(), janitor) {
                Ok((child, record)) => Ok((met, child, record)),
                Err(error) => crate::janitor::end(met.pidfd.as_fd()).and(Err(error)),
            }
        });
        match written {
            Ok((met, child, record)) => {
                let (pidfd, terminal) = (met.pidfd, met.terminal);
                Ok((Launched { record, pidfd, child, terminal, meet: ours, notify: None }, chain))
            }
            Err(error) => {
                // criu-ctl ends when the meeting does, and takes along what is half restored.
                drop((ours, meet));
                chain.reap_quietly();
                Err(error)
            }
        }
    }

    fn write_down(
        &self,
        draft: &Draft,
        met: &Met,
        meet: BorrowedFd<'_>,
        janitor: &Janitor,
    ) -> Result<(Option<Supervised>, Record)> {
        limit(&self.bundle.config, &self.create, &met.cgroups)?;
        let child = look_after(met, self.options.detach)?;
        let record = write_down(draft, &self.bundle, &self.create, met, meet, janitor)?;
        Ok((child, record))
    }
}

/// The limit of processes, which criu would have had to share.
fn limit(config: &Config, create: &Create, place: &Place) -> Result<()> {
    let pids = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()?.pids.clone());
    match pids.filter(|pids| pids.limit.is_some() && !place.folders.is_empty()) {
        Some(pids) => {
            let (cgroups, unit) = (place.folders.clone(), place.unit.clone());
            let record = Record { id: create.id.clone(), cgroups, unit, ..Record::default() };
            let resources = Resources { pids: Some(pids), ..Resources::default() };
            update::apply(&record, &resources, "limit the container".into())
        }
        None => Ok(()),
    }
}

/// Listens until the chain is in its cgroup and about to become criu-ctl.
fn confined(meet: BorrowedFd<'_>, janitor: &Janitor) -> Result<Place> {
    let mut cgroups = Place::default();
    loop {
        let Some((message, _)) = meet::receive(meet)? else { return Err(silent()) };
        log::heard(&message, false);
        match message {
            Message::Receipt(receipt) if receipt.tool == ToolName::CgApply => {
                janitor.knows_cgroup(&receipt)?;
                cgroups = Place::of(&receipt);
            }
            Message::Warning { tool, text } => log::warn(format_args!("{text} ({tool})")),
            Message::Error { tool, error } => {
                // A link that fails takes back what it made itself.
                if cgroups.folders.is_empty() && cgroups.rdt.is_none() {
                    janitor.knows_no_cgroup()?;
                }
                return Err(of_tool(&tool, *error));
            }
            Message::Ready => {
                meet::send(meet, &Message::Go, None)?;
                // Closed by its exec; else it says why there is none.
                return agent::until_exec(meet, "start criu-ctl", &|| Err(silent())).map(|()| cgroups);
            }
            _ => {}
        }
    }
}

/// Listens until all of it is there and waits for the word to go on.
fn restored(
    meet: BorrowedFd<'_>,
    janitor: &Janitor,
    bundle: &Bundle,
    create: &Create,
    cgroups: Place,
) -> Result<Met> {
    let (mut process, mut terminal): (Option<(i32, OwnedFd)>, _) = (None, None);
    loop {
        let Some((message, fd)) = meet::receive(meet)? else { return Err(silent()) };
        log::heard(&message, false);
        match (message, fd) {
            (Message::Pid(pid), Some(fd)) => process = Some((pid, fd)),
            (Message::Terminal, Some(fd)) => {
                terminal = terminal::hand_over(fd, create.console_socket.as_deref())?;
            }
            (Message::Mounted, _) => {
                let (pid, pidfd) = process.as_ref().ok_or_else(silent)?;
                janitor.knows_process(*pid, pidfd.as_fd())?;
                hooks::create_runtime(bundle, &create.id, *pid)?;
                meet::send(meet, &Message::Go, None)?;
            }
            (Message::Warning { tool, text }, _) => log::warn(format_args!("{text} ({tool})")),
            (Message::Error { tool, error }, _) => return Err(of_tool(&tool, *error)),
            (Message::Ready, _) => {
                let (pid, pidfd) = process.ok_or_else(silent)?;
                let restored_in_time = in_other_time(pid);
                return Ok(Met { pid, pidfd, terminal, cgroups, restored_in_time });
            }
            _ => {}
        }
    }
}

/// criu puts every tree into a time namespace, so that its clocks go on; where the kernel has none, it is in none.
fn in_other_time(pid: i32) -> bool {
    let of = |who: &str| proc::namespace(who, NamespaceKind::Time);
    matches!((of(&pid.to_string()), of("self")), (Ok(its), Ok(ours)) if its != ours)
}

fn silent() -> Error {
    Error::new(Class::Internal, "restore the container", "criu-ctl ended without a word")
        .why("it was killed, perhaps by the memory limit of the cgroup")
}
