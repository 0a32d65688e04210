//! Several runners on one container, and processes that are gone or are others by the time they are reached.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{
    Leftovers, Output, Running, TempDir, copy_program, requires, shell, tool, tool_path, until,
};
use common::Bundle;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// The container's own words at most: no panic, and one sentence if it failed.
#[track_caller]
fn is_one_answer(out: &Output) {
    let said = out.stderr.lines().filter(|l| l.starts_with("runner: cannot ")).count();
    assert!(!out.stderr.contains("panicked") && !out.stderr.contains("warning"), "{out:?}");
    assert_eq!((out.status != 0, out.status <= 1), (said == 1, true), "{out:?}");
}

/// All these at once on one container.
fn at_once(bundle: &Bundle, calls: &[&[&str]]) -> Vec<Output> {
    let calls = calls.iter().map(|call| bundle.runner([]).args(*call).arg(&bundle.id));
    let running: Vec<Running> = calls.map(|call| call.spawn()).collect();
    running.into_iter().map(Running::wait).collect()
}

fn names(bundle: &Bundle) -> Vec<String> {
    let entries = std::fs::read_dir(bundle.state.path()).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn of_ten_starts_one_wins() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo ran; exec sleep 60");
    bundle.create().succeeds();
    let outs = at_once(&bundle, &[&["start"][..]; 10]);
    outs.iter().for_each(is_one_answer);
    assert_eq!(outs.iter().filter(|out| out.status == 0).count(), 1, "{outs:?}");
    outs.iter().filter(|out| out.status != 0).for_each(|out| {
        out.fails(1, "it is running, not created");
    });
    bundle.becomes("running");
    until("the command writes", || !bundle.output().is_empty());
    assert_eq!(bundle.output(), "ran\n");
    drop(bundle);
    leftovers.check();
}

#[test]
fn of_ten_deletes_one_wins_and_the_others_find_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/true"]);
    bundle.create().succeeds();
    let outs = at_once(&bundle, &[&["delete"][..]; 10]);
    assert_eq!(outs.iter().filter(|out| out.status == 0).count(), 1, "{outs:?}");
    outs.iter().filter(|out| out.status != 0).for_each(|out| {
        out.fails(1, "container does not exist");
    });
    assert!(names(&bundle).is_empty());
    drop(bundle);
    leftovers.check();
}

#[test]
fn whatever_ten_runners_do_at_once_each_has_one_answer_and_nothing_stays() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    let create = || {
        bundle.create().succeeds();
    };
    for round in 0..4 {
        create();
        let mut calls: Vec<&[&str]> = vec![
            &["start"],
            &["kill"],
            &["state"],
            &["delete"],
            &["kill", "--all"],
            &["delete", "--force"],
            &["start"],
            &["state"],
            &["delete", "--force"],
            &["delete"],
        ];
        calls.rotate_left(round * 3);
        let outs = at_once(&bundle, &calls);
        outs.iter().for_each(is_one_answer);
        for (call, out) in calls.iter().zip(&outs) {
            assert!(out.status == 0 || call != &["delete", "--force"], "{out:?}");
        }
        bundle.delete().succeeds();
        assert!(names(&bundle).is_empty(), "{:?}", names(&bundle));
        leftovers.check();
    }
}

/// A pid that was given away again: the record's pid is a process that lives, and has another start time.
#[test]
fn a_pid_of_another_process_is_not_the_containers() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    // The kernel tells of start times in hundredths of a second, and a whole create can fit into one.
    std::thread::sleep(Duration::from_millis(20));
    let other = shell("exec sleep 60").spawn();
    let own = bundle.state()["pid"].as_i64().unwrap();
    let file = bundle.state.path().join(&bundle.id).join("state.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&format!("\"pid\":{own}"), &format!("\"pid\":{}", other.pid())))
        .unwrap();
    assert_eq!((bundle.status().as_str(), bundle.state()["pid"].as_i64()), ("stopped", Some(0)));
    bundle.runner(["kill", &bundle.id, "KILL"]).run().fails(1, "container not running");
    bundle.start().fails(1, "its first process has ended");
    bundle.delete().succeeds();
    assert!(Path::new(&format!("/proc/{}/exe", other.pid())).exists(), "the other process was killed");
    drop((bundle, other));
    leftovers.check();
}

#[test]
fn a_container_whose_first_process_is_gone_is_stopped_and_can_be_deleted() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
    bundle.becomes("stopped");
    bundle.start().fails(1, "its first process has ended");
    bundle.runner(["kill", &bundle.id]).run().fails(1, "container not running");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    assert!(names(&bundle).is_empty());
    drop(bundle);
    leftovers.check();
}

/// A folder with the tools in it, of which one is another program.
fn tools_with(name: &str, program: &str) -> TempDir {
    let dir = TempDir::new();
    for tool in ["runner", "cg-apply", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load"] {
        let from = if tool == name { program.into() } else { tool_path(tool) };
        let to = dir.join(tool);
        if std::fs::hard_link(&from, &to).is_err() {
            copy_program(&from, &to);
        }
    }
    dir
}

/// The chain tells of the cgroup, then of its process, then that it is ready; whatever of it was told last, the rest is
/// unmade.
#[test]
fn a_chain_that_dies_between_any_two_messages_leaves_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle =
        Bundle::sh("echo RAN").set("/linux/seccomp", serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    for link in ["cg-apply", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load"] {
        // No applet of busybox has a link's name: it ends, and says nothing to the runner.
        let tools = tools_with(link, "/bin/busybox");
        for verb in ["create", "run"] {
            let line = format!(
                "{}/runner --root {} {verb} --bundle {} {}",
                tools.path().display(),
                bundle.state.path().display(),
                bundle.dir(),
                bundle.id
            );
            let out = shell(&line).run();
            out.fails(1, "cannot make the container: its chain ended without a word");
            assert_eq!(out.stdout, "", "{link}: {out:?}");
            assert_eq!(names(&bundle), [""; 0], "{link}");
        }
    }
    drop(bundle);
    leftovers.check();
}

/// A create that stands still: it waits for room in the queue of its pidfd socket.
struct HalfMade {
    bundle: Bundle,
    create: Running,
    _full: (UnixListener, Vec<UnixStream>),
}

impl HalfMade {
    fn new() -> HalfMade {
        let bundle = Bundle::sh("echo RAN");
        let path = bundle.rootfs.parent().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        let path = path.to_str().unwrap();
        let create =
            bundle.runner(["create", "--bundle", bundle.dir(), "--pidfd-socket", path, &bundle.id]).spawn();
        // What is in the folder is written under its lock; one without a lock yet may be swept up, and made again.
        let config = bundle.state.path().join(format!("~{}/config.json", bundle.id));
        until("it is half made", || config.exists());
        HalfMade { bundle, create, _full: (listener, vec![waiting]) }
    }
}

#[test]
fn what_is_half_made_does_not_exist_and_its_id_is_taken() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let HalfMade { bundle, mut create, _full } = HalfMade::new();
    for verb in ["state", "start", "kill", "delete"] {
        bundle.runner([verb, &bundle.id]).run().fails(1, "container does not exist");
    }
    assert_eq!(bundle.runner(["list", "-q"]).run().stdout, "");
    bundle.create().fails(1, "container with given ID already exists");
    bundle.run().fails(1, "container with given ID already exists");
    assert!(!create.is_over(), "the others ended it");
    create.kill();
    bundle.delete().succeeds();
    assert_eq!(names(&bundle), [""; 0]);
    drop((bundle, create));
    leftovers.check();
}

/// Engines kill a create that takes too long, delete by force, and unmount what the container had for its root.
#[test]
fn delete_force_comes_back_when_a_create_that_was_killed_is_unmade() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let HalfMade { bundle, mut create, _full } = HalfMade::new();
    let mut delete = bundle.runner(["delete", "--force", &bundle.id]).spawn();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!delete.is_over(), "it did not wait for the create");
    create.kill();
    delete.wait().succeeds();
    assert_eq!(names(&bundle), [""; 0]);
    drop((bundle, create));
    leftovers.check();
}

#[test]
fn a_run_whose_container_is_deleted_by_force_ends_like_one_that_was_killed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo up; exec sleep 60");
    for _ in 0..5 {
        let mut run = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
        assert_eq!(run.line(), "up");
        bundle.delete().succeeds();
        run.wait().exits(137);
        assert_eq!(names(&bundle), [""; 0]);
    }
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_container_outlives_a_run_that_is_killed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo up; exec sleep 60");
    let mut run = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
    assert_eq!(run.line(), "up");
    run.kill();
    assert_eq!(bundle.status(), "running");
    bundle.delete().succeeds();
    assert_eq!(names(&bundle), [""; 0]);
    drop((bundle, run));
    leftovers.check();
}

#[test]
fn what_killed_runners_left_is_swept_up_and_what_is_held_is_not() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/true"]);
    let leave = |id: &str| {
        let folder = bundle.state.path().join(format!("~{id}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.json"), "{").unwrap();
        folder
    };
    leave(&bundle.id);
    bundle.create().succeeds();
    assert_eq!(names(&bundle), [bundle.id.as_str()]);
    // What a killed delete left does not stand in the way of the next.
    leave(&bundle.id);
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    assert_eq!(names(&bundle), [""; 0]);
    leave("another");
    let held = leave("held");
    let lock = std::fs::File::open(&held).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    bundle.delete().succeeds();
    assert_eq!(names(&bundle), ["~held"], "held by a runner that lives");
    bundle.runner(["create", "--bundle", bundle.dir(), "held"]).run().fails(1, "already exists");
    // Closed, it could be held still by a process that another test has made, and that has executed nothing yet.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
    bundle.delete().succeeds();
    assert_eq!(names(&bundle), [""; 0]);
    drop(bundle);
    leftovers.check();
}

/// An installation that was replaced in part says so to who waits for the container, an engine's log too.
#[test]
fn links_of_another_build_tell_the_runner() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let version = tool("runner").args(["--version", "--json"]).run().succeeds().stdout.clone();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let build = version["build"].as_str().unwrap().as_bytes();
    // The same runner, which writes that it is another.
    let mut program = std::fs::read(tool_path("runner")).unwrap();
    let at: Vec<usize> =
        (0..program.len() - build.len()).filter(|at| program[*at..].starts_with(build)).collect();
    at.into_iter().for_each(|at| program[at + build.len() - 1] ^= 1);
    let dir = TempDir::new();
    let other = dir.program("other", program);
    let (tools, bundle) = (tools_with("runner", other.to_str().unwrap()), Bundle::sh("echo RAN"));
    let (runner, log) = (tools.join("runner"), dir.join("log"));
    let (state, log_at) = (bundle.state.path().display(), log.display());
    let line =
        format!("{} --root {state} --log {log_at} run -b {} {}", runner.display(), bundle.dir(), bundle.id);
    let out = shell(&line).run();
    out.fails(1, "it was written by build");
    assert!(!out.stdout.contains("RAN") && !out.stderr.contains("without a word"), "{out:?}");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("install all the tools from one build"), "{log}");
    drop(bundle);
    leftovers.check();
}
