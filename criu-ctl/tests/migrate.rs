//! `criu-ctl migrate` with a real criu: a tree goes on at another place, or where it is, but never nowhere and never twice.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{TempDir, requires, shell};
use counter::migrating::{expect_it_counts, expect_nothing_happened, migrate, network_of, started};
use counter::{Counter, child_with, criu_ctl, in_time, processes_with, wait_for};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Instant;

/// Each line of its count has the time, in microseconds.
const TIMED: &str =
    "while :; do echo $((++i)) >>COUNT; echo ${EPOCHREALTIME/.} >>COUNT.times; sleep 0.02; done";

fn end(counter: &mut Counter) {
    kill(Pid::from_raw(counter.pid), Signal::SIGKILL).unwrap();
    wait_for("the tree is gone", || processes_with(&counter.mark).is_empty());
}

#[test]
fn it_goes_on_where_it_stopped_and_says_how_long_it_stood_still() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let there = dir.join("there");
    let mut counter = started(&dir, TIMED);
    let start = Instant::now();
    let out = migrate(counter.pid, &there, "-d --json").run();
    let whole = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(out.status, 0, "{out:?}");
    expect_it_counts(&counter);
    let told = out.json();
    assert_eq!((&told["pid"], &told["was"]), (&counter.pid.into(), &counter.pid.into()));
    assert!(told["pages"].as_u64().unwrap() > 50, "{told}");

    // The tree was stopped no longer than that, and no shorter than between two lines of its own.
    let downtime = told["downtime_ms"].as_f64().unwrap();
    let frozen = told["dump"]["frozen_time"].as_f64().unwrap() / 1000.0;
    assert!(frozen <= downtime && downtime <= whole, "{frozen} ms of {downtime} ms of {whole} ms");
    let text = std::fs::read_to_string(dir.join("count.times")).unwrap();
    let times: Vec<f64> = text.lines().map(|line| line.parse::<f64>().unwrap() / 1000.0).collect();
    let longest = times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
    assert!(longest >= frozen, "it stood still for {longest} ms, and not for the {frozen} ms that criu says");
    assert!(longest <= downtime + 2000.0, "it stood still for {longest} ms, and not for {downtime} ms");

    // Its images can be looked at, and it can be migrated again.
    let show = criu_ctl("show", &there, "").run();
    assert!(show.succeeds().stdout.starts_with("a whole dump\n"), "{show:?}");
    let out = migrate(counter.pid, &dir.join("further"), "-d").run();
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains(&format!("process {0} goes on as {0}: ", counter.pid)), "{out:?}");
    assert!(out.stdout.contains("downtime "), "{out:?}");
    expect_it_counts(&counter);
    end(&mut counter);
}

#[test]
fn in_the_foreground_it_looks_after_the_tree() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let counter = started(&dir, "LOOP");
    let running = migrate(counter.pid, &dir.join("there"), "--pid-file").arg(dir.join("pid")).spawn();
    wait_for("it arrives", || dir.join("pid").exists());
    assert_eq!(std::fs::read_to_string(dir.join("pid")).unwrap(), counter.pid.to_string());
    expect_it_counts(&counter);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().status, 128 + 15);
    wait_for("the tree is gone", || processes_with(&counter.mark).is_empty());
}

#[test]
fn it_goes_on_in_a_network_namespace_of_its_own() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let mut counter = started(&dir, "LOOP");
    let pid = counter.pid.to_string();
    assert_eq!(network_of(&pid), network_of("self"));
    let out = migrate(counter.pid, &dir.join("there"), "-d --netns new").run();
    assert_eq!(out.status, 0, "{out:?}");
    expect_it_counts(&counter);
    let new = network_of(&pid);
    assert_ne!(new, network_of("self"));
    let lo = shell(&format!("nsenter -n -t {pid} ip -o link")).run();
    assert!(lo.stdout.lines().count() == 1 && lo.stdout.contains("lo: <LOOPBACK,UP"), "{lo:?}");

    // From one that is not criu-ctl's to one with a name.
    let other = dir.file("netns", "");
    let made = shell(&format!("unshare -n mount --bind /proc/self/ns/net {}", other.display())).run();
    assert_eq!(made.status, 0, "{made:?}");
    let flags = format!("-d --netns {}", other.display());
    let out = migrate(counter.pid, &dir.join("further"), &flags).run();
    assert_eq!(out.status, 0, "{out:?}");
    expect_it_counts(&counter);
    assert_ne!(network_of(&pid), new);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&other).unwrap());
    assert_eq!(network_of(&pid), Path::new(&format!("net:[{inode}]")));
    end(&mut counter);
    nix::mount::umount(&other).unwrap();
}

#[test]
fn a_full_disk_at_the_destination_leaves_the_source_running() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let there = dir.join("there");
    let counter = started(&dir, "a=$(head -c 6000000 /dev/zero | tr '\\0' x); LOOP");
    std::fs::create_dir(&there).unwrap();
    for options in ["size=128k,mode=0700", "size=4m,mode=0700"] {
        mount(Some("small"), &there, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        migrate(counter.pid, &there, "-d").run().fails(125, "no space is left");
        expect_nothing_happened(&counter, &there);
        wait_for("nothing holds it", || umount(&there).is_ok());
    }
    mount(Some("closed"), &there, Some("tmpfs"), MsFlags::MS_RDONLY, Some("mode=0700")).unwrap();
    migrate(counter.pid, &there, "-d").run().fails(125, "Read-only file system (EROFS)");
    expect_nothing_happened(&counter, &there);
    wait_for("nothing holds it", || umount(&there).is_ok());
}

#[test]
fn a_page_server_that_is_killed_leaves_the_source_running() {
    if !requires::criu() {
        return;
    }
    // Enough to be caught in the middle.
    let fill = "a=$(head -c 60000000 /dev/zero | tr '\\0' x); b=$a$a$a; LOOP";
    in_time(|| {
        let dir = TempDir::new();
        let there = dir.join("there");
        let mut counter = started(&dir, fill);
        let mut running = migrate(counter.pid, &there, "-d").spawn();
        let mut server = None;
        let first = there.join("pages-65537.img");
        wait_for("pages come", || {
            server = child_with(running.pid(), "page-server");
            let come = server.is_some() && first.metadata().is_ok_and(|meta| meta.len() > 1 << 20);
            come || running.is_over()
        });
        let killed = server.is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        let out = running.wait();
        if out.status == 0 {
            end(&mut counter);
            return None;
        }
        assert!(killed, "it failed by itself: {out:?}");
        out.fails(125, "cannot ");
        expect_nothing_happened(&counter, &there);
        Some(())
    });
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let there = dir.join("there");
    let counter = started(&dir, "LOOP");
    let refuses = |flags: &str, why: &str| {
        let out = migrate(counter.pid, &there, flags).run();
        out.refuses(125, why);
        assert!(!there.exists());
    };
    refuses("--netns /etc/passwd", "it is no network namespace");
    refuses("--netns /run/netns/none", "No such file or directory (ENOENT)");
    refuses("--pre-copy --max-rounds 0", "say the opposite");
    refuses("-R", "--leave-running is not for migrate");
    dir.file("there/precious", "x");
    migrate(counter.pid, &there, "--max-rounds 0").run().refuses(125, "precious is in there");
    assert!(there.join("precious").exists());
    expect_it_counts(&counter);
}

#[test]
fn a_terminal_gets_a_bar_and_everything_else_lines() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let fill = "a=$(head -c 60000000 /dev/zero | tr '\\0' x); b=$a$a$a; LOOP";
    let mut counter = started(&dir, fill);
    let out = migrate(counter.pid, &dir.join("there"), "-d").run();
    assert_eq!(out.status, 0, "{out:?}");
    assert!(!out.stderr.contains(['\r', '\x1b']), "{out:?}");
    assert!(out.stderr.contains("criu-ctl: last round: "), "{out:?}");

    end(&mut counter);

    // There is a bar to be seen of what takes longer than a tenth of a second, on whatever machine.
    for copies in [3, 6, 9] {
        let dir = TempDir::new();
        let fill = format!("a=$(head -c 60000000 /dev/zero | tr '\\0' x); b={}; LOOP", "$a".repeat(copies));
        let mut counter = started(&dir, &fill);
        let line = format!("criu-ctl migrate -d -t {} -D {}", counter.pid, dir.join("there").display());
        let out = shell(&format!("script -qefc '{line}' /dev/null </dev/null")).run();
        assert_eq!(out.status, 0, "{out:?}");
        let shown = out.stdout.contains("\rlast round [") && out.stdout.contains('#');
        assert!(shown || copies < 9, "{out:?}");
        expect_it_counts(&counter);
        end(&mut counter);
        if shown {
            assert!(out.stdout.contains("% ") && out.stdout.contains(" pages, "), "{out:?}");
            break;
        }
    }
}
