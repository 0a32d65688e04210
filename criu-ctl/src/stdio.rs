//! Standard streams that come from outside of the tree. descriptors.json beside the images says where each led to, as runc
//! and crun write it: an array of three names. Pipes are known by `pipe:[INODE]`, files that the tree itself cannot see
//! by criu's own `file[MOUNT:INODE]`.

use crate::folder;
use chain::error::{Cannot, Class, Error, Result};
use chain::proc::{self, parse_mountinfo};
use chain::sys;
use rustix::fs::{FileType, fstat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The file.
pub(crate) const FILE: &str = "descriptors.json";

/// Three short names.
const MOST: u64 = 1 << 16;

/// Where a process's standard streams lead to.
pub(crate) fn of(pid: i32) -> Result<Vec<String>> {
    let mounts = parse_mountinfo(&proc::read(&format!("/proc/{pid}/mountinfo"))?);
    (0..3).map(|n| one(pid, n, &|id| mounts.iter().any(|mount| mount.id == id))).collect()
}

fn one(pid: i32, n: i32, sees: &dyn Fn(u64) -> bool) -> Result<String> {
    let path = format!("/proc/{pid}/fd/{n}");
    let doing = format_args!("find where fd {n} of process {pid} leads to");
    let name = match std::fs::read_link(&path) {
        // Closed.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        name => name.cannot(doing, format_args!("readlink({path})"))?,
    };
    let name = name.to_string_lossy().into_owned();
    let info = proc::read(&format!("/proc/{pid}/fdinfo/{n}"))?;
    let Some(mount) = proc::status_field(&info, "mnt_id").and_then(|id| id.trim().parse::<u64>().ok()) else {
        return Ok(name);
    };
    if !name.starts_with('/') || sees(mount) {
        return Ok(name);
    }
    let stat = rustix::fs::stat(&path).cannot(doing, format_args!("stat({path})"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(format!("file[{mount:x}:{:x}]", stat.st_ino)),
        _ => Ok(name),
    }
}

/// Those of them that a dump leaves out. Pipes need not be named.
pub(crate) fn external(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().filter(|name| name.starts_with("file[")).map(|name| name.clone().into_bytes()).collect()
}

/// Writes them down.
pub(crate) fn write(folder: BorrowedFd<'_>, names: &[String], doing: &str) -> Result<()> {
    let text = serde_json::to_vec(names).map_err(|e| Error::new(Class::Internal, doing, e))?;
    folder::write(folder, FILE, &text, doing)
}

/// What is written there.
pub(crate) fn names(folder: BorrowedFd<'_>, doing: &str) -> Result<Vec<String>> {
    let Some(text) = folder::read_regular(folder, FILE, MOST, doing)? else { return Ok(Vec::new()) };
    chain::json::parse(&text, doing).map_err(|e| e.why(FILE))
}

/// Our own streams, by the keys of those they stand for.
pub(crate) fn inherited(folder: BorrowedFd<'_>, doing: &str) -> Result<Vec<(Vec<u8>, OwnedFd)>> {
    let names = names(folder, doing)?;
    let mut list = Vec::new();
    for (n, name) in (0..3).zip(names) {
        let file = name.starts_with("file[");
        if !file && !name.contains("pipe:") {
            continue;
        }
        let own = sys::fd::borrow(n).cannot(doing, format_args!("fcntl({n})"))?;
        let kind = FileType::from_raw_mode(fstat(own).cannot(doing, format_args!("fstat({n})"))?.st_mode);
        if file && kind != FileType::RegularFile {
            let detail = format!("its fd {n} is a file, and ours is none: criu could not seek in it");
            return Err(Error::new(Class::Usage, doing, detail).cure(format_args!("{n}>FILE")));
        }
        // criu's own streams are others.
        list.push((name.into_bytes(), own.try_clone_to_owned().cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?));
    }
    Ok(list)
}

/// criu finds an fd by its number, so it inherits it.
pub(crate) fn pass_on(fd: &OwnedFd, doing: &str) -> Result<()> {
    sys::fd::set_cloexec(fd.as_fd(), false).cannot(doing, "fcntl(F_SETFD)")
}
