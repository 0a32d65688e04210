//! A tool that was started: spoken to, waited for, killed by pid.

use crate::output::Output;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap_or(0);
        send.send(all).unwrap_or(());
    });
    receive
}

/// A started tool. Killed by pid when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<mpsc::Receiver<Vec<u8>>>,
    deadline: Instant,
    ended: bool,
}

impl Running {
    /// A child whose stdout and stderr are pipes.
    pub(crate) fn new(mut child: Child, stdin: Option<ChildStdin>, deadline: Instant) -> Running {
        let stderr = child.stderr.take().expect("stderr is a pipe");
        Running {
            stdout: child.stdout.take().map(BufReader::new),
            stderr: Some(read_all(stderr)),
            stdin,
            child,
            deadline,
            ended: false,
        }
    }

    /// Pid of the front process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Writes to a [`Stdin::Pipe`].
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdin
            .as_mut()
            .expect("stdin is Stdin::Pipe")
            .write_all(bytes.as_ref())
            .expect("the pipe takes it");
    }

    /// Closes a [`Stdin::Pipe`].
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of stdout; the test fails when none comes in time.
    pub fn line(&mut self) -> String {
        use std::os::fd::AsFd;
        let reader = self.stdout.as_mut().expect("stdout was not taken");
        let mut line = String::new();
        while !line.ends_with('\n') {
            if reader.buffer().is_empty() {
                wait_readable(reader.get_ref().as_fd(), self.deadline, "a line on stdout");
            }
            let chunk = reader.fill_buf().expect("stdout can be read");
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|b| *b == b'\n').map_or(chunk.len(), |at| at + 1);
            line.push_str(&String::from_utf8_lossy(&chunk[..end]));
            reader.consume(end);
        }
        line.trim_end().to_string()
    }

    /// Sends a signal to the front process.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("the process is there");
    }

    /// Has it ended?
    pub fn is_over(&mut self) -> bool {
        self.ended |= matches!(self.child.try_wait(), Ok(Some(_)));
        self.ended
    }

    /// Waits for its end and the end of its output.
    pub fn wait(mut self) -> Output {
        self.stdin = None;
        let stdout = read_all(self.stdout.take().expect("stdout was not taken"));
        let stderr = self.stderr.take().expect("stderr was not taken");
        let take = |from: &mpsc::Receiver<Vec<u8>>, running: &Running| {
            let left = running.deadline.saturating_duration_since(Instant::now());
            from.recv_timeout(left).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
        };
        let (out, err) = (take(&stdout, &self), take(&stderr, &self));
        let ended = out.is_some() && err.is_some() && wait_until(self.deadline, || self.is_over());
        if !ended {
            self.kill();
            let rest = |from: &mpsc::Receiver<Vec<u8>>| {
                from.recv_timeout(Duration::from_secs(1)).map(|b| String::from_utf8_lossy(&b).into_owned())
            };
            let out = out.or_else(|| rest(&stdout).ok()).unwrap_or_else(|| "(still held open)".into());
            let err = err.or_else(|| rest(&stderr).ok()).unwrap_or_else(|| "(still held open)".into());
            panic!(
                "it did not end in time, or left a process that holds its output\nstdout: {out}\nstderr: {err}"
            );
        }
        let status = self.child.wait().expect("it ended");
        let signal = status.signal();
        Output {
            status: status.code().or(signal.map(|s| 128 + s)).unwrap_or(-1),
            signal,
            stdout: out.unwrap_or_default(),
            stderr: err.unwrap_or_default(),
        }
    }

    /// Kills the front process and its process group, and waits.
    pub fn kill(&mut self) {
        if !self.is_over() {
            // Its own session leader (see `build`), so the group is its and nobody else's.
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.pid()), nix::sys::signal::SIGKILL)
                .unwrap_or(());
            self.child.kill().unwrap_or(());
            self.child.wait().map(drop).unwrap_or(());
            self.ended = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a run may take, unless the test says otherwise: longer where each instruction is emulated.
pub(crate) fn patience() -> Duration {
    let emulated = std::env::var_os("CATENA_LANE").is_some_and(|lane| lane == "vm");
    Duration::from_secs(if emulated { 90 } else { 20 })
}

/// Asks until it is so or the deadline has passed.
pub(crate) fn wait_until(deadline: Instant, mut is_so: impl FnMut() -> bool) -> bool {
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits, a loaded machine's time, until what another process does has come about.
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(wait_until(Instant::now() + patience(), is_so), "not in time: {what}");
}

pub(crate) fn wait_readable(fd: std::os::fd::BorrowedFd<'_>, deadline: Instant, what: &str) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let timeout = PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).expect("not negative");
    let found = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).expect("poll works");
    assert!(found > 0, "{what} did not come in time");
}
