//! The state directory: one folder a container, which appears and disappears by rename, so that every reader sees a
//! whole container or none.
//!
//! `ROOT/ID/config.json` is the bundle's to the letter, `state.json` the [`Record`], `gate` the socket on which the
//! container waits for start, there until it was started. Names with a `~` in front are drafts and what is being
//! removed; no id begins so.

use crate::cli::Args;
use crate::id;
use chain::bytes::Bytes;
use chain::oci::Hooks;
use chain::state::write_all;
use chain::{Cannot, Class, Error, Result, proc};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What is known about a container, as `state.json`. The first part is the OCI state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Version of the specification.
    pub(crate) oci_version: String,
    /// Id.
    pub(crate) id: String,
    /// Pid of the first process, in the runner's pid namespace.
    pub(crate) pid: i32,
    /// The bundle's folder.
    pub(crate) bundle: Bytes,
    /// The root file system.
    pub(crate) rootfs: Bytes,
    /// When, RFC 3339.
    pub(crate) created: String,
    /// The config's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Uid that created it.
    pub(crate) owner: u32,
    /// Start time of the first process in clock ticks since boot, proc_pid_stat(5) field 22: a pid that was given
    /// away again has another.
    pub(crate) start_time: u64,
    /// The cgroup's folders, one a hierarchy.
    pub(crate) cgroups: Vec<Bytes>,
    /// Whether it has a pid namespace of its own: then its first process takes all others with it.
    pub(crate) own_pid_namespace: bool,
    /// Its processes keep their callers' session keyrings.
    #[serde(default)]
    pub(crate) no_new_keyring: bool,
    /// Hooks that are still to run: poststart and poststop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Hooks>,
}

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
}

impl StateRoot {
    /// `--root`, or the default for this user.
    pub(crate) fn new(args: &Args) -> Result<StateRoot> {
        let path =
            match (&args.root, rustix::process::geteuid().is_root(), std::env::var_os("XDG_RUNTIME_DIR")) {
                (Some(root), _, _) => root.clone(),
                (None, false, Some(runtime)) => PathBuf::from(runtime).join("catena"),
                (None, _, _) => PathBuf::from("/run/catena"),
            };
        if path == Path::new("/") {
            return Err(Error::usage(
                "use --root /",
                "the containers' state would be the file system's root",
            ));
        }
        Ok(StateRoot { path })
    }

    /// Opens it; with `make` it and its parents are made first, for the owner alone.
    pub(crate) fn open(&self, make: bool) -> Result<OwnedFd> {
        let doing = format!("open the state folder {}", self.path.display());
        if make {
            make_parents(&self.path).cannot(&doing, format_args!("mkdir({})", self.path.display()))?;
        }
        open_dir(CWD, &self.path).cannot(doing, format_args!("open({})", self.path.display()))
    }

    /// Opens a container.
    pub(crate) fn container(&self, id: &str) -> Result<Container> {
        id::check(id)?;
        let missing =
            || Error::new(Class::Missing, format!("find the container {id}"), "container does not exist");
        let root = match openat(
            CWD,
            &self.path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.cannot(
                format_args!("find the container {id}"),
                format_args!("open({})", self.path.display()),
            )?,
        };
        let dir = match open_dir(root.as_fd(), Path::new(id)) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.cannot(format_args!("find the container {id}"), format_args!("open({id})"))?,
        };
        let doing = format!("read the state of {id}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = openat(&dir, "state.json", flags, Mode::empty()).cannot(&doing, "open(state.json)")?;
        let record: Record = chain::json::parse(&chain::oci::read_bounded(fd, &doing)?, &doing)?;
        if record.id != id {
            return Err(Error::new(Class::Conflict, doing, format_args!("state.json is of {}", record.id)));
        }
        Ok(Container { root, dir, record })
    }

    /// Ids of all containers.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let doing = format!("list {}", self.path.display());
        let dir = match open_dir(CWD, &self.path) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            other => other.cannot(&doing, format_args!("open({})", self.path.display()))?,
        };
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).cannot(&doing, "getdents")? {
            let name = entry.cannot(&doing, "getdents")?.file_name().to_string_lossy().into_owned();
            if id::check(&name).is_ok() {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

fn open_dir(at: std::os::fd::BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
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
    root: OwnedFd,
    dir: OwnedFd,
    /// Its record.
    pub(crate) record: Record,
}

impl Container {
    /// Its folder.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Holds everybody else off until this value is gone, and looks again: what waited before us may have removed it.
    pub(crate) fn lock(&self) -> Result<()> {
        let doing = format!("lock the container {}", self.record.id);
        flock(&self.dir, FlockOperation::LockExclusive).cannot(&doing, "flock")?;
        match openat(&self.dir, "state.json", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => Err(Error::new(Class::Missing, doing, "container does not exist")),
            other => other.cannot(doing, "open(state.json)").map(drop),
        }
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
        let doing = format!("remove the state of {id}");
        let grave = format!("~{id}.{}", std::process::id());
        renameat_with(&self.root, id, &self.root, &grave, RenameFlags::NOREPLACE)
            .cannot(&doing, format_args!("rename({id})"))?;
        remove_folder(self.root.as_fd(), &grave, &doing)
    }
}

/// Is there anything of this name? Not by access(2): to look at a link itself it wants faccessat2, of Linux 5.8.
pub(crate) fn is_there(root: std::os::fd::BorrowedFd<'_>, name: &str) -> Result<bool> {
    match rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        other => other.map(|_| true).cannot("look into the state", format_args!("fstatat({name})")),
    }
}

/// Removes a container's folder and the files in it; there are no folders in it.
pub(crate) fn remove_folder(root: std::os::fd::BorrowedFd<'_>, name: &str, doing: &str) -> Result<()> {
    let dir = match open_dir(root, Path::new(name)) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.cannot(doing, format_args!("open({name})"))?,
    };
    for entry in rustix::fs::Dir::read_from(&dir).cannot(doing, "getdents")? {
        let entry = entry.cannot(doing, "getdents")?;
        let file = entry.file_name();
        if file != c"." && file != c".." {
            unlinkat(&dir, file, AtFlags::empty())
                .cannot(doing, format_args!("unlink({})", file.to_string_lossy()))?;
        }
    }
    unlinkat(root, name, AtFlags::REMOVEDIR).cannot(doing, format_args!("rmdir({name})"))
}

/// Start time of a process that has not ended; None for a zombie too.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = proc::read(&format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in parentheses may hold anything, a parenthesis too.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ended = matches!(*fields.first()?, "Z" | "X" | "x");
    fields.get(19)?.parse().ok().filter(|_| !ended)
}

/// A container in the making: its folder has a draft's name until everything in it is there.
pub(crate) struct Draft {
    root: OwnedFd,
    /// Its folder.
    pub(crate) dir: OwnedFd,
    name: String,
}

impl Draft {
    /// The draft's name, which the janitor knows before the folder is made.
    pub(crate) fn name(id: &str) -> String {
        format!("~{id}.{}", std::process::id())
    }

    /// Makes the folder.
    pub(crate) fn make(root: OwnedFd, id: &str) -> Result<Draft> {
        let doing = format!("make the container {id}");
        if is_there(root.as_fd(), id)? {
            return Err(exists(id));
        }
        let name = Draft::name(id);
        mkdirat(&root, &name, Mode::from_raw_mode(0o700)).cannot(&doing, format_args!("mkdir({name})"))?;
        let dir = open_dir(root.as_fd(), Path::new(&name)).cannot(&doing, format_args!("open({name})"))?;
        Ok(Draft { root, dir, name })
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let doing = format!("write {name} into the state");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))
            .cannot(&doing, format_args!("open({name})"))?;
        write_all(fd.as_fd(), content).cannot(doing, format_args!("write({name})"))
    }

    /// From here on the container exists.
    pub(crate) fn commit(&self, record: &Record) -> Result<()> {
        let doing = format!("make the container {}", record.id);
        let text = serde_json::to_vec(record).map_err(|e| Error::new(Class::Internal, &doing, e))?;
        self.write("state.json", &text)?;
        match renameat_with(&self.root, &self.name, &self.root, &record.id, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Err(exists(&record.id)),
            other => other.cannot(doing, format_args!("rename({} to {})", self.name, record.id)),
        }
    }
}

fn exists(id: &str) -> Error {
    Error::new(
        Class::Conflict,
        format_args!("make the container {id}"),
        "container with given ID already exists",
    )
}
