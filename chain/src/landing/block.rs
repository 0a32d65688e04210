//! `--block-fd`: somebody outside has something to do, with all set up, before the command runs.

use crate::error::{Cannot, Class, Error, Result};
use crate::sys;
use std::os::fd::RawFd;

/// Waits for a byte. The end without one is that of whoever was to send it, and what he was to do is not done.
pub(super) fn wait(fd: RawFd) -> Result<()> {
    let doing = format_args!("wait on fd {fd} before the command runs");
    let borrowed = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    loop {
        match rustix::io::read(borrowed, &mut [0_u8]) {
            Ok(0) => return Err(Error::new(Class::Conflict, doing, "it ended without a byte")),
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).cannot(doing, format_args!("read({fd})")),
        }
    }
}
