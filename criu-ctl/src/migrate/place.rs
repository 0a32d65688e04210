//! The destination: a folder that is empty or not there yet, and a network namespace.

use crate::folder;
use crate::namespaces;
use chain::error::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const NEW: &str = "new";

/// A folder that is all ours.
pub(crate) struct Place {
    path: PathBuf,
    was_there: bool,
}

impl Place {
    /// Takes it.
    pub(crate) fn take(path: &Path, doing: &str) -> Result<Place> {
        let was_there = path.exists();
        folder::make(path, doing)?;
        let place = Place { path: path.to_path_buf(), was_there };
        match place.entries(doing)?.first() {
            None => Ok(place),
            Some(name) => {
                let detail = format!("{} is in use: {} is in there", path.display(), name.display());
                Err(Error::new(Class::Conflict, doing, detail)
                    .cure("-D with a folder that is empty, or not there"))
            }
        }
    }

    /// Leaves it as it was found.
    pub(crate) fn clear(&self) -> Result<()> {
        let doing = "remove what came to the destination";
        let call = |path: &Path| format!("rmdir({})", path.display());
        if !self.was_there {
            return std::fs::remove_dir_all(&self.path).cannot(doing, call(&self.path));
        }
        for path in self.entries(doing)? {
            let folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            let gone = if folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            gone.cannot(doing, call(&path))?;
        }
        Ok(())
    }

    fn entries(&self, doing: &str) -> Result<Vec<PathBuf>> {
        let call = || format!("getdents({})", self.path.display());
        let entries = std::fs::read_dir(&self.path).cannot(doing, call())?;
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .cannot(doing, call())
    }
}

/// The network namespace that `--netns` names.
pub(crate) fn network(word: &Path) -> Result<OwnedFd> {
    if word == Path::new(NEW) {
        return namespaces::new_network();
    }
    let doing = format_args!("enter the network namespace {}", word.display());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let call = format!("open({})", word.display());
    let fd = openat(CWD, word, flags, Mode::empty()).cannot(doing, call)?;
    // Before anything is done: what is none cannot be entered.
    let kind = chain::sys::namespaces::kind_of(std::os::fd::AsFd::as_fd(&fd));
    if kind.ok() != Some(libc::CLONE_NEWNET) {
        return Err(Error::usage(doing, "it is no network namespace")
            .cure("--netns new, or a path as /run/netns/NAME"));
    }
    Ok(fd)
}
