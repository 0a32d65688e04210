//! Where namespaces are kept: a file for one, or a folder with a file for each, and a note.

use super::keeper::Keeper;
use super::undo::files;
use super::{Found, NOTE, Note, missing};
use chain::bytes::Bytes;
use chain::oci::{Namespace, NamespaceKind};
use chain::spec::Persist;
use chain::{Cannot, Class, Error, Result, json};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, fstatfs, mkdirat, openat, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// NSFS_MAGIC of linux/magic.h.
const NSFS: i64 = 0x6e73_6673;

/// One of them.
pub(super) struct Place {
    /// Which namespace, if it is a file.
    kind: Option<NamespaceKind>,
    /// Where.
    pub(super) path: Bytes,
}

fn doing(path: &Bytes) -> String {
    format!("keep namespaces in {path}")
}

/// Refuses what cannot work, before anything is made.
pub(super) fn look(persist: &[Persist], namespaces: &[Namespace]) -> Result<Vec<Place>> {
    for Persist { kind, path } in persist {
        let doing = doing(path);
        let found = match statat(CWD, path.as_path(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(e).cannot(doing, format_args!("stat({path})")),
        };
        let busy = || Error::new(Class::Conflict, &doing, "something is kept there already");
        match (kind, found) {
            (Some(NamespaceKind::Pid), _) => {
                return Err(Error::usage(doing, "a pid namespace is dead without its first process")
                    .cure("--persist DIR, where a process stays to be that"));
            }
            (Some(kind), _) if !namespaces.iter().any(|ns| ns.kind == *kind) => {
                let detail = format!("no {} namespace is made or joined", kind.as_str());
                return Err(Error::usage(doing, detail));
            }
            (Some(_), None) | (None, None) => {}
            (Some(_), Some(FileType::RegularFile)) => {
                if is_namespace(&open(path, OFlags::PATH)?)? {
                    return Err(busy().cure(format_args!("ns-enter --unpersist {path}")));
                }
            }
            (None, Some(FileType::Directory)) => {
                let folder = open(path, OFlags::PATH | OFlags::DIRECTORY)?;
                if statat(&folder, NOTE, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Err(busy().cure(format_args!("ns-enter --unpersist {path}")));
                }
            }
            (Some(_), Some(_)) => return Err(Error::usage(doing, "it is not a regular file")),
            (None, Some(_)) => return Err(Error::usage(doing, "it is not a folder").cure("KIND=FILE")),
        }
    }
    Ok(persist.iter().map(|p| Place { kind: p.kind, path: p.path.clone() }).collect())
}

/// Keeps `kinds` of `keeper` everywhere, or nowhere; whether the keeper has to stay for that.
pub(super) fn keep(
    places: &[Place],
    kinds: &[NamespaceKind],
    keeper: &Keeper,
    proc: BorrowedFd<'_>,
) -> Result<bool> {
    let mut stays = false;
    for (i, place) in places.iter().enumerate() {
        let kept = match place.kind {
            Some(kind) => on_file(&place.path, kind, keeper, proc),
            None => in_folder(&place.path, kinds, keeper, proc).map(|wants| stays |= wants),
        };
        if let Err(error) = kept {
            // The keeper ends with us: until the command's side is reaped, its pid namespace cannot.
            places[..i].iter().try_for_each(|done| files(&done.path))?;
            return Err(error);
        }
    }
    Ok(stays)
}

fn on_file(path: &Bytes, kind: NamespaceKind, keeper: &Keeper, proc: BorrowedFd<'_>) -> Result<()> {
    let made = create(CWD, path, &doing(path))?;
    let kept = tree(proc, keeper, kind).and_then(|tree| attach(&tree, CWD, path));
    kept.or_else(|errno| {
        if made {
            rustix::fs::unlinkat(CWD, path.as_path(), AtFlags::empty())
                .cannot(doing(path), format_args!("unlink({path})"))?;
        }
        let error = Err(errno).cannot(doing(path), format_args!("move_mount({path})"));
        error.map_err(|error: Error| match errno {
            Errno::PERM => error
                .why("mounting wants CAP_SYS_ADMIN over this mount namespace")
                .cure("--persist DIR, which a process keeps"),
            Errno::INVAL if kind == NamespaceKind::Mount => error
                .why("a mount namespace cannot be mounted where mounts reach others")
                .cure("--persist DIR"),
            _ => error,
        })
    })
}

/// All of them; whether the keeper has to stay for that. A mount namespace is not mounted: mounts that reach others would
/// take it there, and Linux 6.18 takes some new ones for older than the place, and refuses (ELOOP).
fn in_folder(path: &Bytes, kinds: &[NamespaceKind], keeper: &Keeper, proc: BorrowedFd<'_>) -> Result<bool> {
    let doing = doing(path);
    match mkdirat(CWD, path.as_path(), Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).cannot(doing, format_args!("mkdir({path})")),
    }
    let folder = open(path, OFlags::DIRECTORY)?;
    // Somebody who may not mount is told so by the first try.
    let tree = match kinds.first().map(|kind| tree(proc, keeper, *kind)) {
        None => return Err(Error::usage(doing, "no namespace is made or joined")),
        Some(Ok(_)) => true,
        Some(Err(Errno::PERM | Errno::NOSYS)) => false,
        Some(Err(e)) => return Err(e).cannot(doing, "open_tree(OPEN_TREE_CLONE)"),
    };
    let linked = |kind: &NamespaceKind| !tree || *kind == NamespaceKind::Mount;
    let stays = kinds.iter().any(|kind| linked(kind) || *kind == NamespaceKind::Pid);
    let exact = || keeper.exact.clone().unwrap_or_else(|| keeper.pid.to_string());
    let started = stays.then(|| chain::proc::start_time(keeper.pid)).flatten();
    let note = Note { namespaces: kinds.to_vec(), keeper: stays.then(exact), started };
    let fill = || -> Result<()> {
        write(&folder, &note, &doing)?;
        kinds.iter().try_for_each(|kind| {
            let name = Bytes::from(kind.proc_name());
            if linked(kind) {
                let link = format!("/proc/{}/ns/{name}", keeper.pid);
                return symlinkat(link, &folder, name.as_path())
                    .cannot(&doing, format_args!("symlink({path}/{name})"));
            }
            create(folder.as_fd(), &name, &doing)?;
            let tree = self::tree(proc, keeper, *kind).cannot(&doing, "open_tree(OPEN_TREE_CLONE)")?;
            attach(&tree, folder.as_fd(), &name).cannot(&doing, format_args!("move_mount({path}/{name})"))
        })
    };
    if let Err(error) = fill() {
        files(path)?;
        return Err(error);
    }
    Ok(stays)
}

fn tree(proc: BorrowedFd<'_>, keeper: &Keeper, kind: NamespaceKind) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(proc, format!("{}/ns/{}", keeper.pid, kind.proc_name()), flags)
}

fn attach(tree: &OwnedFd, folder: BorrowedFd<'_>, name: &Bytes) -> std::result::Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name.as_path(), flags, Mode::empty())?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &file, "", onto)
}

/// An empty file to mount on; whether it was made now.
fn create(folder: BorrowedFd<'_>, name: &Bytes, doing: &str) -> Result<bool> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(folder, name.as_path(), flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(e).cannot(doing, format_args!("open({name}, O_CREAT)")),
    }
}

fn write(folder: &OwnedFd, note: &Note, doing: &str) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(folder, NOTE, flags, Mode::RUSR | Mode::WUSR)
        .cannot(doing, format_args!("open({NOTE}, O_CREAT|O_EXCL)"))?;
    let mut text = serde_json::to_vec(note).map_err(|e| Error::new(Class::Internal, doing, e))?;
    text.push(b'\n');
    std::fs::File::from(file).write_all(&text).cannot(doing, format_args!("write({NOTE})"))
}

/// Opened without following a link that stands there itself.
pub(super) fn open(path: &Bytes, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path.as_path(), flags, Mode::empty())
        .cannot(format_args!("look into {path}"), format_args!("open({path})"))
}

/// Is a namespace mounted there?
pub(super) fn is_namespace(fd: &OwnedFd) -> Result<bool> {
    let fs = fstatfs(fd).cannot("look for a namespace", "fstatfs")?;
    #[allow(clippy::unnecessary_cast, reason = "not the same type everywhere")]
    Ok(fs.f_type as i64 == NSFS)
}

/// The note in a folder, if it has one.
pub(super) fn note(folder: &OwnedFd, path: &Bytes) -> Result<Option<Note>> {
    let doing = format_args!("look into {path}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, NOTE, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.cannot(doing, format_args!("open({path}/{NOTE})"))?,
    };
    let stat = fstat(&file).cannot(doing, format_args!("fstat({path}/{NOTE})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(Class::Denied, doing, format_args!("{NOTE} is not a regular file")));
    }
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(1 << 16)
        .read_to_end(&mut text)
        .cannot(doing, format_args!("read({path}/{NOTE})"))?;
    json::parse(&text, format_args!("read {path}/{NOTE}")).map(Some)
}

/// Does this name a folder, not `KIND=PATH`?
pub(crate) fn is_place(path: &Bytes) -> bool {
    statat(CWD, path.as_path(), AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// What a folder keeps.
pub(crate) fn found(path: &Bytes) -> Result<Found> {
    let folder = open(path, OFlags::DIRECTORY)?;
    let doing = format!("join {path}");
    let note = note(&folder, path)?.ok_or_else(|| missing(&doing, path))?;
    note.keeper(&doing)?;
    let file = |kind: &NamespaceKind| {
        let mut file = path.0.clone();
        file.push(b'/');
        file.extend(kind.proc_name().bytes());
        (*kind, Bytes(file))
    };
    Ok(Found { namespaces: note.namespaces.iter().map(file).collect(), keeper: note.keeper })
}
