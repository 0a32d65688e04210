//! Readers of /proc, bytes in. mountinfo is read by own code because the procfs crate neither undoes the kernel's octal
//! escapes nor takes bytes that are not UTF-8. Writes go through [`private`], a procfs that nobody can mount over.

use crate::bytes::Bytes;
use crate::error::{Cannot, Error, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::os::fd::{BorrowedFd, OwnedFd};

/// One line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountInfo {
    /// Mount id.
    pub id: u64,
    /// Id of the mount it is on.
    pub parent: u64,
    /// `major:minor`.
    pub device: String,
    /// What part of the file system is its root.
    pub root: Bytes,
    /// Where it is, relative to the process's root.
    pub target: Bytes,
    /// Per-mount options.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `propagate_from:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// File system type.
    pub kind: String,
    /// Source.
    pub source: Bytes,
    /// Per-superblock options.
    pub super_options: Vec<String>,
}

/// Parses mountinfo.
pub fn parse_mountinfo(text: &[u8]) -> Vec<MountInfo> {
    text.split(|b| *b == b'\n').filter_map(parse_mount_line).collect()
}

fn parse_mount_line(line: &[u8]) -> Option<MountInfo> {
    let word = |w: &[u8]| String::from_utf8_lossy(w).into_owned();
    let list = |w: &[u8]| w.split(|b| *b == b',').map(word).collect::<Vec<_>>();
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    if dash < 6 || fields.len() < dash + 4 {
        return None;
    }
    Some(MountInfo {
        id: word(fields[0]).parse().ok()?,
        parent: word(fields[1]).parse().ok()?,
        device: word(fields[2]),
        root: unescape(fields[3]),
        target: unescape(fields[4]),
        options: list(fields[5]),
        propagation: fields[6..dash].iter().map(|f| word(f)).collect(),
        kind: word(fields[dash + 1]),
        source: unescape(fields[dash + 2]),
        super_options: list(fields[dash + 3]),
    })
}

/// Undoes `\040`, `\011`, `\012`, `\134`, `\043`.
fn unescape(field: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field
            .get(at + 1..at + 4)
            .filter(|d| field[at] == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let value = octal.map(|d| d.iter().fold(0_u32, |n, b| n * 8 + u32::from(b - b'0')));
        match value.and_then(|v| u8::try_from(v).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    Bytes(out)
}

/// Reads a whole small file below `dir` (a path from the working directory when it is CWD).
pub fn read_at(dir: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>> {
    let doing = format_args!("read {path}");
    let fd = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open({path})"))?;
    // Most are shorter than a page. The standard library would first ask for a size and a place, which the files of /proc
    // do not have, and then begin with 32 bytes.
    let mut text = Vec::with_capacity(4096);
    loop {
        match rustix::io::read(&fd, spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Ok(_) if text.len() == text.capacity() => text.reserve(4096),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::call(doing, format_args!("read({path})"), e)),
        }
    }
}

/// Reads a whole small file.
pub fn read(path: &str) -> Result<Vec<u8>> {
    read_at(CWD, path)
}

/// The mounts of this process.
pub fn mounts() -> Result<Vec<MountInfo>> {
    Ok(parse_mountinfo(&read("/proc/self/mountinfo")?))
}

/// The inode of a namespace of `who` (`self`, a pid).
pub fn namespace(who: &str, kind: crate::oci::NamespaceKind) -> Result<u64> {
    let path = format!("/proc/{who}/ns/{}", kind.proc_name());
    let stat = rustix::fs::stat(&path).cannot(format_args!("read {path}"), format_args!("stat({path})"))?;
    Ok(stat.st_ino)
}

/// Start time of a process that has not ended, in clock ticks since boot; None for a zombie too.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = read(&format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in parentheses may hold anything, a parenthesis too.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ended = matches!(*fields.first()?, "Z" | "X" | "x");
    fields.get(19)?.parse().ok().filter(|_| !ended)
}

/// The value of one line of /proc/PID/status.
pub fn status_field(status: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(status);
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim).map(String::from))
}

/// The first user namespace has an inode of its own: PROC_USER_INIT_INO of linux/proc_ns.h.
pub fn in_user_namespace() -> bool {
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino != 0xefff_fffd)
}

/// A procfs of our own that is mounted nowhere: what is written below it reaches the kernel and nothing else, whatever
/// somebody mounted over /proc (CVE-2019-16884, CVE-2025-52881). Shows the pid namespace of the caller.
pub fn private() -> Result<OwnedFd> {
    let doing = "open a private procfs";
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).cannot(doing, "fsopen(proc)")?;
    fsconfig_create(&context).cannot(doing, "fsconfig(proc, create)")?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).cannot(doing, "fsmount(proc)")
}

/// The procfs of this mount namespace, proven to be one, for what must be written where [`private`] is not permitted:
/// mounting a procfs wants CAP_SYS_ADMIN over the pid namespace. It shows the pid namespace it was mounted for.
pub fn host() -> Result<OwnedFd> {
    let doing = "open /proc";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, "/proc", flags, Mode::empty()).cannot(doing, "open(/proc)")?;
    let kind = rustix::fs::fstatfs(&fd).cannot(doing, "fstatfs(/proc)")?.f_type;
    let inode = rustix::fs::fstat(&fd).cannot(doing, "fstat(/proc)")?.st_ino;
    // PROC_SUPER_MAGIC of linux/magic.h, PROC_ROOT_INO of linux/proc_ns.h.
    if kind as u64 != 0x9fa0 || inode != 1 {
        return Err(Error::new(crate::error::Class::Denied, doing, "it is not a procfs"));
    }
    Ok(fd)
}

/// Opens `path` below the procfs `dir`, and nothing that somebody mounted on the way.
fn open_below(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    match openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        // Before Linux 5.6.
        Err(rustix::io::Errno::NOSYS) => openat(dir, path, flags | OFlags::CLOEXEC, Mode::empty()),
        other => other,
    }
}

/// Writes `value` to a file below a private procfs, in one write.
pub fn write_at(dir: BorrowedFd<'_>, path: &str, value: &[u8]) -> Result<()> {
    let doing = format!("set {path} to {}", String::from_utf8_lossy(value).trim_end());
    let fd = open_below(dir, path, OFlags::WRONLY).cannot(&doing, format_args!("open({path})"))?;
    let written = rustix::io::write(&fd, value).cannot(&doing, format_args!("write({path})"))?;
    if written != value.len() {
        return Err(Error::new(
            crate::error::Class::Internal,
            doing,
            format_args!("write({path}) took {written} bytes"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_spaces_and_bytes_in_mountinfo() {
        let line = b"36 35 98:0 /m\\040nt1 /x\\134y\\011\xff rw,noatime shared:1 master:2 - ext3 /dev/ro\\012ot rw,errors=continue";
        let mount = &parse_mountinfo(line)[0];
        assert_eq!(mount.root.0, b"/m nt1");
        assert_eq!(mount.target.0, b"/x\\y\t\xff");
        assert_eq!(mount.source.0, b"/dev/ro\not");
        assert_eq!(mount.propagation, ["shared:1", "master:2"]);
        assert_eq!((mount.id, mount.parent, mount.kind.as_str()), (36, 35, "ext3"));
    }

    #[test]
    fn garbage_lines_are_passed_over_not_panicked_on() {
        for text in [&b""[..], b"1 2 3", b"- - - -", b"x y z a b c - d e f", b"1 2 3 4 5 6 -"] {
            assert!(parse_mountinfo(text).is_empty());
        }
    }
}
