//! The page server of a round: a criu of its own at the destination, over a pair of sockets that nobody else can reach.

use crate::plan::Folders;
use crate::{folder, log, stdio, swrk};
use chain::error::{Cannot, Class, Error, Result};
use chain::sys::process::pidfd_open;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const DOING: &str = "take pages at the destination";
const LOG: &str = "page-server.log";

/// What it may take to write the last of what it got.
const GRACE: u16 = 30_000;

/// A page server at work. Killed when dropped before it has ended.
pub(crate) struct Server {
    child: Child,
    work: OwnedFd,
    ended: bool,
}

impl Server {
    /// Starts one that writes to the images; the other end of its connection.
    pub(crate) fn start(
        program: &Path,
        folders: &Folders,
        parent: Option<&[u8]>,
    ) -> Result<(Server, OwnedFd)> {
        let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).cannot(DOING, "socketpair")?;
        let log = folders.work.as_ref().unwrap_or(&folders.images);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let work =
            openat(CWD, log, flags, Mode::empty()).cannot(DOING, format_args!("open({})", log.display()))?;
        folder::forget_log(work.as_fd(), LOG.as_bytes(), DOING)?;
        let mut command = Command::new(program);
        // Not where ^C reaches it.
        command.arg("page-server").process_group(0);
        command.arg("-D").arg(&folders.images).arg("-W").arg(log).args(["-v4", "-o", LOG]);
        command.args(["--ps-socket", &theirs.as_raw_fd().to_string()]);
        if let Some(parent) = parent {
            command.arg("--prev-images-dir").arg(chain::bytes::Bytes(parent.to_vec()).as_path());
        }
        stdio::pass_on(&theirs, DOING)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|e| swrk::not_started(program, e))?;
        Ok((Server { child, work, ended: false }, ours))
    }

    /// Waits until all that was sent is written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let pid = self.child.id() as i32;
        let pidfd = pidfd_open(pid).cannot(DOING, format_args!("pidfd_open({pid})"))?;
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(GRACE)).cannot(DOING, "poll(pidfd)")? == 0 {
            return Err(Error::new(Class::Internal, DOING, "the page server does not end"));
        }
        let status = self.child.wait().cannot(DOING, "wait4(the page server)")?;
        self.ended = true;
        if status.success() {
            return Ok(());
        }
        let reason = self.reason().unwrap_or_else(|| format!("criu: {status}"));
        let error = Error::new(Class::Internal, DOING, reason);
        let full = folder::is_full(self.work.as_fd());
        Err(if full { error.why("no space is left on the disk of the images") } else { error })
    }

    /// A dump failed: if that was because the server did, the server's reason says more.
    pub(crate) fn explain(&self, error: Error) -> Error {
        // Its connection is closed, so it ends; killed if not.
        match self.reason() {
            Some(reason) if error.cure.is_none() && error.class == Class::Internal => {
                error.why(format_args!("at the destination: {reason}"))
            }
            _ => error,
        }
    }

    fn reason(&self) -> Option<String> {
        log::reason(&String::from_utf8_lossy(&folder::log(self.work.as_fd(), LOG.as_bytes())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended && self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or(());
        }
    }
}
