//! spec: a config.json to start from; the same container that `runc spec` describes.

use crate::cli::Spec;
use chain::state::write_all;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::{Value, json};
use std::os::fd::AsFd;

/// `runner spec`.
pub(crate) fn write(options: &Spec) -> Result<u8> {
    let path = options.bundle.join(&options.file);
    let doing = format_args!("write {}", path.display());
    let config = if options.rootless { rootless(default()) } else { default() };
    let mut text =
        serde_json::to_string_pretty(&config).map_err(|e| Error::new(Class::Internal, doing, e))?;
    text.push('\n');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = openat(CWD, &path, flags, Mode::from_raw_mode(0o666))
        .cannot(doing, format_args!("open({})", path.display()))?;
    write_all(fd.as_fd(), text.as_bytes()).cannot(doing, format_args!("write({})", path.display()))?;
    Ok(0)
}

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

fn default() -> Value {
    json!({
        "ociVersion": crate::cli::SPEC,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "catena",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// A cgroup namespace only where there is one hierarchy to see, as runc has it.
fn namespaces() -> Value {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    let unified = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.f_type == CGROUP2_SUPER_MAGIC);
    let kinds = ["pid", "network", "ipc", "uts", "mount"].into_iter().chain(unified.then_some("cgroup"));
    kinds.map(|kind| json!({"type": kind})).collect()
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        let mut mount = json!({"destination": destination, "type": kind, "source": source});
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    json!([
        mount("/proc", "proc", "proc", ""),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ])
}

/// As `runc spec --rootless`: a user namespace with the caller as root, no network namespace, /sys bound from the host,
/// no limits. The cgroup mount stays: without it the host's own hierarchies would show below /sys, and a container whose
/// user was given a group there could write to it (CVE-2023-25809).
fn rootless(mut config: Value) -> Value {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}, {"type": "user"}]);
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("resources");
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for mount in mounts {
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
                });
            }
            if mount["destination"] == "/dev/pts" {
                mount["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
            }
        }
    }
    config
}
