//! The root under construction: what is mounted in it so far, and what is left for the end.

use crate::build;
use crate::options::Attrs;
use crate::path::above;
use crate::root::Root;
use chain::Result;
use chain::bindings::Sources;
use chain::bytes::Bytes;
use chain::mapped::Spaces;
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    /// What is bound.
    pub(crate) sources: Sources,
    /// Who maps ids where we may not: in a user namespace, the runner that started the chain outside.
    pub(crate) runner: Option<OwnedFd>,
    /// Where mounts of ours are.
    taken: HashSet<Vec<u8>>,
}

/// One mount of ours.
pub(crate) struct Mounted {
    /// Where it was asked for, a clean path.
    pub(crate) at: Bytes,
    /// Its root.
    pub(crate) fd: OwnedFd,
    /// Its id, by [`crate::root::lasting_id`].
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
        Place {
            root,
            mounted: Vec::new(),
            degraded: Vec::new(),
            label,
            spaces: Spaces::default(),
            sources: Sources::default(),
            runner: None,
            taken: HashSet::new(),
        }
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
        self.keep_known(id, at, fd, kind, asked, late);
        Ok(())
    }

    /// The same, of a mount whose id was looked at before it was attached.
    pub(crate) fn keep_known(
        &mut self,
        id: u64,
        at: &Bytes,
        fd: OwnedFd,
        kind: &str,
        asked: Attrs,
        late: Option<Late>,
    ) {
        self.root.mounted(id);
        self.taken.insert(at.0.clone());
        self.mounted.push(Mounted { at: at.clone(), fd, id, kind: kind.to_string(), asked, late });
    }

    /// The last mount of ours above the clean path `at`, the root's own aside, and the way from there.
    pub(crate) fn mount_above<'a>(&self, at: &'a Bytes) -> Option<(BorrowedFd<'_>, &'a [u8])> {
        self.mounted.iter().rev().find_map(|m| {
            let rest = at.0.strip_prefix(m.at.0.as_slice())?.strip_prefix(b"/")?;
            Some((m.fd.as_fd(), rest))
        })
    }

    /// Whether a mount of ours is above the clean path `at`, or on it; the root's own aside.
    pub(crate) fn is_on_ours(&self, at: &Bytes) -> bool {
        above(&at.0).any(|path| self.taken.contains(path))
    }
}
