//! A container's filter is made once: the next container that has the same takes it from the state folder, and nothing
//! that somebody planted there is taken for it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, requires};
use common::Bundle;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

/// mkdir(2) is answered with this errno.
fn filter(errno: i32) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]})
}

const SCRIPT: &str = "mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status";
const REFUSED: [(i32, &str); 2] = [(18, "ross-device link"), (5, "nput/output error")];

fn folder(bundle: &Bundle) -> PathBuf {
    bundle.state.path().join("@filters")
}

/// The files there, by their inodes: one that is made again is another one.
fn kept(bundle: &Bundle) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder(bundle)).unwrap();
    let mut all: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.metadata().unwrap().ino(), path))
        .collect();
    all.sort();
    all
}

fn run(bundle: &Bundle) -> Output {
    bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).run()
}

/// The filter is in force, whatever was said besides.
fn is_filtered(out: &Output, errno: i32) {
    let words = REFUSED.iter().find(|(number, _)| *number == errno).unwrap().1;
    assert!(out.status == 0 && out.stdout.contains(words), "{out:?}");
    assert!(out.stdout.contains("Seccomp:\t2"), "{out:?}");
}

#[test]
fn the_second_container_has_the_filter_of_the_first_and_no_link_more() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh(SCRIPT).set("/linux/seccomp", filter(18));
    is_filtered(run(&bundle).succeeds(), 18);
    let first = kept(&bundle);
    assert_eq!(first.len(), 1);
    is_filtered(run(&bundle).succeeds(), 18);
    assert_eq!(kept(&bundle), first);
    // Every step is told where that is asked for, this one too; what is kept stays what it was.
    let told = bundle.runner(["--debug", "run", "--bundle", bundle.dir(), &bundle.id]).run();
    is_filtered(&told, 18);
    assert!(told.stderr.contains("seccomp filter flags"), "{told:?}");
    assert_eq!(kept(&bundle), first);
    // Nothing of it is a container, and another profile is another filter.
    let list = bundle.runner(["list", "--quiet"]).run();
    assert_eq!(list.succeeds().stdout, "");
    let bundle = bundle.set("/linux/seccomp", filter(5));
    is_filtered(run(&bundle).succeeds(), 5);
    // Without no_new_privs it is loaded as another one is, too.
    let bundle = bundle.set("/process/noNewPrivileges", json!(false));
    for _ in 0..2 {
        is_filtered(run(&bundle).succeeds(), 5);
    }
    drop(bundle);
    leftovers.check();
}

#[test]
fn exec_takes_it_and_never_keeps_one() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().set("/linux/seccomp", filter(18)).up();
    let first = kept(&bundle);
    assert_eq!(first.len(), 1);
    let exec = || bundle.exec([], ["sh", "-c", SCRIPT]).run();
    is_filtered(exec().succeeds(), 18);
    assert_eq!(kept(&bundle), first);
    fs::remove_dir_all(folder(&bundle)).unwrap();
    is_filtered(exec().succeeds(), 18);
    assert!(!folder(&bundle).exists(), "what was made among processes of others is not kept");
}

/// In a user namespace the chain could not write there itself.
#[test]
fn in_a_user_namespace_too() {
    if !requires::root() {
        return;
    }
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    let bundle = Bundle::sh(SCRIPT).set("/linux/seccomp", filter(18));
    let mut namespaces = bundle.config["linux"]["namespaces"].clone();
    namespaces.as_array_mut().unwrap().push(json!({"type": "user"}));
    let bundle = bundle
        .set("/linux/namespaces", namespaces)
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    chown(bundle.rootfs.path(), Some(200_000), Some(200_000)).unwrap();
    is_filtered(run(&bundle).succeeds(), 18);
    let first = kept(&bundle);
    assert_eq!(first.len(), 1);
    is_filtered(run(&bundle).succeeds(), 18);
    assert_eq!(kept(&bundle), first);
}

#[test]
fn what_was_planted_there_is_not_taken() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh(SCRIPT).set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    run(&bundle).succeeds();
    let open_door = kept(&bundle)[0].1.clone();
    let bundle = bundle.set("/linux/seccomp", filter(18));
    is_filtered(run(&bundle).succeeds(), 18);
    let strict = kept(&bundle)
        .into_iter()
        .map(|(_, path)| path)
        .find(|path| *path != open_door)
        .unwrap_or(open_door.clone());
    let whole = fs::read(&strict).unwrap();

    // A filter that lets everything through, under the name of this one.
    if strict != open_door {
        fs::copy(&open_door, &strict).unwrap();
        is_filtered(run(&bundle).succeeds(), 18);
        assert_eq!(fs::read(&strict).unwrap(), whole, "it took its place again");
    }
    // In the right place, and written by somebody else, or open to somebody else.
    for plant in [
        &(|| chown(&strict, Some(1000), None).unwrap()) as &dyn Fn(),
        &|| fs::set_permissions(&strict, Permissions::from_mode(0o666)).unwrap(),
        &|| fs::write(&strict, &whole[..whole.len() - 8]).unwrap(),
    ] {
        plant();
        let out = run(&bundle);
        is_filtered(&out, 18);
        assert!(out.stderr.contains("it is made anew"), "{out:?}");
        is_filtered(run(&bundle).succeeds(), 18);
        assert_eq!(fs::read(&strict).unwrap(), whole);
    }
    // A folder that others can write to is not used at all.
    fs::set_permissions(folder(&bundle), Permissions::from_mode(0o777)).unwrap();
    let before = kept(&bundle);
    let out = run(&bundle);
    is_filtered(&out, 18);
    assert!(out.stderr.contains("@filters: others may write to it: mode 0777"), "{out:?}");
    assert_eq!(kept(&bundle), before);
    fs::remove_dir_all(folder(&bundle)).unwrap();
    fs::write(folder(&bundle), "").unwrap();
    is_filtered(&run(&bundle), 18);
    drop(bundle);
    leftovers.check();
}
