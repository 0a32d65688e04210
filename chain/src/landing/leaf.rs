//! The cgroup that the command alone is in.

use crate::error::{Cannot, Result};
use crate::state::State;
use crate::sys;
use nix::errno::Errno;

/// Moves this process, which has one thread, into the groups whose files are open. Whether it may, the kernel asks of whoever
/// opened them, and a write that it takes is the proof: a process is moved or it is not.
pub fn enter(state: &State) -> Result<()> {
    let doing = "move the command into its cgroup";
    for fd in &state.fds.groups {
        let file = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
        rustix::io::write(file, b"0").cannot(doing, "write(cgroup.procs)").map_err(|e| match e.errno() {
            Some(Errno::EBUSY) => e.why("it gives controllers to children, so it may hold no process itself"),
            Some(Errno::EOPNOTSUPP) => e.why("only a 'domain' cgroup takes processes"),
            Some(Errno::ENODEV) => e.why("somebody has removed it"),
            Some(Errno::ENOSPC) => e.why("its cpuset.cpus or cpuset.mems is empty"),
            _ => e,
        })?;
    }
    Ok(())
}
