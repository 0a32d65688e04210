//! Dump and restore, step by step.

use crate::NAME;
use crate::folder;
use crate::log::{Failed, explain, refusal};
use crate::meeting::Listeners;
use crate::plan::{Dump, Folders, Restore};
use crate::rpc::{InheritFd, Kind, Notify, Opts, PageServer, Req, Resp};
use crate::swrk::{Criu, Group, Told};
use crate::{
    cgroup_options, manifest, mountpoints, namespaces, outside, owner, restored, serve, stats, stdio,
};
use chain::error::{Cannot, Class, Error, Result};
use chain::pidfile::PidFile;
use chain::report;
use chain::sys::process::pidfd_open;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a killed tree may take to be gone.
const GONE: u16 = 10_000;

/// The folders, open.
struct Open<'a> {
    names: &'a Folders,
    images: OwnedFd,
    work: Option<OwnedFd>,
}

impl Open<'_> {
    fn work(&self) -> BorrowedFd<'_> {
        self.work.as_ref().unwrap_or(&self.images).as_fd()
    }

    /// The request with our fds in it: criu finds them under our pid.
    fn request(&self, opts: &Opts) -> Opts {
        let images = self.images.as_raw_fd();
        Opts { images_dir_fd: images, work_dir_fd: Some(self.work().as_raw_fd()), ..opts.clone() }
    }

    /// `error` with what criu says of it.
    fn explain(&self, error: Error, answer: Option<&Resp>, criu: &Criu, opts: &Opts) -> Error {
        let log = folder::log(self.work(), &opts.log_file);
        let (place, full) = (self.names.log(opts), folder::is_full(self.images.as_fd()));
        explain(error, &Failed { answer, log: &log, printed: &criu.printed(), opts, place, full })
    }
}

/// Who is told how far criu is, if anybody is.
pub(crate) struct Audience<'a> {
    pub listens: bool,
    pub told: &'a mut Told<'a>,
}

/// What became of a dump.
pub(crate) struct Taken {
    /// What criu counted.
    pub numbers: Option<Value>,
    /// The signal that came meanwhile.
    pub interrupted: Option<Signal>,
}

/// Where criu's log goes, if not beside the images. Engines name a folder that they gave to the root of a container's user
/// namespace, who could put links there.
fn work_folder(names: &mut Folders, met: bool, doing: &str) -> Result<Option<OwnedFd>> {
    match names.work.as_ref().map(|path| folder::make(path, doing)).transpose() {
        Err(error) if error.class == Class::Denied && met => {
            report::warn(NAME, format_args!("the log is beside the images instead: {error}"));
            names.work = None;
            Ok(None)
        }
        other => other,
    }
}

/// `dump` and `pre-dump`.
pub(crate) fn dump(program: &Path, job: &Dump) -> Result<u8> {
    let listeners = Listeners::new(job.listeners.meet, job.listeners.ready, false)?;
    let audience =
        Audience { listens: listeners.any(), told: &mut |word: &Notify, fd| listeners.hear(word, fd) };
    let numbers = take(program, job, None, audience)?.numbers;
    report::status(&json!({"tool": NAME, "event": "dumped", "pid": job.pid, "stats": numbers}));
    tell(numbers.as_ref(), job.json, listeners.meets()).map(|()| 0)
}

/// Takes a tree into the folder; its memory to `server`, a connection to a page server, if there is one.
pub(crate) fn take(
    program: &Path,
    job: &Dump,
    server: Option<OwnedFd>,
    audience: Audience<'_>,
) -> Result<Taken> {
    let doing = format!("dump process {}", job.pid);

    // Held from here, so that what is killed at the end is what was there at the beginning.
    let target = pidfd_open(job.pid).cannot(&doing, format_args!("pidfd_open({})", job.pid))?;
    let mut opts = job.opts.clone();
    opts.external.extend(outside::mounts(
        job.pid,
        &job.known,
        job.opts.leave_running || job.kind != Kind::Dump,
    )?);
    opts.external.extend(namespaces::external(job.pid, &job.known.shared)?);
    let streams = if job.stdio { stdio::of(job.pid)? } else { Vec::new() };
    opts.external.extend(stdio::external(&streams));
    opts.notify_scripts = audience.listens || opts.lazy_pages;
    if let Some(server) = &server {
        stdio::pass_on(server, &doing)?;
        opts.ps = Some(PageServer { fd: Some(server.as_raw_fd()), ..PageServer::default() });
    }

    if opts.lazy_pages && job.kind == Kind::Dump {
        serve::expect_pipes(&doing)?;
    }

    // What criu writes is for the owner alone, as the folder is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // The mark is there before criu writes, and goes when all is written: a restore never meets half a dump.
    let images = folder::make(&job.folders.images, &doing)?;
    let mut names = job.folders.clone();
    let work = work_folder(&mut names, job.listeners.meet.is_some(), &doing)?;
    let folders = Open { names: &names, images, work };
    folder::forget_log(folders.work(), &opts.log_file, &doing)?;
    folder::mark_unfinished(folders.images.as_fd(), &format!("cannot {doing}: it was cut off\n"), &doing)?;
    if job.stdio {
        stdio::write(folders.images.as_fd(), &streams, &doing)?;
    }

    folder::expect_parent(folders.images.as_fd(), opts.parent_img.as_deref(), &doing)?;

    let mut criu = Criu::start(program, Group::Own)?;
    // The server is to see when criu ends.
    drop(server);
    criu.hold_signals()?;
    // Lazy memory is fetched by a restore, which has to find whole images: all but the memory is written by then. The mark
    // comes back if that restore does not take all of it.
    let mut whole = false;
    let mut told = |word: &Notify, fd: Option<OwnedFd>| {
        if opts.lazy_pages && word.script.as_deref() == Some("status-ready") {
            folder::mark_finished(folders.images.as_fd(), &doing)?;
            whole = true;
        }
        (audience.told)(word, fd)
    };
    let outcome = converse(&mut criu, job.kind, &folders, &opts, &mut told, &doing);
    if let Err(error) = outcome {
        // On a full disk the first words stay; the mark is what counts.
        folder::mark_unfinished(folders.images.as_fd(), &format!("{error}\n"), &doing).unwrap_or(());
        return Err(error);
    }

    // Read back: the tree is gone, or still there, as was asked.
    let runs = opts.leave_running || job.kind != Kind::Dump;
    let gone = ended_within(target.as_fd(), if runs { 0 } else { GONE })?;
    if gone == runs {
        let (asked, found) = if gone { ("running", "gone") } else { ("gone", "running") };
        return Err(Error::readback(format_args!("that process {} was dumped", job.pid), asked, found));
    }
    if job.kind == Kind::Dump
        && let Err(error) = manifest::write(folders.images.as_fd(), job.hash_pages, &doing)
    {
        // The tree is gone and its images are whole: without a manifest, but they are all there is of it.
        manifest::forget(folders.images.as_fd(), &doing)?;
        report::warn(NAME, format_args!("the images have no manifest: {error}"));
    }
    if !whole {
        folder::mark_finished(folders.images.as_fd(), &doing)?;
    }
    if job.kind == Kind::Dump {
        folder::expect_whole(folders.images.as_fd(), &doing)?;
    }
    let numbers = stats::read(folders.work(), "stats-dump", &doing)?;
    Ok(Taken { numbers, interrupted: criu.interrupted() })
}

/// `restore`.
pub(crate) fn restore(program: &Path, job: &Restore) -> Result<u8> {
    let listeners = Listeners::new(job.listeners.meet, None, job.opts.empty_ns.is_some())?;
    let audience =
        Audience { listens: listeners.any(), told: &mut |word: &Notify, fd| listeners.hear(word, fd) };
    let (pid, numbers) = bring_back(program, job, Origin::Folder, None, audience)?;
    report::status(&json!({"tool": NAME, "event": "restored", "pid": pid, "stats": numbers}));
    if job.json {
        tell(numbers.as_ref(), true, listeners.meets())?;
    }
    if job.detach { Ok(0) } else { restored::look_after(pid) }
}

/// Where images come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They are as trusted as their folder, and may not be whole.
    Folder,
    /// This process has just taken them, and the mark that they are not whole is still there.
    Here,
}

/// Brings a tree back; its root and what criu counted. criu is started in `network` if one is given, and with it what
/// had criu's own network namespace at dump.
pub(crate) fn bring_back(
    program: &Path,
    job: &Restore,
    origin: Origin,
    network: Option<BorrowedFd<'_>>,
    audience: Audience<'_>,
) -> Result<(i32, Option<Value>)> {
    let doing = format!("restore from {}", job.folders.images.display());
    // Before any folder is opened: criu mounts in its work folder, which the kernel permits in our own mounts alone.
    mountpoints::make(&job.known, &doing)?;
    let mut opts = job.opts.clone();
    opts.external.extend(outside::sources(&job.known)?);
    if let Some(root) = &job.root {
        make_root(root)?;
    }
    let images = folder::open(&job.folders.images, &doing)?;
    if origin == Origin::Folder {
        folder::expect_whole(images.as_fd(), &doing)?;
        manifest::check(images.as_fd(), &doing)?;
        folder::expect_memory(images.as_fd(), &doing)?;
    }
    let mut names = job.folders.clone();
    let work = work_folder(&mut names, job.listeners.meet.is_some(), &doing)?;
    // What criu writes goes to the folder itself.
    let (images, work) = match owner::readable(&images, &doing)? {
        Some(readable) => (readable, work.or(Some(images))),
        None => (images, work),
    };
    let folders = Open { names: &names, images, work };
    folder::forget_log(folders.work(), &job.opts.log_file, &doing)?;
    let pid_file = job.pid_file.as_deref().map(PidFile::prepare).transpose()?;
    opts.cg_root = if opts.manage_cgroups { outside::cgroup_roots()? } else { Vec::new() };
    opts.notify_scripts = audience.listens;
    let mut inherited = namespaces::inherited(&job.known.shared, &doing)?;
    if job.stdio {
        inherited.extend(stdio::inherited(folders.images.as_fd(), &doing)?);
    }
    for (key, fd) in &inherited {
        stdio::pass_on(fd, &doing)?;
        opts.inherit_fd.push(InheritFd { key: key.clone(), fd: fd.as_raw_fd() });
    }

    restored::collect_orphans()?;
    let before = restored::children();
    let mut criu = namespaces::inside(network, || Criu::start(program, Group::Ours))?;
    criu.look_for_the_dying(&before);
    drop(inherited);
    restored::hold_signals()?;
    let outcome =
        converse(&mut criu, Kind::Restore, &folders, &opts, audience.told, &doing).and_then(|answer| {
            let pid = answer.restore.map(|r| r.pid).filter(|pid| *pid > 0);
            let pid = pid.ok_or_else(|| {
                Error::new(Class::Internal, &doing, "criu did not say which process it made")
            })?;
            pid_file.map_or(Ok(()), |file| file.write(pid)).map(|()| pid)
        });
    drop(criu);
    let pid = outcome.or_else(|error| restored::kill_remnants(&before).and(Err(error)))?;
    Ok((pid, stats::read(folders.work(), "stats-restore", &doing)?))
}

/// What criu counted; a runner has no line for it.
fn tell(numbers: Option<&Value>, as_json: bool, met: bool) -> Result<()> {
    match numbers.filter(|_| !met) {
        Some(numbers) if as_json => report::stdout(format!("{numbers}\n").as_bytes()),
        Some(numbers) => report::stdout(format!("{}\n", stats::line(numbers)).as_bytes()),
        None => Ok(()),
    }
}

/// One request, one answer, and criu's end.
fn converse(
    criu: &mut Criu,
    kind: Kind,
    folders: &Open<'_>,
    opts: &Opts,
    told: &mut Told<'_>,
    doing: &str,
) -> Result<Resp> {
    let _kept = cgroup_options::keep(opts)?;
    let request = Req { kind: kind as i32, opts: Some(folders.request(opts)), ..Req::default() };
    let answer = match criu.converse(request, told, doing) {
        Ok(answer) => answer,
        Err(error) => return Err(folders.explain(error, None, criu, opts)),
    };
    criu.end()?;
    if answer.success {
        return Ok(answer);
    }
    let what = if kind == Kind::Restore { "restore" } else { "dump" };
    Err(folders.explain(refusal(doing, what, &answer), Some(&answer), criu, opts))
}

fn ended_within(pidfd: BorrowedFd<'_>, milliseconds: u16) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(milliseconds)).cannot("look at the tree", "poll(pidfd)").map(|n| n > 0)
}

/// criu wants the root of a restored mount namespace to be a mount point: one of our own, which goes with us. Mounts that
/// followed others of the host do so again, for ours follow the host's: what is mounted there still comes in here, as it
/// did to the tree, and nothing goes out.
fn make_root(root: &Path) -> Result<()> {
    let doing = format_args!("make the root {}", root.display());
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).cannot(doing, "unshare(CLONE_NEWNS)")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).cannot(doing, "mount(/, MS_SLAVE)")?;
    mount(Some(root), root, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .cannot(doing, format_args!("mount({}, MS_BIND)", root.display()))
}
