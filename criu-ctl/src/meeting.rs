//! What `runner` is told on the way, and what it says to that: the same words that it hears from a chain.

use crate::rpc::Notify;
use chain::error::{Cannot, Class, Error, Result};
use chain::meet::{self, Message};
use chain::sys;
use chain::sys::namespaces::loopback_up;
use chain::sys::process::pidfd_open;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// Who listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    meet: Option<RawFd>,
    ready: Option<RawFd>,
    /// The network namespace is a new one with nothing in it.
    empty: bool,
}

impl Listeners {
    /// These fds; criu gets neither.
    pub(crate) fn new(meet: Option<RawFd>, ready: Option<RawFd>, empty: bool) -> Result<Listeners> {
        for fd in meet.iter().chain(&ready) {
            let doing = format_args!("use fd {fd}");
            let borrowed = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
            if *fd > 2 {
                sys::fd::set_cloexec(borrowed, true).cannot(doing, "fcntl(F_SETFD)")?;
            }
        }
        Ok(Listeners { meet, ready, empty })
    }

    /// Whether anybody is interested.
    pub(crate) fn any(&self) -> bool {
        self.meet.is_some() || self.ready.is_some() || self.empty
    }

    /// Whether a runner is there.
    pub(crate) fn meets(&self) -> bool {
        self.meet.is_some()
    }

    /// criu's word.
    pub(crate) fn hear(&self, word: &Notify, fd: Option<OwnedFd>) -> Result<()> {
        match (word.script.as_deref().unwrap_or_default(), self.meet) {
            ("status-ready", _) => self.ready.map_or(Ok(()), ready),
            ("setup-namespaces", meet) => {
                if self.empty {
                    loopback(process(word)?)?;
                }
                meet.map_or(Ok(()), |meet| namespaces(socket(meet)?, process(word)?))
            }
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

/// `lo` is there and down. By a thread that goes no further than that namespace.
fn loopback(pid: i32) -> Result<()> {
    let doing = "bring lo up in the network namespace that was made anew";
    let path = format!("/proc/{pid}/ns/net");
    let namespace = openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open({path})"))?;
    let enter = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).cannot(doing, format_args!("setns({path})"))?;
        loopback_up().cannot(doing, "ioctl(SIOCSIFFLAGS)").map(drop)
    };
    let panicked = |_| Error::new(Class::Internal, doing, "its thread panicked");
    std::thread::spawn(enter).join().map_err(panicked)?
}

fn ready(fd: RawFd) -> Result<()> {
    let doing = "say that pages can be fetched";
    let borrowed = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    write(borrowed, b"\0").cannot(doing, format_args!("write({fd})")).map(drop)
}
