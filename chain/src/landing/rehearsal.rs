//! The landing without the command, in a child: what `--check` of cap-drop and seccomp-load proves.

use super::{credentials, filter, keyring, label, typing};
use crate::canary::canary;
use crate::error::{Cannot, Error, Result};
use crate::landing::Landing;
use crate::state::State;
use crate::sys;
use crate::sys::process::{Forked, exit_now, fork};
use crate::sys::seccomp::{self, Instruction};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

/// A call that must come back from the filter with this errno. Only calls that do nothing when every argument is -1.
pub type Denied = (i64, i32);

/// Does in a child all that the landing of `state` would do to credentials, then loads the filter in a grandchild and
/// makes the `denied` call under it.
pub fn rehearse(state: &State, denied: Option<Denied>) -> Result<()> {
    canary(|| {
        let landing = &state.landing;
        let filter = filter::read(state)?;
        // A label shows only when it is written whether some module takes it; it ends with this child.
        for (fd, text) in label::files(landing)? {
            label::write(fd.as_fd(), &text)?;
        }
        if let Some(name) = &landing.session_keyring {
            keyring::make(name)?;
        }
        // Without no_new_privs, loading wants CAP_SYS_ADMIN, which goes with the credentials.
        if landing.no_typing && !landing.no_new_privs {
            typing::forbid()?;
        }
        if let Some(filter) = filter.as_ref().filter(|_| !landing.no_new_privs) {
            try_filter(filter, landing, denied)?;
        }
        credentials::assume(landing)?;
        if landing.no_typing && landing.no_new_privs {
            typing::forbid()?;
        }
        if let Some(filter) = filter.as_ref().filter(|_| landing.no_new_privs) {
            try_filter(filter, landing, denied)?;
        }
        Ok(())
    })
}

/// In a child of its own, whose exit status is an errno: under the filter it may not be able to say more.
fn try_filter(program: &[Instruction], landing: &Landing, denied: Option<Denied>) -> Result<()> {
    let doing = "load the filter";
    match fork(0).cannot(doing, "clone3")? {
        Forked::Child => {
            // Nobody listens to a rehearsal: what would wait for an agent is answered with ENOSYS.
            let flags = landing.filter_flags.unwrap_or(0) & !seccomp::FLAGS_OF_LISTENERS;
            let loaded = seccomp::load(program, flags);
            exit_now(loaded.err().map_or_else(|| after_load(denied), |errno| errno as i32))
        }
        Forked::Parent(pid, _) => match waitpid(Pid::from_raw(pid), None).cannot(doing, "wait4")? {
            // A filter that kills even what ends is loaded, and in force.
            WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..) => Ok(()),
            WaitStatus::Exited(_, NOT_DENIED) => {
                Err(Error::readback("the filter", "a refusal", "the call went through"))
            }
            WaitStatus::Exited(_, errno) => Err(Error::call(
                doing,
                format_args!("seccomp(SET_MODE_FILTER, {} instructions)", program.len()),
                Errno::from_raw(errno),
            )),
            other => Err(Error::readback("the filter", "an exit", format_args!("{other:?}"))),
        },
    }
}

/// No errno of Linux.
const NOT_DENIED: i32 = 250;

fn after_load(denied: Option<Denied>) -> i32 {
    match denied {
        Some((number, errno)) if sys::seccomp::refused_call(number) != Some(errno) => NOT_DENIED,
        _ => 0,
    }
}
