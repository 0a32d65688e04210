//! A container in the making, and in the unmaking: a folder with a name that no id can have, `~ID`.
//!
//! Whoever works on one holds its lock, flock(2) on the folder, which the kernel lets go of when the last holder ends,
//! however it ends. So there is one create of an id at a time, and a folder that nobody holds was left by somebody who
//! was killed: the next create or delete sweeps it up.

use crate::record::{Record, this_boot};
use chain::state::write_all;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, fstatfs, fsync, mkdirat, openat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// How long `delete --force` waits for a create of the same id to come to an end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the draft of `id`. Where the `~` makes it longer than a file's name may be, a digest stands for the
/// rest, behind another `~`.
pub(crate) fn name(id: &str) -> String {
    if id.len() < 255 {
        return format!("~{id}");
    }
    // FNV-1a: two such ids at once are rare, and one name for both would only have one of them wait.
    let digest = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("~{}~{digest:016x}", &id[..200])
}

/// See the module.
pub(crate) struct Draft {
    root: OwnedFd,
    /// Its folder, locked.
    pub(crate) dir: OwnedFd,
    id: String,
    /// On a disk: what is written has to be there after a power failure, or not at all. tmpfs has nothing to wait for,
    /// and a disk takes milliseconds.
    durable: bool,
}

impl Draft {
    /// Makes the folder.
    pub(crate) fn make(root: OwnedFd, id: &str) -> Result<Draft> {
        let doing = format!("make the container {id}");
        let name = name(id);
        for _ in 0..100 {
            if is_there(root.as_fd(), id)? {
                return Err(exists(id));
            }
            match mkdirat(&root, &name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) if sweep(root.as_fd(), &name)? => continue,
                Err(Errno::EXIST) => return Err(exists(id).why("another create of it is at work")),
                Err(e) => return Err(Error::call(doing, format_args!("mkdir({name})"), e)),
            }
            let locked = lock(root.as_fd(), &name, FlockOperation::LockExclusive).or_else(|error| {
                remove(root.as_fd(), &name, &doing)?;
                Err(error)
            });
            let Some(dir) = locked? else { continue };
            // Somebody else's may have come to its end between our looking and our making.
            if is_there(root.as_fd(), id)? {
                remove(root.as_fd(), &name, &doing)?;
                return Err(exists(id));
            }
            let durable = !MEMORY.contains(&(fstatfs(&root).cannot(doing, "fstatfs")?.f_type as u64));
            return Ok(Draft { root, dir, id: id.to_string(), durable });
        }
        Err(Error::new(Class::Conflict, doing, "its folder is removed again and again"))
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let doing = format_args!("write {name} into the state");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))
            .cannot(doing, format_args!("open({name})"))?;
        write_all(fd.as_fd(), content).cannot(doing, format_args!("write({name})"))?;
        self.sync(fd.as_fd(), name)
    }

    /// From here on the container exists: it has its name when all that is in it has reached the disk.
    pub(crate) fn commit(&self, record: &mut Record) -> Result<()> {
        let doing = format_args!("make the container {}", self.id);
        record.boot = self.durable.then(this_boot).transpose()?;
        let text = serde_json::to_vec(record).map_err(|e| Error::new(Class::Internal, doing, e))?;
        self.write("state.json", &text)?;
        self.sync(self.dir.as_fd(), "its folder")?;
        match rename(self.root.as_fd(), &name(&self.id), &self.id) {
            Err(Errno::EXIST) => Err(exists(&self.id)),
            other => other.cannot(doing, format_args!("rename({})", self.id)),
        }?;
        self.sync(self.root.as_fd(), "the state folder")
    }

    /// It does not exist after all.
    pub(crate) fn take_back(&self) -> Result<()> {
        rename(self.root.as_fd(), &self.id, &name(&self.id))
            .cannot(format_args!("unmake the container {}", self.id), format_args!("rename({})", self.id))
    }

    fn sync(&self, fd: BorrowedFd<'_>, what: &str) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        fsync(fd)
            .cannot(format_args!("bring {what} of {} to the disk", self.id), format_args!("fsync({what})"))
    }
}

fn exists(id: &str) -> Error {
    Error::new(
        Class::Conflict,
        format_args!("make the container {id}"),
        "container with given ID already exists",
    )
}

fn rename(root: BorrowedFd<'_>, from: &str, to: &str) -> rustix::io::Result<()> {
    renameat_with(root, from, root, to, RenameFlags::NOREPLACE)
}

/// Takes a container away from its readers at once, then removes its folder. `dir` is that folder, locked.
pub(crate) fn bury(root: BorrowedFd<'_>, id: &str, doing: &str) -> Result<()> {
    let name = name(id);
    loop {
        match rename(root, id, &name) {
            // A create that is about to see that the id is taken, or what a killed one left.
            Err(Errno::EXIST) => settle(root, id)?,
            other => break other.cannot(doing, format_args!("rename({id})"))?,
        }
    }
    remove(root, &name, doing)
}

/// Waits until nobody makes or unmakes `id`, and sweeps up what somebody who was killed has left.
pub(crate) fn settle(root: BorrowedFd<'_>, id: &str) -> Result<()> {
    let (name, end) = (name(id), Instant::now() + PATIENCE);
    let mut pause = Duration::from_micros(100);
    while is_there(root, &name)? && !sweep(root, &name)? {
        if Instant::now() > end {
            let seconds = PATIENCE.as_secs();
            let detail = format!("a create of it is at work, and still is after {seconds} s");
            return Err(Error::new(Class::Conflict, format_args!("delete {id}"), detail));
        }
        // flock(2) knows no time limit.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}

/// Sweeps up what was left of any id.
pub(crate) fn sweep_all(root: BorrowedFd<'_>) -> Result<()> {
    for entry in Dir::read_from(root).cannot("look into the state", "getdents")? {
        let entry = entry.cannot("look into the state", "getdents")?;
        if let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with('~')) {
            sweep(root, name)?;
        }
    }
    Ok(())
}

/// Removes a draft that nobody holds; false if somebody does, or if it is none.
///
/// Nothing else is left of it: its chain ends when the meeting socket does, and with it the cgroup's last process. An
/// empty group of its name is used by the next container of that id, and removed with it.
pub(crate) fn sweep(root: BorrowedFd<'_>, name: &str) -> Result<bool> {
    match lock(root, name, FlockOperation::NonBlockingLockExclusive) {
        // The lock is held until the folder is gone.
        Ok(Some(_held)) => remove(root, name, "sweep up what a killed runner left").map(|()| true),
        Ok(None) => Ok(true),
        Err(e) if e.errno().is_some_and(|e| NOT_OURS.contains(&e)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Somebody holds it; it is no folder; it is another user's.
const NOT_OURS: [nix::errno::Errno; 4] = [
    nix::errno::Errno::EWOULDBLOCK,
    nix::errno::Errno::ENOTDIR,
    nix::errno::Errno::ELOOP,
    nix::errno::Errno::EACCES,
];

/// Opens a folder and locks it; None if it is gone, or another one by then.
fn lock(root: BorrowedFd<'_>, name: &str, how: FlockOperation) -> Result<Option<OwnedFd>> {
    let doing = format_args!("lock {name} in the state");
    let dir = match open_dir(root, name) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.cannot(doing, format_args!("open({name})"))?,
    };
    flock(&dir, how).cannot(doing, format_args!("flock({name})"))?;
    Ok(is_at(root, name, dir.as_fd())?.then_some(dir))
}

/// Opens a folder of the state, and no symlink.
pub(crate) fn open_dir(at: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// Is there anything of this name? Not by access(2): to look at a link itself it wants faccessat2, of Linux 5.8.
pub(crate) fn is_there(root: BorrowedFd<'_>, name: &str) -> Result<bool> {
    match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        other => other.map(|_| true).cannot("look into the state", format_args!("fstatat({name})")),
    }
}

/// Is that very folder of this name?
pub(crate) fn is_at(root: BorrowedFd<'_>, name: &str, dir: BorrowedFd<'_>) -> Result<bool> {
    let found = match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.cannot("look into the state", format_args!("fstatat({name})"))?,
    };
    let own = fstat(dir).cannot("look into the state", "fstat")?;
    Ok((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino))
}

/// Removes a container's folder and all in it.
pub(crate) fn remove(root: BorrowedFd<'_>, name: &str, doing: &str) -> Result<()> {
    let dir = match open_dir(root, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.cannot(doing, format_args!("open({name})"))?,
    };
    for entry in Dir::read_from(&dir).cannot(doing, "getdents")? {
        let entry = entry.cannot(doing, "getdents")?;
        let file = entry.file_name();
        if file != c"." && file != c".." {
            match unlinkat(&dir, file, AtFlags::empty()) {
                Err(Errno::ISDIR) => remove(dir.as_fd(), &file.to_string_lossy(), doing)?,
                other => other.cannot(doing, format_args!("unlink({})", file.to_string_lossy()))?,
            }
        }
    }
    unlinkat(root, name, AtFlags::REMOVEDIR).cannot(doing, format_args!("rmdir({name})"))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_draft_has_a_files_name_that_is_no_id() {
        for length in [1, 200, 254, 255] {
            let name = name(&"a".repeat(length));
            assert!(name.starts_with('~') && name.len() <= 255 && crate::id::check(&name).is_err());
        }
        assert_ne!(name(&"a".repeat(255)), name(&("a".repeat(254) + "b")));
    }
}
