//! criu-ctl with a real criu and real trees: in the lane `tests/lanes/in-trixie`, for the criu of Debian 12 is too old
//! for newer kernels.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{TempDir, recipe, requires, shell, tool};
use counter::{Counter, criu_ctl, dump, in_time, kill_criu, processes_with, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

#[test]
fn check_proves_the_host_and_names_a_feature_it_lacks() {
    if !requires::criu() {
        return;
    }
    let out = tool("criu-ctl").arg("check").run();
    assert!(out.succeeds().stdout.contains("works on this kernel"), "{out:?}");
    assert_eq!(tool("criu-ctl").args(["--check", "--json"]).run().succeeds().json()["check"], true);
    tool("criu-ctl").args(["check", "--feature", "bogus"]).run().refuses(125, "Unknown feature bogus");
    let feature = tool("criu-ctl").args(["check", "--feature", "mem_dirty_track"]).run();
    // Kernels without soft-dirty tracking are the project's own machines; elsewhere the feature is there.
    if feature.status != 0 {
        feature.refuses(125, "says no: Dirty tracking is OFF");
    }
}

#[test]
fn a_tree_goes_on_counting_where_it_was() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    dump(&counter, &img, "").succeeds();
    counter.expect_gone();
    let stopped_at = counter.last();
    let running = criu_ctl("restore", &img, "").spawn();
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    counter.expect_every_number_once();
    // What is sent to criu-ctl reaches the tree, and the tree's end is criu-ctl's.
    running.signal(Signal::SIGTERM);
    running.wait().exits(128 + 15);
    wait_for("the tree is gone", || processes_with(&counter.mark).is_empty());
}

/// Nothing of images that were changed becomes a process; without a manifest, as those of another tool are, they do.
#[test]
fn images_that_were_changed_are_refused_by_name() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    dump(&counter, &img, "--hash-pages").succeeds();
    counter.expect_gone();
    let stopped_at = counter.last();
    for name in ["pstree.img", "pages-1.img"] {
        let file = img.join(name);
        let whole = std::fs::read(&file).unwrap();
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&file, other).unwrap();
        let words = format!("{name} is not what it was");
        criu_ctl("restore", &img, "").run().refuses(125, &words);
        std::fs::write(&file, &whole[1..]).unwrap();
        criu_ctl("restore", &img, "").run().refuses(125, &format!("{name} has"));
        std::fs::write(&file, whole).unwrap();
    }
    std::fs::write(img.join("more.img"), "").unwrap();
    criu_ctl("restore", &img, "").run().refuses(125, "more.img was not there");
    assert!(processes_with(&counter.mark).is_empty(), "something was restored");

    std::fs::remove_file(img.join("catena-manifest.json")).unwrap();
    let running = criu_ctl("restore", &img, "").spawn();
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    running.signal(Signal::SIGTERM);
    running.wait().exits(128 + 15);
}

#[test]
fn a_restored_tree_s_own_status_comes_back() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let go = dir.join("go");
    let mut counter = Counter::running(
        &dir,
        &format!("until [ -e {} ]; do echo $((++i)) >>COUNT; sleep 0.02; done; exit 41", go.display()),
    );
    dump(&counter, &img, "").succeeds();
    counter.expect_gone();
    let running = criu_ctl("restore", &img, "").spawn();
    std::fs::write(go, "").unwrap();
    running.wait().exits(41);
}

#[test]
fn detached_it_writes_the_pid_and_ends() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    dump(&counter, &img, "").succeeds();
    counter.expect_gone();
    let stopped_at = counter.last();
    let line = format!("criu-ctl restore -D {0} -d --pid-file {0}/pid --status-fd 7 7>&1", img.display());
    let out = shell(&line).run();
    assert_eq!(out.succeeds().json()["pid"], counter.pid);
    assert_eq!(std::fs::read_to_string(img.join("pid")).unwrap(), counter.pid.to_string());
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    kill(Pid::from_raw(counter.pid), Signal::SIGKILL).unwrap();
    wait_for("the tree is gone", || processes_with(&counter.mark).is_empty());
}

#[test]
fn left_running_it_runs_and_its_pid_is_taken() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    dump(&counter, &img, "-R").succeeds();
    let then = counter.last();
    wait_for("it counts on", || counter.last() > then + 3);
    let out = criu_ctl("restore", &img, "--pid-file").arg(dir.join("pid")).run();
    out.refuses(125, "a pid of the tree is in use here");
    assert!(!dir.join("pid").exists(), "a pid was written of nobody");
    // A second dump over the first is a whole one too.
    dump(&counter, &img, "").succeeds();
    counter.expect_gone();
    counter.expect_every_number_once();
}

#[test]
fn a_job_of_a_terminal_wants_to_be_called_one() {
    if !requires::criu() || !requires::command("script") {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    // `set -m` would give it a group of its own; without, it shares session, group and terminal with its shell.
    let (script, pid) = (Counter::script(&dir, Counter::LOOP), dir.join("pid"));
    let line = format!("bash {} & echo $! >{}; wait", script.display(), pid.display());
    let mut terminal = shell(&format!("script -qefc '{line}' /dev/null")).spawn();
    let counter = Counter::watch(&dir, &pid);
    let out = dump(&counter, &img, "");
    out.refuses(125, "try: --shell-job");
    criu_ctl("restore", &img, "-j").run().refuses(125, "its dump did not finish: cannot dump process");
    assert!(!processes_with(&counter.mark).is_empty(), "a dump that fails leaves the tree as it was");
    dump(&counter, &img, "-j").succeeds();
    terminal.kill();
    counter.wait_until_free();

    let stopped_at = counter.last();
    let restore = format!("script -qefc 'criu-ctl restore -D {} -j' /dev/null", img.display());
    let running = shell(&restore).spawn();
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    kill(Pid::from_raw(counter.pid), Signal::SIGKILL).unwrap();
    assert_eq!(running.wait().status, 128 + 9);
}

/// Each is refused with the flag that cures it, and the tree runs on. Whoever asks beforehand is told the same.
#[test]
fn what_needs_a_flag_says_which() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let lock = dir.join("lock");
    let connect = format!("exec 5<>/dev/tcp/127.0.0.1/{port}; LOOP");
    let hold = format!("exec 6>{}; flock 6; LOOP", lock.display());
    let cases: [(&str, Stdio, &str, &str); 3] = [
        (&connect, Stdio::null(), "try: --tcp-established", "try: --tcp-established"),
        // The flag is for datagrams; that of a stream there is no half, criu says only when it is given.
        ("LOOP", OwnedFd::from(theirs).into(), "try: --ext-unix-sk", "is a unix socket whose other end"),
        (&hold, Stdio::null(), "try: --file-locks", "try: --file-locks"),
    ];
    for (n, (script, stdin, cure, told)) in cases.into_iter().enumerate() {
        let own = TempDir::new();
        let counter = Counter::with_stdin(&own, script, stdin);
        let img = own.join("img");
        let before = tool("criu-ctl").args(["check", "--for", &counter.pid.to_string()]).run();
        assert!(before.status == 1 && before.stdout.contains(told), "case {n}: {before:?}");
        dump(&counter, &img, "").refuses(125, cure);
        if n == 1 {
            dump(&counter, &img, "-x").refuses(125, "of that CRIU takes no half");
        }
        let then = counter.last();
        wait_for("it counts on", || counter.last() > then + 3);
        assert!(img.join("catena-dump-unfinished").exists(), "case {n}");
    }
    drop((ours, listener));
}

#[test]
fn a_file_lock_comes_along_with_its_flag() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let (img, lock) = (dir.join("img"), dir.join("lock"));
    let mut counter = Counter::running(&dir, &format!("exec 6>{}; flock 6; LOOP", lock.display()));
    dump(&counter, &img, "-l").succeeds();
    counter.expect_gone();
    let free = format!("flock -n {} true", lock.display());
    assert_eq!(shell(&free).run().status, 0);
    criu_ctl("restore", &img, "-l -d").run().succeeds();
    assert_eq!(shell(&free).run().status, 1, "the restored process holds the lock again");
    kill(Pid::from_raw(counter.pid), Signal::SIGKILL).unwrap();
}

#[test]
fn its_own_tree_is_refused() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let line = format!("criu-ctl dump -t $$ -D {}; exit $?", dir.join("img").display());
    shell(&line).run().refuses(125, "criu-ctl runs inside the tree it is to dump");
}

#[test]
fn a_full_disk_is_named_and_nothing_half_is_restored() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let counter = Counter::start(&dir);
    std::fs::create_dir(&img).unwrap();
    let options = Some("size=128k,mode=0700");
    nix::mount::mount(Some("small"), &img, Some("tmpfs"), nix::mount::MsFlags::empty(), options).unwrap();
    dump(&counter, &img, "").refuses(125, "no space is left");
    criu_ctl("restore", &img, "").run().refuses(125, "its dump did not finish");
    let then = counter.last();
    wait_for("the tree runs on", || counter.last() > then + 3);
}

/// The real criu, killed at work: the memory makes its work long enough.
#[test]
fn a_criu_killed_at_work_leaves_nothing_and_no_dump_to_trust() {
    if !requires::criu() {
        return;
    }
    let fill = "a=$(head -c 60000000 /dev/zero | tr '\\0' x); b=$a$a$a; LOOP";
    in_time(|| {
        let dir = TempDir::new();
        let (img, second, pid) = (dir.join("img"), dir.join("second"), dir.join("pid"));
        let mut counter = Counter::running(&dir, fill);
        // A whole dump first, to have something to restore.
        dump(&counter, &img, "-R").succeeds();
        let running = criu_ctl("dump", &second, &format!("-t {}", counter.pid)).spawn();
        let at_work = || second.join("inventory.img").exists() || second.join("pages-1.img").exists();
        let out = kill_criu(running, at_work, || false)?;
        out.refuses(125, "criu went away without an answer: it was killed by signal 9");
        criu_ctl("restore", &second, "").run().refuses(125, "its dump did not finish");
        counter.kill();

        let running = criu_ctl("restore", &img, &format!("--pid-file {}", pid.display())).spawn();
        let at_work = || img.join("restore.log").metadata().is_ok_and(|m| m.len() > 10_000);
        kill_criu(running, at_work, || pid.exists())?.refuses(125, "criu went away without an answer");
        wait_for("nothing half restored is left", || processes_with(&counter.mark).is_empty());
        Some(())
    });
}

/// A restored tree stays in the cgroup that criu-ctl was started in.
#[test]
fn at_the_end_of_a_chain_the_tree_comes_back_under_its_limit() {
    if !requires::criu() || !requires::cgroup_v1("memory") {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    dump(&counter, &img, "").succeeds();
    counter.expect_gone();
    let stopped_at = counter.last();
    let running = shell(&format!("exec cg-apply -m 100M -- criu-ctl restore -D {}", img.display())).spawn();
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", counter.pid)).unwrap();
    let path = text.lines().find_map(|line| line.split_once(":memory:/")).unwrap().1;
    let group = requires::cgroup_mount("memory").unwrap().join(path);
    let limit = std::fs::read_to_string(group.join("memory.limit_in_bytes")).unwrap();
    kill(Pid::from_raw(counter.pid), Signal::SIGKILL).unwrap();
    running.wait().exits(128 + 9);
    assert_eq!(limit.trim(), (100 << 20).to_string());
    wait_for("the cgroup is gone", || !group.exists());
}

#[test]
fn the_recipe_works_as_it_stands() {
    if !requires::criu() || !requires::cgroup_v1("memory") {
        return;
    }
    let dir = TempDir::new();
    // The last command of the recipe ends the restored tree; with it goes everything that the recipe started.
    let lines = recipe("A process tree, stopped here and continued there");
    let out = shell(&format!("set -e\n{lines}\nwait")).cwd(&dir).run();
    assert!(out.status == 0 && out.stdout.contains("works on this kernel"), "{out:?}");
    assert!(dir.join("images/inventory.img").exists(), "{out:?}");
}

/// Namespaces of its own, a root of its own, a bind mount from outside, all known from its config.json.
#[test]
fn a_container_comes_back_in_its_namespaces() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let (root, volume, img) = (dir.join("root"), dir.join("vol"), dir.join("img"));
    for folder in [&root, &volume] {
        std::fs::create_dir(folder).unwrap();
    }
    let none: Option<&str> = None;
    nix::mount::mount(Some("/"), &root, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let config = dir.file(
        "config.json",
        r#"{"ociVersion":"1.0.2","root":{"path":"root"},"mounts":[
            {"destination":"/proc","type":"proc","source":"proc"},{"destination":"/mnt/","type":"bind","source":"vol"}]}"#,
    );
    let inner = format!(
        "mount --make-rprivate / && mount -t proc proc {root}/proc && mount --bind {vol} {root}/mnt && cd {root} && \
         pivot_root . . && umount -l . && cd / && exec setsid bash -c 'exec </dev/null >/dev/null 2>&1; \
         while :; do echo $((++i)) >>/mnt/count; sleep 0.02; done' {vol}",
        root = root.display(),
        vol = volume.display()
    );
    let mut outside = shell(&format!("exec unshare -mpf bash -c '{}'", inner.replace('\'', "'\\''"))).spawn();
    let count = volume.join("count");
    wait_for("it counts", || counter::last(&count) > 2);
    let init = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outside.pid())).unwrap();
    let dump = |flags: &str| criu_ctl("dump", &img, &format!("-t {} {flags}", init.trim())).run();
    dump("").refuses(125, "a mount in there comes from outside the tree");
    dump(&format!("--oci {}", config.display())).succeeds();
    outside.kill();
    let stopped_at = counter::last(&count);

    let running = criu_ctl(
        "restore",
        &img,
        &format!("--oci {} --pid-file {}/pid", config.display(), dir.path().display()),
    )
    .spawn();
    wait_for("it counts on", || counter::last(&count) > stopped_at + 3);
    wait_for("its pid is told", || dir.join("pid").exists());
    let pid: i32 = std::fs::read_to_string(dir.join("pid")).unwrap().parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 3, "its root, /proc and /mnt, nothing of the host's:\n{mounts}");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    running.wait().exits(128 + 9);
}
