//! Signals go to the command, its status comes back, and nothing outlives the front process.

use catena_tests::{Leftovers, Running, TerminalSession, processes, requires, shell};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const FORKED: [&str; 4] = [
    "ns-enter -p -- ",
    "ns-enter -mpniuC -- cap-drop --all -- seccomp-load @default -- ",
    "idmap -r -- ns-enter -mp -- cap-drop --all -- ",
    "cg-apply -m 512M --try resources.memory -- ns-enter -mp -- cap-drop --all -- ",
];

fn start(line: &str) -> Running {
    let mut running = shell(&format!("exec {line}")).spawn();
    assert!(running.line().starts_with(|c| "ro".contains(c)), "{line}");
    running
}

#[track_caller]
fn all_gone(line: &str) {
    let since = Instant::now();
    while !processes().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(20), "{line} left {:#?}", processes());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killing_the_front_kills_the_tree() {
    if !requires::root() {
        return;
    }
    // Without the last: a cg-apply that is killed leaves its group (see below).
    for chain in &FORKED[..3] {
        for _ in 0..34 {
            let mut running = start(&format!("{chain}$PROBE fork 3"));
            running.signal(Signal::SIGKILL);
            all_gone(chain);
            running.kill();
        }
    }
}

/// At any moment of the start, a link at work included.
#[test]
fn killing_the_front_at_any_moment_kills_the_tree() {
    if !requires::root() {
        return;
    }
    let before = Leftovers::watch();
    let chain = "ns-enter -mpniuC -- cap-drop --user 1000:1000 --all -- seccomp-load @default -- ";
    for n in 0..100 {
        let mut running = shell(&format!("exec {chain}$PROBE fork 2")).spawn();
        std::thread::sleep(Duration::from_micros(n * 150));
        running.signal(Signal::SIGKILL);
        all_gone(chain);
        running.kill();
    }
    before.check();
}

/// Without a pid namespace the command dies with the supervisor; what it forked is the business of the cgroup, which
/// the killed supervisor leaves for `cg-apply --rm`.
#[test]
fn killing_a_supervisor_of_a_cgroup_kills_the_command() {
    if !requires::controller("memory") {
        return;
    }
    let chain = "cg-apply --cgroup /catena-test-killed -m 512M -- cap-drop --all -- ";
    let before = Leftovers::watch();
    let mut running = start(&format!("{chain}$PROBE sleep"));
    running.signal(Signal::SIGKILL);
    all_gone(chain);
    running.kill();
    shell("cg-apply --rm /catena-test-killed --kill").run().succeeds();
    before.check();
}

#[test]
fn term_reaches_the_commands_trap_and_its_status_comes_back() {
    if !requires::root() {
        return;
    }
    let trap = "bash -c 'trap \"echo got; exit 42\" TERM; echo ready; while :; do sleep 0.05; done'";
    for chain in FORKED.iter().chain(&["cap-drop --all -- "]) {
        let before = Leftovers::watch();
        let mut running = start(&format!("{chain}{trap}"));
        running.signal(Signal::SIGTERM);
        assert_eq!(running.line(), "got", "{chain}");
        running.wait().exits(42);
        all_gone(chain);
        before.check();
    }
}

#[test]
fn every_signal_is_passed_on() {
    if !requires::root() {
        return;
    }
    use Signal::*;
    for chain in FORKED {
        let mut running = start(&format!("{chain}$PROBE signal-wait 5"));
        for signal in
            [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGPIPE, SIGTTOU, SIGIO]
        {
            running.signal(signal);
            assert_eq!(running.line(), signal.as_str(), "{chain}");
        }
        running.signal(SIGTERM);
        assert_eq!(running.line(), "SIGTERM");
        running.wait().exits(5);
    }
}

/// The first process of a pid namespace does not die of a signal that it has no handler for; who presses ^C means it.
#[test]
fn a_first_process_without_a_handler_ends_all_the_same() {
    // Where it cannot be told from one that waits for the signal, it is taken for that.
    if !requires::root() || !requires::proc_syscall() {
        return;
    }
    let busy = "bash -c 'echo ready; while :; do :; done'";
    for chain in FORKED {
        for (signal, command) in [
            (Signal::SIGTERM, "$PROBE sleep"),
            (Signal::SIGINT, "$PROBE sleep"),
            (Signal::SIGHUP, "$PROBE sleep"),
            (Signal::SIGINT, busy),
        ] {
            let running = start(&format!("{chain}{command}"));
            running.signal(signal);
            let out = running.wait_until_over();
            assert!([128 + signal as i32, 137].contains(&out), "{chain}: {out}");
            all_gone(chain);
        }
    }
}

/// One that waits for the signal and was not on a processor since it came looks as if it had no use for it.
#[test]
fn a_first_process_that_was_just_woken_is_not_killed() {
    if !requires::root() || !requires::proc_syscall() {
        return;
    }
    let hog = || shell("exec taskset -c 0 bash -c 'while :; do :; done'").spawn();
    let hogs = [hog(), hog()];
    let idle = "taskset -c 0 chrt --idle 0 $PROBE signal-wait 5";
    // It gets a processor for a few milliseconds of each second.
    let run = shell(&format!("exec ns-enter -p -- {idle}")).timeout(Duration::from_secs(90));
    let mut running = run.spawn();
    assert_eq!(running.line(), "ready");
    // Some of them find it on its way to a processor.
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].repeat(7) {
        running.signal(signal);
        assert_eq!(running.line(), signal.as_str());
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.line(), "SIGTERM");
    running.wait().exits(5);
    drop(hogs);
}

trait Over {
    fn wait_until_over(self) -> i32;
}

impl Over for Running {
    fn wait_until_over(self) -> i32 {
        self.wait().status
    }
}

/// Erlang's port programs ignore SIGCHLD, and then wait(2) has nothing to wait for.
#[test]
fn a_parent_that_ignores_sigchld_does_no_harm() {
    if !requires::root() {
        return;
    }
    for chain in FORKED {
        shell(&format!("env --ignore-signal=CHLD {chain}$PROBE exit 9")).run().exits(9);
        shell(&format!("env --block-signal=CHLD,TERM {chain}$PROBE exit 9")).run().exits(9);
    }
}

/// Grandchildren whose parent ended before them are gone when the command is gone.
#[test]
fn nothing_outlives_the_command_in_its_pid_namespace() {
    if !requires::root() {
        return;
    }
    for chain in FORKED {
        let before = Leftovers::watch();
        let line = format!(
            "{chain}bash -c 'setsid sleep 100 >/dev/null 2>&1 & setsid sleep 100 >/dev/null 2>&1 & exit 3'"
        );
        shell(&line).run().exits(3);
        all_gone(chain);
        before.check();
    }
}

/// ^C at a terminal goes to the whole foreground group: the command gets it once, not twice.
#[test]
fn control_c_comes_once() {
    if !requires::root() {
        return;
    }
    // After the first there is time for a second.
    let command = "n=0; trap \"n=\\$((n+1))\" INT; echo ready; until [ $n != 0 ]; do sleep 0.1; done; \
        for i in 1 2 3 4 5 6 7 8; do sleep 0.2; done; echo count=$n.";
    let mut session = TerminalSession::start(&format!("exec ns-enter -p -- bash -c '{command}'"));
    session.expect("ready");
    session.type_in("\x03");
    session.expect("count=");
    assert_eq!(session.expect("."), "1");
    assert_eq!(session.end(), 0);
}

/// ^Z in an interactive shell stops what is supervised and its supervisor, and `fg` wakes both.
#[test]
fn control_z_and_fg_work() {
    if !requires::controller("memory") {
        return;
    }
    let mut session = TerminalSession::start("PS1='outer> ' exec bash --norc --noprofile --noediting -i");
    session.expect("outer> ");
    // It lasts until something is typed, which only a process that goes on reads.
    session.type_in("cg-apply -m 512M -- bash -c 'echo up$((40+2)); read status; exit $status'\n");
    session.expect("up42");
    session.type_in("\x1a");
    session.expect("Stopped");
    session.expect("outer> ");
    session.type_in("echo back-$((1+1))\n");
    session.expect("back-2");
    session.expect("outer> ");
    session.type_in("fg\n");
    // The shell names the job when it is in front.
    session.expect("cg-apply");
    session.type_in("7\n");
    session.expect("outer> ");
    session.type_in("echo st=$?.\n");
    session.expect("st=7.");
    session.type_in("exit 4\n");
    assert_eq!(session.end(), 4);
}
