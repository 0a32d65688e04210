//! Device nodes and the links of /dev. A node is made by number in a folder held by fd; where the kernel does not let
//! a user namespace make nodes, the host's own is bound there.

use crate::build::{attach, clone};
use crate::facts::in_user_namespace;
use crate::options::Attrs;
use crate::place::Place;
use crate::plan::Node;
use crate::root::Make;
use chain::bytes::Bytes;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, access, chownat, fstat, makedev, mknodat, openat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The nodes that the specification promises.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("random", 1, 8), ("full", 1, 7), ("tty", 5, 0), ("zero", 1, 5), ("urandom", 1, 9)];

/// Links besides; `core` where the kernel has a core.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// The default devices below `dev`.
pub(crate) fn defaults(dev: &str) -> impl Iterator<Item = Node> {
    DEFAULT.into_iter().map(move |(name, major, minor)| Node {
        path: format!("{dev}/{name}").into(),
        kind: FileType::CharacterDevice,
        number: makedev(major, minor),
        mode: 0o666,
        uid: 0,
        gid: 0,
    })
}

/// Names and targets of the default links; `ptmx` is the container's own.
pub(crate) fn default_links() -> impl Iterator<Item = (&'static str, &'static str)> {
    LINKS.into_iter().chain([("ptmx", "pts/ptmx")])
}

/// Default devices and links in /dev.
pub(crate) fn make_defaults(place: &mut Place) -> Result<()> {
    let doing = "make the default devices";
    let (dev, _) = place.root.make(&"/dev".into(), Make::Folder).cannot(doing, "openat2(/dev)")?;
    may_make_in(place, dev.as_fd(), doing)?;
    for node in defaults("/dev") {
        let name = node.path.0[5..].to_vec();
        make_in(place, dev.as_fd(), &name, &node, false)?;
    }
    for (name, target) in LINKS {
        if name == "core" && access("/proc/kcore", Access::EXISTS).is_err() {
            continue;
        }
        match symlinkat(target, &dev, name) {
            // The image has its own.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::call(doing, format_args!("symlinkat(/dev/{name})"), e)),
        }
    }
    ptmx(&dev, doing)
}

/// In the host's own root nothing is made.
pub(crate) fn may_make_in(place: &Place, dir: BorrowedFd<'_>, doing: &str) -> Result<()> {
    if place.root.may_make_in(dir).cannot(doing, "statx(STATX_MNT_ID)")? {
        return Ok(());
    }
    Err(Error::new(Class::Denied, doing, "without a root of its own nothing is made"))
}

/// Must lead to the container's own devpts, whatever the image has there.
fn ptmx(dev: &OwnedFd, doing: &str) -> Result<()> {
    match symlinkat("pts/ptmx", dev, "ptmx") {
        Err(Errno::EXIST) => {
            unlinkat(dev, "ptmx", AtFlags::empty()).cannot(doing, "unlinkat(/dev/ptmx)")?;
            symlinkat("pts/ptmx", dev, "ptmx").cannot(doing, "symlinkat(/dev/ptmx)")
        }
        other => other.cannot(doing, "symlinkat(/dev/ptmx)"),
    }
}

/// One device of the plan.
pub(crate) fn make(place: &mut Place, node: &Node) -> Result<()> {
    let doing = wish(node);
    let (dir, name) = place.root.parent(&node.path).cannot(&doing, format_args!("openat2({})", node.path))?;
    may_make_in(place, dir.as_fd(), &doing)?;
    make_in(place, dir.as_fd(), &name, node, true)
}

fn wish(node: &Node) -> String {
    format!("make the device {}", node.path)
}

/// Without `owner`, what the kernel just made fresh is root's and has the mode we gave it (the mask is 0), so nothing is
/// left to say.
fn make_in(place: &mut Place, dir: BorrowedFd<'_>, name: &[u8], node: &Node, owner: bool) -> Result<()> {
    let path = &node.path;
    let made = match mknodat(dir, name, node.kind, Mode::from_raw_mode(node.mode), node.number) {
        Ok(()) if !owner => return Ok(()),
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        // A user namespace makes no devices; a FIFO it does.
        Err(Errno::PERM) if node.kind != FileType::Fifo => return bind(place, node),
        Err(e) => return Err(Error::call(wish(node), format_args!("mknodat({path})"), e)),
    };
    // From here on only by fd: in a folder that others can write to, the name may be another file by now.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty()).cannot(wish(node), format_args!("openat({path})"))?;
    if !made && is_plain_file(&fd) && node.kind != FileType::Fifo && in_user_namespace() {
        // What a node was bound on before, in a root that has no /dev of its own.
        return bind(place, node);
    }
    prove(&fd, node)?;
    if made {
        let owner = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        chownat(&fd, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)
            .cannot(wish(node), format_args!("fchownat({path}, {}:{})", node.uid, node.gid))?;
    }
    Ok(())
}

fn is_plain_file(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile && s.st_size == 0)
}

/// What is there must be the device that was asked for.
pub(crate) fn prove(fd: &OwnedFd, node: &Node) -> Result<()> {
    let stat = fstat(fd).cannot(wish(node), format_args!("fstat({})", node.path))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == node.kind && (kind == FileType::Fifo || stat.st_rdev == node.number) {
        return Ok(());
    }
    let shown = |kind: FileType, number: u64| match kind {
        FileType::CharacterDevice => {
            format!("char {}:{}", rustix::fs::major(number), rustix::fs::minor(number))
        }
        FileType::BlockDevice => format!("block {}:{}", rustix::fs::major(number), rustix::fs::minor(number)),
        other => format!("{other:?}").to_lowercase(),
    };
    let (found, asked) = (shown(kind, stat.st_rdev), shown(node.kind, node.number));
    let detail = format_args!("what is there is {found}, not {asked}").to_string();
    Err(Error::new(Class::Conflict, wish(node), detail))
}

/// The host's node of the same path and number, or of the same name in its /dev.
fn bind(place: &mut Place, node: &Node) -> Result<()> {
    let (doing, path) = (wish(node), &node.path);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |path: &Bytes| {
        openat(CWD, path.as_path(), flags, Mode::empty()).cannot(&doing, format_args!("open({path})"))
    };
    let name = path.0.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let host = open(path).or_else(|_| open(&Bytes([b"/dev/", name].concat()))).map_err(|e| {
        e.why("devices cannot be made here, so the host's own would be bound, and it has none")
    })?;
    prove(&host, node)?;
    let mount = clone(host.as_fd(), false, &doing)?;
    let (target, _) = place.root.make(path, Make::File).cannot(&doing, format_args!("openat2({path})"))?;
    attach(mount.as_fd(), target.as_fd(), &doing, path)?;
    place.keep(path, mount, "bind", Attrs::default(), None)
}

/// A symbolic link; one that is there already must be the same.
pub(crate) fn link(place: &Place, path: &Bytes, target: &Bytes) -> Result<()> {
    let doing = format!("make the link {path}");
    let (dir, name) = place.root.parent(path).cannot(&doing, format_args!("openat2({path})"))?;
    may_make_in(place, dir.as_fd(), &doing)?;
    match symlinkat(target.as_os_str(), &dir, name.as_slice()) {
        Err(Errno::EXIST) => {
            let found = rustix::fs::readlinkat(&dir, name.as_slice(), Vec::new());
            if found.is_ok_and(|t| t.as_bytes() == target.0) {
                return Ok(());
            }
            Err(Error::new(Class::Conflict, doing, "something else is there"))
        }
        other => other.cannot(doing, format_args!("symlinkat({path})")),
    }
}

/// /dev/null, proven to be it (CVE-2025-31133): the container's own, or the host's where the container has none.
pub(crate) fn null(place: &Place) -> Result<OwnedFd> {
    let doing = "find /dev/null";
    let Some(node) = defaults("/dev").next() else {
        return Err(Error::new(Class::Internal, doing, "it is no default device"));
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = place.root.open(&"/dev".into()).and_then(|dev| openat(dev, c"null", flags, Mode::empty()));
    let fd = match inside {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            openat(CWD, c"/dev/null", flags, Mode::empty()).cannot(doing, "open(/dev/null)")?
        }
        Err(e) => return Err(Error::call(doing, "openat2(/dev/null)", e)),
    };
    prove(&fd, &node)?;
    Ok(fd)
}

/// The container's /dev/null, opened for use.
pub(crate) fn open_null(place: &Place) -> Result<OwnedFd> {
    let doing = "open the container's /dev/null";
    // Looked at before it is opened: opening some devices does things.
    null(place)?;
    let dev = place.root.open(&"/dev".into()).cannot(doing, "openat2(/dev)")?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(dev, c"null", flags, Mode::empty()).cannot(doing, "openat(/dev/null)")?;
    if let Some(node) = defaults("/dev").next() {
        prove(&fd, &node)?;
    }
    Ok(fd)
}
