//! What a layer brings itself: files made in the root, and files that are mounted, with their content in the layer.

use crate::build::{attach, clone, file_system, readable};
use crate::devices::may_make_in;
use crate::options::{self, Options};
use crate::place::Place;
use chain::bytes::Bytes;
use chain::state::write_all;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::fchdir;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const NEW: OFlags =
    OFlags::CREATE.union(OFlags::EXCL).union(OFlags::WRONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file of the root. One that is there already is somebody else's, and is not written to.
pub(crate) fn file(place: &Place, path: &Bytes, content: &[u8], mode: u32) -> Result<()> {
    let doing = format!("make the file {path}");
    let (dir, name) = place.root.parent(path).cannot(&doing, format_args!("openat2({path})"))?;
    may_make_in(place, dir.as_fd(), &doing)?;
    match openat(&dir, name.as_slice(), NEW, Mode::RUSR | Mode::WUSR) {
        Ok(file) => fill(&file, content, mode).cannot(&doing, format_args!("write({path})")),
        Err(Errno::EXIST) => Err(Error::new(Class::Conflict, doing, "something is there already")),
        Err(e) => Err(Error::call(&doing, format_args!("openat({path})"), e)),
    }
}

fn fill(file: &OwnedFd, content: &[u8], mode: u32) -> rustix::io::Result<()> {
    write_all(file.as_fd(), content)?;
    fchmod(file, Mode::from_raw_mode(mode))
}

/// A mount of one file with this content, attached nowhere.
pub(crate) fn mount(place: &Place, content: &[u8], mode: u32, doing: &str) -> Result<OwnedFd> {
    let store = Store::new(place, doing)?;
    let file = openat(&store.inside, c"data", NEW, Mode::RUSR | Mode::WUSR).cannot(doing, "openat(data)")?;
    fill(&file, content, mode).cannot(doing, "write(data)")?;
    let mount = clone(file.as_fd(), false, doing)?;
    store.detach(doing)?;
    Ok(mount)
}

/// A tmpfs that is seen for a moment only, on the root itself: a part of one can be mounted only while it is attached
/// (before Linux 6.15), and lives on when it is not.
pub(crate) struct Store {
    /// Its root, for reading.
    inside: OwnedFd,
}

impl Store {
    /// Attaches one.
    pub(crate) fn new(place: &Place, doing: &str) -> Result<Store> {
        let options = Options { data: vec!["mode=755".into()], ..options::parse(&[]) };
        let tmpfs = file_system("tmpfs", Some(&"tmpfs".into()), &options, doing)?;
        attach(tmpfs.as_fd(), place.root.fd(), doing, &"/".into())?;
        Ok(Store { inside: readable(tmpfs.as_fd()).cannot(doing, "openat(tmpfs)")? })
    }

    /// Makes a folder in it; a path that leads there while this is open.
    pub(crate) fn folder(&self, name: &str, doing: &str) -> Result<String> {
        mkdirat(&self.inside, name, Mode::from_raw_mode(0o755)).cannot(doing, "mkdirat(tmpfs)")?;
        Ok(format!("/proc/self/fd/{}/{name}", self.inside.as_raw_fd()))
    }

    /// Takes it away again.
    pub(crate) fn detach(self, doing: &str) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let back = openat(CWD, ".", flags, Mode::empty()).cannot(doing, "open(.)")?;
        fchdir(&self.inside).cannot(doing, "fchdir(tmpfs)")?;
        let result = unmount(".", UnmountFlags::DETACH).cannot(doing, "umount2(tmpfs)");
        fchdir(back).cannot(doing, "fchdir(back)")?;
        result
    }
}
