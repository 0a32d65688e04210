//! What a test needs of its host. Each says whether it is there; where it is not, the test is skipped aloud:
//! `SKIP: why` on stderr, and a line in the file that `CATENA_SKIPS` names, for the test driver to count.
//!
//! With `CI=true CATENA_REQUIRE=all` a skip is a failure, unless a part of its text stands in `CATENA_MAY_SKIP`
//! (parts separated by `;`).

use crate::mountinfo::Mount;
use std::io::Write;
use std::path::PathBuf;

/// Says aloud that a test is skipped; false, to be returned.
pub fn skip(why: impl std::fmt::Display) -> bool {
    let why = why.to_string();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?").to_string();
    eprintln!("SKIP: {test}: {why}");
    if let Some(path) = std::env::var_os("CATENA_SKIPS") {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(&path).expect("CATENA_SKIPS opens");
        file.write_all(format!("{test}: {why}\n").as_bytes()).expect("CATENA_SKIPS takes a line");
    }
    let is = |key: &str, value: &str| std::env::var_os(key).is_some_and(|v| v == value);
    let may = std::env::var("CATENA_MAY_SKIP").unwrap_or_default();
    let expected = may.split(';').any(|part| !part.is_empty() && why.contains(part));
    assert!(
        !(is("CI", "true") && is("CATENA_REQUIRE", "all")) || expected,
        "skipped where all is required: {why}"
    );
    false
}

fn need(there: bool, why: impl std::fmt::Display) -> bool {
    there || skip(why)
}

/// The Debian 13 tree with criu that `tests/lanes/trixie.sh` makes.
pub fn criu_tree() -> Option<PathBuf> {
    let lanes = std::env::var_os("CATENA_LANES").map_or("/var/cache/catena-lanes".into(), PathBuf::from);
    let tree = lanes.join("trixie");
    let there = tree.join(".lane-complete").exists();
    need(there, "needs the lane of criu: tests/lanes/trixie.sh").then_some(tree)
}

/// A criu that works with this kernel, in a lane that has one.
pub fn criu() -> bool {
    let lane = std::env::var_os("CATENA_LANE").unwrap_or_default();
    need(lane == "trixie" || lane == "vm", "needs the lane of criu: tests/lanes/in-trixie")
}

/// To be root.
pub fn root() -> bool {
    need(nix::unistd::geteuid().is_root(), "needs root")
}

/// This capability in the effective set: `SYS_RESOURCE`.
pub fn capability(name: &str) -> bool {
    let held = rustix::thread::capabilities(None).map_or(0, |s| s.effective.bits());
    need(held & crate::cap_bit(name) != 0, format_args!("needs CAP_{name}"))
}

/// A cgroup v1 hierarchy with this controller.
pub fn cgroup_v1(controller: &str) -> bool {
    let there = cgroup_mounts().iter().any(|m| m.fstype == "cgroup" && m.has(controller));
    root() && need(there, format_args!("needs the cgroup v1 controller {controller}"))
}

/// A cgroup v2 hierarchy, alone or beside v1 (see [`crate::v2_view`]).
pub fn cgroup_v2() -> bool {
    let there = cgroup_mounts().iter().any(|m| m.fstype == "cgroup2");
    root() && need(there, "needs a cgroup2 mount")
}

/// /sys/fs/cgroup is a cgroup2 mount with this controller.
pub fn cgroup_v2_controller(controller: &str) -> bool {
    let list = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    need(
        list.split_whitespace().any(|c| c == controller),
        format_args!("needs the cgroup v2 controller {controller}"),
    )
}

/// systemd as the first process, and D-Bus.
pub fn systemd() -> bool {
    let there = std::path::Path::new("/run/systemd/private").exists();
    need(there, "needs systemd: tests/lanes/vm.sh") && root()
}

/// A cgroup controller of either version, which root may use.
pub fn controller(name: &str) -> bool {
    root() && (cgroup_mount(name).is_some() || cgroup_v2_controller(name))
}

/// Root, and mounts with mapped ids of the file system that temporary folders are on.
pub fn idmapped_mounts() -> bool {
    use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};
    let kind = statfs(&std::env::temp_dir()).map(|s| s.filesystem_type());
    let known = kind.is_ok_and(|kind| match kind {
        // Linux 6.3.
        TMPFS_MAGIC => kernel() >= (6, 3),
        kind => [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC].contains(&kind),
    });
    root() && need(has_mount_setattr() && known, "needs idmapped mounts of temporary folders")
}

/// mount_setattr(2), Linux 5.12.
pub fn mount_setattr() -> bool {
    need(has_mount_setattr(), "needs mount_setattr")
}

fn has_mount_setattr() -> bool {
    let nothing = chain::sys::mount::MountAttr::default();
    let call = chain::sys::mount::mount_setattr(rustix::fs::CWD, c"", 0, &nothing);
    call != Err(nix::errno::Errno::ENOSYS)
}

/// Its version.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A whole disk, by its device number.
pub fn disk() -> Option<(u32, u32)> {
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let number = |disk: std::fs::DirEntry| {
        let text = std::fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let found = disks.filter_map(number).next();
    need(found.is_some(), "needs a disk");
    found
}

/// So many CPUs that this process may run on.
pub fn cpus(count: usize) -> bool {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    need(there >= count, format_args!("needs {count} CPUs"))
}

/// A v1 hierarchy whose groups have budgets of real time.
pub fn real_time_budgets() -> bool {
    let there = cgroup_mount("cpu").is_some_and(|mount| mount.join("cpu.rt_runtime_us").exists());
    cgroup_v1("cpu") && need(there, "needs a kernel with RT_GROUP_SCHED")
}

/// A kernel that knows memory nodes.
pub fn numa() -> bool {
    need(std::path::Path::new("/proc/self/numa_maps").exists(), "needs a kernel that knows memory nodes")
}

/// A kernel that accounts the time lost for want of something (PSI).
pub fn pressure() -> bool {
    let told = std::fs::read("/proc/pressure/cpu").is_ok();
    need(told, "needs a kernel that accounts pressure")
}

/// A program in PATH.
pub fn command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    need(there, format_args!("needs the program {name}"))
}

/// A `ps` that can write its full table. In user-mode Linux procps gives up on the clock.
pub fn ps() -> bool {
    let works = std::process::Command::new("ps").arg("-ef").output().is_ok_and(|ran| ran.status.success());
    need(works, "needs a ps that works here")
}

/// A program at this path, of this package.
pub fn package(path: &str, name: &str) -> bool {
    let there = std::path::Path::new(path).is_file();
    need(there, format_args!("needs {path}: apt-get install {name}"))
}

/// A kernel that shows in which call a process waits.
pub fn proc_syscall() -> bool {
    need(std::path::Path::new("/proc/self/syscall").exists(), "needs /proc/PID/syscall")
}

/// A namespace kind of this kernel: `time`.
pub fn namespace(kind: &str) -> bool {
    need(std::path::Path::new("/proc/self/ns").join(kind).exists(), format_args!("needs {kind} namespaces"))
}

/// A kernel that lets a program type into its own terminal without privilege.
pub fn typing() -> bool {
    let sysctl = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    // Before Linux 6.2 there is no such switch.
    need(!sysctl.is_ok_and(|text| text.trim() == "0"), "needs dev.tty.legacy_tiocsti")
}

/// A kernel that makes pairs of virtual Ethernet devices, and ip(8) to make them with.
pub fn veth() -> bool {
    let ip = "ip link add type veth && exec ip -j address";
    let made = std::process::Command::new("unshare").args(["-n", "bash", "-c", ip]).output();
    root() && need(made.is_ok_and(|ran| ran.status.success()), "needs veth devices")
}

/// An ordinary user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// The first uid of its range in /etc/subuid.
    pub subuid: u32,
    /// How many uids are in it.
    pub subuids: u32,
}

/// An ordinary user with a range in /etc/subuid; to run as it: `setpriv --reuid --regid --clear-groups`.
pub fn user() -> Option<User> {
    let found = find_user();
    if found.is_none() || !root() {
        skip("needs an ordinary user with a range in /etc/subuid: useradd -m NAME");
        return None;
    }
    found
}

fn find_user() -> Option<User> {
    let ranges = std::fs::read_to_string("/etc/subuid").ok()?;
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let range = |name: &str| {
        let mut words = ranges.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?.split(':');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    passwd.lines().find_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (words.get(2)?.parse().ok()?, words.get(3)?.parse().ok()?);
        let (subuid, subuids) = range(words[0])?;
        (uid >= 1000).then(|| User { name: words[0].into(), uid, gid, subuid, subuids })
    })
}

pub(crate) fn cgroup_mounts() -> Vec<Mount> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Mount::parse_all(&text).into_iter().filter(|m| m.fstype.starts_with("cgroup")).collect()
}

/// Where a v1 controller, or `unified`, is mounted.
pub fn cgroup_mount(controller: &str) -> Option<PathBuf> {
    let wanted = |m: &&Mount| match controller {
        "unified" => m.fstype == "cgroup2",
        name => m.fstype == "cgroup" && m.has(name),
    };
    cgroup_mounts().iter().find(wanted).map(|m| PathBuf::from(&m.point))
}
