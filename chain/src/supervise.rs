//! The one way to fork: where the kernel demands it (a pid namespace) or a supervising option asks for it. The parent
//! then reaps, forwards every signal, is died for, and gives back the status.

use crate::error::{Cannot, Error, Result};
use crate::state::State;
use crate::sys::process::{Forked, fork_into, pidfd_open, pidfd_signal, prctl};
use crate::{proc, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

/// A child that is being looked after.
pub struct Supervised {
    pid: i32,
    pidfd: OwnedFd,
    signals: SignalFd,
    /// Whether it is our caller who stops this process when the child has stopped, and whether the child has.
    told_of_stops: bool,
    stopped: bool,
    killed_by: Option<i32>,
}

/// Which side of [`split`] this is.
pub enum Side {
    /// Goes on with the chain.
    Child,
    /// Waits.
    Supervisor(Supervised),
}

/// Forks with `flags` (CLONE_NEW*). The child dies with the supervisor, also over a change of credentials: the landing
/// sets the death signal again, and looks at the pidfd left in `state` to see a supervisor that died meanwhile.
pub fn split(flags: i32, state: &mut State) -> Result<Side> {
    split_into(flags, None, state)
}

/// As [`split`], with the child in this v2 cgroup from its first moment.
pub fn split_into(flags: i32, cgroup: Option<BorrowedFd<'_>>, state: &mut State) -> Result<Side> {
    let doing = "fork";
    let forwarded = forwarded();
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded), Some(&mut before)).cannot(doing, "sigprocmask")?;
    // A parent that ignores SIGCHLD (Erlang's port programs do) would make wait fail with ECHILD.
    default_action(Signal::SIGCHLD)?;
    let own = pidfd_open(std::process::id() as i32).cannot(doing, "pidfd_open(self)")?;
    let flags = flags as u32 as u64;
    let forked = fork_into(flags, cgroup);
    if forked.is_err() {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).cannot(doing, "sigprocmask")?;
    }
    match forked.cannot(doing, format_args!("clone3({flags:#x})"))? {
        Forked::Parent(pid, pidfd) => {
            let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
            let signals = SignalFd::with_flags(&forwarded, flags).cannot(doing, "signalfd");
            let signals = signals.or_else(|error| nobody_looks_after(pid, error))?;
            Ok(Side::Supervisor(Supervised {
                pid,
                pidfd,
                signals,
                told_of_stops: false,
                stopped: false,
                killed_by: None,
            }))
        }
        Forked::Child => {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).cannot(doing, "sigprocmask")?;
            prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)
                .cannot(doing, "prctl(PR_SET_PDEATHSIG)")?;
            if has_ended(own.as_fd())? {
                return Err(Error::new(crate::error::Class::Conflict, doing, "the supervisor is gone"));
            }
            state.landing.death_signal = Some(libc::SIGKILL);
            state.fds.parent = Some(own.into_raw_fd());
            Ok(Side::Child)
        }
    }
}

/// A child without a supervisor ends before its parent gives up, who may have a cgroup to remove that it is in.
fn nobody_looks_after<T>(pid: i32, error: Error) -> Result<T> {
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGKILL).cannot("end the child", "kill")?;
    while waitpid(pid, None) == Err(nix::errno::Errno::EINTR) {}
    Err(error)
}

/// Signals held back from here on: for what must be undone if this process is asked to end before it supervises. What
/// arrives meanwhile is forwarded by [`Supervised::wait`].
pub struct Held(SigSet);

/// See [`Held`].
pub fn hold() -> Result<Held> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded()), Some(&mut before))
        .cannot("hold signals back", "sigprocmask")?;
    Ok(Held(before))
}

impl Held {
    /// As it was, for the child.
    pub fn release(self) -> Result<()> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None).cannot("let signals through", "sigprocmask")
    }
}

/// The signals a supervisor passes on: all that can be held back and mean something to another process.
fn forwarded() -> SigSet {
    let mut set = SigSet::all();
    for never in
        [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL]
    {
        set.remove(never);
    }
    set
}

/// Where a process is.
#[derive(PartialEq)]
enum At {
    /// On a CPU, or waiting for one.
    Work,
    /// Asleep in this system call, or (-1) outside of any.
    Call(i64),
}

impl Supervised {
    /// Looks after a child that was made another way. From here on this process's signals are the child's.
    pub fn adopt(pid: i32, pidfd: OwnedFd) -> Result<Supervised> {
        let doing = "wait for the command";
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded()), None).cannot(doing, "sigprocmask")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&forwarded(), flags).cannot(doing, "signalfd")?;
        Ok(Supervised { pid, pidfd, signals, told_of_stops: false, stopped: false, killed_by: None })
    }

    /// Readable when [`Supervised::handle_signals`] has something to do.
    pub fn signal_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// From here on the caller asks [`Supervised::has_stopped`], and does what is to be done then.
    pub fn tell_of_stops(&mut self) {
        self.told_of_stops = true;
    }

    /// Whether the child has stopped since this was asked last.
    pub fn has_stopped(&mut self) -> bool {
        std::mem::take(&mut self.stopped)
    }

    /// The child's pid, as this process's pid namespace numbers it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The child's pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The signal that the child died of, once it has ended.
    pub fn killed_by(&self) -> Option<i32> {
        self.killed_by
    }

    /// The status of a child that has ended by now, whether its signal was read or came before anybody listened.
    pub fn has_ended(&mut self) -> Result<Option<u8>> {
        self.reap()
    }

    /// Forwards signals until the child has ended; its status, 128+n for signal n.
    pub fn wait(&mut self) -> Result<u8> {
        let mut ended = self.has_ended()?;
        while ended.is_none() {
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call("wait for the command", "poll(signalfd)", e)),
            }
            ended = self.handle_signals(|_| {})?;
        }
        Ok(ended.unwrap_or(0))
    }

    /// Forwards the signals that arrived by now, telling `seen` each; the child's status once it has ended.
    pub fn handle_signals(&mut self, mut seen: impl FnMut(i32)) -> Result<Option<u8>> {
        loop {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(Error::call("wait for the command", "read(signalfd)", e)),
            };
            let signal = info.ssi_signo as i32;
            // Of a write of our own to a pipe without a reader: pending, as it is held back, though it is ignored.
            if signal == libc::SIGPIPE && info.ssi_pid == std::process::id() {
                continue;
            }
            seen(signal);
            if signal == libc::SIGCHLD {
                if let Some(status) = self.reap()? {
                    return Ok(Some(status));
                }
                continue;
            }
            if info.ssi_code != libc::SI_KERNEL || self.misses_keys(signal) {
                self.forward(signal)?;
            }
            self.kill_if_immune(signal)?;
        }
    }

    /// What the terminal sends (si_code SI_KERNEL), it sends to the whole foreground group. A child with a session of its
    /// own, as a container has one, is not in there; nor does the size of this terminal mean anything to it.
    fn misses_keys(&self, signal: i32) -> bool {
        let keys = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGHUP, libc::SIGCONT];
        keys.contains(&signal) && getpgid(Some(Pid::from_raw(self.pid))) != Ok(getpgrp())
    }

    fn forward(&self, signal: i32) -> Result<()> {
        match pidfd_signal(self.pidfd.as_fd(), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::call("forward a signal", format_args!("pidfd_send_signal({signal})"), e)),
        }
    }

    /// The first process of a pid namespace is not killed by signals it has no handler for. A user who presses ^C at
    /// `ns-enter -p -- sleep 1000` means it, so the supervisor sees to it.
    fn kill_if_immune(&self, signal: i32) -> Result<()> {
        let fatal = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
        if !fatal.contains(&signal) || !self.is_immune(signal) {
            return Ok(());
        }
        // One that was just woken out of sigwait(3) looks unprepared until it runs, which takes a while on a busy machine. One
        // that sleeps in something else, or works on, was not woken for this.
        let before = self.ran();
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let elsewhere = matches!(self.at(), Some(At::Call(call)) if call != libc::SYS_rt_sigtimedwait);
            let works = before.zip(self.ran()).is_some_and(|(before, now)| now >= before + 5);
            if !self.is_immune(signal) {
                return Ok(());
            }
            if elsewhere || works {
                return self.forward(libc::SIGKILL);
            }
        }
        // It was not on a CPU all that time, unless this kernel does not tell.
        before.map_or_else(|| self.forward(libc::SIGKILL), |_| Ok(()))
    }

    /// Is it a first process, and was the signal nothing to it?
    fn is_immune(&self, signal: i32) -> bool {
        let Ok(status) = proc::read(&format!("/proc/{}/status", self.pid)) else { return false };
        let in_set = |name: &str| {
            let mask = proc::status_field(&status, name).and_then(|m| u64::from_str_radix(&m, 16).ok());
            mask.unwrap_or(u64::MAX) & 1 << (signal - 1) != 0
        };
        let nested = proc::status_field(&status, "NSpid").is_some_and(|pids| pids.ends_with("\t1"));
        nested && !["SigCgt", "SigIgn", "SigBlk"].into_iter().any(in_set) && !self.waits_for_signals()
    }

    /// sigwait(3), which small inits are made of, takes what it waits for out of the blocked set while it sleeps. Where
    /// the kernel does not say, it is taken to do that: better a signal without effect than a clean shutdown cut off.
    fn waits_for_signals(&self) -> bool {
        self.at().is_none_or(|at| at == At::Call(libc::SYS_rt_sigtimedwait))
    }

    /// The first word of /proc/PID/syscall; None where the kernel does not say.
    fn at(&self) -> Option<At> {
        let text = proc::read(&format!("/proc/{}/syscall", self.pid)).ok()?;
        let word = std::str::from_utf8(text.split(u8::is_ascii_whitespace).next()?).ok()?;
        if word == "running" { Some(At::Work) } else { word.parse().ok().map(At::Call) }
    }

    /// How many milliseconds it was on a CPU: the first number of /proc/PID/schedstat, in nanoseconds.
    fn ran(&self) -> Option<u64> {
        let text = proc::read(&format!("/proc/{}/schedstat", self.pid)).ok()?;
        let number = std::str::from_utf8(text.split(|b| *b == b' ').next()?).ok()?;
        Some(number.parse::<u64>().ok()? / 1_000_000)
    }

    /// Everything that has ended by now; the status if the child is among it.
    fn reap(&mut self) -> Result<Option<u8>> {
        let mut ended = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == Pid::from_raw(self.pid) => {
                    ended = Some(code as u8)
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == Pid::from_raw(self.pid) => {
                    self.killed_by = Some(signal as i32);
                    ended = Some(128 + signal as u8);
                }
                Ok(WaitStatus::Stopped(pid, _)) if pid == Pid::from_raw(self.pid) && self.told_of_stops => {
                    self.stopped = true;
                }
                // ^Z: the shell waits for us to stop, and its `fg` wakes the whole group.
                Ok(WaitStatus::Stopped(pid, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU))
                    if pid == Pid::from_raw(self.pid) =>
                {
                    nix::sys::signal::raise(Signal::SIGSTOP)
                        .cannot("stop with the command", "raise(SIGSTOP)")?;
                }
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(ended),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call("wait for the command", "wait4", e)),
            }
        }
    }
}

/// Puts a signal's action back to the default.
pub fn default_action(signal: Signal) -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    sys::process::sigaction(signal, &default)
        .cannot(format_args!("reset {signal}"), format_args!("sigaction({signal})"))
}

/// Whether the process behind a pidfd has ended.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).cannot("look at a process", "poll(pidfd)").map(|n| n > 0)
}
