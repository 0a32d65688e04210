//! `--explain`: what the filter stops is told, and stopped all the same.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Agent, Stdin, TempDir, Tool, shell, tool};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn seccomp_load(line: &str) -> Tool {
    tool("seccomp-load").arg("-N").args(line.split_whitespace())
}

#[test]
fn a_stopped_call_is_told_with_its_arguments_and_its_cure() {
    let dir = TempDir::new();
    let made = dir.join("a \"b\"");
    let made = made.to_str().unwrap();
    let dir_of = |line: &str| seccomp_load(line).verb(["mkdir", made]).run();
    let out = dir_of("@default --default EPERM -s mkdir:EXDEV,mkdirat:EXDEV --explain");
    assert_eq!((out.status, out.stdout.as_str()), (1, "EXDEV\n"), "{out:?}");
    let shown = made.escape_debug();
    let call = [
        format!("stopped mkdir(\"{shown}\", 0777): EXDEV, by probe (pid "),
        format!("stopped mkdirat(AT_FDCWD, \"{shown}\", 0777): EXDEV, by probe (pid "),
    ];
    assert!(call.iter().any(|call| out.stderr.starts_with(&format!("seccomp-load: {call}"))), "{out:?}");
    assert!(out.stderr.contains("on the command line would have to go\n"), "{out:?}");
    assert!(
        out.stderr.contains("seccomp-load: stopped in all: mkdir") && out.stderr.contains(" once (EXDEV)")
    );
    assert!(!std::path::Path::new(made).exists());
}

#[test]
fn the_cure_that_is_told_is_one() {
    let run = |line: &str| seccomp_load(line).verb(["try-syscall", "add_key"]).run();
    let out = run("@default --explain");
    assert_eq!(out.stdout, "EPERM\n");
    let cure = out.stderr.lines().next().unwrap().rsplit_once("; ").unwrap().1;
    let cure = cure.strip_suffix(" would let it through").unwrap();
    assert_eq!(cure, "--allow add_key", "{out:?}");
    let out = run(&format!("@default --explain {cure}"));
    assert_eq!(
        (out.stdout.as_str(), out.stderr.as_str()),
        ("EINVAL\n", "seccomp-load: the filter stopped nothing\n")
    );
}

/// Where an argument says which of many things a call is to do.
#[test]
fn the_line_that_is_told_lets_one_through_and_no_other() {
    let dir = TempDir::new();
    let under = |lines: &str, family: &str| {
        let file = dir.file("rules", lines);
        tool("seccomp-load")
            .arg("-N")
            .arg(file)
            .arg("--explain")
            .verb(["try-syscall", "socket", family, "1", "0"])
            .run()
    };
    let rules = "default allow\nEPERM socket if family != AF_INET6\n";
    let out = under(rules, "0x700000001");
    assert!(
        out.stdout == "EPERM\n" && out.stderr.contains("stopped socket(AF_UNIX, SOCK_STREAM, 0): EPERM"),
        "{out:?}"
    );
    let line = out.stderr.split('\'').nth(1).unwrap();
    assert_eq!(line, "allow socket if int0 == 0x1", "{out:?}");
    assert!(under(&format!("{line}\n{rules}"), "0x700000001").stdout.starts_with("ok "));
    assert_eq!(under(&format!("{line}\n{rules}"), "2").stdout, "EPERM\n");
}

#[test]
fn what_is_decided_is_what_the_filter_decides() {
    for action in ["EPERM", "ENOSYS", "4095", "0", "allow", "log", "trace", "kill", "kill-thread", "trap"] {
        let run = |more: &str| {
            let verb = ["try-syscall", "add_key"];
            let out = seccomp_load(&format!("-s add_key:{action} {more}")).verb(verb).run();
            (out.status, out.stdout)
        };
        assert_eq!(run(""), run("--explain"), "{action}");
    }
    // Whatever the arguments, in whatever chain.
    let line = "cap-drop -N --all --try bounding -- seccomp-load @default --explain -- \"$PROBE\" try-syscall 56 0x10000000 0 0 0 0";
    let out = shell(line).run();
    if std::env::consts::ARCH == "x86_64" {
        assert!(
            out.stdout == "EPERM\n" && out.stderr.contains("stopped clone(CLONE_NEWUSER): EPERM"),
            "{out:?}"
        );
    }
    let out = shell(
        "cap-drop --all --try bounding | seccomp-load @default --explain -- \"$PROBE\" try-syscall add_key",
    )
    .run();
    assert!(out.stdout == "EPERM\n" && out.stderr.contains("stopped add_key("), "{out:?}");
}

/// Each kind once, and how often in all.
#[test]
fn the_same_again_is_counted() {
    let line = "for i in 1 2 3; do mkdir /nonexistent/x; done";
    let out = seccomp_load("-s mkdir:EXDEV,mkdirat:EXDEV --explain").command(["sh", "-c", line]).run();
    let told = out.stderr.lines().filter(|l| l.starts_with("seccomp-load: stopped mkdir")).count();
    assert!(told == 1 && out.stderr.contains(" 3 times (EXDEV)"), "{out:?}");
}

#[test]
fn who_catches_or_ignores_sigsys_is_killed_too() {
    let dir = TempDir::new();
    for trap in ["trap '' SYS", "trap 'echo caught' SYS"] {
        let made = dir.join("made");
        let line = format!("{trap}; umask 077; cd /; echo still; mkdir '{}'; echo after", made.display());
        // The shell itself makes the call.
        let out = seccomp_load("-s chdir:kill --explain").command(["bash", "-c", &line]).run();
        assert!(
            out.status == 128 + libc::SIGKILL && out.stdout.is_empty() && !made.exists(),
            "{trap}: {out:?}"
        );
    }
}

#[test]
fn the_whole_program_is_killed_whichever_thread_made_the_call() {
    let out = seccomp_load("-s add_key:kill --explain").verb(["try-in-thread", "add_key"]).run();
    assert_eq!((out.status, out.stdout.as_str()), (128 + libc::SIGSYS, ""), "{out:?}");
    assert!(
        out.stderr.contains("stopped add_key(") && out.stderr.contains(": kill, by probe (pid "),
        "{out:?}"
    );
}

#[test]
fn what_is_refused_stays_refused_when_the_one_who_watches_is_killed() {
    let dir = TempDir::new();
    let (fifo, made, done) = (dir.join("fifo"), dir.join("made"), dir.join("done"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let line = format!(
        "{{ echo $BASHPID; read x <'{}'; mkdir '{}'; >'{}'; }} & echo $$; read y",
        fifo.display(),
        made.display(),
        done.display()
    );
    let command = ["bash", "-c", &line];
    let mut running =
        seccomp_load("-s mkdir:EPERM,mkdirat:EPERM --explain").command(command).stdin(Stdin::Pipe).spawn();
    running.line();
    running.line();
    running.signal(Signal::SIGKILL);
    let write = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    std::io::Write::write_all(&mut &write, b"go\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done.exists() {
        assert!(Instant::now() < deadline, "the one left behind did not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!made.exists());
}

#[test]
fn what_cannot_be_explained_is_refused() {
    seccomp_load("--explain").verb(["ran"]).run().refuses(125, "no profile and no rule");
    let agent = Agent::refusing(libc::SYS_mkdirat);
    let asks = seccomp_load("-s mkdirat:notify --explain --notify").arg(agent.path());
    asks.verb(["ran"]).run().refuses(125, "the filter has an agent");
}
