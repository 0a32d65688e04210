//! Whose images are, for a tree in a user namespace: criu reads most of them as root of that namespace, who outside is a
//! user that may not look into the folder.

use crate::folder;
use crate::show::entries;
use chain::error::{Cannot, Class, Error, Result};
use chain::mapped::{Maps, Spaces, map};
use chain::oci::IdMapping;
use prost::Message;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, openat, readlinkat, statat};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The link by which criu finds the images of the round before.
const PARENT: &str = "parent";

/// More than a namespace's maps can be.
const MOST: u64 = 1 << 16;

/// Of `userns_entry` its users.
#[derive(Clone, PartialEq, Message)]
struct Space {
    #[prost(message, repeated, tag = "1")]
    uids: Vec<Extent>,
}

/// `uid_gid_extent`.
#[derive(Clone, PartialEq, Message)]
struct Extent {
    #[prost(uint32, tag = "1")]
    inside: u32,
    #[prost(uint32, tag = "2")]
    outside: u32,
    #[prost(uint32, tag = "3")]
    count: u32,
}

/// Who outside is root of the tree's user namespace. None where it has none of its own.
fn root_of(images: BorrowedFd<'_>, doing: &str) -> Result<Option<u32>> {
    let Some(name) = folder::of_kind(images, "userns", doing)?.pop() else { return Ok(None) };
    let text = folder::read_regular(images, &name, MOST, doing)?.unwrap_or_default();
    let wrong = |detail: &str| Error::new(Class::Conflict, doing, format_args!("{name}: {detail}"));
    let space = entries(&text).next().ok_or_else(|| wrong("there is nothing in it"))?;
    let space = Space::decode(space).map_err(|e| wrong(&e.to_string()))?;
    Ok(space.uids.iter().find(|m| m.inside == 0 && m.count > 0).map(|m| m.outside))
}

/// The folder on a mount of its own that is attached nowhere, on which its owner's files are that root's: criu alone has it,
/// and only until the tree goes on. None where the folder itself will do.
///
/// Before the namespace has its maps, criu's first process is still our user there, without any capability, and reads the
/// clocks. On that mount it is none but one of our group, so these are for the group as well.
pub(crate) fn readable(images: &OwnedFd, doing: &str) -> Result<Option<OwnedFd>> {
    let stat = fstat(images).cannot(doing, "fstat")?;
    let Some(root) = root_of(images.as_fd(), doing)?.filter(|uid| ![0, stat.st_uid].contains(uid)) else {
        return Ok(None);
    };
    let one = |inside: u32, outside: u32| vec![IdMapping { container_id: inside, host_id: outside, size: 1 }];
    let group = rustix::process::getegid().as_raw();
    let maps = Maps { uids: one(stat.st_uid, root), gids: one(stat.st_gid, group) };
    for_the_group(images, doing)?;
    let mut spaces = Spaces::default();
    let mapped = on_own_mount(images, doing).and_then(|(tree, below)| {
        map(tree.as_fd(), spaces.of(&maps, doing)?, false, doing)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&tree, below.as_c_str(), flags, Mode::empty()).cannot(doing, "open(images)")
    });
    match mapped {
        // Open to everybody, it needs no other owner.
        Err(error) if error.class == Class::Unsupported && stat.st_mode & 0o5 == 0o5 => Ok(None),
        Err(error) if error.class == Class::Unsupported => Err(error
            .why("root of the tree's user namespace is not root outside, and may not read the images")
            .cure("move them to a file system with idmapped mounts: ext4, xfs, btrfs, tmpfs")),
        other => other.map(Some),
    }
}

fn for_the_group(images: &OwnedFd, doing: &str) -> Result<()> {
    let more = |fd: &OwnedFd, bits: u32, name: &str| {
        let mode = fstat(fd).cannot(doing, format_args!("fstat({name})"))?.st_mode & 0o7777;
        if mode & bits == bits {
            return Ok(());
        }
        fchmod(fd, Mode::from_raw_mode(mode | bits)).cannot(doing, format_args!("fchmod({name})"))
    };
    for name in folder::of_kind(images.as_fd(), "timens", doing)? {
        if let Some(clocks) = folder::open_regular(images.as_fd(), &name, MOST, doing)? {
            more(&clocks, 0o040, &name)?;
        }
    }
    more(images, 0o010, "images")
}

/// A mount of the folder, and where in it that is. Images of a later round lead to those before by a link like `../1`: then
/// of the folder that both are in.
fn on_own_mount(images: &OwnedFd, doing: &str) -> Result<(OwnedFd, CString)> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if statat(images, PARENT, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        let tree = open_tree(images, c"", flags | OpenTreeFlags::AT_EMPTY_PATH)
            .cannot(doing, "open_tree(images)")?;
        return Ok((tree, c".".into()));
    }
    let path = readlinkat(CWD, format!("/proc/self/fd/{}", images.as_raw_fd()), Vec::new())
        .cannot(doing, "readlink(images)")?;
    let name = Path::new(OsStr::from_bytes(path.as_bytes())).file_name().unwrap_or(OsStr::new("."));
    let name =
        CString::new(name.to_os_string().into_vec()).map_err(|e| Error::new(Class::Internal, doing, e))?;
    let tree = open_tree(images, c"..", flags).cannot(doing, "open_tree(images/..)")?;
    Ok((tree, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_outside_is_who_the_maps_say() {
        let dir = catena_tests::TempDir::new();
        let open = || folder::open(dir.path(), "a test").unwrap();
        assert_eq!(root_of(open().as_fd(), "a test").unwrap(), None);
        let space = Space { uids: vec![Extent { inside: 0, outside: 1000, count: 10 }] }.encode_to_vec();
        let size = u32::try_from(space.len()).unwrap().to_le_bytes();
        dir.file("userns-10.img", "");
        assert!(root_of(open().as_fd(), "a test").is_err());
        std::fs::write(dir.join("userns-10.img"), [&[0; 8], size.as_slice(), &space].concat()).unwrap();
        assert_eq!(root_of(open().as_fd(), "a test").unwrap(), Some(1000));
    }
}
