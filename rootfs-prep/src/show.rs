//! What is mounted for a process, as a layer.

use chain::bytes::Bytes;
use chain::oci::{Mount, Root};
use chain::proc::{MountInfo, parse_mountinfo, read};
use chain::spec::RootfsPrep;
use chain::{Class, Error, Result};
use nix::errno::Errno;

/// The layer of what process `pid` sees. Of a bind, mountinfo tells the path in its file system, not the one that was
/// bound; and what covers a path by /dev/null is a mask, whoever made it.
pub(crate) fn in_force(pid: i32) -> Result<RootfsPrep> {
    let text = read(&format!("/proc/{pid}/mountinfo")).map_err(|e| match e.errno() {
        Some(Errno::ENOENT | Errno::ESRCH) => Error::new(
            Class::Missing,
            format_args!("show process {pid}"),
            format_args!("there is no process {pid}"),
        ),
        _ => e,
    })?;
    let mut spec = RootfsPrep::default();
    for mount in parse_mountinfo(&text) {
        if mount.target.0 == b"/" {
            spec.root = Some(Root { path: mount.root.clone(), readonly: has(&mount, "ro") });
            spec.rootfs_propagation = Some(propagation(&mount));
        } else if mount.root.0 == b"/null" && matches!(mount.kind.as_str(), "tmpfs" | "devtmpfs") {
            spec.masked_paths.push(mount.target);
        } else {
            spec.mounts.push(layer(mount));
        }
    }
    Ok(spec)
}

fn has(mount: &MountInfo, option: &str) -> bool {
    mount.options.iter().any(|o| o == option)
}

fn propagation(mount: &MountInfo) -> String {
    let word = |start: &str| mount.propagation.iter().any(|p| p.starts_with(start));
    let kind = match () {
        () if word("shared:") => "shared",
        () if word("master:") => "slave",
        () if word("unbindable") => "unbindable",
        () => "private",
    };
    kind.to_string()
}

fn layer(mount: MountInfo) -> Mount {
    let mut options = mount.options;
    let part = mount.root.0 != b"/";
    let (kind, source) = if part {
        options.insert(0, "bind".into());
        (None, mount.root)
    } else {
        // The access of the file system is the mount's as well.
        options.extend(mount.super_options.into_iter().filter(|o| o != "rw" && o != "ro"));
        (Some(mount.kind), mount.source)
    };
    let source = Some(source).filter(|s: &Bytes| !s.0.is_empty());
    Mount { destination: mount.target, kind, source, options, ..Mount::default() }
}
