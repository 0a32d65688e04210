//! The filter: read while there are fds to read it through, loaded when nothing but the command is left to do.

use super::listener;
use crate::error::{Cannot, Class, Error, Result};
use crate::state::State;
use crate::sys;
use crate::sys::seccomp::{FLAG_NEW_LISTENER, Instruction};
use std::os::fd::RawFd;

/// A filter, and who is to have its listener.
pub(super) struct Filter {
    program: Vec<Instruction>,
    flags: u64,
    listener: Option<listener::Recipient>,
}

impl Filter {
    /// Of a program that was [`read`].
    pub(super) fn new(program: Vec<Instruction>, state: &State) -> Result<Filter> {
        let flags = state.landing.filter_flags.unwrap_or(0);
        let asks = flags & FLAG_NEW_LISTENER != 0;
        let listener = if asks { Some(listener::Recipient::of(state)?) } else { None };
        Ok(Filter { program, flags, listener })
    }

    /// The fd over which the listener goes.
    pub(super) fn told_by(&self) -> Option<RawFd> {
        self.listener.as_ref().map(listener::Recipient::fd)
    }

    /// From here on every call goes through it.
    pub(super) fn load(&self) -> Result<()> {
        let doing = "load the filter";
        let call = format!("seccomp(SET_MODE_FILTER, {} instructions)", self.program.len());
        match &self.listener {
            None => sys::seccomp::load(&self.program, self.flags).cannot(doing, call),
            Some(recipient) => recipient.load(&self.program, self.flags, &call),
        }
    }
}

/// The program that the state's fd `filter` holds, if there is one.
pub(super) fn read(state: &State) -> Result<Option<Vec<Instruction>>> {
    let Some(fd) = state.fds.filter else { return Ok(None) };
    let doing = "read the compiled filter";
    let fd = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    let size = rustix::fs::fstat(fd).cannot(doing, "fstat")?.st_size as usize;
    let mut raw = vec![0; size];
    let read = rustix::io::pread(fd, &mut raw, 0).cannot(doing, "pread")?;
    if read != size || size == 0 || !size.is_multiple_of(8) {
        return Err(Error::new(
            Class::Internal,
            doing,
            format_args!("{read} of {size} bytes, not whole instructions"),
        ));
    }
    let word = |b: &[u8]| u16::from_ne_bytes([b[0], b[1]]);
    let program = raw.chunks_exact(8).map(|b| Instruction {
        code: word(b),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    });
    Ok(Some(program.collect()))
}
