//! A tracer as strace -f is one, which lets one system call of one process fail: `-e inject` of strace counts the calls
//! of every process for itself, so that a runner that fails at its third openat never lets the chain come to its third.
//!
//! `faults TOLD FAULT PROGRAM ARG…` runs a program until it ends; what is still there then goes on untraced, as does the
//! payload from its exec on. Processes are named by descent: `0` is the program, `0.1` the second child of it. FAULT is
//! `none`, or `0.1:CALL:N:WHAT`: the N-th such call (from 0) in process 0.1 is not made and fails with errno WHAT, or, for
//! WHAT `kill`, the process is killed where it would be made. With `*` for N, and for the process or for the end of its name, all of
//! these fail but the program's own, as behind a filter. CALL is the call's number, or `NUMBER.WHAT` for a call that is many, such as fcntl. TOLD gets a line `0.1:CALL:N` for
//! each call, `exec` when the payload starts, and `hit` when the fault took place.

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::{Command, ExitCode, Stdio};

/// What is to happen, and where.
#[derive(Debug)]
struct Fault {
    /// Or the beginning of its name.
    who: String,
    /// None for all of them.
    nth: Option<usize>,
    call: String,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Fail(i32),
    Kill,
}

impl Fault {
    fn parse(word: &str) -> Option<Fault> {
        let words: Vec<&str> = word.split(':').collect();
        let [who, call, nth, what] = words[..] else { return None };
        let what = if what == "kill" { What::Kill } else { What::Fail(what.parse().ok()?) };
        let (who, nth) = match who.strip_suffix('*') {
            Some(beginning) => (beginning, None),
            None => (who, Some(nth.parse().ok()?)),
        };
        Some(Fault { who: who.into(), nth, call: call.into(), what })
    }

    fn is(&self, who: &str, call: &str, nth: usize) -> bool {
        let here = match self.nth {
            Some(only) => self.who == who && only == nth,
            None => who != "0" && who.starts_with(&self.who),
        };
        here && self.call == call
    }
}

/// The number, and of a call that is many, which.
fn call(regs: &libc::user_regs_struct) -> String {
    let number = regs.orig_rax as i64;
    match number {
        libc::SYS_fcntl | libc::SYS_ioctl => format!("{number}.{}", regs.rsi),
        libc::SYS_prctl | libc::SYS_keyctl => format!("{number}.{}", regs.rdi),
        _ => number.to_string(),
    }
}

/// A traced process.
#[derive(Debug, Default)]
struct Process {
    /// By descent; empty until its parent's own stop has said whose child it is.
    name: String,
    children: usize,
    /// It is no copy of the program that starts the others.
    counted: bool,
    calls: BTreeMap<String, usize>,
    /// The call that it is in does not take place, or ends otherwise.
    fails: Option<i32>,
    /// It stopped before its name was known.
    waits: bool,
}

struct Tracer {
    root: Pid,
    processes: BTreeMap<i32, Process>,
    fault: Option<Fault>,
    told: BufWriter<File>,
    status: u8,
}

/// The verb; its exit status is the program's.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let [told, fault, program @ ..] = args else {
        eprintln!("probe: faults TOLD FAULT PROGRAM ARG…");
        return ExitCode::from(64);
    };
    match trace(told, fault, program) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("probe: faults: {error}");
            ExitCode::from(64)
        }
    }
}

fn trace(told: &str, fault: &str, program: &[String]) -> std::io::Result<u8> {
    // It waits for a line until it is traced.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read go; exec \"$@\" </dev/null", "sh"]).args(program).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    let root = Pid::from_raw(child.id() as i32);
    let fault = if fault == "none" { None } else { Some(Fault::parse(fault).ok_or(Errno::EINVAL)?) };
    let told = BufWriter::new(File::create(told)?);
    let mut tracer = Tracer { root, processes: BTreeMap::new(), fault, told, status: 64 };
    tracer.processes.insert(root.as_raw(), Process { name: "0".into(), ..Process::default() });
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(root, options)?;
    ptrace::interrupt(root)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"\n")?;
    }
    tracer.until_it_has_ended()?;
    tracer.told.flush()?;
    Ok(tracer.status)
}

impl Tracer {
    fn until_it_has_ended(&mut self) -> std::io::Result<()> {
        while self.processes.contains_key(&self.root.as_raw()) {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => self.stopped(status)?,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn stopped(&mut self, status: WaitStatus) -> std::io::Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, code as u8),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, 128 + signal as u8),
            WaitStatus::PtraceSyscall(pid) => {
                self.called(pid)?;
                go_on(pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event),
            // Of which the first process of a pid namespace would not die as long as it is traced.
            WaitStatus::Stopped(pid, Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE) => {
                there(kill(pid, Signal::SIGKILL))
            }
            WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, pid: Pid, status: u8) -> std::io::Result<()> {
        self.processes.remove(&pid.as_raw());
        if pid == self.root {
            self.status = status;
        }
        Ok(())
    }

    fn event(&mut self, pid: Pid, event: i32) -> std::io::Result<()> {
        match event {
            libc::PTRACE_EVENT_EXEC => {
                self.processes.entry(pid.as_raw()).or_default().counted = true;
                let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
                if name == b"probe\n" {
                    writeln!(self.told, "exec")?;
                    self.processes.remove(&pid.as_raw());
                    return there(ptrace::detach(pid, None));
                }
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                // The parent may have been killed since.
                if let Ok(child) = ptrace::getevent(pid) {
                    self.born(pid, Pid::from_raw(child as i32))?;
                }
            }
            // Its first stop.
            _ if self.processes.get(&pid.as_raw()).is_none_or(|p| p.name.is_empty()) => {
                self.processes.entry(pid.as_raw()).or_default().waits = true;
                return Ok(());
            }
            _ => {}
        }
        go_on(pid, None)
    }

    fn born(&mut self, parent: Pid, child: Pid) -> std::io::Result<()> {
        let Some(parent) = self.processes.get_mut(&parent.as_raw()) else { return Ok(()) };
        let name = format!("{}.{}", parent.name, parent.children);
        let counted = parent.counted && parent.name != "0";
        parent.children += 1;
        let child_process = self.processes.entry(child.as_raw()).or_default();
        (child_process.name, child_process.counted) = (name, counted);
        if std::mem::take(&mut child_process.waits) { go_on(child, None) } else { Ok(()) }
    }

    fn called(&mut self, pid: Pid) -> std::io::Result<()> {
        // It may have been killed since it stopped.
        let (Ok(info), Some(process)) = (ptrace::syscall_info(pid), self.processes.get_mut(&pid.as_raw()))
        else {
            return Ok(());
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            return process.fails.take().map_or(Ok(()), |errno| there(answer(pid, errno)));
        }
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY || !process.counted {
            return Ok(());
        }
        let Ok(regs) = ptrace::getregs(pid) else { return Ok(()) };
        let call = call(&regs);
        let seen = process.calls.entry(call.clone()).or_default();
        let nth = std::mem::replace(seen, *seen + 1);
        let Some(fault) = &self.fault else {
            writeln!(self.told, "{}:{call}:{nth}", process.name)?;
            return Ok(());
        };
        if !fault.is(&process.name, &call, nth) {
            return Ok(());
        }
        writeln!(self.told, "hit")?;
        match fault.what {
            What::Kill => there(kill(pid, Signal::SIGKILL)),
            What::Fail(errno) => {
                process.fails = Some(errno);
                // The kernel closes whatever it answers.
                let closes = regs.orig_rax == libc::SYS_close as u64;
                if closes { Ok(()) } else { there(skip(pid, regs)) }
            }
        }
    }
}

/// The call that is about to begin becomes none.
fn skip(pid: Pid, mut regs: libc::user_regs_struct) -> nix::Result<()> {
    regs.orig_rax = u64::MAX;
    ptrace::setregs(pid, regs)
}

fn answer(pid: Pid, errno: i32) -> nix::Result<()> {
    let mut regs = ptrace::getregs(pid)?;
    regs.rax = i64::from(-errno) as u64;
    ptrace::setregs(pid, regs)
}

fn go_on(pid: Pid, signal: Option<Signal>) -> std::io::Result<()> {
    there(ptrace::syscall(pid, signal))
}

/// A process that was killed while it stood still is no error.
fn there(result: nix::Result<()>) -> std::io::Result<()> {
    match result {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
