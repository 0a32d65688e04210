//! The new root, and paths in it. What lies in a rootfs is hostile: a path is resolved once, inside the root, to an
//! fd, and used by that fd. Symbolic links are followed as a process with that root would follow them, never out of it.

use crate::path::from_root;
use chain::bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat, openat2, readlinkat,
    statx,
};
use rustix::io::{Errno, Result};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// Who renames all the time could keep openat2(2) from ever answering; the walk below cannot be held up.
const MOST_TRIES: usize = 32;

/// What a mount point is made as, where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// A folder.
    Folder,
    /// An empty file.
    File,
}

/// A root.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    /// In the host's own root, nothing is made but on mounts of ours, by [`lasting_id`]: it would stay.
    only_on: Option<Vec<u64>>,
    /// See [`Root::plain_parent`].
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    /// A root of its own.
    pub(crate) fn new(fd: OwnedFd) -> Root {
        Root { fd, only_on: None, last: None }
    }

    /// The root that is there.
    pub(crate) fn present(fd: OwnedFd) -> Root {
        Root { fd, only_on: Some(Vec::new()), last: None }
    }

    /// Its fd.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// From here on things may be made on this mount.
    pub(crate) fn mounted(&mut self, id: u64) {
        if let Some(ids) = &mut self.only_on {
            ids.push(id);
        }
    }

    /// What is at `path`, links followed.
    pub(crate) fn open(&self, path: &Bytes) -> Result<OwnedFd> {
        self.open_how(path, OFlags::PATH, ResolveFlags::empty())
    }

    /// The folder at `path`, to which no link may lead.
    pub(crate) fn folder_without_links(&self, path: &Bytes) -> Result<OwnedFd> {
        self.open_how(path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
    }

    /// What is at `path` on the root's own mount, if neither a link nor another mount is on the way. None: look closer.
    pub(crate) fn open_plain(&self, path: &Bytes) -> Option<OwnedFd> {
        let no = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let resolve = ResolveFlags::IN_ROOT | no;
        openat2(&self.fd, from_root(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
    }

    /// The folder above `path` on the root's own mount, if neither a link nor another mount is on the way, and the last
    /// name. None: look closer. It is held, for the next one is often in the same.
    pub(crate) fn plain_parent<'a>(&mut self, path: &'a Bytes) -> Option<(BorrowedFd<'_>, &'a [u8])> {
        let at = path.0.iter().rposition(|b| *b == b'/')?;
        let (above, name) = (&path.0[..at], &path.0[at + 1..]);
        if above.is_empty() {
            return Some((self.fd.as_fd(), name)).filter(|(_, name)| !name.is_empty());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != above) {
            self.last = Some((above.to_vec(), self.open_plain(&Bytes(above.to_vec()))?));
        }
        self.last.as_ref().map(|(_, dir)| (dir.as_fd(), name))
    }

    /// What is at `path`, a link in its last place not followed.
    pub(crate) fn open_nofollow(&self, path: &Bytes) -> Result<OwnedFd> {
        let at = path.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        match &path.0[(at + 1).min(path.0.len())..] {
            b"" | b".." => self.open(path),
            name => {
                let dir = self.open(&Bytes(path.0[..at].to_vec()))?;
                look(dir.as_fd(), name).map(|found| found.fd)
            }
        }
    }

    fn open_how(&self, path: &Bytes, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let name = from_root(path);
        for _ in 0..MOST_TRIES {
            match openat2(&self.fd, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename or a mount happened meanwhile, somewhere, and the kernel could not be sure of `..`.
                Err(Errno::AGAIN) => {}
                // Before Linux 5.6.
                Err(Errno::NOSYS) => break,
                other => return other,
            }
        }
        let links = if more.contains(ResolveFlags::NO_SYMLINKS) { 0 } else { MOST_LINKS };
        let fd = self.walk(path, None, links)?;
        let folder = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory;
        let fits = folder || !flags.contains(OFlags::DIRECTORY);
        if fits { Ok(fd) } else { Err(Errno::NOTDIR) }
    }

    /// What is at `path`, made if it is missing, with the folders above it. Says whether it was there.
    pub(crate) fn make(&self, path: &Bytes, what: Make) -> Result<(OwnedFd, bool)> {
        match self.open(path) {
            Ok(fd) => Ok((fd, true)),
            // Also where a link leads to what is missing: then that is made, inside the root.
            Err(Errno::NOENT) => self.walk(path, Some(what), MOST_LINKS).map(|fd| (fd, false)),
            Err(e) => Err(e),
        }
    }

    /// The folder above `path`, made if it is missing, and the last component, which is not looked at.
    pub(crate) fn parent(&self, path: &Bytes) -> Result<(OwnedFd, Vec<u8>)> {
        let at = path.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let name = path.0[at + 1..].to_vec();
        if name.is_empty() {
            return Err(Errno::ISDIR);
        }
        let above = if at == 0 { "/".into() } else { Bytes(path.0[..at].to_vec()) };
        Ok((self.make(&above, Make::Folder)?.0, name))
    }

    /// As [`Root::make`], but a link that stands at `path` itself is not followed: it is what is found.
    pub(crate) fn make_nofollow(&self, path: &Bytes, what: Make) -> Result<(OwnedFd, bool)> {
        let (dir, name) = self.parent(path)?;
        match look(dir.as_fd(), &name) {
            Ok(found) => Ok((found.fd, true)),
            Err(Errno::NOENT) => Ok((self.create(dir.as_fd(), &name, what)?.fd, false)),
            Err(e) => Err(e),
        }
    }

    /// Whether something may be made in this folder. Who makes a name in what [`Root::parent`] gave asks first.
    pub(crate) fn may_make_in(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        match &self.only_on {
            Some(ids) => Ok(ids.contains(&lasting_id(dir)?)),
            None => Ok(true),
        }
    }

    /// Goes component by component, holding every folder on the way, so that `..` leads back to where we came from and
    /// never above the root.
    fn walk(&self, path: &Bytes, make: Option<Make>, links: usize) -> Result<OwnedFd> {
        let mut todo: VecDeque<Vec<u8>> = components(&path.0);
        let mut held: Vec<OwnedFd> = Vec::new();
        let mut links = links;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                held.pop();
                continue;
            }
            let here = held.last().map_or(self.fd.as_fd(), OwnedFd::as_fd);
            let found = match (look(here, &name), make) {
                (Err(Errno::NOENT), Some(make)) => {
                    self.create(here, &name, if todo.is_empty() { make } else { Make::Folder })?
                }
                (found, _) => found?,
            };
            if found.folder {
                held.push(found.fd);
                continue;
            }
            if FileType::from_raw_mode(fstat(&found.fd)?.st_mode) == FileType::Symlink {
                links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = readlinkat(&found.fd, c"", Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    held.clear();
                }
                for part in components(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            } else if todo.is_empty() {
                return Ok(found.fd);
            } else {
                return Err(Errno::NOTDIR);
            }
        }
        match held.pop() {
            Some(fd) => Ok(fd),
            None => rustix::io::fcntl_dupfd_cloexec(&self.fd, 3),
        }
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &[u8], what: Make) -> Result<Found> {
        if !self.may_make_in(dir)? {
            return Err(Errno::NOENT);
        }
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o755);
        let made = match what {
            Make::Folder => mkdirat(dir, name, mode),
            Make::File => {
                openat(dir, name, flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, mode).map(drop)
            }
        };
        match made {
            // Somebody else was faster; look at what it is.
            Ok(()) | Err(Errno::EXIST) => look(dir, name),
            Err(e) => Err(e),
        }
    }
}

struct Found {
    fd: OwnedFd,
    folder: bool,
}

/// One component, not followed. Mounts on it are: they are part of the root.
fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Found> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags | OFlags::DIRECTORY, Mode::empty()) {
        Ok(fd) => Ok(Found { fd, folder: true }),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            Ok(Found { fd: openat(dir, name, flags, Mode::empty())?, folder: false })
        }
        Err(e) => Err(e),
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).collect()
}

/// What is at `path` below the folder `dir`, with neither links nor `..` on the way.
pub(crate) fn inside(dir: BorrowedFd<'_>, path: &Bytes) -> Result<OwnedFd> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(dir, 3)?;
    for name in components(&path.0) {
        if name == b".." {
            return Err(Errno::INVAL);
        }
        here = look(here.as_fd(), &name)?.fd;
    }
    Ok(here)
}

/// The id of the mount that `fd` is on, which no other has had before it, where the kernel has such ones.
pub(crate) fn lasting_id(fd: BorrowedFd<'_>) -> Result<u64> {
    chain::bindings::look(fd)?.mount.map_or_else(|| mount_id_by_proc(fd), Ok)
}

/// The id of the mount that `fd` is on, as mountinfo has it.
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> Result<u64> {
    let stat = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
        return Ok(stat.stx_mnt_id);
    }
    mount_id_by_proc(fd)
}

/// Before Linux 5.8.
fn mount_id_by_proc(fd: BorrowedFd<'_>) -> Result<u64> {
    let info = chain::proc::read(&format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let info = info.map_err(|e| e.errno.map_or(Errno::NOENT, Errno::from_raw_os_error))?;
    let id = chain::proc::status_field(&info, "mnt_id").and_then(|id| id.parse().ok());
    id.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> (Tree, Root) {
            let dir = std::env::temp_dir().join(format!("rootfs-prep-{name}-{}", std::process::id()));
            std::fs::DirBuilder::new().recursive(true).create(dir.join("root/a/b")).unwrap();
            let fd = openat(CWD, dir.join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            (Tree(dir), Root::new(fd))
        }

        fn root(&self, path: &str) -> PathBuf {
            self.0.join("root").join(path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn inode(fd: &OwnedFd) -> u64 {
        fstat(fd).unwrap().st_ino
    }

    /// Both ways must lead to the same: the kernel's resolution, and our own walk.
    fn same(root: &Root, path: &str, expected: &PathBuf) {
        let expected = std::fs::symlink_metadata(expected).unwrap().ino();
        assert_eq!(inode(&root.open(&path.into()).unwrap()), expected, "{path}");
        assert_eq!(inode(&root.walk(&path.into(), None, MOST_LINKS).unwrap()), expected, "{path}, walked");
    }

    #[test]
    fn links_stay_inside() {
        let (tree, root) = Tree::new("links");
        symlink("/a", tree.root("abs")).unwrap();
        symlink("../../../../../../a/b", tree.root("up")).unwrap();
        symlink("abs/b", tree.root("both")).unwrap();
        symlink("/", tree.root("a/top")).unwrap();
        std::fs::write(tree.root("a/file"), "").unwrap();
        same(&root, "/abs", &tree.root("a"));
        same(&root, "/up", &tree.root("a/b"));
        same(&root, "/both", &tree.root("a/b"));
        same(&root, "/a/top/a/top/both/../file", &tree.root("a/file"));
        same(&root, "/../../..", &tree.root(""));
        same(&root, "/", &tree.root(""));
    }

    #[test]
    fn what_is_missing_is_made_inside_wherever_a_link_points() {
        let (tree, root) = Tree::new("made");
        let outside = tree.0.join("outside");
        symlink(&outside, tree.root("escape")).unwrap();
        symlink("../../../new/place", tree.root("dangling")).unwrap();
        assert!(!root.make(&"/escape/x".into(), Make::Folder).unwrap().1);
        assert!(!root.make(&"/dangling".into(), Make::File).unwrap().1);
        assert!(!outside.exists());
        let inside = tree.root(outside.strip_prefix("/").unwrap().to_str().unwrap()).join("x");
        assert!(inside.is_dir() && tree.root("new/place").is_file());
        assert!(root.make(&"/dangling".into(), Make::File).unwrap().1);
        assert_eq!(root.make(&"/new/place/below".into(), Make::Folder).unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn both_ways_tell_the_same_mount() {
        let (_tree, root) = Tree::new("mount-id");
        let proc = openat(CWD, "/proc", OFlags::PATH, Mode::empty()).unwrap();
        for fd in [root.fd(), proc.as_fd()] {
            assert_eq!(mount_id(fd).unwrap(), mount_id_by_proc(fd).unwrap());
        }
        assert_ne!(mount_id(root.fd()).unwrap(), mount_id(proc.as_fd()).unwrap());
    }

    #[test]
    fn inside_goes_plain_ways_only() {
        let (tree, root) = Tree::new("inside");
        symlink("a", tree.root("l")).unwrap();
        assert_eq!(
            inode(&inside(root.fd(), &"/a/b".into()).unwrap()),
            std::fs::metadata(tree.root("a/b")).unwrap().ino()
        );
        assert!(inside(root.fd(), &"l/b".into()).is_err());
        assert_eq!(inside(root.fd(), &"a/..".into()).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn circles_end() {
        let (tree, root) = Tree::new("circle");
        symlink("y", tree.root("x")).unwrap();
        symlink("x", tree.root("y")).unwrap();
        assert_eq!(root.open(&"/x".into()).unwrap_err(), Errno::LOOP);
        assert_eq!(root.walk(&"/x/z".into(), Some(Make::Folder), MOST_LINKS).unwrap_err(), Errno::LOOP);
        assert_eq!(root.folder_without_links(&"/x".into()).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn nothing_is_made_in_the_hosts_own_root() {
        let (tree, _) = Tree::new("present");
        let fd = openat(CWD, tree.root(""), OFlags::PATH, Mode::empty()).unwrap();
        let mut root = Root::present(fd);
        assert_eq!(root.make(&"/new/x".into(), Make::Folder).unwrap_err(), Errno::NOENT);
        root.mounted(lasting_id(root.fd()).unwrap());
        root.make(&"/new/x".into(), Make::Folder).unwrap();
    }
}
