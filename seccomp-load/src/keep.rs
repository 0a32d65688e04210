//! The file that is learned into: found writable before anything runs, written beside itself, and put in place at once.

use chain::state::write_all;
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fsync, geteuid, unlinkat};
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// More than any profile.
const LONGEST: u64 = 4 << 20;

/// A file by its folder.
pub(crate) struct Target {
    folder: OwnedFd,
    name: OsString,
    shown: String,
}

impl Target {
    /// Opens the folder, and proves that files can be made there.
    pub(crate) fn open(path: &Path) -> Result<Target> {
        let shown = path.display().to_string();
        let doing = format_args!("write {shown}");
        let name = path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"));
        let name = name.ok_or_else(|| Error::usage(doing, "it names no file"))?.to_owned();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(AT_FDCWD, folder, flags, Mode::empty())
            .cannot(doing, format_args!("open({})", folder.display()))?;
        let target = Target { folder, name, shown };
        drop(target.beside()?);
        target.remove(&target.spare())?;
        Ok(target)
    }

    /// As it was written on the command line.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Keeps other runs that add to a file of this folder out until the answer is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<OwnedFd>> {
        let doing = format_args!("write {}", self.shown);
        // A lock belongs to what was opened, not to the fd.
        let own =
            openat(&self.folder, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .cannot(doing, "open(.)")?;
        Flock::lock(own, FlockArg::LockExclusive).map_err(|(_, e)| Error::call(doing, "flock", e))
    }

    /// What the file holds; None where there is none, or an empty one.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        let doing = format_args!("add to {}", self.shown);
        let Some(fd) = self.there()? else { return Ok(None) };
        let mut text = Vec::new();
        std::fs::File::from(fd).take(LONGEST + 1).read_to_end(&mut text).cannot(doing, "read")?;
        if text.len() as u64 > LONGEST {
            return Err(Error::usage(doing, "it holds more than 4 MiB"));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The file, if there is one: no link, no device, and nobody else's, who could have put anything into it.
    fn there(&self) -> Result<Option<OwnedFd>> {
        let doing = format_args!("add to {}", self.shown);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.folder, self.name.as_os_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                return Err(Error::usage(doing, "it is a symbolic link").cure("what it points to"));
            }
            Err(e) => {
                return Err(Error::call(doing, format_args!("open({})", self.shown), e));
            }
        };
        let stat = fstat(&fd).cannot(doing, "fstat")?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(Error::usage(doing, "it is no file"));
        }
        if stat.st_uid != geteuid().as_raw() {
            let detail = format!("it belongs to user {}", stat.st_uid);
            return Err(Error::new(Class::Denied, doing, detail));
        }
        Ok(Some(fd))
    }

    /// Puts `text` in its place, all or nothing. A file that was there keeps its mode.
    pub(crate) fn write(&self, text: &[u8]) -> Result<()> {
        let doing = format!("write {}", self.shown);
        let spare = self.spare();
        let fd = self.beside()?;
        let written = self.fill(&fd, text, &doing).and_then(|()| {
            renameat(&self.folder, spare.as_os_str(), &self.folder, self.name.as_os_str())
                .cannot(&doing, format_args!("rename({})", self.shown))
        });
        if written.is_err() {
            self.remove(&spare)?;
        }
        written
    }

    fn fill(&self, fd: &OwnedFd, text: &[u8], doing: &str) -> Result<()> {
        if let Some(before) = self.there()? {
            let mode = fstat(&before).cannot(doing, "fstat")?.st_mode;
            fchmod(fd, Mode::from_bits_truncate(mode & 0o777)).cannot(doing, "fchmod")?;
        }
        write_all(fd.as_fd(), text).cannot(doing, "write")?;
        fsync(fd).cannot(doing, "fsync")
    }

    /// A new file in the same folder.
    fn beside(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.folder, self.spare().as_os_str(), flags, Mode::from_bits_truncate(0o666))
            .cannot(format_args!("write {}", self.shown), format_args!("open({})", self.spare().display()))
    }

    fn spare(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{}", std::process::id()));
        name
    }

    fn remove(&self, name: &OsString) -> Result<()> {
        unlinkat(&self.folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            .cannot(format_args!("write {}", self.shown), format_args!("unlink({})", name.display()))
    }
}
