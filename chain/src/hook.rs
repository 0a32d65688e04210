//! Hooks: the programs that config.json wants run on a container's way. Whoever runs one waits for it, and reads no more
//! of what it says than an error can show.

use crate::error::{Cannot, Class, Error, Result};
use crate::next::cstring;
use crate::oci::{ContainerState, Hook};
use crate::state::sealed;
use crate::supervise::default_action;
use crate::sys::process::{Forked, exec_path, exit_now, fork, prctl};
use crate::{report, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, seek};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What a chain is told of its container's hooks. Only `runner` sets it; no plan can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainHooks {
    /// The runner wants to hear when the mounts are there, and runs hooks of its own before the root is entered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub meet: bool,
    /// Run by whoever builds the root, before it is entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// Run by the landing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// What they read; status and pid are theirs to fill in who run them.
    pub state: ContainerState,
}

/// A point of the way at which hooks run.
pub struct Stage<'a> {
    /// Its name in config.json.
    pub kind: &'a str,
    /// The environment of a hook that names none.
    pub env: &'a [CString],
    /// What the forked process does before it becomes the hook: where it is, and who.
    pub enter: &'a dyn Fn() -> Result<()>,
}

impl Stage<'_> {
    /// Runs them in order, up to the first that fails.
    pub fn run(&self, hooks: &[Hook], state: &ContainerState) -> Result<()> {
        hooks.iter().enumerate().try_for_each(|(number, hook)| self.run_one(number, hook, state))
    }

    /// Runs them all, whatever becomes of each; gives the failures.
    pub fn run_all(&self, hooks: &[Hook], state: &ContainerState) -> Vec<Error> {
        let run = |(number, hook)| self.run_one(number, hook, state).err();
        hooks.iter().enumerate().filter_map(run).collect()
    }

    fn run_one(&self, number: usize, hook: &Hook, state: &ContainerState) -> Result<()> {
        let (kind, path) = (self.kind, &hook.path);
        let doing = format!("run hooks.{kind}[{number}]");
        let failed = |how: String| {
            let detail = format!("error running {kind} hook #{number}: {path}: {how}");
            Error::new(Class::Internal, &doing, detail)
        };
        let input = document(state, &doing)?;
        let (out, out_end) = pipe_with(PipeFlags::CLOEXEC).cannot(&doing, "pipe2")?;
        let (err, err_end) = pipe_with(PipeFlags::CLOEXEC).cannot(&doing, "pipe2")?;
        // Inherited as ignored, it would take the status from us.
        default_action(Signal::SIGCHLD)?;
        let parent = nix::unistd::getpid();
        match fork(0).cannot(&doing, "clone3")? {
            Forked::Child => {
                let error = match self.become_hook(hook, parent, [&input, &out_end, &err_end]) {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                report::stderr(&error.to_string());
                exit_now(i32::from(error.exit))
            }
            Forked::Parent(pid, pidfd) => {
                drop((out_end, err_end));
                let deadline = hook
                    .timeout
                    .and_then(|s| Instant::now().checked_add(Duration::from_secs(s.unsigned_abs())));
                let mut running =
                    Running { pid: Pid::from_raw(pid), pidfd, said: [Said::of(out)?, Said::of(err)?] };
                let ended = running.wait(deadline).map_err(|e| Error { doing: doing.clone(), ..e })?;
                let how = match ended {
                    Ended::Status(WaitStatus::Exited(_, 0)) => return Ok(()),
                    Ended::Status(WaitStatus::Exited(_, status)) => format!("exit status {status}"),
                    Ended::Status(WaitStatus::Signaled(_, signal, _)) => killed_by(signal),
                    Ended::Status(other) => format!("{other:?}"),
                    Ended::TooLate => {
                        format!("it ran past its timeout of {} s and was killed", hook.timeout.unwrap_or(0))
                    }
                };
                let error = failed(how);
                Err(match running.words() {
                    words if words.is_empty() => error,
                    words => error.why(words),
                })
            }
        }
    }

    /// In the forked process, which is to look like one that a shell started: no signal held back, nothing open.
    fn become_hook(&self, hook: &Hook, parent: Pid, fds: [&OwnedFd; 3]) -> Result<Infallible> {
        let doing = format_args!("run {}", hook.path);
        rustix::stdio::dup2_stdin(fds[0]).cannot(doing, "dup2(0)")?;
        rustix::stdio::dup2_stdout(fds[1]).cannot(doing, "dup2(1)")?;
        rustix::stdio::dup2_stderr(fds[2]).cannot(doing, "dup2(2)")?;
        report::errors_to(-1);
        report::status_to(-1);
        // A group of its own, to be killed with all that it started.
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).cannot(doing, "setpgid")?;
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).cannot(doing, "prctl(PR_SET_PDEATHSIG)")?;
        if nix::unistd::getppid() != parent {
            return Err(Error::new(Class::Conflict, doing, "nobody waits for it any more"));
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).cannot(doing, "sigprocmask")?;
        default_action(Signal::SIGPIPE)?;
        (self.enter)()?;
        sys::fd::cloexec_range(3, u32::MAX).cannot(doing, "close_range")?;
        let path = cstring(&hook.path);
        let argv: Vec<CString> = match hook.args.as_slice() {
            [] => vec![path.clone()],
            args => args.iter().map(cstring).collect(),
        };
        let env = hook.env.as_ref().map(|env| env.iter().map(cstring).collect::<Vec<_>>());
        let errno = exec_path(&path, &argv, env.as_deref().unwrap_or(self.env));
        let exit =
            if errno == Errno::ENOENT { crate::error::EXIT_NOT_FOUND } else { crate::error::EXIT_CANNOT_RUN };
        Err(Error::call(doing, format_args!("execve({})", hook.path), errno).exit(exit))
    }
}

/// The state as a file to read: a hook that reads nothing holds nobody up.
fn document(state: &ContainerState, doing: &str) -> Result<OwnedFd> {
    let text = serde_json::to_vec(state).map_err(|e| Error::new(Class::Internal, doing, e))?;
    let fd = sealed(c"state.json", &text).cannot(doing, "memfd_create(state.json)")?;
    seek(&fd, SeekFrom::Start(0)).cannot(doing, "lseek")?;
    Ok(fd)
}

/// How a hook came to its end.
enum Ended {
    Status(WaitStatus),
    TooLate,
}

struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    said: [Said; 2],
}

impl Running {
    /// Waits for the hook itself: what it leaves behind may hold its pipes for as long as it likes.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Ended> {
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return self.reap(true).map(|_| Ended::TooLate);
            }
            let [has_ended, speaks, complains] = self.look(left)?;
            for (said, ready) in self.said.iter_mut().zip([speaks, complains]) {
                if ready {
                    said.take();
                }
            }
            if has_ended {
                // What it said last; more than fits into a pipe is somebody else's.
                self.said.iter_mut().for_each(|said| (0..16).for_each(|_| said.take()));
                return self.reap(self.has_failed()?).map(Ended::Status);
            }
        }
    }

    fn look(&self, left: Option<Duration>) -> Result<[bool; 3]> {
        // Rounded up, so that the time is over when poll says so.
        let millis = left.map(|left| i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        let timeout =
            millis.map_or(PollTimeout::NONE, |ms| PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX));
        let open: Vec<usize> = (0..2).filter(|n| self.said[*n].from.is_some()).collect();
        let mut fds = vec![PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            open.iter()
                .filter_map(|n| self.said[*n].from.as_ref())
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok([false; 3]),
            Err(e) => return Err(Error::call("wait for the hook", "poll", e)),
        }
        let mut ready = [false; 3];
        for (fd, place) in fds.iter().zip(std::iter::once(0).chain(open.iter().map(|n| n + 1))) {
            ready[place] = fd.any().unwrap_or(false);
        }
        Ok(ready)
    }

    /// Looked at, and not reaped.
    fn has_failed(&self) -> Result<bool> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), how).cannot("wait for the hook", "waitid")?;
        Ok(status.and_then(|status| status.exit_status()) != Some(0))
    }

    /// `with_all`: and what it started ends with it. Until it is reaped, its group's number is nobody else's.
    fn reap(&self, with_all: bool) -> Result<WaitStatus> {
        match if with_all { killpg(self.pid, Signal::SIGKILL) } else { Ok(()) } {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(Error::call("end the hook", "kill", e)),
        }
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                other => return other.cannot("wait for the hook", "wait4"),
            }
        }
    }

    fn words(&self) -> String {
        let named = ["its output", "its errors"].into_iter().zip(&self.said);
        let told = named.filter(|(_, said)| !said.tail.is_empty());
        told.map(|(name, said)| format!("{name}: {}", said.text())).collect::<Vec<_>>().join("; ")
    }
}

/// The one signal whose name tells few people what happened: a seccomp filter, which holds for startContainer hooks too.
fn killed_by(signal: Signal) -> String {
    match signal {
        Signal::SIGSYS => format!("killed by {signal} (bad system call)"),
        signal => format!("killed by {signal}"),
    }
}

/// The end of what a hook wrote to one of its streams.
struct Said {
    from: Option<OwnedFd>,
    tail: Vec<u8>,
}

impl Said {
    /// As much as an error can show.
    const KEPT: usize = 800;

    fn of(fd: OwnedFd) -> Result<Said> {
        let doing = "listen to the hook";
        let flags = fcntl_getfl(&fd).cannot(doing, "fcntl(F_GETFL)")?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).cannot(doing, "fcntl(F_SETFL)")?;
        Ok(Said { from: Some(fd), tail: Vec::new() })
    }

    /// One chunk, if there is one.
    fn take(&mut self) {
        let Some(from) = &self.from else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => self.from = None,
            Ok(n) => {
                self.tail.extend_from_slice(&buffer[..n]);
                self.tail.drain(..self.tail.len().saturating_sub(Said::KEPT));
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.from = None,
        }
    }

    /// In one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("; ").replace(char::is_control, " ")
    }
}
