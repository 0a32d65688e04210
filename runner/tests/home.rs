//! Where states are when `--root` does not say.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{TempDir, requires, shell};

/// A file in the place of the folder under $XDG_RUNTIME_DIR: whoever looks there says so.
#[test]
fn roots_states_are_the_hosts_but_not_those_of_an_engine_without_root() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    dir.file("catena", "");
    let state = |line: &str| {
        shell(&format!("{line} runner state no-such-container")).env("XDG_RUNTIME_DIR", dir.path()).run()
    };
    let below = format!("open({}/catena)", dir.path().display());
    for line in ["unshare -U --map-root-user env -u USER", "unshare -U --map-root-user env USER=someone"] {
        state(line).fails(1, &below);
    }
    for line in ["env -u USER", "env USER=someone", "unshare -U --map-root-user env USER=root"] {
        let out = state(line);
        assert!(!out.stderr.contains(&below), "{line}: {out:?}");
    }
    let given = format!("unshare -U --map-root-user runner --root {}/other state x", dir.path().display());
    shell(&given).env("XDG_RUNTIME_DIR", dir.path()).run().fails(1, "container does not exist");
}

#[test]
fn who_has_no_folder_for_states_is_told_how_to_name_one() {
    if !requires::root() || !requires::command("setpriv") {
        return;
    }
    let dir = TempDir::new();
    std::os::unix::fs::chown(dir.path(), Some(54_321), None).unwrap();
    let user = "setpriv --reuid 54321 --regid 54321 --clear-groups env -u XDG_RUNTIME_DIR";
    let line = format!("{user} runner spec --bundle $D && {user} runner run --bundle $D x");
    // Elsewhere /run may be everybody's.
    let line = format!("mount -t tmpfs -o mode=755 tmpfs /run && {line}");
    let out = shell("exec unshare -m --propagation private bash -c \"$L\"")
        .env("D", dir.path())
        .env("L", line)
        .run();
    out.fails(1, "/run/catena): Permission denied (EACCES)")
        .fails(1, "try: --root DIR, or XDG_RUNTIME_DIR=DIR");
}
