//! Runs a tool, or a shell line with the tools in PATH; every process has a deadline.

use crate::leftovers;
use crate::output::Output;
use crate::probe::Probe;
use crate::sys;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a run may take, unless the test says otherwise.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the tools are: the grandparent of the test's own binary.
pub fn bin_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("/proc/self/exe can be read");
    let dir = exe.parent().expect("a binary is in a folder");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps is in a folder") } else { dir };
    dir.to_path_buf()
}

/// A tool's binary; the test fails when it was not built.
pub fn tool_path(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(path.is_file(), "{} is missing: cargo build -p {}", path.display(), package(name));
    path
}

fn package(name: &str) -> &str {
    if name == "probe" { "catena-tests --bin probe" } else { name }
}

/// The payload's binary.
pub fn probe_path() -> PathBuf {
    tool_path("probe")
}

/// Standard input of what is run.
#[derive(Debug)]
pub enum Stdin {
    /// /dev/null.
    Null,
    /// A pipe with these bytes in it, then its end.
    Bytes(Vec<u8>),
    /// A pipe that stays open; write to it with [`Running::write`].
    Pipe,
    /// This file.
    File(PathBuf),
    /// Closed.
    Closed,
    /// This fd.
    Fd(OwnedFd),
}

/// One run of a tool, to be built up.
#[derive(Debug)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    command: Option<Vec<OsString>>,
    env: Vec<(OsString, Option<OsString>)>,
    stdin: Stdin,
    fds: Vec<(OwnedFd, i32)>,
    cwd: Option<PathBuf>,
    timeout: Duration,
}

/// `name` of this workspace, with no arguments and /dev/null for stdin.
pub fn tool(name: &str) -> Tool {
    Tool::at(tool_path(name))
}

/// `line` for bash, with the tools first in PATH, `$PROBE` the payload, and /dev/null for stdin.
pub fn shell(line: &str) -> Tool {
    Tool::at("/bin/bash".into()).args(["-c", line]).env("PROBE", probe_path())
}

/// `line` as [`shell`] runs it, where /sys/fs/cgroup is a cgroup2 mount, in a mount namespace of its own.
pub fn v2_view(line: &str) -> Tool {
    let view = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec bash -c \"$1\"";
    Tool::at("/usr/bin/unshare".into())
        .args(["-m", "--propagation", "private", "bash", "-c", view, "v2-view", line])
        .env("PROBE", probe_path())
}

impl Tool {
    fn at(program: PathBuf) -> Tool {
        Tool {
            program,
            args: Vec::new(),
            command: None,
            env: Vec::new(),
            stdin: Stdin::Null,
            fds: Vec::new(),
            cwd: None,
            timeout: TIMEOUT,
        }
    }

    /// Arguments in front of `--`.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One argument in front of `--`.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Tool {
        self.args([arg])
    }

    /// The next link, behind a `--`.
    #[must_use]
    pub fn then<S: AsRef<OsStr>>(self, tool: &str, args: impl IntoIterator<Item = S>) -> Tool {
        self.args(["--", tool]).args(args)
    }

    /// What stands behind the last `--`.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = S>) -> Tool {
        self.command = Some(command.into_iter().map(|a| a.as_ref().to_owned()).collect());
        self
    }

    /// The command is the payload with a verb.
    #[must_use]
    pub fn verb<S: AsRef<OsStr>>(self, verb: impl IntoIterator<Item = S>) -> Tool {
        let words = verb.into_iter().map(|v| v.as_ref().to_owned());
        self.command(std::iter::once(probe_path().into_os_string()).chain(words))
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Tool {
        self.env.push((key.as_ref().into(), Some(value.as_ref().into())));
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without_env(mut self, key: impl AsRef<OsStr>) -> Tool {
        self.env.push((key.as_ref().into(), None));
        self
    }

    /// Sets standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Tool {
        self.stdin = stdin;
        self
    }

    /// A pipe with these bytes for standard input.
    #[must_use]
    pub fn input(self, bytes: impl AsRef<[u8]>) -> Tool {
        self.stdin(Stdin::Bytes(bytes.as_ref().to_vec()))
    }

    /// Gives `fd` under this number, not close-on-exec.
    #[must_use]
    pub fn fd(mut self, fd: impl Into<OwnedFd>, number: i32) -> Tool {
        // Above all wanted numbers, so that giving one away does not close the next.
        let high = rustix::io::fcntl_dupfd_cloexec(fd.into(), 200).expect("an fd can be duplicated");
        self.fds.push((high, number));
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Tool {
        self.cwd = Some(dir.as_ref().into());
        self
    }

    /// What it may take instead of 20 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Tool {
        self.timeout = timeout;
        self
    }

    fn build(&mut self) -> Command {
        close_on_exec_all();
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if let Some(words) = &self.command {
            command.arg("--").args(words);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        path.insert(0, bin_dir());
        let path = std::env::join_paths(path).expect("no folder of PATH has a colon");
        command.env("PATH", path).env(leftovers::MARK, leftovers::mark());
        for ours in ["CATENA_STATE", "CATENA_STDIN"] {
            command.env_remove(ours);
        }
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let mut closed = false;
        match std::mem::replace(&mut self.stdin, Stdin::Null) {
            Stdin::Null => command.stdin(Stdio::null()),
            Stdin::File(path) => command.stdin(std::fs::File::open(&path).expect("the file for stdin opens")),
            Stdin::Fd(fd) => command.stdin(fd),
            Stdin::Closed => {
                closed = true;
                command.stdin(Stdio::null())
            }
            other => {
                self.stdin = other;
                command.stdin(Stdio::piped())
            }
        };
        sys::in_new_session(&mut command);
        sys::with_fds(&mut command, std::mem::take(&mut self.fds), closed);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let mut command = self.build();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        drop(command);
        let mut stdin = child.stdin.take();
        if let Stdin::Bytes(bytes) = std::mem::replace(&mut self.stdin, Stdin::Null) {
            let mut pipe = stdin.take().expect("piped above");
            // A tool that refuses early closes the pipe early.
            std::thread::spawn(move || pipe.write_all(&bytes).unwrap_or(()));
        }
        let stderr = child.stderr.take().expect("piped above");
        Running {
            stdout: child.stdout.take().map(BufReader::new),
            stderr: Some(read_all(stderr)),
            stdin,
            child,
            deadline: Instant::now() + self.timeout,
            ended: false,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Runs the payload as its command.
    pub fn probe(self) -> Probe {
        let probe = probe_path();
        self.command([probe]).run().probe()
    }

    /// Runs the payload that lies at `path` in the root file system of the command.
    pub fn probe_at(self, path: &str) -> Probe {
        self.command([path]).run().probe()
    }
}

/// Whatever the test driver leaked to us must not reach the tools by accident.
fn close_on_exec_all() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for fd in 3..1024 {
            sys::call(libc::SYS_fcntl, [fd, libc::F_SETFD.into(), libc::FD_CLOEXEC.into(), 0, 0, 0])
                .unwrap_or(0);
        }
    });
}

fn read_all(mut from: impl Read + Send + 'static) -> (mpsc::Receiver<Vec<u8>>, JoinHandle<()>) {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap_or(0);
        send.send(all).unwrap_or(());
    });
    (receive, thread)
}

/// A started tool. Killed by pid when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<(mpsc::Receiver<Vec<u8>>, JoinHandle<()>)>,
    deadline: Instant,
    ended: bool,
}

impl Running {
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
        let (out, err) = (take(&stdout.0, &self), take(&stderr.0, &self));
        let ended = out.is_some() && err.is_some() && wait_until(self.deadline, || self.is_over());
        if !ended {
            self.kill();
            let rest = |from: &mpsc::Receiver<Vec<u8>>| {
                from.recv_timeout(Duration::from_secs(1)).map(|b| String::from_utf8_lossy(&b).into_owned())
            };
            let out = out.or_else(|| rest(&stdout.0).ok()).unwrap_or_else(|| "(still held open)".into());
            let err = err.or_else(|| rest(&stderr.0).ok()).unwrap_or_else(|| "(still held open)".into());
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

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>, deadline: Instant, what: &str) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let timeout = PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).expect("not negative");
    let found = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).expect("poll works");
    assert!(found > 0, "{what} did not come in time");
}
