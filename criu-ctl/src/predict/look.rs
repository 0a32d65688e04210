//! Looks at a tree: /proc alone, and nothing is stopped or entered.

use super::fds::Opened;
use super::{Process, Tree};
use crate::known::Known;
use chain::error::{Class, Error, Result};
use chain::oci::NamespaceKind;
use chain::proc::{self, MountInfo, parse_mountinfo, status_field};
use chain::userns::parse_map;

/// The tree of `pid`.
pub(crate) fn tree(pid: i32, known: &Known) -> Result<Tree> {
    let doing = format_args!("look at process {pid}");
    if proc::start_time(pid).is_none() {
        return Err(Error::new(Class::Missing, doing, "there is no such process"));
    }
    let pids = below(pid);
    let mut opened = Opened::default();
    let processes = pids.iter().filter_map(|pid| process(*pid, &mut opened)).collect();
    let who = pid.to_string();
    let other = |kind| Ok::<_, Error>(proc::namespace(&who, kind)? != proc::namespace("self", kind)?);
    let outside_mounts = if other(NamespaceKind::Mount)? { outside_mounts(pid, known)? } else { Vec::new() };
    let foreign_root = if other(NamespaceKind::User)? { foreign_root(pid)? } else { None };
    Ok(Tree {
        processes,
        ours: pids.contains(&(std::process::id() as i32)),
        own_ipc: other(NamespaceKind::Ipc)?,
        foreign_root,
        outside_mounts,
    })
}

/// It, and all that is below it.
fn below(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        // Each thread has children of its own.
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let list = proc::read(&format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
            let list = String::from_utf8_lossy(&list).into_owned();
            all.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    all
}

/// The entries of a folder that are numbers.
pub(super) fn numbers(path: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(std::result::Result::ok);
    let mut list: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    list.sort_unstable();
    list
}

/// None when it has ended meanwhile.
fn process(pid: i32, opened: &mut Opened) -> Option<Process> {
    let stat = proc::read(&format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The name in parentheses may hold anything, a parenthesis too.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let session = stat[close + 1..].split_whitespace().nth(3)?.parse().ok()?;
    let status = proc::read(&format!("/proc/{pid}/status")).ok()?;
    let tracer = status_field(&status, "TracerPid").and_then(|pid| pid.parse().ok()).unwrap_or(0);
    let maps = proc::read(&format!("/proc/{pid}/maps")).unwrap_or_default();
    Some(Process {
        pid,
        name: crate::log::clean(&stat[open + 1..close]),
        session,
        tracer,
        fds: opened.of(pid),
        mapped: mapped(&String::from_utf8_lossy(&maps)),
    })
}

/// What is no memory and no file of a file system, each once.
fn mapped(maps: &str) -> Vec<String> {
    let mut list = Vec::new();
    for line in maps.lines() {
        let Some(path) = line.splitn(6, ' ').nth(5).map(str::trim_start) else { continue };
        let device =
            path.starts_with("/dev/") && !path.starts_with("/dev/shm/") && !path.starts_with("/dev/zero");
        let odd = device || path.starts_with("anon_inode:") || path.starts_with("/SYSV");
        if odd && !list.iter().any(|seen| seen == path) {
            list.push(path.to_string());
        }
    }
    list
}

/// Who the root of its user namespace is outside, if not root.
fn foreign_root(pid: i32) -> Result<Option<u32>> {
    let map = parse_map(&proc::read(&format!("/proc/{pid}/uid_map"))?)?;
    let root = map.iter().find(|line| line.container_id == 0);
    Ok(root.map(|line| line.host_id).filter(|id| *id != 0))
}

/// criu takes a file system along as a whole: of one whose root is not mounted in there, it says that it has no proper
/// root mount. What the container's description names is no matter.
fn outside_mounts(pid: i32, known: &Known) -> Result<Vec<String>> {
    let all = parse_mountinfo(&proc::read(&format!("/proc/{pid}/mountinfo"))?);
    let named = |m: &MountInfo| {
        let binds = known.binds.iter().map(|bind| &bind.inside);
        let mut paths =
            binds.chain(&known.made).chain(&known.cgroups).chain(&known.devices).chain(&known.masked);
        paths.any(|path| *path == m.target)
    };
    let whole = |m: &MountInfo| {
        // The root itself is given at restore.
        m.target.0 == b"/" || m.root.0 == b"/" || {
            let parts = all.iter().filter(|other| other.device == m.device && other.id != m.id);
            parts.clone().any(|other| other.root.0 == b"/" || other.target.0 == b"/" && is_below(m, other))
        }
    };
    let odd = all.iter().filter(|m| !whole(m) && !named(m));
    Ok(odd.map(|m| crate::log::clean(&m.target.to_string())).collect())
}

fn is_below(m: &MountInfo, other: &MountInfo) -> bool {
    m.root.as_path().starts_with(other.root.as_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_without_a_file_are_told_once() {
        let maps = "55d0-55d1 r--p 00000000 fe:00 123      /usr/bin/sh\n\
                    7f00-7f01 rw-s 00000000 00:01 9        /dev/zero (deleted)\n\
                    7f01-7f02 rw-s 00000000 00:0f 12       anon_inode:[io_uring]\n\
                    7f02-7f03 rw-s 08000000 00:0f 12       anon_inode:[io_uring]\n\
                    7f03-7f04 rw-s 00000000 00:05 7        /dev/dri/card0\n\
                    7f04-7f05 rw-s 00000000 00:01 0        /SYSV00000000 (deleted)\n\
                    7f05-7f06 rw-s 00000000 00:18 3        /dev/shm/x\n\
                    7ffc-7ffd rw-p 00000000 00:00 0        [stack]\n7ffe-7fff rw-p 00000000 00:00 0 \n";
        assert_eq!(mapped(maps), ["anon_inode:[io_uring]", "/dev/dri/card0", "/SYSV00000000 (deleted)"]);
    }

    #[test]
    fn our_own_tree_has_us_in_it() {
        let own = std::process::id() as i32;
        let tree = tree(own, &Known::default()).unwrap();
        assert!(tree.ours && tree.outside_mounts.is_empty() && tree.processes[0].pid == own, "{tree:?}");
        assert!(super::tree(0, &Known::default()).is_err());
    }
}
