//! The pipes that a container's engine made for its standard streams. To open /dev/stdout is to open the pipe anew, and
//! what is not root may do that only with a pipe of its own: half of all images log that way.

use super::Landing;
use crate::error::{Cannot, Result};
use rustix::fs::{FileType, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

/// Gives them to the command's user. No other kind of file: what somebody redirects to is no business of a container's
/// user, and /dev/null is the whole host's.
pub(super) fn give_to_user(landing: &Landing) -> Result<()> {
    let user = landing.user.as_ref().and_then(|user| user.uid).filter(|_| landing.command.is_some());
    let Some(uid) = user else { return Ok(()) };
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        if stat.st_uid == uid || FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // A pipe of somebody who is nobody in this user namespace.
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
            other => other.cannot("give the command its standard streams", "fchown")?,
        }
    }
    Ok(())
}
