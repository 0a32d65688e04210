//! Whose standard input it is: a plan's, or the command's; and what the command gets when the plan used it up.

use catena_tests::{Stdin, TempDir, memfd, requires, shell, tool, until};
use std::time::{Duration, Instant};

/// A valid plan, written by an attacker into what the command is to read.
fn attack() -> String {
    let plan = shell("ns-enter -mu | rootfs-prep --root /nonexistent").run();
    plan.succeeds();
    plan.stdout.clone()
}

#[test]
fn with_new_a_plan_on_stdin_reaches_the_command_untouched() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let attack = attack();
    for new in ["-N", "--new"] {
        let out = tool("cap-drop").args([new, "--all"]).command(["cat"]).input(&attack).run();
        assert_eq!(out.succeeds().stdout, attack);
    }
    let run = tool("cap-drop").args(["-N", "--all"]).then("seccomp-load", ["@default"]);
    assert_eq!(run.command(["cat"]).input(&attack).run().succeeds().stdout, attack);
}

#[test]
fn a_whole_script_can_say_that_stdin_is_the_commands() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let attack = attack();
    let run = || tool("cap-drop").args(["--all"]).then("seccomp-load", ["@default"]).command(["cat"]);
    let out = run().env("CATENA_STDIN", "command").input(&attack).run();
    assert_eq!(out.succeeds().stdout, attack);
    run()
        .env("CATENA_STDIN", "plan")
        .input(&attack)
        .run()
        .refuses(125, "CATENA_STDIN=plan: only 'command' is known");
    run().env("CATENA_STDIN", "").input(&attack).run().refuses(125, "CATENA_STDIN=: only 'command' is known");
}

/// Only the first link looks at stdin: those behind it take the state, whatever is in the pipe.
#[test]
fn a_later_link_never_reads_stdin() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let attack = attack();
    let line = "cap-drop -N --all -- seccomp-load @default -- sha256sum";
    let sum = |input: &[u8]| shell("sha256sum").input(input).run().stdout;
    assert_eq!(shell(line).input(&attack).run().succeeds().stdout, sum(attack.as_bytes()));
    let big: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(shell(line).input(&big).run().succeeds().stdout, sum(&big));
}

/// A file, a socket and /dev/null are no pipes: there is no plan in them.
#[test]
fn what_is_no_pipe_belongs_to_the_command() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let attack = attack();
    let dir = TempDir::new();
    let file = dir.file("plan", &attack);
    let cat = || tool("cap-drop").args(["--all"]).command(["cat"]);
    assert_eq!(cat().stdin(Stdin::File(file)).run().succeeds().stdout, attack);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &ours, attack.as_bytes()).unwrap();
    drop(ours);
    assert_eq!(cat().stdin(Stdin::Fd(theirs.into())).run().succeeds().stdout, attack);
    assert_eq!(cat().run().succeeds().stdout, "");
}

#[test]
fn a_closed_stdin_is_no_plan() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let seen = tool("cap-drop").args(["--all"]).stdin(Stdin::Closed).probe();
    seen.expect_caps_empty();
}

#[test]
fn the_plan_comes_from_where_it_is_said_to() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let plan = shell("cap-drop --all").run().stdout;
    let dir = TempDir::new();
    let file = dir.file("box.json", &plan);
    let load = |from: &str| tool("seccomp-load").args(["--plan", from, "@default"]);
    load(file.to_str().unwrap()).probe().expect_caps_empty().expect_filters(1);
    load("box.json").cwd(&dir).probe().expect_caps_empty().expect_filters(1);
    load("fd:7").fd(memfd_at_start(&plan), 7).probe().expect_caps_empty().expect_filters(1);
    load("-").stdin(Stdin::File(file)).probe().expect_caps_empty().expect_filters(1);
    load("-").input(&plan).probe().expect_caps_empty().expect_filters(1);
}

fn memfd_at_start(text: &str) -> std::os::fd::OwnedFd {
    let mut file = std::fs::File::from(memfd(text.as_bytes(), false));
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}

/// `--plan FILE` wins over a pipe, which then is the command's.
#[test]
fn a_named_plan_leaves_the_pipe_to_the_command() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let plan = shell("cap-drop --all").run().stdout;
    let dir = TempDir::new();
    dir.file("box.json", &plan);
    let run = tool("seccomp-load").args(["--plan", "box.json", "@default"]).cwd(&dir);
    let out = run.command(["sh", "-c", "cat; grep CapEff /proc/self/status"]).input("data\n").run();
    assert_eq!(out.succeeds().stdout, "data\nCapEff:\t0000000000000000\n");
}

#[test]
fn a_plan_that_is_not_there_is_refused() {
    let load = |from: &str| tool("seccomp-load").args(["--plan", from, "@default"]).verb(["exit", "0"]);
    load("/nonexistent/box.json")
        .run()
        .refuses(125, "open(/nonexistent/box.json): No such file or directory (ENOENT)");
    load("fd:99").run().refuses(125, "(EBADF)");
    load("fd:x").run().refuses(125, "fd:x");
    load("-").run().refuses(125, "it is empty");
    load("/dev/null").run().refuses(125, "it is empty");
    load("/").run().refuses(125, "(EISDIR)");
}

/// `-N` and `--plan` say opposite things.
#[test]
fn new_and_a_named_plan_exclude_each_other() {
    let out = tool("cap-drop").args(["-N", "--plan", "box.json", "--all"]).verb(["exit", "0"]).run();
    out.refuses(125, "exclude each other");
}

#[test]
fn whoever_waits_is_told_what_for() {
    let dir = TempDir::new();
    let told = dir.join("told");
    let run = tool("cap-drop").args(["--all"]).command(["cat"]).stdin(Stdin::Pipe);
    let mut waiting = run.fd(std::fs::File::create(&told).unwrap(), 2).spawn();
    let said = || std::fs::read_to_string(&told).unwrap();
    until("what it waits for is said", || said().contains("waiting for a plan"));
    assert!(!waiting.is_over());
    let since = Instant::now();
    waiting.close_stdin();
    let mut out = waiting.wait();
    out.stderr = said();
    out.refuses(125, "it is empty");
    let line = out.stderr.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("cap-drop: warning: waiting for a plan on standard input") && line.contains("-N"),
        "{line}"
    );
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_plan_that_comes_soon_is_waited_for_in_silence() {
    // Where the machine was busy for a second with something else, once more.
    let soon = || shell("(sleep 0.1; ns-enter -mu) | cap-drop --all").run();
    let mut out = soon();
    for _ in 0..3 {
        if out.stderr.is_empty() {
            break;
        }
        assert!(out.stderr.starts_with("cap-drop: warning: waiting for a plan"), "{out:?}");
        out = soon();
    }
    out.succeeds();
    let late = shell("(sleep 4; ns-enter -mu) | cap-drop --all").run();
    assert_eq!(late.status, 0);
    assert_eq!(late.stderr.lines().count(), 1, "{late:?}");
    assert_eq!(late.stdout, out.stdout);
}

#[test]
fn in_the_pipe_form_the_command_reads_dev_null() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let seen = shell("cap-drop --all | seccomp-load @default -- $PROBE").run().probe();
    assert_eq!(seen.fd_target(0), "/dev/null");
    seen.expect_only_std_fds();
}

#[test]
fn in_the_pipe_form_stdin_can_be_named() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    let file = dir.file("data", "one\n");
    let run = |line: &str| shell(line).cwd(&dir).run();
    let out = run("cap-drop --all | seccomp-load --stdin data @default -- cat");
    assert_eq!(out.succeeds().stdout, "one\n");
    let seen = run("cap-drop --all | seccomp-load --stdin fd:5 @default -- $PROBE 5<data").probe();
    assert_eq!(seen.fd_target(0), file.to_str().unwrap());
    seen.expect_only_std_fds();
    let missing = run("cap-drop --all | seccomp-load --stdin nothing @default -- touch ran");
    missing.refuses(125, "open(nothing): No such file or directory (ENOENT)");
    run("cap-drop --all | seccomp-load --stdin fd:77 @default -- touch ran").refuses(125, "fcntl(77)");
    assert!(!dir.join("ran").exists());
}

#[test]
fn what_would_do_nothing_where_it_stands_is_refused() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let dir = TempDir::new();
    dir.file("data", "one\n");
    dir.file("box.json", shell("ns-enter -mu").run().stdout);
    let run = |line: &str| shell(line).cwd(&dir).run();
    let exec = run("cap-drop --stdin data --all -- seccomp-load @default -- cat");
    assert_eq!(exec.succeeds().stdout, "one\n");
    for (line, text) in [
        ("cap-drop --stdin data --all", "--stdin belongs to the stage with the command"),
        ("cap-drop --keep-fd 2 --all", "--keep-fd belongs to the stage with the command"),
        (
            "cap-drop --all -- seccomp-load --stdin data @default -- touch ran",
            "--stdin belongs to the first link",
        ),
        (
            "cap-drop --all -- seccomp-load --plan box.json @default -- touch ran",
            "--plan belongs to the first link",
        ),
    ] {
        run(line).refuses(125, text);
    }
    assert!(!dir.join("ran").exists());
}

/// Under a terminal, in its foreground, the command gets the terminal back.
#[test]
fn in_the_pipe_form_the_foreground_gets_the_terminal() {
    if !requires::capability("SETPCAP") {
        return;
    }
    if !requires::command("script") {
        return;
    }
    let on_terminal = |line: &str| {
        let run = shell("script -qec \"$1\" /dev/null | tr -d '\\r' | grep ^{").args(["sh", line]).run();
        run.probe()
    };
    let seen = on_terminal("cap-drop --all | seccomp-load @default -- $PROBE");
    assert!(seen.tty.std[0], "stdin is {}", seen.fd_target(0));
    seen.expect_only_std_fds();
    let exec = on_terminal("cap-drop --all -- seccomp-load @default -- $PROBE");
    assert!(exec.tty.std[0]);
    let back = on_terminal("bash -c 'set -m; cap-drop --all | seccomp-load @default -- $PROBE & wait'");
    assert!(!back.tty.std[0], "a background job took the terminal");
    assert_eq!(back.fd_target(0), "/dev/null");
}
