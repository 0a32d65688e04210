//! Runs a tool, or a shell line with the tools in PATH; every process has a deadline.

use crate::leftovers;
use crate::output::Output;
use crate::probe::Probe;
use crate::running::{Running, patience};
use chain::sys::harness as sys;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    pub(crate) fn at(program: PathBuf) -> Tool {
        Tool {
            program,
            args: Vec::new(),
            command: None,
            env: Vec::new(),
            stdin: Stdin::Null,
            fds: Vec::new(),
            cwd: None,
            timeout: patience(),
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
        // Neither a chain's, nor those of a make that runs the tests.
        for ours in ["CATENA_STATE", "CATENA_STDIN", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
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
        Running::new(child, stdin, Instant::now() + self.timeout)
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
