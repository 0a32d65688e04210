//! Open files of a process, by what /proc tells of them.

use super::Fd;
use super::look::numbers;
use super::sockets::{self, Table};
use chain::proc;
use rustix::fs::{FileType, Stat, major, minor, stat};
use std::collections::HashMap;

/// What criu has code for, of what has an inode and no name.
const KNOWN_KERNEL: [&str; 9] = [
    "[eventfd]",
    "[eventpoll]",
    "[signalfd]",
    "[timerfd]",
    "inotify",
    "[fanotify]",
    "[pidfd]",
    "bpf-map",
    "[userns]",
];

/// Character devices without a state, and terminals: mem, the consoles, tty and ptmx, the ptys.
const PLAIN_DEVICES: [u32; 3] = [1, 4, 5];
const PTY_MASTERS: u32 = 128;
const PTYS: std::ops::RangeInclusive<u32> = 136..=143;
/// misc, and /dev/net/tun of it, which criu knows.
const TUN: (u32, u32) = (10, 200);
/// Each major number of ptys has so many.
const PTYS_EACH: u32 = 256;

/// Looks at open files; the sockets of each network namespace once.
#[derive(Default)]
pub(super) struct Opened {
    sockets: HashMap<u64, Table>,
}

impl Opened {
    /// Those of a process that matter.
    pub(super) fn of(&mut self, pid: i32) -> Vec<(i32, Fd)> {
        let mut list = Vec::new();
        for n in numbers(&format!("/proc/{pid}/fd")) {
            let path = format!("/proc/{pid}/fd/{n}");
            let (Ok(link), Ok(there)) = (std::fs::read_link(&path), stat(&path)) else { continue };
            let info = proc::read(&format!("/proc/{pid}/fdinfo/{n}")).unwrap_or_default();
            let info = String::from_utf8_lossy(&info).into_owned();
            let link = crate::log::clean(&link.to_string_lossy());
            list.extend(self.one(pid, &link, &there, &info).map(|fd| (n, fd)));
            list.extend(info.lines().any(|line| line.starts_with("lock:")).then_some((n, Fd::Lock)));
        }
        list
    }

    fn one(&mut self, pid: i32, link: &str, there: &Stat, info: &str) -> Option<Fd> {
        match FileType::from_raw_mode(there.st_mode) {
            FileType::Socket => self.socket(pid, there.st_ino as u32),
            FileType::CharacterDevice => character(link, (major(there.st_rdev), minor(there.st_rdev)), info),
            FileType::BlockDevice => Some(Fd::Device(link.into())),
            FileType::RegularFile => nameless(link, there).or_else(|| kernel(link)),
            _ => kernel(link),
        }
    }

    fn socket(&mut self, pid: i32, inode: u32) -> Option<Fd> {
        let network = stat(format!("/proc/{pid}/ns/net")).map_or(0, |stat| stat.st_ino);
        let table = self.sockets.entry(network).or_insert_with(|| sockets::table(pid));
        table.get(&inode).cloned().unwrap_or_else(|| Some(Fd::Socket("socket of an unknown kind".into())))
    }
}

fn character(link: &str, number: (u32, u32), info: &str) -> Option<Fd> {
    // Of the master, each opening of /dev/ptmx is another pty.
    let index = info.lines().find_map(|line| line.strip_prefix("tty-index:")?.trim().parse().ok());
    match number {
        (5, 2) | (PTY_MASTERS, _) => index.map(Fd::Master),
        (major, minor) if PTYS.contains(&major) => {
            Some(Fd::Terminal((major - PTYS.start()) * PTYS_EACH + minor))
        }
        (major, _) if PLAIN_DEVICES.contains(&major) => None,
        TUN => None,
        _ => Some(Fd::Device(link.into())),
    }
}

/// A file that was removed, or whose name belongs to another by now. What lives in memory has no name to lose.
fn nameless(link: &str, there: &Stat) -> Option<Fd> {
    let path = link.strip_suffix(" (deleted)").filter(|path| !path.starts_with("/memfd:"))?;
    let (named, size) = (there.st_nlink > 0, there.st_size.unsigned_abs());
    Some(Fd::Nameless { path: path.into(), named, size })
}

fn kernel(link: &str) -> Option<Fd> {
    let kind = link.strip_prefix("anon_inode:")?;
    if KNOWN_KERNEL.contains(&kind) {
        return None;
    }
    let name = kind.trim_matches(['[', ']']);
    let article = if name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    Some(Fd::Kernel(format!("{article} {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_told_by_its_kind() {
        assert_eq!(kernel("anon_inode:[eventpoll]"), None);
        assert_eq!(kernel("anon_inode:inotify"), None);
        assert_eq!(kernel("anon_inode:[io_uring]"), Some(Fd::Kernel("an io_uring".into())));
        assert_eq!(kernel("anon_inode:kvm-vm"), Some(Fd::Kernel("a kvm-vm".into())));
        assert_eq!(kernel("/usr/bin/sh"), None);
    }

    #[test]
    fn a_removed_file_and_a_device() {
        assert_eq!(character("/dev/null", (1, 3), ""), None);
        assert_eq!(character("/dev/net/tun", (10, 200), ""), None);
        assert_eq!(character("/dev/kvm", (10, 232), ""), Some(Fd::Device("/dev/kvm".into())));
        assert_eq!(character("/dev/pts/259", (137, 3), ""), Some(Fd::Terminal(259)));
        assert_eq!(character("/dev/ptmx", (5, 2), "pos:\t0\ntty-index:\t7\n"), Some(Fd::Master(7)));
        let null = stat("/dev/null").unwrap();
        assert!(matches!(nameless("/x (deleted)", &null), Some(Fd::Nameless { .. })));
        assert_eq!(nameless("/memfd:a (deleted)", &null), None);
    }
}
