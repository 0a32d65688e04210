//! One group's directory in one hierarchy, by fd.

use super::{Hierarchy, Version};
use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, fstatfs, openat, statat};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC of linux/magic.h.
const V1_MAGIC: u64 = 0x0027_e0eb;
const V2_MAGIC: u64 = 0x6367_7270;

/// See the module.
#[derive(Clone, Debug)]
pub struct Dir {
    /// Version of the hierarchy.
    pub version: Version,
    /// Controllers of a v1 hierarchy.
    pub controllers: Vec<String>,
    /// Absolute path, for messages and for the record.
    pub path: Bytes,
    /// Mount of the hierarchy; empty when the group was found again by its path.
    pub(super) mount: Bytes,
    /// Which group that mount shows as its root.
    pub(super) root: Bytes,
    /// Components below the mount.
    pub(super) below: Vec<Vec<u8>>,
    /// How many of them [`super::Group::create`] made: the last so many.
    pub(super) made: usize,
    /// The caller's own group in the same hierarchy, to go back to.
    pub(super) own: Option<Vec<Vec<u8>>>,
    pub(super) fd: Option<Rc<OwnedFd>>,
}

impl Dir {
    pub(super) fn new(hierarchy: &Hierarchy, below: &[Vec<u8>]) -> Dir {
        Dir {
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
            path: join(&hierarchy.mount, below),
            mount: hierarchy.mount.clone(),
            root: hierarchy.root.clone(),
            below: below.to_vec(),
            made: 0,
            own: hierarchy.own.clone(),
            fd: None,
        }
    }

    /// The directory that is at `path` now, which must be a cgroup's, and not the root of a hierarchy: what is killed
    /// or removed is found again this way.
    pub(super) fn at(path: &Bytes) -> Result<Option<Dir>> {
        let doing = format_args!("find the cgroup {path}");
        let fd = match openat(CWD, path.as_path(), PATH_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::call(doing, format_args!("open({path})"), e)),
        };
        let version = version_of(fd.as_fd(), path)?;
        if is_mount(fd.as_fd(), path)? {
            return Err(Error::new(Class::Conflict, doing, "it is the root of its hierarchy"));
        }
        let fd = Some(Rc::new(fd));
        let (controllers, mount, root, below) = (Vec::new(), Bytes::default(), Bytes::default(), Vec::new());
        Ok(Some(Dir { version, controllers, path: path.clone(), mount, root, below, made: 0, own: None, fd }))
    }

    /// What /proc/PID/cgroup calls it.
    pub(super) fn membership(&self) -> Vec<u8> {
        let root = self.root.0.strip_suffix(b"/").unwrap_or(&self.root.0);
        join(&Bytes(root.to_vec()), &self.below).0
    }

    /// Whether it belongs to this v1 controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The directory; None when it does not exist.
    pub fn open(&self) -> Result<Option<Rc<OwnedFd>>> {
        if let Some(fd) = &self.fd {
            return Ok(Some(fd.clone()));
        }
        let doing = format_args!("find the cgroup {}", self.path);
        let mut fd = self.open_mount()?;
        for component in &self.below {
            fd = match openat(&fd, component.as_slice(), PATH_FLAGS, Mode::empty()) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(e) => return Err(Error::call(doing, format_args!("open({})", self.path), e)),
            };
        }
        Ok(Some(Rc::new(fd)))
    }

    /// As [`Dir::open`] in one call, for who only looks: the whole path is gone once more.
    pub(super) fn open_at_once(&self) -> Result<Option<Rc<OwnedFd>>> {
        if let Some(fd) = &self.fd {
            return Ok(Some(fd.clone()));
        }
        match openat(CWD, self.path.as_path(), PATH_FLAGS, Mode::empty()) {
            Ok(fd) => Ok(Some(Rc::new(fd))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::call(
                format_args!("find the cgroup {}", self.path),
                format_args!("open({})", self.path),
                e,
            )),
        }
    }

    /// The directory, which must exist.
    pub fn fd(&self) -> Result<Rc<OwnedFd>> {
        self.open()?.ok_or_else(|| {
            Error::new(Class::Missing, format_args!("find the cgroup {}", self.path), "it is not there")
        })
    }

    /// The root of the hierarchy, as this mount shows it.
    pub(super) fn open_mount(&self) -> Result<OwnedFd> {
        let mount = &self.mount;
        let fd = openat(CWD, mount.as_path(), PATH_FLAGS, Mode::empty())
            .cannot(format_args!("reach the cgroups at {mount}"), format_args!("open({mount})"))?;
        version_of(fd.as_fd(), mount)?;
        Ok(fd)
    }

    /// Whether [`super::Group::create`] made it.
    pub fn is_new(&self) -> bool {
        self.made > 0
    }

    /// Reads one of its files; None when there is no such file.
    pub fn read(&self, file: &str) -> Result<Option<String>> {
        let Some(fd) = self.open()? else { return Ok(None) };
        read_at(fd.as_fd(), file, &self.path)
    }

    /// Writes one of its files, in one write.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        write_at(self.fd()?.as_fd(), file, value).cannot(
            format_args!("set {file} of the cgroup {} to {value}", self.path),
            format_args!("write({}/{file})", self.path),
        )
    }

    /// Writes one of its files, and reads it through the same fd: what it says now. None where nobody may read it.
    pub fn write_and_read(&self, file: &str, value: &str) -> Result<Option<String>> {
        let path = &self.path;
        let (dir, flags) = (self.fd()?, OFlags::NOFOLLOW | OFlags::CLOEXEC);
        let open = |how: OFlags| openat(&dir, file, flags | how, Mode::empty());
        let (fd, readable) = match open(OFlags::RDWR) {
            Err(rustix::io::Errno::ACCESS) => (open(OFlags::WRONLY), false),
            other => (other, true),
        };
        let call = |name: &str| format!("{name}({path}/{file})");
        let failed = |name: &str, e| {
            Error::call(format_args!("set {file} of the cgroup {path} to {value}"), call(name), e)
        };
        let fd = fd.map_err(|e| failed("open", e))?;
        write_whole(fd.as_fd(), value).map_err(|e| failed("write", e))?;
        if readable { read_once(fd.as_fd()).map(Some).map_err(|e| failed("read", e)) } else { Ok(None) }
    }

    /// Writes several values to one file, each in one write.
    pub fn write_each(&self, file: &str, values: &[String]) -> Result<()> {
        let path = &self.path;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(self.fd()?.as_fd(), file, flags, Mode::empty())
            .cannot(format_args!("set {file} of the cgroup {path}"), format_args!("open({path}/{file})"))?;
        for value in values {
            rustix::io::write(&fd, value.as_bytes()).cannot(
                format_args!("set {file} of the cgroup {path} to {value}"),
                format_args!("write({path}/{file})"),
            )?;
        }
        Ok(())
    }
}

pub(super) const PATH_FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether another file system begins above it.
fn is_mount(fd: BorrowedFd<'_>, path: &Bytes) -> Result<bool> {
    let doing = format_args!("find the cgroup {path}");
    let own = fstat(fd).cannot(doing, format_args!("fstat({path})"))?;
    let above = statat(fd, "..", AtFlags::empty()).cannot(doing, format_args!("stat({path}/..)"))?;
    Ok(own.st_dev != above.st_dev)
}

fn version_of(fd: BorrowedFd<'_>, path: &Bytes) -> Result<Version> {
    let doing = format_args!("use {path} as a cgroup");
    match fstatfs(fd).cannot(doing, format_args!("fstatfs({path})"))?.f_type as u64 {
        V1_MAGIC => Ok(Version::V1),
        V2_MAGIC => Ok(Version::V2),
        _ => Err(Error::new(Class::Conflict, doing, "it is no directory of a cgroup file system")),
    }
}

fn join(mount: &Bytes, below: &[Vec<u8>]) -> Bytes {
    let mut path = mount.0.clone();
    for component in below {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    Bytes(path)
}

/// One write(2): the kernel takes each as a whole command.
pub(super) fn write_at(dir: BorrowedFd<'_>, file: &str, value: &str) -> rustix::io::Result<()> {
    let fd = openat(dir, file, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    write_whole(fd.as_fd(), value)
}

/// From its beginning, in one read: the files of limits are short.
fn read_once(fd: BorrowedFd<'_>) -> rustix::io::Result<String> {
    let mut page = [MaybeUninit::uninit(); 4096];
    let (text, _) = rustix::io::pread(fd, &mut page, 0)?;
    Ok(text_of(text.to_vec()))
}

fn write_whole(fd: BorrowedFd<'_>, value: &str) -> rustix::io::Result<()> {
    match rustix::io::write(fd, value.as_bytes())? {
        n if n == value.len() => Ok(()),
        _ => Err(rustix::io::Errno::IO),
    }
}

pub(super) fn read_at(dir: BorrowedFd<'_>, file: &str, path: &Bytes) -> Result<Option<String>> {
    let doing = || format!("read {file} of the cgroup {path}");
    let fd = match openat(dir, file, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        // The second: the group was removed when its file had been found and was not yet open.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => return Ok(None),
        Err(e) => return Err(Error::call(doing(), format_args!("open({path}/{file})"), e)),
    };
    // All others are written by the kernel in one piece, and a read that got less than it asked for got all of it.
    let list = matches!(file, "cgroup.procs" | "cgroup.threads" | "tasks");
    match read_all(fd.as_fd(), list) {
        Ok(text) => Ok(Some(text)),
        // The group was removed between open and read.
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(e) => Err(Error::call(doing(), format_args!("read({path}/{file})"), e)),
    }
}

/// Such a file has no size to ask for, and most are short. What is in them is the kernel's, in ASCII.
fn read_all(fd: BorrowedFd<'_>, list: bool) -> rustix::io::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut page = [MaybeUninit::uninit(); 4096];
        let (piece, rest) = rustix::io::read(fd, &mut page)?;
        text.extend_from_slice(piece);
        if piece.is_empty() || !rest.is_empty() && !list {
            return Ok(text_of(text));
        }
    }
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
