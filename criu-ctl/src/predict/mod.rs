//! `check --for PID`: what of a running tree CRIU will not take along, told before it is asked. Facts about the tree in
//! ([`Tree`]), what is in the way out; pure but for [`run`].

mod fds;
mod look;
mod sockets;

use chain::error::Result;
use chain::{report, size};
use serde_json::json;
use std::collections::BTreeSet;

/// A tree of processes, as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The root first.
    pub processes: Vec<Process>,
    /// criu-ctl is one of them.
    pub ours: bool,
    /// The root's IPC namespace is not criu-ctl's.
    pub own_ipc: bool,
    /// The host's id of the root's user 0, if that is not 0.
    pub foreign_root: Option<u32>,
    /// Mounts, by their target, of which a part alone is in the tree's mount namespace.
    pub outside_mounts: Vec<String>,
}

/// One of its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: i32,
    pub name: String,
    pub session: i32,
    /// Who traces it; 0 if nobody does.
    pub tracer: i32,
    pub fds: Vec<(i32, Fd)>,
    /// What is mapped that is no file of a file system.
    pub mapped: Vec<String>,
}

/// What an open file is, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fd {
    /// A TCP connection, its two ends, and whether it is still being made.
    Tcp { ends: String, in_flight: bool },
    /// A connected unix socket: its peer's inode, where the kernel tells it, and whether it is of datagrams.
    Unix { inode: u32, peer: Option<u32>, datagrams: bool },
    /// A socket of a kind that CRIU does not know.
    Socket(String),
    /// The terminal's side of a pty, by its number.
    Terminal(u32),
    /// The other side.
    Master(u32),
    /// A device that keeps a state.
    Device(String),
    /// Something else that has no file.
    Kernel(String),
    /// A file that was removed under this name; whether it has another, and its size.
    Nameless { path: String, named: bool, size: u64 },
    /// Locked.
    Lock,
}

/// What whoever asks would say to a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub shell_job: bool,
    pub tcp_established: bool,
    pub tcp_skip_in_flight: bool,
    pub ext_unix_sk: bool,
    pub file_locks: bool,
    pub link_remap: bool,
}

/// One thing that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub pid: i32,
    pub name: String,
    pub fd: Option<i32>,
    pub what: String,
    /// The flag that cures it; none: nothing does, but to end it.
    pub cure: Option<&'static str>,
}

/// As large as criu takes a file without a name, unless its own option `ghost-limit` says more.
const GHOST_LIMIT: u64 = 1 << 20;

/// Looks, and answers: status 0 if nothing is in the way, 1 if something is.
pub(crate) fn run(pid: i32, given: &Given, known: &crate::known::Known, as_json: bool) -> Result<u8> {
    let tree = look::tree(pid, known)?;
    let found = in_the_way(&tree, given);
    let text = if as_json { as_object(pid, &tree, &found) } else { as_lines(pid, &tree, &found) };
    report::stdout(text.as_bytes()).map(|()| u8::from(!found.is_empty()))
}

/// All of it, in the order of the processes.
pub(crate) fn in_the_way(tree: &Tree, given: &Given) -> Vec<Obstacle> {
    let mut found = of_the_tree(tree, given);
    let masters: BTreeSet<u32> =
        fds(tree).filter_map(|fd| if let Fd::Master(n) = fd { Some(*n) } else { None }).collect();
    let unix: BTreeSet<u32> = fds(tree)
        .filter_map(|fd| if let Fd::Unix { inode, .. } = fd { Some(*inode) } else { None })
        .collect();
    for process in &tree.processes {
        let mut add = |fd: Option<i32>, what: String, cure: Option<&'static str>| {
            let name = process.name.clone();
            found.push(Obstacle { pid: process.pid, name, fd, what, cure });
        };
        if process.tracer != 0 {
            add(None, format!("process {} traces it, as debuggers do", process.tracer), None);
        }
        for mapped in &process.mapped {
            if let Some(what) = of_a_map(mapped, tree) {
                add(None, what, None);
            }
        }
        for (n, fd) in &process.fds {
            if let Some((what, cure)) = of_an_fd(fd, given, &masters, &unix) {
                add(Some(*n), what, cure);
            }
        }
    }
    found
}

fn fds(tree: &Tree) -> impl Iterator<Item = &Fd> {
    tree.processes.iter().flat_map(|process| process.fds.iter().map(|(_, fd)| fd))
}

/// Of the tree as a whole, said of its root.
fn of_the_tree(tree: &Tree, given: &Given) -> Vec<Obstacle> {
    let Some(root) = tree.processes.first() else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |what: String, cure: Option<&'static str>| {
        found.push(Obstacle { pid: root.pid, name: root.name.clone(), fd: None, what, cure });
    };
    if tree.ours {
        add("criu-ctl runs inside the tree it is to dump".into(), None);
    }
    if !given.shell_job && root.session != root.pid {
        add(
            format!("it belongs to the session of process {}, outside the tree", root.session),
            Some("--shell-job"),
        );
    }
    if let Some(uid) = tree.foreign_root {
        add(format!("its root is uid {uid} of the host: no criu brings back such a user namespace"), None);
    }
    for target in &tree.outside_mounts {
        let cure = "--oci config.json, which names its bind mounts";
        add(format!("what is mounted on {target} comes from outside the tree"), Some(cure));
    }
    found
}

fn of_a_map(mapped: &str, tree: &Tree) -> Option<String> {
    match mapped.starts_with("/SYSV") {
        true if tree.own_ipc => None,
        true => Some("it has System V shared memory of an IPC namespace that is not its own".into()),
        false => Some(format!("it has mapped {mapped}, which CRIU cannot take along")),
    }
}

fn of_an_fd(
    fd: &Fd,
    given: &Given,
    masters: &BTreeSet<u32>,
    unix: &BTreeSet<u32>,
) -> Option<(String, Option<&'static str>)> {
    Some(match fd {
        Fd::Tcp { in_flight: true, ends } if !given.tcp_skip_in_flight => {
            (format!("is a TCP connection that is being made, {ends}"), Some("--tcp-skip-in-flight"))
        }
        Fd::Tcp { in_flight: false, ends } if !given.tcp_established => {
            (format!("is an established TCP connection, {ends}"), Some("--tcp-established"))
        }
        Fd::Unix { peer: Some(peer), .. } if unix.contains(peer) => return None,
        Fd::Unix { peer, datagrams: false, .. } => {
            let end = if peer.is_some() { "is outside the tree" } else { "may be outside the tree" };
            (format!("is a unix socket whose other end {end}"), None)
        }
        Fd::Unix { .. } if !given.ext_unix_sk => {
            ("is a unix socket to somebody outside the tree".into(), Some("--ext-unix-sk"))
        }
        Fd::Socket(kind) => (format!("is a {kind}, which CRIU cannot take along"), None),
        Fd::Terminal(n) if !given.shell_job && !masters.contains(n) => (
            format!("is the terminal /dev/pts/{n}, whose other end is outside the tree"),
            Some("--shell-job"),
        ),
        Fd::Device(path) => (format!("is the device {path}, which CRIU cannot take along"), None),
        Fd::Kernel(kind) => (format!("is {kind}, which CRIU cannot take along"), None),
        Fd::Nameless { path, named: true, .. } if !given.link_remap => {
            (format!("is the file {path}, whose name is gone while it has another"), Some("--link-remap"))
        }
        Fd::Nameless { path, named: false, size } if *size > GHOST_LIMIT => (
            format!("is the removed file {path} of {size} bytes"),
            Some("ghost-limit in a file for --config"),
        ),
        Fd::Lock if !given.file_locks => ("holds a lock of its file".into(), Some("--file-locks")),
        _ => return None,
    })
}

fn as_lines(pid: i32, tree: &Tree, found: &[Obstacle]) -> String {
    if found.is_empty() {
        return format!(
            "nothing is in the way of a dump of {pid}: {} looked at\n",
            size::count(tree.processes.len() as u64, "process")
        );
    }
    let line = |o: &Obstacle| {
        let fd = o.fd.map_or(String::new(), |fd| format!(" fd {fd}"));
        let cure = o.cure.map_or(String::new(), |cure| format!("\n  try: {cure}"));
        format!("{} ({}):{fd} {}{cure}\n", o.pid, o.name, o.what)
    };
    found.iter().map(line).collect()
}

fn as_object(pid: i32, tree: &Tree, found: &[Obstacle]) -> String {
    let one = |o: &Obstacle| json!({"pid": o.pid, "comm": o.name, "fd": o.fd, "what": o.what, "try": o.cure});
    let pids: Vec<i32> = tree.processes.iter().map(|process| process.pid).collect();
    let list: Vec<_> = found.iter().map(one).collect();
    let document =
        json!({"tool": crate::NAME, "check": true, "for": pid, "processes": pids, "inTheWay": list});
    format!("{document}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(fds: Vec<Fd>) -> Tree {
        let fds = (0..).zip(fds).collect();
        Tree { processes: vec![Process { pid: 7, session: 7, fds, ..Process::default() }], ..Tree::default() }
    }

    fn cures(tree: &Tree, given: &Given) -> Vec<Option<&'static str>> {
        in_the_way(tree, given).iter().map(|obstacle| obstacle.cure).collect()
    }

    #[test]
    fn each_has_its_flag_and_is_not_told_when_that_is_given() {
        let all = tree(vec![
            Fd::Tcp { ends: "a to b".into(), in_flight: false },
            Fd::Tcp { ends: "a to b".into(), in_flight: true },
            Fd::Unix { inode: 5, peer: Some(9), datagrams: true },
            Fd::Terminal(3),
            Fd::Nameless { path: "/x".into(), named: true, size: 0 },
            Fd::Lock,
        ]);
        let flags = [
            "--tcp-established",
            "--tcp-skip-in-flight",
            "--ext-unix-sk",
            "--shell-job",
            "--link-remap",
            "--file-locks",
        ];
        assert_eq!(cures(&all, &Given::default()), flags.map(Some));
        let given = Given {
            shell_job: true,
            tcp_established: true,
            tcp_skip_in_flight: true,
            ext_unix_sk: true,
            file_locks: true,
            link_remap: true,
        };
        assert_eq!(in_the_way(&all, &given), []);
    }

    #[test]
    fn what_no_flag_cures_is_told_whatever_is_given() {
        let given = Given { ext_unix_sk: true, ..Given::default() };
        for fd in [
            Fd::Unix { inode: 5, peer: None, datagrams: false },
            Fd::Socket("vsock".into()),
            Fd::Device("/dev/kvm".into()),
            Fd::Kernel("an io_uring".into()),
        ] {
            assert_eq!(cures(&tree(vec![fd.clone()]), &given), [None], "{fd:?}");
        }
        let large = Fd::Nameless { path: "/x".into(), named: false, size: GHOST_LIMIT + 1 };
        assert_eq!(in_the_way(&tree(vec![large]), &given).len(), 1);
    }

    #[test]
    fn two_ends_in_the_tree_are_nothing() {
        let ends = tree(vec![
            Fd::Unix { inode: 5, peer: Some(6), datagrams: false },
            Fd::Unix { inode: 6, peer: Some(5), datagrams: false },
            Fd::Terminal(3),
            Fd::Master(3),
            Fd::Nameless { path: "/x".into(), named: false, size: GHOST_LIMIT },
        ]);
        assert_eq!(in_the_way(&ends, &Given::default()), []);
    }

    #[test]
    fn the_tree_as_a_whole() {
        let mut whole = tree(vec![]);
        whole.processes[0].session = 1;
        whole.processes[0].tracer = 99;
        whole.processes[0].mapped = vec!["/SYSV00000000".into(), "/dev/dri/card0".into()];
        whole.foreign_root = Some(1000);
        whole.outside_mounts = vec!["/data".into()];
        let found = in_the_way(&whole, &Given::default());
        let words =
            ["session of process 1", "uid 1000", "/data", "process 99 traces", "System V", "/dev/dri/card0"];
        assert_eq!(found.len(), words.len(), "{found:?}");
        for (obstacle, word) in found.iter().zip(words) {
            assert!(obstacle.what.contains(word), "{obstacle:?}");
        }
        whole.own_ipc = true;
        assert_eq!(in_the_way(&whole, &Given::default()).len(), words.len() - 1);
    }
}
