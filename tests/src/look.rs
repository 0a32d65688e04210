//! How the payload looks at itself.

use crate::mountinfo::Mount;
use crate::probe::{Caps, Dev, Fd, Ids, Interface, Limit, Probe, Signals, Status, Terminal};
use chain::sys::harness as sys;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getpgrp, getpid, getppid, getresgid, getresuid, getsid};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Everything.
pub fn all() -> Probe {
    // First, for whatever is opened later would be in it.
    let fds = fds();
    let status = status();
    let number = |key: &str| status.get(key).and_then(|v| v.parse().ok());
    let names = nix::sys::utsname::uname().ok();
    let uname = |f: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        names.as_ref().map_or_else(String::new, |n| f(n).to_string_lossy().into_owned())
    };
    let uids = getresuid().map(|r| Ids {
        real: r.real.as_raw(),
        effective: r.effective.as_raw(),
        saved: r.saved.as_raw(),
    });
    let gids = getresgid().map(|r| Ids {
        real: r.real.as_raw(),
        effective: r.effective.as_raw(),
        saved: r.saved.as_raw(),
    });
    let (uids, gids) = (uids.unwrap_or_default(), gids.unwrap_or_default());
    let text = |path| fs::read_to_string(path).ok();
    let lines = |path| text(path).map(|t: String| t.lines().map(squeeze).collect::<Vec<String>>());
    Probe {
        pid: getpid().as_raw(),
        ppid: getppid().as_raw(),
        session: getsid(None).map_or(-1, nix::unistd::Pid::as_raw),
        pgid: getpgrp().as_raw(),
        uid: uids.real,
        gid: gids.real,
        uids,
        gids,
        groups: groups(),
        umask: mask(),
        caps: caps(),
        securebits: rustix::thread::capabilities_secure_bits().map_or(0, |b| b.bits()),
        no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
        seccomp: number("Seccomp"),
        seccomp_filters: number("Seccomp_filters"),
        ns: namespaces(),
        mounts: text("/proc/self/mountinfo").map(|t| Mount::parse_all(&t)),
        fds,
        closed_std: sys::closed_at_start(),
        rlimits: rlimits(),
        cgroup: lines("/proc/self/cgroup").unwrap_or_default(),
        hostname: uname(nix::sys::utsname::UtsName::nodename),
        domainname: uname(nix::sys::utsname::UtsName::domainname),
        machine: uname(nix::sys::utsname::UtsName::machine),
        cwd: rustix::process::getcwd(Vec::new()).ok().map(|c| c.to_string_lossy().into_owned()),
        root: names_in("/"),
        dev: dev(),
        signals: signals(),
        tty: terminal(),
        env: std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect(),
        args: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
        exe: link("/proc/self/exe"),
        oom_score_adj: text("/proc/self/oom_score_adj").and_then(|t| t.trim().parse().ok()),
        personality: sys::call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]).ok().map(|p| p as u32),
        interfaces: interfaces(),
        time_offsets: text("/proc/self/timens_offsets").map(|t| offsets(&t)),
        monotonic: rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec,
        boottime: rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec,
        nice: rustix::process::getpriority_process(None).ok(),
        scheduler: sys::call(libc::SYS_sched_getscheduler, [0; 6]).ok().map(|s| s as i32),
        ioprio: sys::call(libc::SYS_ioprio_get, [1, 0, 0, 0, 0, 0]).ok().map(|s| s as i32),
        cpus: cpus(),
        // KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING, not made when missing.
        session_keyring: sys::call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]).ok(),
        label: text("/proc/self/attr/current").map(|t| t.trim_end_matches(['\0', '\n']).to_string()),
        dumpable: sys::call(libc::SYS_prctl, [i64::from(libc::PR_GET_DUMPABLE), 0, 0, 0, 0, 0])
            .ok()
            .map(|d| d as i32),
        pdeathsig: rustix::process::parent_process_death_signal()
            .ok()
            .map(|s| s.map_or(0, rustix::process::Signal::as_raw)),
        subreaper: rustix::process::child_subreaper().ok().map(|s| s.is_some()),
        uid_map: lines("/proc/self/uid_map"),
        gid_map: lines("/proc/self/gid_map"),
        setgroups: text("/proc/self/setgroups").map(|t| t.trim().to_string()),
        processes: names_in("/proc")
            .map(|n| n.iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit())).count()),
        status,
    }
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn status() -> Status {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines().filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_string(), squeeze(v))).collect()
}

fn link(path: &str) -> Option<String> {
    fs::read_link(path).ok().map(|t| t.to_string_lossy().into_owned())
}

fn groups() -> Vec<u32> {
    let mut groups: Vec<u32> =
        nix::unistd::getgroups().unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect();
    groups.sort_unstable();
    groups
}

fn mask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

fn caps() -> Caps {
    let sets = rustix::thread::capabilities(None);
    let ask = |option: i64, argument: fn(i64) -> [i64; 2]| {
        let held = |bit: i64| {
            let [a, b] = argument(bit);
            sys::call(libc::SYS_prctl, [option, a, b, 0, 0, 0]) == Ok(1)
        };
        (0..64).filter(|bit| held(*bit)).fold(0, |set, bit| set | 1 << bit)
    };
    let set = |f: fn(&rustix::thread::CapabilitySets) -> u64| sets.as_ref().map_or(0, f);
    Caps {
        bounding: ask(i64::from(libc::PR_CAPBSET_READ), |bit| [bit, 0]),
        effective: set(|s| s.effective.bits()),
        permitted: set(|s| s.permitted.bits()),
        inheritable: set(|s| s.inheritable.bits()),
        ambient: ask(i64::from(libc::PR_CAP_AMBIENT), |bit| [i64::from(libc::PR_CAP_AMBIENT_IS_SET), bit]),
    }
}

fn namespaces() -> BTreeMap<String, u64> {
    let inode = |name: &String| fs::metadata(format!("/proc/self/ns/{name}")).ok().map(|m| m.ino());
    let names = names_in("/proc/self/ns").unwrap_or_default();
    names.into_iter().filter_map(|n| inode(&n).map(|i| (n, i))).collect()
}

fn names_in(path: &str) -> Option<Vec<String>> {
    let entries = fs::read_dir(path).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(Result::ok).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Some(names)
}

/// Asked of every number, so that it needs no /proc and shows no fd of its own.
fn fds() -> BTreeMap<i32, Fd> {
    let mut fds = BTreeMap::new();
    let closed = sys::closed_at_start();
    for number in 0..4096 {
        if closed.contains(&number) {
            continue;
        }
        let Ok(fd) = chain::sys::fd::borrow(number) else { continue };
        let flags =
            sys::call(libc::SYS_fcntl, [number.into(), libc::F_GETFL.into(), 0, 0, 0, 0]).unwrap_or(0);
        let stat = rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).unwrap_or_default();
        let target = link(&format!("/proc/self/fd/{number}"));
        fds.insert(number, Fd { target, file: stat, flags: flags as i32 });
    }
    fds
}

fn rlimits() -> BTreeMap<String, Limit> {
    use rustix::process::{Resource as R, getrlimit};
    let all = [
        ("cpu", R::Cpu),
        ("fsize", R::Fsize),
        ("data", R::Data),
        ("stack", R::Stack),
        ("core", R::Core),
        ("rss", R::Rss),
        ("nproc", R::Nproc),
        ("nofile", R::Nofile),
        ("memlock", R::Memlock),
        ("as", R::As),
        ("locks", R::Locks),
        ("sigpending", R::Sigpending),
        ("msgqueue", R::Msgqueue),
        ("nice", R::Nice),
        ("rtprio", R::Rtprio),
        ("rttime", R::Rttime),
    ];
    let limit = |r| {
        let found = getrlimit(r);
        Limit { soft: found.current, hard: found.maximum }
    };
    all.into_iter().map(|(name, r)| (name.to_string(), limit(r))).collect()
}

fn dev() -> Option<BTreeMap<String, Dev>> {
    let names = names_in("/dev")?;
    Some(names.into_iter().filter_map(|name| one_dev(&name).map(|d| (name, d))).collect())
}

fn one_dev(name: &str) -> Option<Dev> {
    let path = format!("/dev/{name}");
    let meta = fs::symlink_metadata(&path).ok()?;
    let kind = match meta.file_type() {
        t if t.is_char_device() => "char",
        t if t.is_block_device() => "block",
        t if t.is_dir() => "dir",
        t if t.is_symlink() => "link",
        t if t.is_file() => "file",
        _ => "other",
    };
    Some(Dev {
        kind: kind.into(),
        mode: meta.mode() & 0o7777,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        uid: meta.uid(),
        gid: meta.gid(),
        target: link(&path),
    })
}

fn signals() -> Signals {
    let mask = nix::sys::signal::SigSet::thread_get_mask().ok();
    let blocked = mask.map(|m| m.iter().map(|s| s as i32).collect()).unwrap_or_default();
    let pipe = |s: i32| s == libc::SIGPIPE && sys::sigpipe_ignored_at_start();
    let ignored = (1..65).filter(|s| pipe(*s) || *s != libc::SIGPIPE && sys::is_ignored(*s)).collect();
    Signals { blocked, ignored }
}

fn terminal() -> Terminal {
    use std::io::IsTerminal;
    let tty = fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok();
    let front = tty.as_ref().and_then(|t| rustix::termios::tcgetpgrp(t).ok());
    Terminal {
        controlling: tty.is_some(),
        std: [
            std::io::stdin().is_terminal(),
            std::io::stdout().is_terminal(),
            std::io::stderr().is_terminal(),
        ],
        foreground: front.is_some_and(|p| p == rustix::process::getpgrp()),
    }
}

fn interfaces() -> Option<BTreeMap<String, Interface>> {
    use nix::net::if_::InterfaceFlags as F;
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for one in nix::ifaddrs::getifaddrs().ok()? {
        let entry = found.entry(one.interface_name).or_default();
        entry.up |= one.flags.contains(F::IFF_UP);
        entry.loopback |= one.flags.contains(F::IFF_LOOPBACK);
        entry.address |= one.address.is_some_and(|a| a.as_sockaddr_in().is_some());
    }
    Some(found)
}

fn offsets(text: &str) -> BTreeMap<String, i64> {
    let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    let lines = text.lines().map(words);
    lines.filter_map(|w| Some((w.first()?.clone(), w.get(1)?.parse().ok()?))).collect()
}

fn cpus() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).ok();
    set.map(|s| (0..nix::sched::CpuSet::count()).filter(|c| s.is_set(*c).unwrap_or(false)).collect())
        .unwrap_or_default()
}
