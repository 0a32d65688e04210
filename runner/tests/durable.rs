//! The state when writing it fails, when it was torn, and when the machine was started again meanwhile.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell};
use common::Bundle;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

fn state_file(bundle: &Bundle) -> PathBuf {
    bundle.state.path().join(&bundle.id).join("state.json")
}

#[track_caller]
fn nothing_there(bundle: &Bundle) {
    let left: Vec<_> = std::fs::read_dir(bundle.state.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// On a disk, what is written is waited for. On tmpfs there is nothing to wait for, and nothing is.
#[test]
fn what_does_not_reach_the_disk_is_no_container() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo RAN");
    let line = |root: &Path, call: &str| {
        let root = root.display();
        format!(
            "seccomp-load -N -s {call}:EIO -- runner --root {root} run --bundle {} {}",
            bundle.dir(),
            bundle.id
        )
    };
    for (call, text) in [
        ("fsync", "to the disk: fsync("),
        ("renameat2", "cannot make the container"),
        ("mkdirat", "mkdir("),
        ("flock", "flock(~"),
    ] {
        let disk = shell("stat -f -c %T .").cwd(bundle.state.path()).run();
        if call == "fsync" && matches!(disk.stdout.trim(), "tmpfs" | "ramfs") {
            requires::skip("needs a temporary folder on a disk");
            continue;
        }
        let out = shell(&line(bundle.state.path(), call)).run();
        out.fails(1, text).fails(1, "(EIO)");
        assert_eq!(out.stdout, "", "{call}");
        nothing_there(&bundle);
    }
    let memory = bundle.rootfs.parent().join("memory");
    std::fs::create_dir(&memory).unwrap();
    let mount = format!("mount -t tmpfs tmpfs {} && {}", memory.display(), line(&memory, "fsync"));
    let out = shell(&format!("unshare -m sh -c '{mount}'")).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "RAN\n"), "{out:?}");
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_full_file_system_has_no_half_container() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo RAN");
    let root = bundle.state.path().display();
    // A page holds the config, and none is left for the record.
    let line = format!(
        "mount -t tmpfs -o size=4k tmpfs {root} && runner --root {root} run --bundle {} {}; s=$?; ls -A {root}; exit $s",
        bundle.dir(),
        bundle.id
    );
    let out = shell(&format!("unshare -m sh -c '{line}'")).run();
    out.fails(1, "into the state: write(").fails(1, "No space left on device (ENOSPC)");
    assert_eq!(out.stdout, "", "it ran, or left something: {out:?}");
    drop(bundle);
    leftovers.check();
}

/// Every command refuses it with one line; the container is left alone, and is there again with its state.
#[track_caller]
fn is_not_believed(bundle: &Bundle, text: &str) {
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["delete", "--force"]] {
        let out = bundle.runner([]).args(words).arg(&bundle.id).run();
        out.refuses(1, text);
    }
    let list = bundle.runner(["list", "-q"]).run();
    assert_eq!((list.status, list.stdout.as_str()), (0, ""), "{list:?}");
    assert!(list.stderr.contains(text), "{list:?}");
    bundle.create().fails(1, "already exists");
}

#[test]
fn a_state_that_is_torn_or_another_is_not_believed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let file = state_file(&bundle);
    let whole = std::fs::read(&file).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        is_not_believed(&bundle, "cut short at line 1");
    }
    std::fs::write(&file, [&whole[..whole.len() / 2], &vec![0; whole.len() / 2]].concat()).unwrap();
    is_not_believed(&bundle, "control character");
    let own = format!("\"pid\":{pid}");
    for (from, to, said) in [
        (own.as_str(), "\"pid\":1", "pid: 1 is no container's"),
        (&own, "\"pid\":0", "pid: 0 is no container's"),
        (&own, "\"pid\":-1", "pid: -1 is no container's"),
        (&own, "\"pid\":true", "pid: "),
        (bundle.id.as_str(), "other", "state.json: it is of other"),
    ] {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        is_not_believed(&bundle, said);
    }
    // Another runtime's.
    std::fs::write(&file, format!(r#"{{"id":"{}","init_process_pid":{pid},"version":"1.2.0"}}"#, bundle.id))
        .unwrap();
    is_not_believed(&bundle, "missing field");
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(bundle.status(), "created", "the container itself was never touched");
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_state_that_is_no_plain_file_is_not_believed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    let file = state_file(&bundle);
    let aside = bundle.rootfs.parent().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    is_not_believed(&bundle, "open(state.json): No such file or directory");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    is_not_believed(&bundle, "it is not a regular file");
    std::fs::remove_file(&file).unwrap();
    symlink(&aside, &file).unwrap();
    is_not_believed(&bundle, "ELOOP");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    is_not_believed(&bundle, "it is not a regular file");
    std::fs::remove_dir(&file).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    is_not_believed(&bundle, "1073741824 bytes, more than");
    std::fs::rename(&aside, &file).unwrap();
    let folder = bundle.state.path().join(&bundle.id);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    is_not_believed(&bundle, "can be written by others: mode 0777");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    chown(&folder, Some(65534), Some(65534)).unwrap();
    is_not_believed(&bundle, "its folder belongs to uid 65534");
    chown(&folder, Some(0), Some(0)).unwrap();
    assert_eq!(bundle.status(), "created");
    drop(bundle);
    leftovers.check();
}

/// A record that names what is not the container's has it killed and removed by nobody.
#[test]
fn what_is_not_the_containers_is_not_killed_and_not_removed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    let file = state_file(&bundle);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let group = record["cgroups"][0].as_str().unwrap().to_string();
    let victim = bundle.rootfs.parent().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find(|l| l.contains(" - cgroup")).unwrap().split(' ').nth(4).unwrap();
    for (path, said) in [
        ("/", "state.json: cgroups: / is no container's"),
        ("/etc", "state.json: cgroups: /etc is no container's"),
        ("../..", "state.json: cgroups: ../.. is no container's"),
        (&format!("{group}/../.."), "is no container's"),
        (victim.to_str().unwrap(), "it is no directory of a cgroup file system"),
        (root, "is"),
    ] {
        record["cgroups"] = serde_json::json!([path]);
        std::fs::write(&file, record.to_string()).unwrap();
        bundle.delete().refuses(1, said);
        assert!(Path::new(path).is_dir(), "{path}");
        std::fs::write(&file, &text).unwrap();
        assert_ne!(bundle.runner(["state", &bundle.id]).run().stdout, "");
    }
    drop(bundle);
    leftovers.check();
}

/// After a start of the machine, pids, start times and groups are others'; only a state on a disk is there then.
#[test]
fn nothing_that_runs_is_taken_for_a_container_of_before_the_last_boot() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let file = state_file(&bundle);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["boot"] = serde_json::json!("00000000-0000-0000-0000-000000000000");
    std::fs::write(&file, record.to_string()).unwrap();
    assert_eq!(bundle.status(), "stopped");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().fails(1, "container not running");
    let aside = bundle.rootfs.parent().join("aside");
    std::fs::create_dir(&aside).unwrap();
    for name in ["config.json", "gate"] {
        std::fs::hard_link(file.with_file_name(name), aside.join(name)).unwrap();
    }
    bundle.delete().succeeds();
    nothing_there(&bundle);
    assert!(Path::new(&format!("/proc/{pid}/exe")).exists(), "a process of this boot was killed");
    // Back as it was, for it to be removed.
    std::fs::write(aside.join("state.json"), text).unwrap();
    shell(&format!("cp -a {}/. {}/", aside.display(), {
        let folder = bundle.state.path().join(&bundle.id);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        folder.display().to_string()
    }))
    .run()
    .exits(0);
    assert_eq!(bundle.status(), "created");
    drop(bundle);
    leftovers.check();
}
