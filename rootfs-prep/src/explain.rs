//! Why the kernel said no: found afterwards, by looking.

use chain::proc::mounts;
use chain::{Class, Error};

/// EPERM of a mount of `kind`.
pub(crate) fn denied(error: Error, kind: &str) -> Error {
    if !matches!(kind, "proc" | "sysfs") {
        return error.why("mounting wants CAP_SYS_ADMIN in the user namespace that owns the mount namespace");
    }
    // The kernel lets a user namespace mount a fresh one only where the one that can be seen is not covered anywhere
    // (mount_too_revealing): else the cover would be worth nothing.
    let Ok(mounts) = mounts() else { return error };
    let cover = mounts
        .iter()
        .filter(|m| m.kind == kind)
        .find_map(|outer| mounts.iter().find(|m| m.parent == outer.id).map(|m| m.target.clone()));
    let instead = if kind == "proc" { "/proc" } else { "/sys" };
    match cover {
        Some(cover) => error
            .why(format_args!(
                "{cover} covers a part of the {kind} that is there, and a fresh one would uncover it"
            ))
            .cure(format_args!("--ro-bind {instead} {instead}")),
        None if mounts.iter().any(|m| m.kind == kind) => {
            error.why(format_args!("this user namespace does not own the namespace that a {kind} shows"))
        }
        None => {
            error.class(Class::Denied).why(format_args!("no {kind} is mounted here that shows all of it"))
        }
    }
}
