//! What `runner` is told on the way, and what it says to that: the same words that it hears from a chain.

use crate::rpc::Notify;
use chain::error::{Cannot, Class, Error, Result};
use chain::meet::{self, Message};
use chain::sys;
use chain::sys::process::pidfd_open;
use rustix::io::write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// Who listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    meet: Option<RawFd>,
    ready: Option<RawFd>,
}

impl Listeners {
    /// These fds; criu gets neither.
    pub(crate) fn new(meet: Option<RawFd>, ready: Option<RawFd>) -> Result<Listeners> {
        for fd in meet.iter().chain(&ready) {
            let doing = format!("use fd {fd}");
            let borrowed = sys::fd::borrow(*fd).cannot(&doing, format_args!("fcntl({fd})"))?;
            if *fd > 2 {
                sys::fd::set_cloexec(borrowed, true).cannot(&doing, "fcntl(F_SETFD)")?;
            }
        }
        Ok(Listeners { meet, ready })
    }

    /// Whether anybody is interested.
    pub(crate) fn any(&self) -> bool {
        self.meet.is_some() || self.ready.is_some()
    }

    /// criu's word.
    pub(crate) fn hear(&self, word: &Notify, fd: Option<OwnedFd>) -> Result<()> {
        match (word.script.as_deref().unwrap_or_default(), self.meet) {
            ("status-ready", _) => self.ready.map_or(Ok(()), ready),
            ("setup-namespaces", Some(meet)) => namespaces(socket(meet)?, process(word)?),
            ("orphan-pts-master", Some(meet)) => {
                let master = fd.ok_or_else(|| silent("which terminal it made"))?;
                meet::send(socket(meet)?, &Message::Terminal, Some(master.as_fd()))
            }
            // Nothing of it runs yet: whoever keeps a record of it writes it now.
            ("post-restore", Some(meet)) => {
                meet::send(socket(meet)?, &Message::Ready, None)?;
                meet::wait_for_go(socket(meet)?)
            }
            _ => Ok(()),
        }
    }
}

fn socket(fd: RawFd) -> Result<BorrowedFd<'static>> {
    sys::fd::borrow(fd).cannot("tell the runner", format_args!("fcntl({fd})"))
}

fn process(word: &Notify) -> Result<i32> {
    word.pid.filter(|pid| *pid > 0).ok_or_else(|| silent("which process it made"))
}

fn silent(what: &str) -> Error {
    Error::new(Class::Internal, "restore", format_args!("criu did not say {what}"))
}

/// Its namespaces are there and its mounts are not: the moment of the hooks outside.
fn namespaces(meet: BorrowedFd<'_>, pid: i32) -> Result<()> {
    let pidfd = pidfd_open(pid).cannot("restore", format_args!("pidfd_open({pid})"))?;
    meet::send(meet, &Message::Pid(pid), Some(pidfd.as_fd()))?;
    meet::send(meet, &Message::Mounted, None)?;
    meet::wait_for_go(meet)
}

fn ready(fd: RawFd) -> Result<()> {
    let doing = "say that pages can be fetched";
    let borrowed = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    write(borrowed, b"\0").cannot(doing, format_args!("write({fd})")).map(drop)
}
