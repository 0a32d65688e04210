//! The group goes with the command, however the command, or its supervisor, ends.

mod common;

use catena_tests::{Leftovers, requires, shell, tool, until};
use chain::cgroup::Stats;
use common::{Group, hierarchies, is_alive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Starts something that leaves an orphan in the group: its pid is the first line, then comes `then`.
fn with_orphan(group: &Group, then: &str) -> catena_tests::Running {
    let line = format!("setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!; {then}");
    tool("cg-apply").args(["--cgroup", group.path()]).command(["bash", "-c", &line]).spawn()
}

#[test]
fn the_status_is_the_commands_and_the_group_is_gone() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let run = |words: &[&str]| tool("cg-apply").args(["--cgroup", group.path()]).verb(words.iter()).run();
    for status in [0, 1, 42, 125, 255] {
        run(&["exit", &status.to_string()]).exits(status);
        group.expect_gone();
    }
    for signal in [Signal::SIGKILL, Signal::SIGUSR2, Signal::SIGTERM] {
        let status = 128 + signal as i32;
        run(&["suicide", &(signal as i32).to_string()]).exits(status);
        group.expect_gone();
    }
    leftovers.check();
}

#[test]
fn signals_reach_the_command_and_the_group_goes_with_it() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut running = tool("cg-apply").args(["--cgroup", group.path()]).verb(["signal-wait", "3"]).spawn();
    assert_eq!(running.line(), "ready");
    for signal in [Signal::SIGUSR1, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        running.signal(signal);
        assert_eq!(running.line(), signal.as_str());
    }
    running.wait().exits(3);
    group.expect_gone();
    leftovers.check();
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut running = with_orphan(&group, "exit 7");
    let orphan: i32 = running.line().parse().unwrap();
    assert_eq!(running.wait().status, 7);
    until("the orphan's end", || !is_alive(orphan));
    group.expect_gone();

    // Also in a group that the command made below its own, and when the command itself was killed.
    let unified = requires::cgroup_mount("unified").unwrap();
    let sub = format!("{}{}/sub", unified.display(), group.path());
    let mut running = with_orphan(
        &group,
        &format!("mkdir {sub} && echo $! > {sub}/cgroup.procs && echo moved; kill -KILL $$"),
    );
    let orphan: i32 = running.line().parse().unwrap();
    assert_eq!(running.line(), "moved");
    assert_eq!(running.wait().status, 137);
    until("the orphan's end", || !is_alive(orphan));
    group.expect_gone();
    leftovers.check();
}

#[test]
fn a_supervisor_that_is_killed_takes_the_command_along_and_leaves_the_group_to_rm() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let mut running = with_orphan(&group, "echo $$; exec sleep 300");
    let orphan: i32 = running.line().parse().unwrap();
    let command: i32 = running.line().parse().unwrap();
    // This process alone, not its process group.
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
    until("the command's end", || !is_alive(command));
    until("the supervisor's end", || running.is_over());
    assert!(is_alive(orphan), "nobody is there to end it");
    group.expect_there();
    assert_eq!(group.procs(), [orphan]);

    let rm = || tool("cg-apply").args(["--rm", group.path()]);
    let out = rm().run();
    out.refuses(125, &format!("1 process(es) are in it: {orphan}"));
    assert!(out.stderr.contains(&format!("try: cg-apply --rm {} --kill", group.path())), "{out:?}");
    assert!(is_alive(orphan));
    rm().arg("--kill").run().succeeds();
    until("the orphan's end", || !is_alive(orphan));
    group.expect_gone();
    drop(running);
    leftovers.check();
}

#[test]
fn a_signal_at_any_moment_leaves_no_group() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let start = || tool("cg-apply").args(["--cgroup", &group.below("x")]).verb(["sleep", "20"]).spawn();
    let time = |_| {
        let since = Instant::now();
        let mut running = start();
        assert_eq!(running.line(), "ready");
        let time = since.elapsed();
        running.signal(Signal::SIGTERM);
        running.wait();
        time
    };
    // The least of them, for one that was held up would make the signals late.
    let whole = (0..5).map(time).min().unwrap();
    let (mut early, mut late) = (0, 0);
    for step in 0..120_u32 {
        let running = start();
        std::thread::sleep(whole * step / 100);
        running.signal([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP][step as usize % 3]);
        let out = running.wait();
        if out.stdout.is_empty() {
            early += 1
        } else {
            late += 1
        }
        assert!(out.status > 128 || out.signal.is_some(), "killed after {step}/100: {out:?}");
        assert!(out.stderr.is_empty(), "killed after {step}/100: {out:?}");
        group.expect_gone();
    }
    eprintln!("{early} before the command ran, {late} after");
    assert!(early > 10, "the signals came too late to mean anything");
    leftovers.check();
}

#[test]
fn a_busy_group_is_emptied_all_the_same() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    // Orphans that have children all the time.
    let line = "for i in 1 2 3; do (while :; do sleep 0.01; done) & done; sleep 0.2; exit 0";
    let out = tool("cg-apply")
        .args(["--cgroup", group.path()])
        .command(["bash", "-c", &format!("exec 2>&- >&-; {line}")])
        .run();
    out.succeeds();
    group.expect_gone();
    leftovers.check();
}

/// Whoever looks at a group may see it go at any moment, also between finding one of its files and opening it.
#[test]
fn to_look_at_a_group_that_goes_is_no_error() {
    if !requires::cgroup_v2() {
        return;
    }
    let group = Group::new();
    let dirs: Vec<_> = hierarchies().iter().map(|m| format!("{}{}", m.point, group.path())).collect();
    let paths: Vec<_> = dirs.iter().map(|dir| dir.as_str().into()).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
                dirs.iter().for_each(|dir| std::fs::remove_dir(dir).unwrap());
            }
        });
        let end = Instant::now() + Duration::from_secs(2);
        let mut found = (0..).take_while(|_| Instant::now() < end).map(|_| {
            let group = chain::cgroup::Group::at(&paths)?;
            Ok((Stats::new().of(&group)?, group.procs()?, group.is_frozen()?))
        });
        let wrong = found.find(|found: &chain::Result<_>| found.as_ref().ok().is_none_or(|f| f.2));
        over.store(true, Relaxed);
        assert!(wrong.is_none(), "{wrong:?}");
    });
}

/// The command's end takes the group along, and that may be before it was thawed.
#[test]
fn a_frozen_group_is_killed_and_gone_in_one_go() {
    if !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let unified = requires::cgroup_mount("unified").unwrap();
    for _ in 0..20 {
        let mut running = tool("cg-apply").args(["--cgroup", group.path()]).verb(["sleep", "60"]).spawn();
        assert_eq!(running.line(), "ready");
        std::fs::write(unified.join(&group.path()[1..]).join("cgroup.freeze"), "1").unwrap();
        tool("cg-apply").args(["kill", group.path()]).run().succeeds();
        running.wait().exits(137);
        group.expect_gone();
    }
    leftovers.check();
}

/// v2's own kill does not reach it, and is not waited for.
#[test]
fn what_was_led_out_of_the_v2_group_is_killed_with_the_others() {
    if !requires::cgroup_v1("pids") || !requires::cgroup_v2() {
        return;
    }
    let leftovers = Leftovers::watch();
    let group = Group::new();
    let unified = requires::cgroup_mount("unified").unwrap();
    // The orphan alone, and all of them, which are more than it may have files open.
    let many = "for i in $(seq 60); do sleep 300 & done; echo $$; wait";
    for (then, all) in [("echo $$; exec sleep 300", false), (many, true)] {
        let mut running = with_orphan(&group, then);
        let first = running.line();
        running.line();
        let pids = if all { group.procs() } else { vec![first.parse().unwrap()] };
        for pid in &pids {
            std::fs::write(unified.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        shell(&format!("prlimit --nofile=48 cg-apply kill {}", group.path())).run().succeeds();
        assert_eq!(running.wait().status, 137);
        until("their end", || !pids.iter().any(|pid| is_alive(*pid)));
        group.expect_gone();
    }
    leftovers.check();
}
