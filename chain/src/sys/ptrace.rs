//! Another process held still for a moment, to read what only a tracer is told: its filters.

use super::check;
use super::seccomp::Instruction;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long a process may take to stand still: one that waits for a disk does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process that stands still, and goes on when this is dropped, or its holder has ended.
pub struct Held {
    pid: i32,
    /// What it was about to be sent when it stopped.
    signal: i32,
}

/// PTRACE_SEIZE and PTRACE_INTERRUPT, which leave a process that was stopped before stopped afterwards.
pub fn hold(pid: i32) -> Result<Held, Errno> {
    ask(libc::PTRACE_SEIZE, pid, 0, 0)?;
    let mut held = Held { pid, signal: 0 };
    ask(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int, which lives across the call.
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match check(found.into())? {
            0 if Instant::now() > deadline => return Err(Errno::ETIMEDOUT),
            0 => std::thread::sleep(Duration::from_millis(1)),
            _ if !libc::WIFSTOPPED(status) => return Err(Errno::ESRCH),
            // Without an event it is a signal that it gets when it goes on.
            _ => break held.signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 },
        }
    }
    Ok(held)
}

impl Held {
    /// PTRACE_SECCOMP_GET_FILTER, Linux 4.4, with CONFIG_CHECKPOINT_RESTORE: the filter of this index, the oldest first.
    /// None when there are no more. Wants CAP_SYS_ADMIN, and no filter on who asks.
    pub fn filter(&self, index: usize) -> Result<Option<Vec<Instruction>>, Errno> {
        const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
        let length = match ask(PTRACE_SECCOMP_GET_FILTER, self.pid, index, 0) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other? as usize,
        };
        let mut code = vec![Instruction { code: 0, jt: 0, jf: 0, k: 0 }; length];
        ask(PTRACE_SECCOMP_GET_FILTER, self.pid, index, code.as_mut_ptr() as usize)?;
        Ok(Some(std::hint::black_box(code)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that is gone, or has not stopped yet, is let go by the kernel when this program ends.
        ask(libc::PTRACE_DETACH, self.pid, 0, self.signal as usize).unwrap_or(0);
    }
}

fn ask(request: libc::c_uint, pid: i32, address: usize, data: usize) -> Result<libc::c_long, Errno> {
    // SAFETY: of the requests made here one writes to this process's memory, as many instructions as it told just
    // before, into room for as many: the process they belong to stands still in between.
    check(unsafe { libc::ptrace(request, pid, address, data) })
}
