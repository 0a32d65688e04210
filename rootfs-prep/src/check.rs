//! `--check`: all of it for real, in namespaces of a child that then goes away.

use crate::apply;
use crate::build::{attach, readable};
use crate::plan::{NewRoot, Plan};
use chain::canary::canary;
use chain::state::State;
use chain::{Cannot, Result};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, mount_change,
};
use rustix::process::{getegid, geteuid};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Tries the plan; gives what was done less of.
pub(crate) fn check(plan: &Plan) -> Result<Vec<String>> {
    canary(|| {
        namespaces()?;
        // Only a child comes into the pid namespace, and a procfs of it can be mounted from in there.
        canary(|| {
            if let NewRoot::Folder { path, .. } = &plan.root {
                cover(path.as_path())?;
            }
            apply::all(&mut plan.clone(), &mut State::default()).map(drop)
        })
    })?;
    Ok(plan.degraded.clone())
}

/// As behind `ns-enter -mpniuC`, with a user namespace where it takes one.
fn namespaces() -> Result<()> {
    let doing = "try it out";
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if geteuid().is_root() {
        unshare(all).cannot(doing, "unshare")?;
    } else {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        unshare(all | CloneFlags::CLONE_NEWUSER).cannot(doing, "unshare(CLONE_NEWUSER)")?;
        // A gid_map of one's own is taken only after groups are given up, user_namespaces(7).
        let files = [
            ("setgroups", "deny".into()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ];
        for (file, text) in files {
            std::fs::write(format!("/proc/self/{file}"), text)
                .cannot(doing, format_args!("write({file})"))?;
        }
    }
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .cannot(doing, "mount(/, MS_PRIVATE)")
}

/// Puts an overlay on the root's folder, so that mount points made for the trial are not made in the folder itself.
fn cover(root: &std::path::Path) -> Result<()> {
    let doing = "try it out without a trace";
    let at = chain::bytes::Bytes::from(root);
    let folder = |path: &std::path::Path| {
        openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .cannot(format_args!("make {at} the root"), format_args!("open({at})"))
    };
    let lower = folder(root)?;
    let store = fresh("tmpfs", &[], doing)?;
    attach(store.as_fd(), lower.as_fd(), doing, &at)?;
    let inside = readable(store.as_fd()).cannot(doing, "openat(tmpfs)")?;
    for name in ["upper", "work"] {
        mkdirat(&inside, name, Mode::from_raw_mode(0o755)).cannot(doing, "mkdirat(tmpfs)")?;
    }
    let fd = |fd: &OwnedFd, rest: &str| format!("/proc/self/fd/{}{rest}", fd.as_raw_fd());
    let options = [
        ("lowerdir", fd(&lower, "")),
        ("upperdir", fd(&inside, "/upper")),
        ("workdir", fd(&inside, "/work")),
    ];
    let overlay = fresh("overlay", &options, doing)?;
    attach(overlay.as_fd(), folder(root)?.as_fd(), doing, &at)
}

fn fresh(kind: &str, options: &[(&str, String)], doing: &str) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).cannot(doing, format_args!("fsopen({kind})"))?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, value)
            .cannot(doing, format_args!("fsconfig({kind}, {key}={value})"))?;
    }
    fsconfig_create(&context).cannot(doing, format_args!("fsconfig({kind}, create)"))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .cannot(doing, format_args!("fsmount({kind})"))
}
