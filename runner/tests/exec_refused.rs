//! exec: what must not happen, whoever asks for it: a hostile container, a careless caller, broken input.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, until};
use common::Bundle;
use common::zombies::{LATE, ZOMBIES, where_init_waits_for_nobody};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::time::Duration;

/// A container that looks at every process it sees, with the power to: none of the chain holds a directory from outside
/// (CVE-2016-9962), with a terminal or without.
#[test]
fn no_process_of_the_chain_holds_a_directory_from_outside() {
    if !requires::root() {
        return;
    }
    let caps =
        json!(["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_KILL"]);
    let mut bundle = Bundle::of(["/probe", "watch-fds"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), caps.clone());
    }
    let bundle = bundle.up();
    let seen = |bundle: &Bundle| {
        let all = bundle.output();
        // Where the kernel cannot make a mount of our own read-only, every link is a copy in memory.
        let copies = all.contains("saw memfd:catena-link");
        copies || ["ns-enter", "cap-drop"].iter().all(|tool| all.contains(&format!("saw {tool}")))
    };
    let mut rounds = 0;
    while rounds < 20 || !seen(&bundle) && rounds < 200 {
        bundle.exec([], ["/probe", "exit", "0"]).run().exits(0);
        bundle.exec(["-t"], ["/probe", "exit", "0"]).run().exits(0);
        rounds += 1;
    }
    assert!(seen(&bundle), "the watcher saw no link at work in {rounds} rounds: {}", bundle.output());
    assert!(!bundle.output().contains("DIRECTORY"), "{}", bundle.output());
}

/// A zombie in the container would keep it from its end until the host's init comes by. `before` stands in front of the
/// exec.
fn fails_and_leaves_no_zombie(before: &str) {
    let bundle = Bundle::asleep();
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    let out = where_init_waits_for_nobody(&format!(
        "runner --root {root} run -d -b {dir} {id} >{dir}/out 2>&1 </dev/null || exit
         {before} runner --root {root} exec {id} /none
         {ZOMBIES}
         runner --root {root} delete --force {id}"
    ));
    assert!(out.stderr.contains("execve(/none)"), "{out:#?}");
    assert_eq!((out.status, &*out.stdout), (0, ""), "{out:#?}");
}

#[test]
fn one_that_fails_leaves_no_zombie() {
    if requires::root() {
        fails_and_leaves_no_zombie("");
    }
}

/// The process that made it comes back from that call so late that the failure is told before the name.
#[test]
fn one_that_fails_before_it_is_named_leaves_no_zombie() {
    if requires::root() && requires::command("strace") {
        fails_and_leaves_no_zombie(LATE);
    }
}

/// CVE-2024-21626: a working directory by an fd that leads out.
#[test]
fn no_working_directory_is_outside() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    for n in 0..16 {
        let cwd = format!("/proc/self/fd/{n}");
        let out = bundle.exec(["--cwd", &cwd], ["/probe", "ran"]).run();
        assert!(out.status == 255 && out.stdout.is_empty(), "{cwd}: {out:#?}");
    }
    let host = || std::fs::File::open("/").unwrap();
    // As a caller would hand one over, by mistake or made to.
    let out = bundle
        .exec(["--cwd", "/proc/self/fd/0"], ["/probe", "ran"])
        .stdin(catena_tests::Stdin::Fd(host().into()));
    out.run().refuses(255, "is outside the root");
    let kept =
        bundle.exec(["--preserve-fds", "1", "--cwd", "/proc/self/fd/3"], ["/probe", "ran"]).fd(host(), 3);
    kept.run().refuses(255, "fd 3 is a directory");
    bundle.exec(["--cwd", "etc"], ["/probe", "ran"]).run().refuses(255, "cwd: 'etc' is not an absolute path");
    bundle.exec(["--cwd", "/no/such"], ["/probe", "ran"]).run().refuses(255, "chdir(/no/such): No such file");
    bundle.exec(["--cwd", "/probe"], ["/probe", "ran"]).run().refuses(255, "chdir(/probe): Not a directory");
}

#[test]
fn a_container_that_is_not_there_or_not_whole_takes_no_command() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "container does not exist");
    for id in ["", "..", "a/b", "~x"] {
        let out = bundle.runner(["exec", "--", id, "/probe", "ran"]).run();
        out.refuses(255, "as a container id");
    }
    // As a create that is not done, or that was killed, leaves it.
    let draft = bundle.state.path().join(format!("~{}.1", bundle.id));
    std::fs::create_dir(&draft).unwrap();
    std::fs::write(draft.join("config.json"), "{}").unwrap();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "container does not exist");
    let half = bundle.state.path().join(&bundle.id);
    std::fs::create_dir(&half).unwrap();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "cannot read the state");
    std::fs::write(half.join("state.json"), "{\"id\":").unwrap();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "cannot read the state");
    std::fs::remove_dir_all(&half).unwrap();
}

#[test]
fn a_stopped_container_takes_no_command() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/probe", "exit", "0"]).up();
    bundle.becomes("stopped");
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "cannot exec in a stopped container");
}

/// The pid of its first process may be anybody's by now.
#[test]
fn a_pid_that_was_given_away_again_leads_nowhere() {
    if !requires::root() {
        return;
    }
    // Start times are in hundredths of a second: the container's is to be another than that of this process.
    std::thread::sleep(Duration::from_millis(20));
    let bundle = Bundle::asleep().up();
    let file = bundle.state.path().join(&bundle.id).join("state.json");
    let kept = std::fs::read(&file).unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    state["pid"] = json!(std::process::id());
    std::fs::write(&file, state.to_string()).unwrap();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "cannot exec in a stopped container");
    std::fs::write(&file, kept).unwrap();
}

/// A first process that was killed gives up its namespaces, and is there until all that was in its pid namespace is reaped.
#[test]
fn a_container_that_is_at_its_end_takes_no_command() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    let mut held = bundle.exec([], ["/probe", "sleep"]).spawn();
    assert_eq!(held.line(), "ready");
    held.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(bundle.pid()), Signal::SIGKILL).unwrap();
    let link = format!("/proc/{}/ns/mnt", bundle.pid());
    until("its namespaces are given up", || std::fs::read_link(&link).is_err());
    let out = bundle.exec([], ["/probe", "ran"]).run();
    out.refuses(255, &format!("cannot exec in a stopped container: {}", bundle.id));
    assert!(out.stderr.contains("why: its first process ended meanwhile: cannot join the "), "{out:?}");
    held.signal(Signal::SIGCONT);
    held.wait().exits(137);
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_paused_container_takes_a_command_only_to_hold_it() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::asleep().up();
    bundle.runner(["pause", &bundle.id]).run().succeeds();
    bundle.exec([], ["/probe", "ran"]).run().refuses(255, "cannot exec in a paused container");
    let mut held = bundle.exec(["--ignore-paused"], ["/probe", "ran"]).spawn();
    let mut killed = bundle.exec(["--ignore-paused"], ["/probe", "ran"]).spawn();
    until("both wait inside", || bundle.count() >= 3);
    assert!(!held.is_over(), "it waits for the container");
    killed.kill();
    bundle.runner(["resume", &bundle.id]).run().succeeds();
    assert_eq!(held.line(), "RAN");
    held.wait().exits(0);
    drop(bundle);
    leftovers.check();
}

#[test]
fn what_is_said_wrong_runs_nothing() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let refused = |options: &[&str], text: &str| {
        let out = bundle.runner(["exec"]).args(options).arg(&bundle.id).args(["/probe", "ran"]).run();
        out.refuses(255, text);
    };
    refused(&["-u", "nobody"], "cannot become user 'nobody': 'nobody' is not a user id");
    refused(&["-u", "-1"], "'-1' is not a user id");
    refused(&["-u", "0:x"], "'x' is not a group id");
    refused(&["-u", "4294967295"], "is not a user id");
    refused(&["-g", "-5"], "'-5' is not a group id");
    refused(&["-e", "NOVALUE"], "env: 'NOVALUE' is not KEY=VALUE");
    refused(&["-e", "=x"], "env: '=x' is not KEY=VALUE");
    refused(&["-c", "CAP_NOSUCH"], "'CAP_NOSUCH' is not known");
    refused(&["-d", "-t"], "nobody is there to hold it");
    refused(&["--console-socket", "/s"], "no terminal is asked for");
    refused(&["--pidfd-socket", "/no/such"], "connect(/no/such): No such file");
    refused(&["--apparmor", "no-such-profile"], "AppArmor profile no-such-profile");
    refused(&["--process-label", "a:b:c:d"], "label a:b:c:d");
    bundle.runner(["exec", &bundle.id]).run().refuses(255, "exec args cannot be empty");
    bundle.runner(["exec", &bundle.id, "--"]).run().refuses(255, "exec args cannot be empty");
    bundle.runner(["exec", &bundle.id, ""]).run().refuses(255, "No such file");
    bundle.runner(["exec", "--bogus", &bundle.id, "/probe", "ran"]).run().refuses(1, "--bogus");
    bundle.runner(["exec"]).run().refuses(1, "ID COMMAND");
    bundle.comes_down_to(1);
}

#[test]
fn a_process_file_that_is_cut_short_or_wrong_runs_nothing() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let whole =
        json!({"args": ["/probe", "ran"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let text = whole.to_string();
    let file = bundle.rootfs.parent().join("p.json");
    let exec = || bundle.runner(["exec", "-p", file.to_str().unwrap(), &bundle.id]).run();
    for end in [0, 1, text.len() / 2, text.len() - 1] {
        std::fs::write(&file, &text[..end]).unwrap();
        exec().refuses(255, "cannot read");
    }
    for (pointer, value, message) in [
        ("/args", json!([]), "args: empty"),
        ("/cwd", json!("x"), "is not an absolute path"),
        ("/cwd", json!(""), "is not an absolute path"),
        ("/env", json!(["X"]), "is not KEY=VALUE"),
        ("/args", json!(["/probe", "a\0b"]), "args: a NUL byte"),
        ("/user", json!({"uid": -1}), "user.uid"),
        ("/user", json!({"uid": 0, "umask": 512}), "umask"),
        ("/args", json!("ran"), "args"),
    ] {
        let mut wrong = whole.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&file, wrong.to_string()).unwrap();
        exec().refuses(255, message);
    }
    std::fs::write(&file, &text).unwrap();
    let both = bundle.runner(["exec", "-p", file.to_str().unwrap(), &bundle.id, "/bin/true"]).run();
    both.refuses(255, "a command is given as well");
    let missing = bundle.runner(["exec", "-p", "/no/such/file", &bundle.id]).run();
    missing.refuses(255, "open(/no/such/file): No such file");
    bundle.comes_down_to(1);
}

/// As much as the kernel takes, and more.
#[test]
fn a_hundred_thousand_words_and_a_mebibyte_of_environment_go_through() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let words: Vec<String> = (0..100_000).map(|n| format!("w{n}")).collect();
    let out = bundle.runner(["exec", &bundle.id, "/bin/sh", "-c", "echo $# $0 ${99999}"]).args(&words).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "99999 w0 w99999\n"), "{out:?}");
    let env: Vec<String> = (0..1024).map(|n| format!("V{n}={}", "x".repeat(1018))).collect();
    let process = json!({"args": ["/bin/sh", "-c", "echo ${#V0} ${#V1023}"], "env": env, "cwd": "/"});
    let out = bundle.exec_process(&process).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "1018 1018\n"), "{out:?}");
    // One string of more than MAX_ARG_STRLEN is the kernel's to refuse.
    let process = json!({"args": ["/bin/true"], "env": [format!("V={}", "x".repeat(200_000))], "cwd": "/"});
    bundle.exec_process(&process).run().refuses(255, "Argument list too long (E2BIG)");
}
