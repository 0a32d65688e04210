//! What containers have that is not theirs alone, dumped and restored with a real criu, and shown to go on where it was:
//! a terminal, a network namespace, binds in binds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{TempDir, requires, shell, until};
use common::criu::{COUNTS, checkpoint, counter, counting, counts_on, images, numbers, restore};
use nix::mount::MsFlags;
use serde_json::json;
use std::os::unix::fs::symlink;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// For who mounts something on the host, and for who looks whether something was left there.
fn alone() -> MutexGuard<'static, ()> {
    static HOST: Mutex<()> = Mutex::new(());
    // A test that failed with it fails no other.
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other end of its terminal is held by a proxy that has ended, and by another one after it.
#[test]
fn a_terminal_comes_back_with_another_end() {
    if !requires::criu() {
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
    if !requires::criu() {
        return;
    }
    let _alone = alone();
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
    if !requires::criu() {
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
    until("it runs", || bundle.status() == "running");
    drop(bundle);
}

/// A mount of the host that propagates, for as long as this value is there.
struct Shared {
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Shared {
    fn new() -> Shared {
        let shared = Shared { _alone: alone(), dir: TempDir::new() };
        shared.mount("", "tmpfs", MsFlags::empty());
        shared.mount("", "tmpfs", MsFlags::MS_SHARED);
        shared
    }

    fn mount(&self, at: &str, source: impl AsRef<std::path::Path>, flags: MsFlags) {
        let (none, source) = (None::<&str>, source.as_ref());
        let kind = flags.is_empty().then_some("tmpfs");
        nix::mount::mount(Some(source), &self.dir.join(at), kind, flags, none).unwrap();
    }

    /// A bind of a folder of it that is also in the container.
    fn bind(&self, at: &str, options: &[&str]) -> serde_json::Value {
        let source = self.dir.join(at);
        std::fs::create_dir(&source).unwrap_or(());
        json!({"destination": format!("/{at}"), "type": "bind", "source": source, "options": options})
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        shell(&format!("umount -R {}", self.dir.path().display())).run().succeeds();
    }
}

/// What the container has of propagation at a mount point: `master:N` and the like.
fn follows(bundle: &common::Bundle, at: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", bundle.pid())).unwrap();
    let line = text.lines().find(|line| line.split(' ').nth(4) == Some(at)).unwrap();
    line.split(' ').skip(6).take_while(|word| *word != "-").map(String::from).collect()
}

/// Two parts of one mount of the host, both of which follow it, and one that does not.
#[test]
fn binds_that_followed_the_host_follow_it_again_and_others_do_not() {
    if !requires::criu() {
        return;
    }
    let host = Shared::new();
    let bundle = counter()
        .set("/mounts/-", host.bind("a", &["rbind", "rslave"]))
        .set("/mounts/-", host.bind("b", &["rbind", "rslave"]))
        .set("/mounts/-", host.bind("c", &["rbind", "rprivate"]))
        .up();
    let before = ["/a", "/b", "/c"].map(|at| follows(&bundle, at));
    assert_eq!(before[0], before[1]);
    assert!(before[0][0].starts_with("master:") && before[2].is_empty(), "{before:?}");
    for folder in ["a", "b", "c"] {
        std::fs::create_dir(host.dir.join(folder).join("later")).unwrap();
    }
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    assert_eq!(["/a", "/b", "/c"].map(|at| follows(&bundle, at)), before);
    for folder in ["a/later", "b/later", "c/later"] {
        host.mount(folder, "tmpfs", MsFlags::empty());
        std::fs::write(host.dir.join(folder).join("word"), "").unwrap();
    }
    let seen = "ls /a/later/word /b/later/word; ls /c/later/word 2>/dev/null";
    let seen = bundle.exec([], ["/bin/sh", "-c", seen]).run().stdout;
    assert_eq!(seen, "/a/later/word\n/b/later/word\n");
    drop(bundle);
}

/// criu would leave two parts of one mount of the host that both follow it, of which no mount shows both, and not bring
/// them back.
#[test]
fn binds_that_could_not_be_restored_are_not_taken_away() {
    if !requires::criu() {
        return;
    }
    let host = Shared::new();
    let bind = |at: &str, options: &[&str]| {
        let bind = host.bind(at, options);
        host.mount(at, host.dir.join(at), MsFlags::MS_BIND);
        bind
    };
    let both = |options: &[&str]| [bind("a", options), bind("b", options)];
    let with = |[a, b]: [serde_json::Value; 2]| {
        let bundle = counter().set("/mounts/-", a).set("/mounts/-", b).up();
        counts_on(&bundle);
        bundle
    };
    let follow = with(both(&["rbind"]));
    checkpoint(&follow, []).refuses(1, "/a and /b follow mounts of the host");
    assert_eq!(follow.status(), "running");
    drop(follow);
    let private = with(both(&["rbind", "rprivate"]));
    checkpoint(&private, []).succeeds();
    restore(&private, "").succeeds();
    counts_on(&private);
    drop(private);
}

/// Root of its user namespace is a user outside who may look neither into the images nor into the folder of the bundle.
#[test]
fn a_container_whose_root_is_a_user_outside_comes_back() {
    if !requires::criu() {
        return;
    }
    let _alone = alone();
    let leftovers = catena_tests::Leftovers::watch();
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    for kind in [json!({"type": "cgroup"}), json!({"type": "user"})] {
        let mut bundle = counter()
            .set("/linux/namespaces/-", json!({"type": "user"}))
            .set("/linux/uidMappings", maps.clone())
            .set("/linux/gidMappings", maps.clone());
        let there = bundle.config["linux"]["namespaces"].as_array().unwrap().contains(&kind);
        if kind["type"] == "cgroup" && !there {
            bundle = bundle.set("/linux/namespaces/-", kind);
        }
        let dir = bundle.dir().to_string();
        let own =
            format!("cd {dir} && : >out && : >out2 && chmod 755 . && chown -R 100000:100000 rootfs out out2");
        shell(&own).run().succeeds();
        bundle = bundle.up();
        counts_on(&bundle);
        checkpoint(&bundle, []).succeeds();
        bundle.id += "b";
        // In a folder that is closed to that user, and with nobody's leave to read it.
        let img = std::fs::metadata(images(&bundle)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&img.permissions()) & 0o777, 0o700);
        restore(&bundle, "").succeeds();
        counts_on(&bundle);
        let map = bundle.exec([], ["/bin/cat", "/proc/1/uid_map"]).run().stdout;
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        // And once more.
        checkpoint(&bundle, []).succeeds();
        shell(&format!("chown 100000:100000 {dir}/out2")).run().succeeds();
        restore(&bundle, "").succeeds();
        counts_on(&bundle);
        drop(bundle);
    }
    leftovers.check();
}

/// criu opens the file again, and that user may not.
#[test]
fn a_stream_that_its_root_may_not_open_is_named() {
    if !requires::criu() {
        return;
    }
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = counter()
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    shell(&format!("cd {} && chmod 755 . && chown -R 100000:100000 rootfs", bundle.dir())).run().succeeds();
    let bundle = bundle.up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    let out = restore(&bundle, "");
    out.refuses(1, "Can't open file fd/1 on restore: Permission denied");
    assert!(out.stderr.contains("as root of the tree's user namespace"), "{out:#?}");
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    drop(bundle);
}
