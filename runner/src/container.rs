//! The state directory: one folder a container, which appears and disappears by rename, so that every reader sees a
//! whole container or none.
//!
//! `ROOT/ID/config.json` is the bundle's to the letter, `state.json` the [`Record`], `gate` the socket on which the
//! container waits for start, there until it was started, `notify` a folder with the socket at which its command says
//! that it is ready, where that was asked for. Names with a `~` in front are [`draft`]s and what is being
//! removed; no id begins so.

use crate::cli::Args;
pub(crate) use crate::record::Record;
use crate::{draft, id};
use chain::oci::Config;
pub(crate) use chain::proc::start_time;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat};
use rustix::io::Errno;
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The five words of the specification and runc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Waits for start.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The folder of all containers.
pub(crate) struct StateRoot {
    path: PathBuf,
    /// Whether somebody named it.
    named: bool,
}

impl StateRoot {
    /// `--root`, or the default for this user.
    pub(crate) fn new(args: &Args) -> Result<StateRoot> {
        let path = args.root.clone().unwrap_or_else(crate::home::default_root);
        if path == Path::new("/") {
            return Err(Error::usage(
                "use --root /",
                "the containers' state would be the file system's root",
            ));
        }
        Ok(StateRoot { path, named: args.root.is_some() })
    }

    /// Opens it; with `make` it and its parents are made first, for the owner alone.
    pub(crate) fn open(&self, make: bool) -> Result<OwnedFd> {
        let doing = format_args!("open the state folder {}", self.path.display());
        if make {
            let made = make_parents(&self.path).cannot(doing, format_args!("mkdir({})", self.path.display()));
            made.map_err(|error| self.elsewhere(error))?;
        }
        let opened = follow_dir(&self.path).cannot(doing, format_args!("open({})", self.path.display()));
        opened.map_err(|error| self.elsewhere(error))
    }

    /// An ordinary user without a folder for what lives as long as a login.
    fn elsewhere(&self, error: Error) -> Error {
        match error.errno() {
            Some(nix::errno::Errno::EACCES) if !self.named => {
                error.cure("--root DIR, or XDG_RUNTIME_DIR=DIR in the environment: a folder that is yours")
            }
            _ => error,
        }
    }

    /// The path at which a container in the making will be, for a mount of it.
    pub(crate) fn draft(&self, id: &str) -> Result<PathBuf> {
        let path = std::path::absolute(&self.path).cannot("find the state folder", "getcwd")?;
        Ok(path.join(draft::name(id)))
    }

    /// Opens a container.
    pub(crate) fn container(&self, id: &str) -> Result<Container> {
        id::check(id)?;
        let doing = format_args!("find the container {id}");
        let missing = || Error::new(Class::Missing, doing, "container does not exist");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match openat(CWD, &self.path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.cannot(doing, format_args!("open({})", self.path.display()))?,
        };
        let dir = match draft::open_dir(root.as_fd(), id) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.cannot(doing, format_args!("open({id})"))?,
        };
        nobody_elses(&dir, id)?;
        let doing = format!("read the state of {id}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = match openat(&dir, "state.json", flags, Mode::empty()) {
            // Deleted since the folder was opened.
            Err(Errno::NOENT) if !draft::is_at(root.as_fd(), id, dir.as_fd())? => return Err(missing()),
            other => other.cannot(&doing, "open(state.json)").map_err(|e| e.class(Class::Conflict))?,
        };
        let believed = chain::oci::read_bounded(fd, &doing).and_then(|text| Record::parse(&text, id, &doing));
        let folder = self.path.join(id);
        let cure = format!("end what it runs by hand, then remove {}", folder.display());
        Ok(Container { root, dir, record: believed.map_err(|e| e.cure(cure))? })
    }

    /// Waits until nobody makes or unmakes `id`, and sweeps up what killed runners left, of any id.
    pub(crate) fn settle(&self, id: &str) -> Result<()> {
        match follow_dir(&self.path) {
            Err(Errno::NOENT) => Ok(()),
            other => {
                let root =
                    other.cannot("look into the state", format_args!("open({})", self.path.display()))?;
                draft::settle(root.as_fd(), id)?;
                draft::sweep_all(root.as_fd())
            }
        }
    }

    /// Ids of all containers.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let doing = format_args!("list {}", self.path.display());
        let dir = match follow_dir(&self.path) {
            // Nobody has made a container yet. A folder that was named should be there.
            Err(Errno::NOENT) if !self.named => return Ok(Vec::new()),
            other => other
                .cannot(doing, format_args!("open({})", self.path.display()))
                .map_err(|error| self.elsewhere(error))?,
        };
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).cannot(doing, "getdents")? {
            let name = entry.cannot(doing, "getdents")?.file_name().to_string_lossy().into_owned();
            if id::check(&name).is_ok() {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

/// The state folder itself may be reached by a symlink.
fn follow_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whoever can write a container's folder says which process is to be killed: that must be root or this user.
fn nobody_elses(dir: &OwnedFd, id: &str) -> Result<()> {
    let doing = format_args!("trust the state of {id}");
    let stat = fstat(dir).cannot(doing, "fstat")?;
    let (owner, own) = (stat.st_uid, rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        return Err(Error::new(Class::Denied, doing, format_args!("its folder belongs to uid {owner}")));
    }
    if stat.st_mode & 0o022 != 0 {
        let detail = format!("its folder can be written by others: mode {:04o}", stat.st_mode & 0o7777);
        return Err(Error::new(Class::Denied, doing, detail));
    }
    Ok(())
}

fn make_parents(path: &Path) -> rustix::io::Result<()> {
    match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => match path.parent() {
            Some(parent) if parent != Path::new("") => {
                make_parents(parent)?;
                make_parents(path)
            }
            _ => Err(Errno::NOENT),
        },
        Err(e) => Err(e),
    }
}

/// One container.
pub(crate) struct Container {
    /// The folder of all states.
    pub(crate) root: OwnedFd,
    dir: OwnedFd,
    /// Its record.
    pub(crate) record: Record,
}

impl Container {
    /// Its folder.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// The config that it was made from.
    pub(crate) fn config(&self) -> Result<Config> {
        let doing = format_args!("read the config of {}", self.record.id);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = openat(&self.dir, "config.json", flags, Mode::empty()).cannot(doing, "open(config.json)")?;
        chain::oci::parse_config(&chain::oci::read_bounded(fd, &doing)?, &doing)
    }

    /// Holds everybody else off until this value is gone, and looks again: what waited before us may have removed it,
    /// and another one may have its name.
    pub(crate) fn lock(&self) -> Result<()> {
        let (id, doing) = (&self.record.id, format!("lock the container {}", self.record.id));
        flock(&self.dir, FlockOperation::LockExclusive).cannot(&doing, "flock")?;
        match draft::is_at(self.root.as_fd(), id, self.dir.as_fd())? {
            true => Ok(()),
            false => Err(Error::new(Class::Missing, doing, "container does not exist")),
        }
    }

    /// Lets others go on.
    pub(crate) fn unlock(&self) -> Result<()> {
        flock(&self.dir, FlockOperation::Unlock)
            .cannot(format_args!("unlock the container {}", self.record.id), "flock")
    }

    /// A pidfd of the first process, if that very process is still there.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let pidfd = match chain::sys::process::pidfd_open(self.record.pid) {
            Ok(fd) => fd,
            Err(nix::errno::Errno::ESRCH | nix::errno::Errno::EINVAL) => return Ok(None),
            Err(e) => return Err(Error::call(format!("find {}", self.record.id), "pidfd_open", e)),
        };
        // Read after the pidfd was opened: if this is our process now, the pidfd is of our process.
        Ok((start_time(self.record.pid) == Some(self.record.start_time)).then_some(pidfd))
    }

    /// Where it stands.
    pub(crate) fn status(&self) -> Result<Status> {
        if start_time(self.record.pid) != Some(self.record.start_time) {
            return Ok(Status::Stopped);
        }
        if crate::cgroup::is_frozen(&self.record.cgroups) {
            return Ok(Status::Paused);
        }
        let waits =
            rustix::fs::accessat(&self.dir, "gate", rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok();
        Ok(if waits { Status::Created } else { Status::Running })
    }

    /// Takes it away from the list, then removes its files.
    pub(crate) fn forget(self) -> Result<()> {
        let id = &self.record.id;
        draft::bury(self.root.as_fd(), id, &format!("remove the state of {id}"))
    }
}
