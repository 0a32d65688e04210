//! The folders of images and logs. Images are as trusted as programs (what is in them becomes a process with any
//! user and any capability), and criu follows names in the folder: so it must be a folder that nobody else may write to.

use chain::error::{Cannot, Class, Error, Result};
use chain::state::write_all;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fstatvfs, mkdirat, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// There from before the first byte of a dump until after its last: what a dump that failed, or was cut off, leaves.
const UNFINISHED: &str = "catena-dump-unfinished";

/// criu writes it last of what a restore reads first.
const INVENTORY: &str = "inventory.img";

/// More than criu logs of a large tree.
const LOG_MAX: u64 = 64 << 20;

/// Opens a folder.
pub(crate) fn open(path: &Path, doing: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(CWD, path, flags, Mode::empty()).cannot(doing, format_args!("open({})", path.display()));
    let fd = opened.map_err(|e| explain(path, e))?;
    let stat = fstat(&fd).cannot(doing, format_args!("fstat({})", path.display()))?;
    let owner = stat.st_uid;
    if owner != 0 && owner != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        let detail =
            format!("others may write to {}: it is uid {owner}'s, with mode {mode:04o}", path.display());
        return Err(Error::new(Class::Denied, doing, detail)
            .why("images are as trusted as programs: who may change them may become root")
            .cure(format_args!("chmod go-w {}", path.display())));
    }
    Ok(fd)
}

fn explain(path: &Path, error: Error) -> Error {
    let link = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    if link { error.why("it is a symbolic link; name the folder itself") } else { error }
}

/// Opens a folder, made for the owner alone if it is not there.
pub(crate) fn make(path: &Path, doing: &str) -> Result<OwnedFd> {
    match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => open(path, doing),
        Err(e) => Err(Error::call(doing, format_args!("mkdir({})", path.display()), e)),
    }
}

/// Says in the folder that its images are not whole.
pub(crate) fn mark_unfinished(folder: BorrowedFd<'_>, text: &str, doing: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(folder, UNFINISHED, flags, Mode::from_raw_mode(0o600))
        .cannot(doing, format_args!("open({UNFINISHED})"))?;
    write_all(fd.as_fd(), text.as_bytes()).cannot(doing, format_args!("write({UNFINISHED})"))
}

/// Writes a file for the owner alone, in place of one that may be there.
pub(crate) fn write(folder: BorrowedFd<'_>, name: &str, content: &[u8], doing: &str) -> Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(Error::call(doing, format_args!("unlink({name})"), e)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(folder, name, flags, Mode::from_raw_mode(0o600))
        .cannot(doing, format_args!("open({name})"))?;
    write_all(fd.as_fd(), content).cannot(doing, format_args!("write({name})"))
}

/// A file of the folder; nothing if there is none. What is no file, or longer than it may be, is refused.
pub(crate) fn open_regular(
    folder: BorrowedFd<'_>,
    name: &str,
    most: u64,
    doing: &str,
) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.cannot(doing, format_args!("open({name})"))?,
    };
    let stat = fstat(&fd).cannot(doing, format_args!("fstat({name})"))?;
    let detail = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_size.unsigned_abs() <= most => None,
        FileType::RegularFile => Some(format!("{name} has {} bytes", stat.st_size)),
        _ => Some(format!("{name} is no file")),
    };
    if let Some(detail) = detail {
        return Err(Error::new(Class::Denied, doing, detail).why("these are no images of a dump"));
    }
    Ok(Some(fd))
}

/// The same, whole.
pub(crate) fn read_regular(
    folder: BorrowedFd<'_>,
    name: &str,
    most: u64,
    doing: &str,
) -> Result<Option<Vec<u8>>> {
    let Some(fd) = open_regular(folder, name, most, doing)? else { return Ok(None) };
    let mut text = Vec::new();
    std::fs::File::from(fd).take(most).read_to_end(&mut text).cannot(doing, format_args!("read({name})"))?;
    Ok(Some(text))
}

/// Takes that back.
pub(crate) fn mark_finished(folder: BorrowedFd<'_>, doing: &str) -> Result<()> {
    unlinkat(folder, UNFINISHED, AtFlags::empty()).cannot(doing, format_args!("unlink({UNFINISHED})"))
}

/// Refuses a folder without a whole dump in it.
pub(crate) fn expect_whole(folder: BorrowedFd<'_>, doing: &str) -> Result<()> {
    if statat(folder, UNFINISHED, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        let said = read(folder, UNFINISHED, 4096).unwrap_or_default();
        let said = crate::log::clean(&String::from_utf8_lossy(&said));
        let detail = format!("its dump did not finish{}{said}", if said.is_empty() { "" } else { ": " });
        return Err(Error::new(Class::Conflict, doing, detail));
    }
    match statat(folder, INVENTORY, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => Err(Error::new(
            Class::Missing,
            doing,
            format_args!("there are no images in it: {INVENTORY} is not there"),
        )),
        Err(e) => Err(Error::call(doing, format_args!("stat({INVENTORY})"), e)),
    }
}

/// Names of the images of this kind: `KIND-ID.img`.
pub(crate) fn of_kind(images: BorrowedFd<'_>, kind: &str, doing: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(images).cannot(doing, "getdents")? {
        let entry = entry.cannot(doing, "getdents")?;
        let name = entry.file_name().to_string_lossy();
        if name.starts_with(kind) && name[kind.len()..].starts_with('-') && name.ends_with(".img") {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

/// Refuses images whose memory went to a page server and has not come back: criu itself says nothing of it.
pub(crate) fn expect_memory(folder: BorrowedFd<'_>, doing: &str) -> Result<()> {
    for name in of_kind(folder, "mm", doing)? {
        let wanted = format!("pagemap{}", &name["mm".len()..]);
        match statat(folder, &wanted, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => {
                let detail = format!("the memory of its processes is not in it: {wanted} is not there");
                let error = Error::new(Class::Missing, doing, detail);
                return Err(error.why("a dump with --page-server leaves it where that server wrote it"));
            }
            Err(e) => return Err(Error::call(doing, format_args!("stat({wanted})"), e)),
        }
    }
    Ok(())
}

/// Removes an old log: criu would follow a link of that name, and we would take old lines for new ones.
pub(crate) fn forget_log(folder: BorrowedFd<'_>, name: &[u8], doing: &str) -> Result<()> {
    let shown = String::from_utf8_lossy(name);
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::call(doing, format_args!("unlink({shown})"), e)
            .why("criu writes its log there")
            .cure("--work-dir DIR")),
    }
}

/// criu's log; empty if there is none.
pub(crate) fn log(folder: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    read(folder, &String::from_utf8_lossy(name), LOG_MAX).unwrap_or_default()
}

fn read(folder: BorrowedFd<'_>, name: &str, most: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(folder, name, flags, Mode::empty()).ok()?;
    let regular = FileType::from_raw_mode(fstat(&fd).ok()?.st_mode) == FileType::RegularFile;
    let mut text = Vec::new();
    std::fs::File::from(fd).take(most).read_to_end(&mut text).ok().filter(|_| regular)?;
    Some(text)
}

/// The images of the round before, which criu finds by a link beside the new ones.
pub(crate) fn expect_parent(folder: BorrowedFd<'_>, parent: Option<&[u8]>, doing: &str) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    let shown = String::from_utf8_lossy(parent);
    let wrong = |why: &str| Err(Error::usage(doing, format_args!("--parent-path {shown}: {why}")));
    if parent.starts_with(b"/") {
        return wrong("it is to be relative to the images, for they may move together");
    }
    match statat(folder, parent, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
        Ok(_) => wrong("it is no folder"),
        Err(e) => wrong(&format!("it is not there, seen from the images: {e}")),
    }
}

/// Whether the file system of a folder has no room left.
pub(crate) fn is_full(folder: BorrowedFd<'_>) -> bool {
    fstatvfs(folder).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < 1 << 16)
}
