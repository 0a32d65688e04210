//! A restored tree: its root is our child, what it leaves behind falls to us, and our signals are its.

use chain::error::{Cannot, Error, Result};
use chain::proc;
use chain::supervise::{Supervised, default_action};
use chain::sys::process::{pidfd_open, pidfd_signal};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::os::fd::AsFd;

/// Before criu starts: whatever a restore that fails leaves half made becomes our child, so that it can be found.
pub(crate) fn collect_orphans() -> Result<()> {
    // A parent that ignores SIGCHLD would make waiting fail.
    default_action(Signal::SIGCHLD)?;
    nix::sys::prctl::set_child_subreaper(true).cannot("restore", "prctl(PR_SET_CHILD_SUBREAPER)")
}

/// After criu was started, which must not inherit it: signals wait until there is a tree to send them to.
pub(crate) fn hold_signals() -> Result<()> {
    let mut set = SigSet::all();
    set.remove(Signal::SIGCHLD);
    set.thread_block().cannot("restore", "sigprocmask")
}

/// Our children as they are now; nothing where the kernel has no such file, or there is no /proc.
pub(crate) fn children() -> Vec<i32> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    let text = proc::read(&path).unwrap_or_default();
    String::from_utf8_lossy(&text).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// PF_EXITING of the kernel's sched.h.
const EXITING: u64 = 4;

/// Whether a child of ours that was not there before is on its way out, and is not gone yet.
pub(crate) fn any_dies(before: &[i32]) -> bool {
    children().into_iter().filter(|pid| !before.contains(pid)).any(|pid| {
        let text = proc::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // The name may have anything in it; behind it: state, parent, group, session, terminal, its group, flags. A zombie
        // is no more than a number.
        let Some((_, rest)) = text.rsplit_once(") ") else { return false };
        let flags = rest.split(' ').nth(6).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        flags & EXITING != 0 && !rest.starts_with('Z')
    })
}

/// Kills what a restore that failed left half made: all our children but those that were there before, and what becomes
/// our child when they are gone.
pub(crate) fn kill_remnants(before: &[i32]) -> Result<()> {
    for _ in 0..1000 {
        let pids: Vec<i32> = children().into_iter().filter(|pid| !before.contains(pid)).collect();
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            kill_child(pid)?;
        }
    }
    Ok(())
}

/// A child's number is its own until it is waited for.
fn kill_child(pid: i32) -> Result<()> {
    let doing = "stop what was half restored";
    let pidfd = pidfd_open(pid).cannot(doing, format_args!("pidfd_open({pid})"))?;
    match pidfd_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(e) => return Err(Error::call(doing, format_args!("pidfd_send_signal({pid})"), e)),
    }
    waitpid(Pid::from_raw(pid), None).cannot(doing, format_args!("wait4({pid})")).map(drop)
}

/// Looks after the restored root until it ends; its status.
pub(crate) fn look_after(pid: i32) -> Result<u8> {
    let pidfd = pidfd_open(pid).cannot("look after the restored tree", format_args!("pidfd_open({pid})"))?;
    Supervised::adopt(pid, pidfd)?.wait()
}
