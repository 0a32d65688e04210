//! Paths made read-only and paths made unreadable, each pinned by fd before anything is mounted on it.

use crate::build::{Detached, attach, clone, file_system};
use crate::devices;
use crate::options::{self, Attrs};
use crate::place::Place;
use crate::root::inside;
use chain::bytes::Bytes;
use chain::sys::mount::attr;
use chain::{Cannot, Error, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Makes each path read-only, with all that is mounted below it; what forbids more already goes on forbidding.
pub(crate) fn readonly(place: &mut Place, paths: &[Bytes]) -> Result<()> {
    let attrs = Attrs { set: attr::RDONLY, ..Attrs::default() };
    for path in paths {
        let doing = format!("make {path} read-only");
        let Some(target) = open(place, path, &doing)? else { continue };
        let mount = Detached::clone_of(target.as_fd(), attrs, &doing)?;
        let fd = mount.attach(target.as_fd(), &doing, path)?;
        place.keep(path, fd, "bind", attrs, None)?;
    }
    Ok(())
}

/// Covers each path: a folder by an empty read-only tmpfs (one for all), anything else by /dev/null.
pub(crate) fn mask(place: &mut Place, paths: &[Bytes]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    let mut null: Option<OwnedFd> = None;
    for (at, path) in paths.iter().enumerate() {
        // Named twice is covered once.
        if paths[..at].contains(path) {
            continue;
        }
        let doing = format!("mask {path}");
        let Some(target) = open(place, path, &doing)? else { continue };
        let folder =
            FileType::from_raw_mode(fstat(&target).cannot(&doing, "fstat")?.st_mode) == FileType::Directory;
        let (cover, kind, attrs) = if folder {
            let cover = match &empty {
                None => file_system("tmpfs", Some(&"tmpfs".into()), &empty_options(place), &doing)?,
                Some(first) => clone(first.as_fd(), false, &doing)?,
            };
            (cover, "tmpfs", Attrs { set: attr::RDONLY, ..Attrs::default() })
        } else {
            let null = match &mut null {
                Some(null) => null,
                none => none.insert(devices::null(place)?),
            };
            (clone(null.as_fd(), false, &doing)?, "bind", Attrs::default())
        };
        attach(cover.as_fd(), target.as_fd(), &doing, path)?;
        if folder && empty.is_none() {
            empty =
                Some(rustix::io::fcntl_dupfd_cloexec(&cover, 3).cannot(&doing, "fcntl(F_DUPFD_CLOEXEC)")?);
        }
        place.keep(path, cover, kind, attrs, None)?;
    }
    Ok(())
}

fn empty_options(place: &Place) -> options::Options {
    let mut words = vec!["ro".to_string()];
    words.extend(place.label.as_ref().map(|label| format!("context=\"{label}\"")));
    options::parse(&words)
}

/// What is not there needs no cover.
fn open(place: &Place, path: &Bytes, doing: &str) -> Result<Option<OwnedFd>> {
    match look(place, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Error::call(doing, format_args!("openat2({path})"), e)),
    }
}

/// What is below a mount of ours is looked for in that mount. By its path from the root it may not be found, while a
/// folder on the way is swapped for a link: and what is not there needs no cover.
fn look(place: &Place, path: &Bytes) -> rustix::io::Result<OwnedFd> {
    match place.mount_above(path) {
        Some((mount, rest)) => match below(mount, rest) {
            Err(Errno::LOOP) => place.root.open(path),
            other => other,
        },
        None => place.root.open(path),
    }
}

/// What is at `path` below the folder `dir`; ELOOP where a link is on the way or at its end.
fn below(dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        // Before Linux 5.6.
        Err(Errno::NOSYS) => match inside(dir, &Bytes(path.to_vec())) {
            Err(Errno::NOTDIR) => Err(Errno::LOOP),
            Ok(fd) if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Symlink => Err(Errno::LOOP),
            other => other,
        },
        other => other,
    }
}
