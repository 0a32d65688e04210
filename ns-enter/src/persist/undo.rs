//! `--unpersist`: takes away what [`super::places`] has made.

use super::keeper::end;
use super::places::{is_namespace, note, open};
use super::{NOTE, Note, missing};
use chain::bytes::Bytes;
use chain::{Cannot, Class, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A file on which a namespace is mounted, or a folder with all that belongs to it. Processes inside live on, but for those
/// in a pid namespace that was kept by its first process.
pub(crate) fn unpersist(path: &Bytes) -> Result<()> {
    let doing = doing(path);
    let at = open(path, OFlags::PATH)?;
    let stat = fstat(&at).cannot(&doing, format_args!("fstat({path})"))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let folder = open(path, OFlags::DIRECTORY)?;
        let note = note(&folder, path)?.ok_or_else(|| missing(&doing, path))?;
        end_of(&note, &doing)?;
    }
    files(path)
}

fn doing(path: &Bytes) -> String {
    format!("take away what is kept in {path}")
}

/// It may be gone, and its number another's.
fn end_of(note: &Note, doing: &str) -> Result<()> {
    match note.keeper(doing) {
        Ok(None) => Ok(()),
        Ok(Some(pidfd)) => end(pidfd.as_fd()),
        Err(error) if error.class == Class::Missing => Ok(()),
        Err(error) => Err(error),
    }
}

/// The files alone.
pub(super) fn files(path: &Bytes) -> Result<()> {
    let doing = doing(path);
    let at = open(path, OFlags::PATH)?;
    let stat = fstat(&at).cannot(&doing, format_args!("fstat({path})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        if !is_namespace(&at)? {
            return Err(missing(doing, path));
        }
        take_off(&at, path, &doing)?;
        return remove(CWD, path, &doing);
    }
    let folder = open(path, OFlags::DIRECTORY)?;
    let note = note(&folder, path)?.ok_or_else(|| missing(&doing, path))?;
    for kind in &note.namespaces {
        let name = Bytes::from(kind.proc_name());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&folder, name.as_path(), flags, Mode::empty()) {
            Ok(file) if is_namespace(&file)? => take_off(&file, &name, &doing)?,
            Ok(_) => {}
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e).cannot(doing, format_args!("open({path}/{name})")),
        }
        remove(folder.as_fd(), &name, &doing)?;
    }
    remove(folder.as_fd(), &Bytes::from(NOTE), &doing)?;
    drop((at, folder));
    match unlinkat(CWD, path.as_path(), AtFlags::REMOVEDIR) {
        // What else is in there is not ours.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY | Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(e) => Err(e).cannot(doing, format_args!("rmdir({path})")),
    }
}

/// By its fd: the mount that was looked at, and no other.
fn take_off(mount: &OwnedFd, path: &Bytes, doing: &str) -> Result<()> {
    let name = format!("/proc/self/fd/{}", mount.as_raw_fd());
    unmount(name, UnmountFlags::DETACH).cannot(doing, format_args!("umount2({path}, MNT_DETACH)"))
}

fn remove(folder: BorrowedFd<'_>, name: &Bytes, doing: &str) -> Result<()> {
    match unlinkat(folder, name.as_path(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e).cannot(doing, format_args!("unlink({name})")),
    }
}
