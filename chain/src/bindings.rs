//! What is bound: paths of the host, but for those that lead through the folder that becomes the root. What is behind
//! that folder is the root's, where links of an image wait and where earlier mounts of the same config are: it is looked
//! for in the new root, when its turn comes, and nowhere else.

use crate::bytes::Bytes;
use crate::sys::mount::{MountAttr, open_tree_attr};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstatfs, openat, openat2,
    readlinkat, statx,
};
use rustix::io::{Errno, Result};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::path::Arg;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// PROC_SUPER_MAGIC of linux/magic.h.
const PROC_MAGIC: i64 = 0x9fa0;

/// What one look at a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: FileType,
    /// The id of its mount, see [`mount_of`].
    pub mount: Option<u64>,
    pub(crate) file: (u32, u32, u64),
}

/// What to ask statx(2) for [`mount_of`].
pub const MOUNT: StatxFlags = StatxFlags::MNT_ID.union(MNT_ID_UNIQUE);

/// STATX_MNT_ID_UNIQUE of linux/stat.h, Linux 6.8.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The id of the mount: one that no other ever has, as listmount(2) knows it; before Linux 6.8 the one of mountinfo,
/// which is smaller than any of those; before 5.8 none is told.
pub fn mount_of(stat: &Statx) -> Option<u64> {
    StatxFlags::from_bits_retain(stat.stx_mask).intersects(MOUNT).then_some(stat.stx_mnt_id)
}

/// Looks.
pub fn look(fd: BorrowedFd<'_>) -> Result<Seen> {
    let stat = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE | StatxFlags::INO | MOUNT)?;
    Ok(Seen {
        kind: FileType::from_raw_mode(stat.stx_mode.into()),
        mount: mount_of(&stat),
        file: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
    })
}

/// How a source is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taking {
    /// With all that is mounted below.
    pub recursive: bool,
    /// By a link in its last place, or that link itself.
    pub follow: bool,
    /// Flags that are to be on the clone, on all of it if it is recursive, where one call can do both.
    pub attr: Option<MountAttr>,
}

/// One source.
pub enum Source {
    /// A mount of it that is attached nowhere, and whether the flags are on it.
    Clone(OwnedFd, Seen, bool),
    /// What is at this path of the new root.
    Inside(Bytes),
}

/// Finds sources.
#[derive(Default)]
pub struct Sources {
    root: Option<Folder>,
    /// The way to the folder that the last source was in.
    last: Option<(Vec<u8>, Way)>,
    /// Cloning and setting flags in one call failed once. Whatever the reason, the two calls it stands for tell it.
    in_two: bool,
}

struct Folder {
    /// As it is on its own mount, and as it is where the new root was attached on it.
    seen: Vec<Seen>,
    /// Its path without links: what is reached without links, and is not below it by name, is not below it.
    path: Option<Vec<u8>>,
}

enum Way {
    To(OwnedFd),
    Through(Bytes),
}

impl Sources {
    /// With `root` for the folder that becomes the root. The host's own root is none: whoever makes his root of that means
    /// the host by its paths.
    pub fn around(root: BorrowedFd<'_>) -> Result<Sources> {
        let seen = look(root)?;
        if look(openat(CWD, "/", FOLDER, Mode::empty())?.as_fd())?.file == seen.file {
            return Ok(Sources::default());
        }
        // Told by the kernel, for its name may lead elsewhere by now.
        let link = format!("/proc/self/fd/{}", root.as_raw_fd());
        let path = readlinkat(CWD, link, Vec::new()).map(|path| path.into_bytes());
        let path = path.ok().filter(|path| path.starts_with(b"/"));
        Ok(Sources { root: Some(Folder { seen: vec![seen], path }), ..Sources::default() })
    }

    /// The new root has been attached on that folder: a path of the host leads to it.
    pub fn attached(&mut self, root: BorrowedFd<'_>) -> Result<()> {
        self.last = None;
        match &mut self.root {
            Some(folder) => look(root).map(|seen| folder.seen.push(seen)),
            None => Ok(()),
        }
    }

    /// What is at an absolute path of the host.
    pub fn take(&mut self, path: &Bytes, how: &Taking) -> Result<Source> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, how.recursive);
        let follow = how.follow;
        let Some(root) = &self.root else {
            flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, !follow);
            let (fd, dressed) = clone(CWD, &path.0, flags, how, &mut self.in_two)?;
            return look(fd.as_fd()).map(|seen| Source::Clone(fd, seen, dressed));
        };
        let at = path.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let (above, name) = (&path.0[..at], &path.0[(at + 1).min(path.0.len())..]);
        if !matches!(name, b"" | b"." | b"..") {
            if self.last.as_ref().is_none_or(|(last, _)| last != above) {
                self.last = Some((above.to_vec(), root.way_to(above)?));
            }
            match &self.last {
                Some((_, Way::Through(rest))) => return Ok(Source::Inside(joined(rest, name))),
                Some((_, Way::To(folder))) => {
                    let nofollow = flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
                    let (fd, dressed) = clone(folder.as_fd(), name, nofollow, how, &mut self.in_two)?;
                    let seen = look(fd.as_fd())?;
                    let is_link = follow && seen.kind == FileType::Symlink;
                    if !is_link && root.seen.iter().all(|root| root.file != seen.file) {
                        return Ok(Source::Clone(fd, seen, dressed));
                    }
                }
                None => {}
            }
        }
        match root.walk(&path.0, true)? {
            Way::Through(rest) => Ok(Source::Inside(rest)),
            Way::To(fd) => {
                let fd = open_tree(fd, c"", flags | OpenTreeFlags::AT_EMPTY_PATH)?;
                look(fd.as_fd()).map(|seen| Source::Clone(fd, seen, false))
            }
        }
    }

    /// The way of `path` up to its last component, which is not looked at: None if it does not lead through the root.
    pub fn inside(&mut self, path: &Bytes) -> Result<Option<Bytes>> {
        let Some(root) = &self.root else { return Ok(None) };
        let at = path.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Ok(match root.way_to(&path.0[..at])? {
            Way::Through(rest) => Some(joined(&rest, &path.0[at + 1..])),
            Way::To(_) => None,
        })
    }
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder at a path without links; None if there is one, or if this kernel cannot tell (before Linux 5.6).
fn plain_folder(path: &[u8]) -> Result<Option<OwnedFd>> {
    let path = if path.is_empty() { b"/" } else { path };
    match openat2(CWD, path, FOLDER, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::LOOP | Errno::NOSYS) => Ok(None),
        Err(e) => Err(e),
    }
}

fn clone(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OpenTreeFlags,
    how: &Taking,
    in_two: &mut bool,
) -> Result<(OwnedFd, bool)> {
    if let (Some(attr), false) = (&how.attr, *in_two) {
        let call = |path: &CStr| Ok(open_tree_attr(dir, path, flags.bits(), attr));
        match path.into_with_c_str(call)? {
            Ok(fd) => return Ok((fd, true)),
            Err(_) => *in_two = true,
        }
    }
    open_tree(dir, path, flags).map(|fd| (fd, false))
}

impl Folder {
    fn way_to(&self, path: &[u8]) -> Result<Way> {
        let dots = components(path).any(|name| name == b"..");
        let below = |root: &Vec<u8>| plain(path).starts_with(root);
        if !dots
            && self.path.as_ref().is_some_and(|root| !below(root))
            && let Some(fd) = plain_folder(path)?
        {
            return Ok(Way::To(fd));
        }
        self.walk(path, true)
    }

    fn is(&self, fd: &OwnedFd) -> Result<bool> {
        let seen = look(fd.as_fd())?;
        Ok(self.seen.iter().any(|root| root.file == seen.file && root.mount == seen.mount))
    }

    /// Goes component by component as the kernel would, and looks whether it stands in the root's folder.
    fn walk(&self, path: &[u8], follow: bool) -> Result<Way> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut todo: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut here = openat(CWD, "/", FOLDER, Mode::empty())?;
        let mut links = MOST_LINKS;
        while let Some(name) = todo.pop_front() {
            here = match openat(&here, name.as_slice(), flags | OFlags::DIRECTORY, Mode::empty()) {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let fd = openat(&here, name.as_slice(), flags, Mode::empty())?;
                    if look(fd.as_fd())?.kind != FileType::Symlink || todo.is_empty() && !follow {
                        return if todo.is_empty() { Ok(Way::To(fd)) } else { Err(Errno::NOTDIR) };
                    }
                    links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                    // Links of a procfs are no words: the kernel alone knows where they lead.
                    if fstatfs(&fd)?.f_type as i64 == PROC_MAGIC {
                        openat(&here, name.as_slice(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?
                    } else {
                        let target = readlinkat(&fd, c"", Vec::new())?.into_bytes();
                        for part in components(&target).rev() {
                            todo.push_front(part.to_vec());
                        }
                        match target.starts_with(b"/") {
                            true => openat(CWD, "/", FOLDER, Mode::empty())?,
                            false => here,
                        }
                    }
                }
                other => other?,
            };
            if self.is(&here)? {
                match leaves(&todo) {
                    // Out of the root again: by its own folder, whatever links are in there.
                    Some(at) => {
                        todo.drain(..=at);
                        here = openat(&here, "..", FOLDER, Mode::empty())?;
                    }
                    None => {
                        return Ok(Way::Through(todo.iter().fold("/".into(), |all, one| joined(&all, one))));
                    }
                }
            }
        }
        Ok(Way::To(here))
    }
}

/// At which component the way leads out above where it began.
fn leaves(todo: &VecDeque<Vec<u8>>) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, name) in todo.iter().enumerate() {
        if name != b".." {
            depth += 1;
        } else if depth == 0 {
            return Some(at);
        } else {
            depth -= 1;
        }
    }
    None
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

fn plain(path: &[u8]) -> Vec<u8> {
    components(path).flat_map(|name| [b"/", name].concat()).collect()
}

fn joined(above: &Bytes, name: &[u8]) -> Bytes {
    let mut whole = if above.0 == b"/" { Vec::new() } else { above.0.clone() };
    whole.push(b'/');
    whole.extend_from_slice(name);
    Bytes(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn tree(name: &str) -> (Tree, Folder) {
        let dir = std::env::temp_dir().join(format!("chain-bindings-{name}-{}", std::process::id()));
        for folder in ["root/a/b", "beside/c"] {
            std::fs::DirBuilder::new().recursive(true).create(dir.join(folder)).unwrap();
        }
        let root = openat(CWD, dir.join("root"), FOLDER, Mode::empty()).unwrap();
        let sources = Sources::around(root.as_fd()).unwrap();
        (Tree(dir), sources.root.unwrap())
    }

    /// Both ways: by the quick look at the words, and step by step.
    #[track_caller]
    fn leads(folder: &Folder, path: &std::path::Path, inside: Option<&str>) {
        let path = Bytes::from(path);
        for way in [folder.way_to(&path.0).unwrap(), folder.walk(&path.0, true).unwrap()] {
            match (way, inside) {
                (Way::Through(rest), Some(inside)) => assert_eq!(rest, inside.into(), "{path}"),
                (Way::To(_), None) => {}
                (Way::Through(rest), None) => panic!("{path} is not inside, but {rest}"),
                (Way::To(_), Some(inside)) => panic!("{path} is inside, at {inside}"),
            }
        }
    }

    #[test]
    fn what_is_behind_the_folder_is_inside_whatever_way_leads_there() {
        let (tree, folder) = tree("way");
        let dir = &tree.0;
        symlink("root", dir.join("link")).unwrap();
        symlink(dir.join("root/a"), dir.join("beside/deep")).unwrap();
        // A link in the root leads nowhere: it is not looked at.
        symlink("/etc", dir.join("root/out")).unwrap();
        leads(&folder, &dir.join("root"), Some("/"));
        leads(&folder, &dir.join("root/a/b"), Some("/a/b"));
        leads(&folder, &dir.join("root/none"), Some("/none"));
        leads(&folder, &dir.join("root/out/passwd"), Some("/out/passwd"));
        leads(&folder, &dir.join("link/a"), Some("/a"));
        leads(&folder, &dir.join("beside/deep/b"), Some("/a/b"));
        leads(&folder, &dir.join("beside/../root//a/./b/"), Some("/a/b"));
        leads(&folder, &dir.join("./root//./a"), Some("/a"));
        leads(&folder, &dir.join("root/a/../b"), Some("/a/../b"));
        leads(&folder, &dir.join("beside/c"), None);
        leads(&folder, &dir.join("root/out/../../beside/c"), None);
        leads(&folder, &dir.join("root/a/b/../../../root/x"), Some("/x"));
        leads(&folder, std::path::Path::new("/proc/self/fd"), None);
        leads(&folder, std::path::Path::new("/"), None);
    }

    #[test]
    fn a_way_that_is_none_is_an_error() {
        let (tree, folder) = tree("none");
        std::fs::write(tree.0.join("file"), "").unwrap();
        symlink("circle", tree.0.join("circle")).unwrap();
        for (path, errno) in [
            ("no/x", Errno::NOENT),
            ("file/x", Errno::NOTDIR),
            ("circle/x", Errno::LOOP),
            ("circle", Errno::LOOP),
        ] {
            let path = Bytes::from(tree.0.join(path).as_path());
            assert_eq!(folder.walk(&path.0, true).err(), Some(errno), "{path}");
        }
    }
}
