//! What a person expects of a container, and what an OCI engine writes into every config: mounts, devices, masks.

use crate::devices;
use crate::path::join;
use chain::bytes::Bytes;
use chain::oci::{Device, Mount};
use rustix::fs::{major, minor};

/// Made unreadable: they tell of, or act on, the whole machine.
pub(crate) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Made read-only.
pub(crate) const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Options as a list.
pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The mount of `--proc`, `--sys`, `--devpts`, `--mqueue`, `--cgroup`, and those below /dev.
pub(crate) fn mount(flag: &str, destination: Bytes) -> Mount {
    let (kind, source, options): (&str, &str, &[&str]) = match flag {
        "sys" => ("sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        "devpts" => {
            ("devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])
        }
        "mqueue" => ("mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        "cgroup" => ("cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        "shm" => ("tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        "dev" => ("tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _ => ("proc", "proc", &["nosuid", "noexec", "nodev"]),
    };
    Mount {
        destination,
        kind: Some(kind.into()),
        source: Some(source.into()),
        options: words(options),
        ..Mount::default()
    }
}

/// The mounts of `--dev`.
pub(crate) fn dev(at: &Bytes) -> [Mount; 3] {
    [mount("dev", at.clone()), mount("devpts", join(at, "pts")), mount("shm", join(at, "shm"))]
}

/// The default devices as a config writes them, for a /dev that is elsewhere.
pub(crate) fn devices(at: &Bytes) -> impl Iterator<Item = Device> {
    let at = at.clone();
    devices::defaults("").map(move |node| Device {
        kind: "c".into(),
        path: join(&at, &String::from_utf8_lossy(&node.path.0[1..])),
        major: Some(major(node.number).into()),
        minor: Some(minor(node.number).into()),
        file_mode: Some(node.mode),
        uid: None,
        gid: None,
    })
}

/// What `--root` mounts of itself, and which of it may be done less of where the kernel does not permit it.
pub(crate) fn mounts() -> (Vec<Mount>, Vec<Bytes>) {
    let mut mounts = vec![mount("proc", "/proc".into())];
    mounts.extend(dev(&"/dev".into()));
    mounts.push(mount("mqueue", "/dev/mqueue".into()));
    mounts.push(mount("sys", "/sys".into()));
    (mounts, ["/proc", "/dev/pts", "/dev/mqueue", "/sys"].map(Bytes::from).to_vec())
}
