//! `--persist`: what is kept can be joined again, nothing is kept of a chain that failed, and what is taken away is gone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod target;

use catena_tests::{Leftovers, Output, TempDir, requires, rootfs, shell, tool};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use target::{as_user, user_namespaces};

/// A script in a mount namespace of its own, so that nothing of it is ever mounted on the host. `$D` is a fresh folder.
fn script(dir: &TempDir, text: &str) -> Output {
    let line = format!("exec unshare -m --propagation private bash -ec '{text}'");
    shell(&line).env("D", dir.path()).run()
}

/// The same as an ordinary user, who may not mount.
fn user_script(dir: &TempDir, text: &str) -> Output {
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    as_user(&format!("D={}; set -e; {text}", dir.path().display())).run()
}

fn is_empty(dir: &TempDir) -> bool {
    std::fs::read_dir(dir.path()).unwrap().next().is_none()
}

#[test]
fn nothing_is_kept_of_a_chain_that_fails() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    for (chain, status) in [
        ("rootfs-prep --root /nonexistent -- true", 125),
        ("cap-drop --print -- true", 125),
        ("/nonexistent", 127),
        ("/etc/passwd", 126),
        ("cap-drop --keep net_admin --bounding nothing_like_that -- true", 125),
    ] {
        let text = format!(
            "for keep in $D/box net=$D/one; do s=0; ns-enter -mpn --persist $keep -- {chain} >/dev/null 2>&1 || s=$?; \
             echo $s; ls -A $D; grep $D /proc/self/mountinfo || :; done"
        );
        let out = script(&dir, &text);
        assert_eq!(out.succeeds().stdout, format!("{status}\n{status}\n"), "{chain}: {out:?}");
        assert!(is_empty(&dir), "{chain}");
    }
    leftovers.check();
}

#[test]
fn a_folder_is_joined_again_and_then_is_gone() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    let out = script(
        &dir,
        "s=0; ns-enter -mpnu --hostname kept --persist $D/box -- \
             bash -c \"mount -t tmpfs -o size=4k x /mnt; echo \\$\\$ >/dev/null; exit 3\" || s=$?; echo $s
         for i in 1 2; do ns-enter --join $D/box -- bash -c \"hostname; stat -f -c %b /mnt; ip -o link | wc -l\"; done
         ns-enter --join $D/box -- readlink /proc/self/ns/net; readlink $D/box/net || stat -c inode:%i $D/box/net
         ns-enter --unpersist $D/box
         ls -A $D; grep $D /proc/self/mountinfo || :",
    );
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    // The command's own status, and its namespaces as it left them, twice.
    assert_eq!(lines[..7], ["3", "kept", "1", "1", "kept", "1", "1"], "{out:?}");
    let inode = lines[8].strip_prefix("inode:").unwrap();
    assert_eq!(lines[7], format!("net:[{inode}]"), "a file that others can join, too");
    assert_eq!(lines.len(), 9, "nothing is left: {out:?}");
    leftovers.check();
}

#[test]
fn a_new_root_is_what_later_ones_find() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir, root) = (Leftovers::watch(), TempDir::new(), rootfs());
    let text = format!(
        "ns-enter -mp --persist $D/box -- rootfs-prep --root {} --proc /proc --tmpfs /tmp -- /bin/true
         for i in 1 2; do ns-enter --join $D/box -- cap-drop --all -- /bin/sh -c \"ls -d /probe; echo /proc/[0-9]*; ls /tmp; echo >/tmp/\\$\\$\"; done
         ns-enter --unpersist $D/box",
        root.path().display()
    );
    let out = script(&dir, &text);
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!((lines[0], lines[2], lines.len()), ("/probe", "/probe", 5), "{out:?}");
    assert!(lines[1].starts_with("/proc/1 "), "the keeper is the first process: {out:?}");
    leftovers.check();
}

#[test]
fn one_namespace_is_kept_on_a_file_without_a_process() {
    if !requires::root() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    let out = script(
        &dir,
        "ns-enter -nu --persist net=$D/one -- readlink /proc/self/ns/net
         nsenter --net=$D/one readlink /proc/self/ns/net
         ns-enter --join net=$D/one -- readlink /proc/self/ns/net
         s=0; ns-enter -n --persist net=$D/one -- true 2>/dev/null || s=$?; echo $s
         ns-enter --unpersist $D/one
         touch $D/empty; ns-enter -n --persist net=$D/empty -- true; ns-enter --unpersist=$D/empty; ls -A $D",
    );
    let lines: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{out:?}");
    assert!(lines[0] == lines[1] && lines[1] == lines[2] && lines[3] == "125", "{out:?}");
    leftovers.check();
}

#[test]
fn an_ordinary_user_has_a_process_for_it() {
    if !user_namespaces() {
        return;
    }
    let (leftovers, dir, root) = (Leftovers::watch(), TempDir::new(), rootfs());
    let text = format!(
        "idmap -r -- ns-enter -mnp --persist $D/box -- rootfs-prep --root {} --proc /proc -- /bin/true
         for i in 1 2; do ns-enter --join $D/box -- cap-drop --all -- /probe >$D/seen; cat $D/seen; done
         ns-enter --join $D/box -- /bin/sh -c 'until [ $(ls /proc/1/fd | wc -l) = 3 ]; do sleep 0.01; done; \
         cat /proc/1/status /proc/1/cmdline; ls /proc/1/fd; readlink /proc/1/fd/0' >$D/keeper
         ns-enter --unpersist $D/box; cat $D/keeper; rm $D/keeper $D/seen; ls -A $D",
        root.path().display()
    );
    let out = user_script(&dir, &text);
    let text = &out.succeeds().stdout;
    assert_eq!(text.matches("\"uid\":0,\"gid\":0,\"uids\"").count(), 2, "{out:?}");
    for cap in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{cap}:\t0000000000000000")), "{cap}: {out:?}");
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{out:?}");
    assert!(text.contains("0\n1\n2\n/dev/null\n"), "the keeper has nothing open: {out:?}");
    assert!(is_empty(&dir), "{out:?}");
    let out =
        user_script(&dir, "s=0; ns-enter -U --persist user=$D/one -- $PROBE ran || s=$?; ls -A $D; exit $s");
    out.refuses(125, "EPERM");
    assert!(out.stderr.contains("try: --persist DIR"), "{out:?}");
    leftovers.check();
}

#[test]
fn a_keeper_that_was_killed_is_missed() {
    if !user_namespaces() {
        return;
    }
    let (leftovers, dir) = (Leftovers::watch(), TempDir::new());
    let out = user_script(
        &dir,
        "idmap -r -- ns-enter -np --persist $D/box -- true
         keeper=$(sed 's/.*keeper\":\"\\([0-9]*\\).*/\\1/' $D/box/catena.json); kill -9 $keeper
         while [ -e /proc/$keeper/ns/net ]; do sleep 0.01; done
         s=0; ns-enter --join $D/box -- $PROBE ran || s=$?; ns-enter --unpersist $D/box; ls -A $D; exit $s",
    );
    // A moment before it was reaped, or after.
    out.refuses(125, "has ended");
    leftovers.check();
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let dir = TempDir::new();
    let at = |name: &str| dir.join(name).display().to_string();
    std::fs::write(dir.join("file"), "x").unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    for (words, text) in [
        (vec!["-p", "--persist", &format!("pid={}", at("x"))], "dead without its first process"),
        (vec!["-n", "--persist", &format!("uts={}", at("x"))], "no uts namespace is made or joined"),
        (vec!["-n", "--persist", &format!("net={}", at("folder"))], "not a regular file"),
        (vec!["-n", "--persist", &at("file")], "not a folder"),
        (vec!["-n", "--persist", "net="], "the path is empty"),
        (vec!["-n", "--persist", "nett=/x"], "no namespace is called 'nett'"),
        (vec!["-p", "--no-fork", "--persist", &at("x")], "exclude each other"),
        (vec!["-U", "--disable-userns", "--persist", &at("x")], "exclude each other"),
        (vec!["--join", &at("folder")], "nothing is kept in"),
        (vec!["--join", &at("file")], "not KIND=PATH"),
        (vec!["-n", "--unpersist", &at("folder")], "--unpersist takes away"),
    ] {
        tool("ns-enter").args(&words).verb(["ran"]).run().refuses(125, text);
        tool("ns-enter").args(&words).arg("--check").run().refuses(125, text);
    }
    for (place, text) in
        [(at("folder"), "nothing is kept"), (at("file"), "nothing is kept"), (at("no"), "ENOENT")]
    {
        tool("ns-enter").args(["--unpersist", &place]).run().refuses(125, text);
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "folder"]);
}

#[test]
fn a_note_that_is_none_is_refused_at_once() {
    let dir = TempDir::new();
    let note = dir.join("catena.json");
    nix::unistd::mkfifo(&note, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = |text: &str| {
        for word in ["--join", "--unpersist"] {
            tool("ns-enter").args([word, dir.path().to_str().unwrap()]).run().refuses(125, text);
        }
        assert!(Path::new(&note).symlink_metadata().is_ok());
        std::fs::remove_file(&note).unwrap();
    };
    refused("not a regular file");
    std::os::unix::fs::symlink("/etc/passwd", &note).unwrap();
    refused("ELOOP");
    std::fs::write(&note, r#"{"namespaces":["../../etc"]}"#).unwrap();
    refused("catena.json");
    // A number that is somebody else's by now is nobody that is killed.
    let own = std::process::id();
    std::fs::write(&note, format!(r#"{{"namespaces":["network"],"keeper":"{own}","started":1}}"#)).unwrap();
    let at = dir.path().to_str().unwrap();
    tool("ns-enter").args(["--join", at]).verb(["ran"]).run().refuses(125, "its keeper, has ended");
    std::fs::write(&note, r#"{"namespaces":["network"],"keeper":"-1"}"#).unwrap();
    tool("ns-enter").args(["--unpersist", dir.path().to_str().unwrap()]).run().refuses(125, "is no process");
}
