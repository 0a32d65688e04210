//! Hooks that fail, hang, flood, or are left behind: the command does not run, the error says which hook, and nothing
//! stays.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell, until};
use common::Bundle;
use common::hooked::{KINDS, all_tell, hook, kinds, sh, with_log};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

const NO_NAMES: [&str; 0] = [];

fn states(bundle: &Bundle) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(bundle.state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn one_that_fails_early_leaves_no_container_and_the_command_never_runs() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (place, kind) in KINDS[..4].iter().enumerate() {
        let bundle = hook(all_tell("echo RAN"), kind, sh("echo said; echo one >&2; echo two >&2; exit 3"));
        let out = bundle.run();
        out.refuses(1, &format!("hooks.{kind}[1]"));
        let cause = format!("error running {kind} hook #1: /bin/sh: exit status 3\n");
        out.fails(1, &cause).fails(1, "its output: said; its errors: one; two");
        let ran = [&KINDS[..=place], &["poststop"]].concat();
        assert_eq!(kinds(&bundle), ran, "{kind}");
        assert_eq!(states(&bundle), NO_NAMES, "{kind}");
    }
    leftovers.check();
}

#[test]
fn one_that_fails_at_create_fails_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in &KINDS[..3] {
        let bundle = hook(with_log("echo RAN"), kind, json!({"path": "/no/such/hook"}));
        let out = bundle.create();
        out.fails(1, &format!("hooks.{kind}[0]"))
            .fails(1, "execve(/no/such/hook): No such file or directory");
        assert_eq!((states(&bundle), bundle.output().as_str()), (vec![], ""));
    }
    leftovers.check();
}

/// As runc leaves it: stopped, for delete to remove.
#[test]
fn one_that_fails_at_start_stops_the_container() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in &KINDS[3..5] {
        let bundle = hook(all_tell("echo RAN; exec sleep 60"), kind, sh("kill -TERM $$"));
        bundle.create().succeeds();
        bundle.start().refuses(1, &format!("error running {kind} hook #1: /bin/sh: killed by SIGTERM"));
        bundle.becomes("stopped");
        assert!(*kind == "poststart" || bundle.output().is_empty(), "{}", bundle.output());
        bundle.runner(["delete", &bundle.id]).run().succeeds();
        assert_eq!(kinds(&bundle).last().unwrap(), "poststop");
    }
    let bundle = hook(all_tell("exec sleep 60"), "poststart", sh("false"));
    bundle.run().fails(1, "hooks.poststart[1]");
    assert_eq!((states(&bundle), kinds(&bundle)), (vec![], KINDS.map(String::from).to_vec()));
    drop(bundle);
    leftovers.check();
}

/// The filter is the container's, so it is the hook's; the error says that a system call was what killed it.
#[test]
fn one_that_the_filter_kills_fails_the_start() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    let bundle = hook(all_tell("echo RAN"), "startContainer", sh("ulimit -c 0; exec mkdir /tmp/x"));
    let bundle = bundle.set("/linux/seccomp", filter);
    let out = bundle.run();
    out.fails(1, "error running startContainer hook #1: /bin/sh: killed by SIGSYS (bad system call)");
    assert!(!out.stdout.contains("RAN"), "{out:?}");
    drop(bundle);
    leftovers.check();
}

#[test]
fn poststop_that_fails_is_a_warning_and_the_rest_run() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = all_tell("true");
    let last = bundle.config["hooks"]["poststop"].clone();
    bundle.config["hooks"]["poststop"] = json!([sh("echo bad >&2; false"), last[0]]);
    bundle.write();
    let warning = "runner: warning: cannot run hooks.poststop[0]: error running poststop hook #0: /bin/sh: exit status 1 (its errors: bad)\n";
    let out = bundle.run();
    assert_eq!((out.status, out.stderr.as_str()), (0, warning));
    assert_eq!(kinds(&bundle), KINDS);

    bundle.create().succeeds();
    let out = bundle.delete();
    assert_eq!((out.status, out.stderr.as_str()), (0, warning));
    assert_eq!(kinds(&bundle).len(), 6 + 4);
    drop(bundle);
    leftovers.check();
}

/// A container that fails for another reason has had its environment made, so it is unmade, and poststop runs; but not
/// for an id that is somebody else's.
#[test]
fn poststop_runs_after_any_failed_create_and_not_after_a_refused_one() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bad = json!({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]});
    let bundle = all_tell("true").set("/mounts/-", bad);
    bundle.create().fails(1, "/no/such");
    assert_eq!(kinds(&bundle), ["poststop"]);
    let bundle = all_tell("true");
    bundle.create().succeeds();
    bundle.create().fails(1, "already exists");
    assert_eq!(kinds(&bundle), KINDS[..3]);
    assert_eq!(bundle.status(), "created");
    drop(bundle);
    leftovers.check();
}

#[test]
fn one_that_takes_too_long_is_ended_with_all_it_started() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in KINDS {
        let mut hangs = sh("sleep 600 & trap '' TERM; sleep 600; echo");
        hangs["timeout"] = json!(1);
        let bundle = hook(with_log("true"), kind, hangs);
        let begun = Instant::now();
        let out = bundle.run();
        let status = if kind == "poststop" { 0 } else { 1 };
        out.fails(status, &format!("hooks.{kind}[0]"));
        out.fails(status, "/bin/sh: it ran past its timeout of 1 s and was killed");
        assert!((1..8).contains(&begun.elapsed().as_secs()), "{kind}: {:?}", begun.elapsed());
    }
    leftovers.check();
}

/// More than a pipe holds on either stream, more than there is memory for here, and a state that nobody reads.
#[test]
fn one_that_floods_its_output_neither_blocks_nor_fills_memory() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let floods = "head -c 60000000 /dev/zero | tr '\\0' x; head -c 60000000 /dev/zero | tr '\\0' y >&2; echo >&2; echo end >&2; exit 4";
    let bundle = hook(with_log("echo RAN"), "createRuntime", sh(floods));
    let bundle = bundle.set("/annotations", json!({"long": "a".repeat(1 << 20)}));
    let out = shell(&format!(
        "ulimit -v 60000; runner --root {} run --bundle {} {}",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    ))
    .run();
    out.refuses(1, "exit status 4").fails(1, "yyyy; end\n").fails(1, "its output: xxxx");
    assert!(out.stderr.len() < 3000, "{}", out.stderr.len());
    drop(bundle);
    leftovers.check();
}

#[test]
fn one_that_leaves_a_daemon_with_its_streams_holds_nobody_up() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let dir = catena_tests::TempDir::new();
    let pid = dir.join("pid");
    let daemon = sh(&format!("sleep 300 & echo $! >{}", pid.display()));
    let bundle = hook(with_log("echo ran"), "createRuntime", daemon);
    let begun = Instant::now();
    assert_eq!(bundle.run().succeeds().stdout, "ran\n");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // It is the hook's to end, and was left alone.
    let pid = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    drop(bundle);
    leftovers.check();
}

/// Left behind in the container's own cgroup, where no pid namespace ends it.
#[test]
fn what_a_failed_hook_leaves_in_the_container_ends_with_it() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let fails = sh("sleep 300 >/dev/null 2>&1 & exit 1");
    let mut bundle = hook(with_log("echo RAN"), "createContainer", fails);
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    bundle.write();
    bundle.run().refuses(1, "hooks.createContainer[0]");
    drop(bundle);
    leftovers.check();
}

/// The runner is killed while a hook runs: the hook ends, the container does not come to be, poststop runs.
#[test]
fn a_runner_killed_during_a_hook_leaves_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in &KINDS[..3] {
        let bundle = with_log("echo RAN >/log/ran");
        let told = common::hooked::tells(&bundle, "poststop");
        let waits = sh(&format!("touch {0}/log/here; exec sleep 300", bundle.dir()));
        let bundle = hook(hook(bundle, kind, waits), "poststop", told);
        let mut runner = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
        until(kind, || bundle.rootfs.parent().join("log/here").exists());
        runner.kill();
        until(kind, || states(&bundle).is_empty() && kinds(&bundle) == ["poststop"]);
        assert!(!bundle.rootfs.parent().join("log/ran").exists());
        drop(bundle);
        leftovers.check();
    }
}

/// Killed later, it leaves what runs, as any runner that is killed does; delete takes that away, and poststop runs once.
#[test]
fn a_runner_killed_during_a_late_hook_leaves_what_can_be_deleted() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in &KINDS[3..5] {
        let bundle = with_log("exec sleep 300");
        let told = common::hooked::tells(&bundle, "poststop");
        let inside = if *kind == "startContainer" { "/log".into() } else { format!("{}/log", bundle.dir()) };
        let waits = sh(&format!("touch {inside}/here; exec sleep 300"));
        let bundle = hook(hook(bundle, kind, waits), "poststop", told);
        let mut runner = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
        until(kind, || bundle.rootfs.parent().join("log/here").exists());
        runner.kill();
        drop(runner);
        bundle.delete().succeeds();
        assert_eq!((states(&bundle), kinds(&bundle)), (vec![], vec!["poststop".to_string()]), "{kind}");
        drop(bundle);
        leftovers.check();
    }
}

/// Whoever kills a hook makes it one that failed, at every stage.
#[test]
fn a_hook_that_is_killed_has_failed() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for kind in &KINDS[..5] {
        let bundle = hook(with_log("exec sleep 300"), kind, sh("kill -KILL $$"));
        let out = bundle.run();
        out.fails(1, &format!("error running {kind} hook #0: /bin/sh: killed by SIGKILL"));
        assert_eq!(states(&bundle), NO_NAMES, "{kind}");
    }
    let bundle = hook(with_log("true"), "poststop", sh("kill -KILL $$"));
    let out = bundle.run();
    assert!(out.status == 0 && out.stderr.contains("hook #0: /bin/sh: killed by SIGKILL"), "{out:?}");
    assert_eq!(states(&bundle), NO_NAMES);
    drop(bundle);
    leftovers.check();
}
