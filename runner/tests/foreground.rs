//! In the foreground of somebody's terminal: its keys, its size and its mode are the container's for as long as that
//! lives, and its own again afterwards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Running, requires, shell};
use chain::sys::process::set_window_size;
use common::Bundle;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};

/// A terminal with `runner run` in its foreground.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    shown: String,
    runner: Running,
    bundle: Bundle,
}

impl Terminal {
    /// The container's command says `ready` when it is, and has a terminal of its own.
    fn with(line: &str) -> Terminal {
        Terminal::around(Bundle::sh(line).set("/process/terminal", json!(true)))
    }

    fn around(bundle: Bundle) -> Terminal {
        let pty = openpty(None, None).unwrap();
        for end in [&pty.master, &pty.slave] {
            fcntl_setfd(end, FdFlags::CLOEXEC).unwrap();
        }
        let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
        let line = format!(
            "exec setsid --wait --ctty runner --root {root} run --bundle {dir} {id} <&9 >&9 2>&9 9>&-"
        );
        let runner = shell(&line).fd(pty.slave.try_clone().unwrap(), 9).spawn();
        let mut terminal =
            Terminal { master: pty.master, slave: pty.slave, shown: String::new(), runner, bundle };
        terminal.shows("ready");
        terminal
    }

    /// Reads until this has been shown.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let came = poll(&mut fds, PollTimeout::from(20_000_u16)).unwrap();
            assert_eq!(came, 1, "no '{text}' in {:?}", self.shown);
            let mut buffer = [0; 4096];
            let n = rustix::io::read(&self.master, &mut buffer).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    fn types(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    /// A signal for the runner, which is what setsid(1) waits for.
    fn signal(&self, signal: Signal) {
        let own = self.runner.pid();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        kill(Pid::from_raw(children.trim().parse().unwrap()), signal).unwrap();
    }

    /// Waits for the runner, and looks at the terminal it leaves; its status.
    #[track_caller]
    fn ends(self) -> i32 {
        let Terminal { master, slave, runner, bundle, .. } = self;
        let status = runner.wait().status;
        assert!(is_cooked(&master));
        drop((slave, bundle));
        status
    }
}

/// Whether it collects lines and makes signals of keys, as for a shell.
fn is_cooked(terminal: &OwnedFd) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    let own = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    assert!(modes.contains(own) || !modes.intersects(own), "something in between: {modes:?}");
    modes.contains(own)
}

fn possible() -> bool {
    requires::root() && requires::command("setsid")
}

const WAITS: &str = "while :; do sleep 0.02; done";

#[test]
fn a_key_that_interrupts_is_the_containers() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut terminal = Terminal::with(&format!("trap 'echo interrupted; exit 5' INT; echo ready; {WAITS}"));
    assert!(!is_cooked(&terminal.master), "keys go to the container as they are");
    terminal.types("\u{3}");
    terminal.shows("interrupted");
    assert_eq!(terminal.ends(), 5);
    leftovers.check();
}

/// The outer terminal sends its signals to the runner's group, and a container is in no group of the outside.
#[test]
fn so_it_is_where_the_container_has_no_terminal() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (key, name, status) in [("\u{3}", "INT", 5), ("\u{1c}", "QUIT", 6)] {
        let line = format!("trap 'exit {status}' {name}; echo ready; {WAITS}");
        let terminal = Terminal::around(Bundle::sh(&line));
        assert!(is_cooked(&terminal.master), "nothing carries its keys");
        terminal.types(key);
        assert_eq!(terminal.ends(), status);
    }
    leftovers.check();
}

#[test]
fn another_size_is_the_containers_at_once() {
    if !possible() {
        return;
    }
    let mut terminal = Terminal::with(&format!(
        "trap 'stty size; echo again' WINCH; trap 'exit 0' TERM; echo ready; {WAITS}"
    ));
    for (rows, columns) in [(50, 100), (10, 20)] {
        terminal.shown.clear();
        set_window_size(terminal.master.as_fd(), rows, columns).unwrap();
        terminal.shows(&format!("{rows} {columns}"));
        terminal.shows("again");
    }
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.ends(), 0);
}

/// A signal that would end the runner is for the container, and the runner ends in order, after it.
#[test]
fn after_a_signal_the_terminal_is_as_it_was() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)] {
        let number = signal as i32;
        let terminal = Terminal::with(&format!("trap 'exit {status}' {number}; echo ready; {WAITS}"));
        assert!(!is_cooked(&terminal.master));
        terminal.signal(signal);
        assert_eq!(terminal.ends(), status);
    }
    leftovers.check();
}

/// A user who closes the window ends what ran in it, and no runner spins on a terminal that is gone.
#[test]
fn a_terminal_that_hangs_up_ends_it() {
    if !possible() {
        return;
    }
    let leftovers = Leftovers::watch();
    let Terminal { master, slave, runner, bundle, .. } =
        Terminal::with(&format!("trap 'exit 7' HUP; echo ready; {WAITS}"));
    drop(slave);
    drop(master);
    assert_eq!(runner.wait().status, 7);
    drop(bundle);
    leftovers.check();
}
