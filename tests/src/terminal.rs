//! A terminal with somebody in front of it: types, reads the screen, changes the window's size.

use crate::run::{Stdin, Tool, probe_path};
use crate::running::{Running, wait_readable};
use chain::sys::process::{pty_peer, pty_unlock, set_window_size};
use rustix::termios::{LocalModes, tcgetattr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long what is to appear on the screen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session on a terminal of its own.
#[derive(Debug)]
pub struct TerminalSession {
    master: OwnedFd,
    peer: OwnedFd,
    running: Running,
    /// What was written and not waited for yet.
    screen: String,
}

impl TerminalSession {
    /// Starts `line` for bash, leading a session of which this is the controlling terminal.
    pub fn start(line: &str) -> TerminalSession {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let master =
            rustix::fs::open("/dev/ptmx", flags, rustix::fs::Mode::empty()).expect("a terminal can be made");
        pty_unlock(master.as_fd()).expect("it can be unlocked");
        let peer = pty_peer(master.as_fd()).expect("it has another end");
        set_window_size(peer.as_fd(), 24, 80).expect("it has a size");
        let again = || peer.try_clone().expect("an fd can be duplicated");
        let run = Tool::at("/usr/bin/setsid".into()).args(["-c", "-w", "bash", "-c", line]);
        let run = run.env("PROBE", probe_path()).timeout(PATIENCE * 2);
        let run = run.stdin(Stdin::Fd(again())).fd(again(), 1).fd(again(), 2);
        TerminalSession { master, running: run.spawn(), screen: String::new(), peer }
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) {
        chain::state::write_all(self.master.as_fd(), keys.as_bytes()).expect("the terminal takes it");
    }

    /// Waits until this is on the screen; gives all before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.screen, rest);
                before.truncate(at);
                return before;
            }
            wait_readable(self.master.as_fd(), deadline, &format!("{text:?}, after {:?},", self.screen));
            let mut buffer = [0; 4096];
            let n = rustix::io::read(&self.master, &mut buffer).expect("the terminal can be read");
            self.screen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_window_size(self.master.as_fd(), rows, columns).expect("it has a size");
    }

    /// Whether keys are lines to be edited, as a shell leaves them.
    pub fn edits_lines(&self) -> bool {
        let modes = tcgetattr(&self.peer).expect("it has modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the end of the session; its status.
    pub fn end(self) -> i32 {
        self.running.wait().status
    }
}
