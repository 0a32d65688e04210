//! Where states are when `--root` does not say: an engine that calls again must find what it made.

use std::path::PathBuf;

/// `/run/catena`, or below `$XDG_RUNTIME_DIR` where `/run` is not ours. As runc has it, an engine without root, which
/// runs its runtime as root of a user namespace of its own, counts as a user; somebody's root in there does not. A
/// session that su(1) or cron(8) made has no such variable, and mostly the folder that a login makes for it.
pub(crate) fn default_root() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if runtime.is_some() && !is_root() {
        return runtime.unwrap_or_default().join("catena");
    }
    let uid = rustix::process::geteuid();
    let login = PathBuf::from(format!("/run/user/{}", uid.as_raw()));
    match !uid.is_root() && login.is_dir() {
        true => login.join("catena"),
        false => PathBuf::from("/run/catena"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
        && (std::env::var_os("USER").is_some_and(|user| user == "root") || !in_user_namespace())
}

/// The first user namespace maps every id to itself; no other one can.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}
