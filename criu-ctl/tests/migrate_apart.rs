//! `criu-ctl migrate` of containers, and to places that cannot take what comes; with a real criu.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{Output, Running, TempDir, requires, shell};
use counter::migrating::{expect_nothing_happened, migrate, network_of, roots, started};
use counter::{Counter, wait_for};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// A container: namespaces and a root of its own, and a volume, in which it counts.
struct Contained {
    config: PathBuf,
    count: PathBuf,
    mark: String,
    init: i32,
    outside: Running,
}

impl Contained {
    fn start(dir: &TempDir, script: &str) -> Contained {
        let (root, volume) = (dir.join("root"), dir.join("vol"));
        for folder in [&root, &volume] {
            std::fs::create_dir(folder).unwrap();
        }
        let none: Option<&str> = None;
        mount(Some("/"), &root, none, MsFlags::MS_BIND, none).unwrap();
        let config = dir.file(
            "config.json",
            r#"{"ociVersion":"1.0.2","root":{"path":"root"},"mounts":[
                {"destination":"/proc","type":"proc","source":"proc"},{"destination":"/mnt","type":"bind","source":"vol"}]}"#,
        );
        let mark = format!("{}/inside", volume.display());
        dir.file(
            "vol/count.sh",
            script.replace("LOOP", Counter::LOOP).replace("COUNT", "/mnt/count").replace("MARK", &mark),
        );
        let inner = format!(
            "mount --make-rprivate / && mount -t proc proc {root}/proc && mount --bind {vol} {root}/mnt && cd {root} && \
             pivot_root . . && umount -l . && cd / && exec setsid bash /mnt/count.sh {vol}/inside </dev/null >/dev/null 2>&1",
            root = root.display(),
            vol = volume.display()
        );
        let outside = shell(&format!("exec unshare -mpnf bash -c '{inner}'")).spawn();
        let count = volume.join("count");
        wait_for("it counts", || counter::last(&count) > 2);
        let init = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outside.pid())).unwrap();
        Contained { config, count, mark, init: init.trim().parse().unwrap(), outside }
    }

    fn migrate(&self, there: &Path, flags: &str) -> Output {
        migrate(self.init, there, &format!("-d --oci {} {flags}", self.config.display())).run()
    }

    fn roots(&self) -> Vec<i32> {
        roots(&self.mark)
    }

    #[track_caller]
    fn expect_it_counts(&self) {
        let then = counter::last(&self.count);
        wait_for("it counts on", || counter::last(&self.count) > then + 3);
        let text = std::fs::read_to_string(&self.count).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        for pid in self.roots() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or(());
        }
        nix::mount::umount2(&self.config.with_file_name("root"), nix::mount::MntFlags::MNT_DETACH)
            .unwrap_or(());
    }
}

/// It is held still until it runs over there: never twice, never not at all.
#[test]
fn a_tree_with_pids_of_its_own_gets_another_one_outside() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let mut container = Contained::start(&dir, "LOOP");
    assert_eq!(container.roots(), [container.init]);
    let before = network_of(&container.init.to_string());
    let flags = ["--json", "--json --netns new"];
    for (n, flags) in flags.into_iter().enumerate() {
        let out = container.migrate(&dir.join(n.to_string()), flags);
        assert_eq!(out.status, 0, "{out:?}");
        let pid = out.json()["pid"].as_i64().unwrap() as i32;
        assert_ne!(pid, container.init);
        wait_for("the source is gone", || container.roots() == [pid]);
        container.expect_it_counts();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
        // It stays in its network namespace unless another one is asked for.
        assert_eq!(network_of(&pid.to_string()) == before, n == 0);
        container.init = pid;
    }
    wait_for("who started it sees its end", || container.outside.is_over());
}

/// Bound to an address of which a network namespace has one: perl, with this behind it.
fn bound(name: &str, behind: &str) -> String {
    format!(
        "exec perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); \
         bind(S, pack_sockaddr_un(qq(\\0{name}))) or die; listen(S, 1); $| = 1; {behind}"
    )
}

/// Counts into a file.
fn bound_counter(name: &str, count: &str, mark: &str) -> String {
    let count = format!(
        "open O, q(>>), q({count}); select O; $| = 1; while (1) {{ $i++; print qq($i\\n); select undef, undef, undef, 0.02 }}"
    );
    format!("{}' {mark}", bound(name, &count))
}

/// A network namespace, mounted on a file, where somebody else has that address.
struct Taken(PathBuf, Running);

impl Taken {
    fn new(dir: &TempDir, name: &str) -> Taken {
        let path = dir.file("netns", "");
        let made = shell(&format!("unshare -n mount --bind /proc/self/ns/net {}", path.display())).run();
        assert_eq!(made.status, 0, "{made:?}");
        let has = dir.join("has-it");
        let script = bound(name, &format!("open O, q(>), q({}); sleep 1 while 1'", has.display()));
        let script = dir.file("other.sh", script);
        let other = shell(&format!("exec nsenter --net={} sh {}", path.display(), script.display())).spawn();
        wait_for("somebody has the address", || has.exists());
        Taken(path, other)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.1.kill();
        nix::mount::umount(&self.0).unwrap_or(());
    }
}

/// It stands still while the destination tries, and goes on when that fails.
#[test]
fn a_destination_that_cannot_take_it_leaves_the_source_running() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let (there, name) = (dir.join("there"), "catena-migrate-held");
    let taken = Taken::new(&dir, name);
    let mut container = Contained::start(&dir, &bound_counter(name, "/mnt/count", "MARK"));
    let out = container.migrate(&there, &format!("--netns {}", taken.0.display()));
    out.fails(125, "cannot restore from");
    assert!(!container.outside.is_over() && !there.exists());
    container.expect_it_counts();
    assert_eq!(container.roots(), [container.init]);
}

/// A lock has one holder: then the source ends before the other begins.
#[test]
fn a_lock_comes_along() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let container = Contained::start(&dir, "exec 6>/mnt/lock; flock 6; LOOP");
    let out = container.migrate(&dir.join("there"), "-l --netns new");
    assert_eq!(out.status, 0, "{out:?}");
    container.expect_it_counts();
    let free = shell(&format!("flock -n {} true", dir.join("vol/lock").display())).run();
    assert_eq!((container.roots().len(), free.status), (1, 1), "the tree there holds the lock");
}

/// Its pids are in use while it is there, so it ends first; where it cannot go on, it comes back.
#[test]
fn a_tree_that_ended_for_nothing_comes_back_where_it_was() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let (there, name) = (dir.join("there"), "catena-migrate-ended");
    let taken = Taken::new(&dir, name);
    let mark = dir.join("count.sh").display().to_string();
    let counter = started(&dir, &bound_counter(name, "COUNT", &mark));
    let out = migrate(counter.pid, &there, &format!("-d --netns {}", taken.0.display())).run();
    out.fails(125, "cannot restore from");
    assert!(out.stderr.contains("brought back where it was, as process"), "{out:?}");
    assert_eq!(network_of(&counter.pid.to_string()), network_of("self"));
    expect_nothing_happened(&counter, &there);
}
