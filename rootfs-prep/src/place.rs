//! The root under construction: what is mounted in it so far, and what is left for the end.

use crate::build;
use crate::options::Attrs;
use crate::root::Root;
use chain::Result;
use chain::bytes::Bytes;
use chain::mapped::Spaces;
use std::os::fd::{AsFd, OwnedFd};

/// See the module.
pub(crate) struct Place {
    /// Where everything is resolved.
    pub(crate) root: Root,
    /// In order.
    pub(crate) mounted: Vec<Mounted>,
    /// What was done less of, because it may be.
    pub(crate) degraded: Vec<String>,
    /// SELinux label of file systems.
    pub(crate) label: Option<String>,
    /// User namespaces that mounts are mapped by.
    pub(crate) spaces: Spaces,
}

/// One mount of ours.
pub(crate) struct Mounted {
    /// Where it was asked for, a clean path.
    pub(crate) at: Bytes,
    /// Its root.
    pub(crate) fd: OwnedFd,
    /// Its id.
    pub(crate) id: u64,
    /// Its type, or `bind`.
    pub(crate) kind: String,
    /// The flags that it must have in the end.
    pub(crate) asked: Attrs,
    /// Becomes read-only when all is in it: the file system too, if it is ours.
    pub(crate) late: Option<Late>,
}

/// See [`Mounted::late`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Mount and file system.
    FileSystem,
    /// The mount alone.
    Mount,
}

impl Place {
    /// With nothing in it.
    pub(crate) fn new(root: Root, label: Option<String>) -> Place {
        Place { root, mounted: Vec::new(), degraded: Vec::new(), label, spaces: Spaces::default() }
    }

    /// Writes a mount of ours down.
    pub(crate) fn keep(
        &mut self,
        at: &Bytes,
        fd: OwnedFd,
        kind: &str,
        asked: Attrs,
        late: Option<Late>,
    ) -> Result<()> {
        let id = build::id(fd.as_fd(), &format!("find the mount on {at}"))?;
        self.root.mounted(id);
        self.mounted.push(Mounted { at: at.clone(), fd, id, kind: kind.to_string(), asked, late });
        Ok(())
    }
}
