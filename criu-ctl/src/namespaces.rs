//! Namespaces that a container shares with others. Of network and pid namespaces criu is told that they come from
//! outside, under the keys that runc and crun give them; the others it joins by their paths.

use crate::rpc::JoinNamespace;
use chain::bytes::Bytes;
use chain::error::{Cannot, Class, Error, Result};
use chain::oci::NamespaceKind;
use chain::proc;
use chain::sys::namespaces::loopback_up;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Who is taken along by an fd: its kind for criu, and the key.
pub(crate) fn key(kind: NamespaceKind) -> Option<(&'static str, &'static str)> {
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

/// Does this in another network namespace, if one is given. Only this thread goes there, and comes back.
pub(crate) fn inside<T>(network: Option<BorrowedFd<'_>>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(network) = network else { return act() };
    let doing = "enter the network namespace";
    let path = "/proc/thread-self/ns/net";
    let home = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open({path})"))?;
    setns(network, CloneFlags::CLONE_NEWNET).cannot(doing, "setns(CLONE_NEWNET)")?;
    let outcome = act();
    setns(&home, CloneFlags::CLONE_NEWNET)
        .cannot("come back from the network namespace", "setns(CLONE_NEWNET)")?;
    outcome
}

/// A new network namespace, with `lo` up, which lives as long as somebody holds it.
pub(crate) fn new_network() -> Result<OwnedFd> {
    let doing = "make a network namespace";
    let path = "/proc/thread-self/ns/net";
    let make = move || {
        unshare(CloneFlags::CLONE_NEWNET).cannot(doing, "unshare(CLONE_NEWNET)")?;
        loopback_up().cannot(doing, "ioctl(SIOCSIFFLAGS)")?;
        openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .cannot(doing, format_args!("open({path})"))
    };
    let panicked = |_| Error::new(Class::Internal, doing, "its thread panicked");
    std::thread::spawn(make).join().map_err(panicked)?
}
