//! What containers have that is not theirs alone, dumped and restored with a real criu, and shown to go on where it was:
//! a terminal, a network namespace, binds in binds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{TempDir, shell};
use common::criu::{
    COUNTS, checkpoint, counter, counting, counts_on, images, in_lane, numbers, restore, wait_for,
};
use serde_json::json;
use std::os::unix::fs::symlink;

/// The other end of its terminal is held by a proxy that has ended, and by another one after it.
#[test]
fn a_terminal_comes_back_with_another_end() {
    if !in_lane() {
        return;
    }
    let bundle = counting("while read word; do i=$((i+1)); echo $i >>/count; done")
        .set("/process/terminal", json!(true));
    let (root, dir) = (bundle.state.path().display().to_string(), bundle.dir().to_string());
    let with_keys = |words: &str| {
        shell(&format!(
            "while :; do echo x; sleep 0.02; done | script -qc 'runner --root {root} {words} {}' /dev/null >{dir}/screen",
            bundle.id
        ))
        .spawn()
    };
    let mut first = with_keys(&format!("run --bundle {dir}"));
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    first.kill();
    let mut second = with_keys(&format!("restore --bundle {dir} --image-path {}", images(&bundle).display()));
    counts_on(&bundle);
    bundle.delete().succeeds();
    second.kill();
    drop(bundle);
}

/// That of before may be gone: it is the config's at restore that counts.
#[test]
fn a_network_namespace_of_others_is_joined_again() {
    if !in_lane() {
        return;
    }
    let dir = TempDir::new();
    let (old, new) = (dir.file("old", ""), dir.file("new", ""));
    for file in [&old, &new] {
        shell(&format!("unshare --net={} true", file.display())).run().succeeds();
    }
    let at = |bundle: common::Bundle, file: &std::path::Path| {
        let namespaces = bundle.config["linux"]["namespaces"].as_array().unwrap();
        let place = namespaces.iter().position(|n| n["type"] == "network").unwrap();
        bundle.set(&format!("/linux/namespaces/{place}/path"), json!(file))
    };
    let mut bundle = at(counter(), &old).up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    bundle = at(bundle, &new);
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    let inode = |path: String| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let wanted = inode(new.display().to_string());
    assert_eq!(inode(format!("/proc/{}/ns/net", bundle.pid())), wanted);
    drop(bundle);
    for file in [&old, &new] {
        shell(&format!("umount {}", file.display())).run().succeeds();
    }
}

/// A bind in a bind, one through a link, and mount points that a new root has not.
#[test]
fn binds_in_binds_come_back_wherever_their_names_lead() {
    if !in_lane() {
        return;
    }
    let volumes = TempDir::new();
    let inner = volumes.file("inner/here", "").parent().unwrap().to_path_buf();
    let outer = volumes.file("outer/there", "").parent().unwrap().to_path_buf();
    let bind = |at: &str, from: &std::path::Path| json!({"destination": at, "type": "bind", "source": from, "options": ["rbind"]});
    let line = format!("test -e /a/b/here -a -e /c/d/here && {}", COUNTS.replace("/count", "/a/b/count"));
    let bundle = counting(&line)
        .set("/mounts/-", bind("/a", &outer))
        .set("/mounts/-", bind("/a/b", &inner))
        .set("/mounts/-", bind("/link/d", &inner));
    std::fs::create_dir(bundle.rootfs.path().join("c")).unwrap();
    symlink("c", bundle.rootfs.path().join("link")).unwrap();
    symlink(inner.join("count"), bundle.rootfs.path().join("count")).unwrap();
    let bundle = bundle.up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    std::fs::remove_dir(bundle.rootfs.path().join("a")).unwrap();
    std::fs::remove_dir(bundle.rootfs.path().join("c/d")).unwrap();
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    bundle.exec([], ["/bin/ls", "/a/b/here", "/c/d/here", "/a/there"]).run().succeeds();
    assert!(!numbers(&bundle).is_empty());
    wait_for("it runs", || bundle.status() == "running");
    drop(bundle);
}

/// criu would leave two parts of one mount of the host that both follow it, and not bring them back.
#[test]
fn binds_that_could_not_be_restored_are_not_taken_away() {
    if !in_lane() {
        return;
    }
    let volumes = TempDir::new();
    let none: Option<&str> = None;
    let mount =
        |kind: &str, flags| nix::mount::mount(Some(kind), volumes.path(), Some(kind), flags, none).unwrap();
    mount("tmpfs", nix::mount::MsFlags::empty());
    mount("tmpfs", nix::mount::MsFlags::MS_SHARED);
    let bind = |at: &str, options: &[&str]| {
        let source = volumes.join(at);
        std::fs::create_dir(&source).unwrap_or(());
        json!({"destination": format!("/{at}"), "type": "bind", "source": source, "options": options})
    };
    let with = |options: &[&str]| {
        let bundle = counter().set("/mounts/-", bind("a", options)).set("/mounts/-", bind("b", options)).up();
        counts_on(&bundle);
        bundle
    };
    let follow = with(&["rbind"]);
    checkpoint(&follow, []).refuses(1, "/a and /b follow the same mount of the host");
    assert_eq!(follow.status(), "running");
    drop(follow);
    let private = with(&["rbind", "rprivate"]);
    checkpoint(&private, []).succeeds();
    restore(&private, "").succeeds();
    counts_on(&private);
    drop(private);
    nix::mount::umount(volumes.path()).unwrap();
}
