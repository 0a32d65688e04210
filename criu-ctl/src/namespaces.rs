//! Namespaces that a container shares with others. Of network and pid namespaces criu is told that they come from
//! outside, under the keys that runc and crun give them; the others it joins by their paths.

use crate::rpc::JoinNamespace;
use chain::bytes::Bytes;
use chain::error::{Cannot, Result};
use chain::oci::NamespaceKind;
use chain::proc;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::OwnedFd;

/// Who is taken along by an fd: its kind for criu, and the key.
fn key(kind: NamespaceKind) -> Option<(&'static str, &'static str)> {
    match kind {
        NamespaceKind::Network => Some(("net", "extRootNetNS")),
        NamespaceKind::Pid => Some(("pid", "extRootPidNS")),
        _ => None,
    }
}

/// Whom criu can join by a path.
fn word(kind: NamespaceKind) -> Option<&'static str> {
    match kind {
        NamespaceKind::Ipc => Some("ipc"),
        NamespaceKind::Uts => Some("uts"),
        NamespaceKind::Time => Some("time"),
        NamespaceKind::User => Some("user"),
        NamespaceKind::Mount => Some("mnt"),
        NamespaceKind::Network | NamespaceKind::Pid | NamespaceKind::Cgroup => None,
    }
}

/// What a dump leaves out: the one that the process is in, whatever the path leads to by now.
pub(crate) fn external(pid: i32, shared: &[(NamespaceKind, Bytes)]) -> Result<Vec<Vec<u8>>> {
    let mut list = Vec::new();
    for (kind, _) in shared {
        if let Some((word, key)) = key(*kind) {
            let inode = proc::namespace(&pid.to_string(), *kind)?;
            list.push(format!("{word}[{inode}]:{key}").into_bytes());
        }
    }
    Ok(list)
}

/// What is there instead at restore.
pub(crate) fn inherited(shared: &[(NamespaceKind, Bytes)], doing: &str) -> Result<Vec<(Vec<u8>, OwnedFd)>> {
    let mut list = Vec::new();
    for (kind, path) in shared {
        if let Some((_, key)) = key(*kind) {
            let fd = openat(CWD, path.as_path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .cannot(doing, format_args!("open({path})"))?;
            list.push((key.as_bytes().to_vec(), fd));
        }
    }
    Ok(list)
}

/// What is joined.
pub(crate) fn joined(shared: &[(NamespaceKind, Bytes)]) -> Vec<JoinNamespace> {
    let join = |kind, path: &Bytes| Some(JoinNamespace { ns: word(kind)?.into(), ns_file: path.0.clone() });
    shared.iter().filter_map(|(kind, path)| join(*kind, path)).collect()
}
