//! The janitor: a small process that knows what a create has made so far, and unmakes it if the create does not come to
//! its end, whether it failed or was killed at any moment. It cleans up the same way for both, so the rare case is
//! tested by the common one.

use crate::container::{Draft, remove_folder};
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::state::Receipt;
use chain::sys::process::{Forked, fork, pidfd_signal};
use chain::{Cannot, Result};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The runner's end.
pub(crate) struct Janitor {
    socket: OwnedFd,
    pid: i32,
}

impl Janitor {
    /// Starts it. `root` is the state folder, `id` names the draft, `cgroup` is where the container's group will be.
    pub(crate) fn start(root: BorrowedFd<'_>, id: &str, cgroup: &Bytes) -> Result<Janitor> {
        let doing = "start the janitor";
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .cannot(doing, "socketpair")?;
        // Named after the runner, which may be gone when the janitor wants to know.
        let draft = Draft::name(id);
        match fork(0).cannot(doing, "clone3")? {
            Forked::Parent(pid, _) => Ok(Janitor { socket: ours, pid }),
            Forked::Child => {
                drop(ours);
                let status = match watch(root, &draft, cgroup, theirs.as_fd()) {
                    Ok(()) => 0,
                    Err(error) => chain::report::error("runner", &error),
                };
                chain::sys::process::exit_now(i32::from(status))
            }
        }
    }

    /// Tells it where the cgroup is.
    pub(crate) fn knows_cgroup(&self, receipt: &Receipt) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Receipt(Box::new(receipt.clone())), None)
    }

    /// Tells it which process is to go if the rest fails.
    pub(crate) fn knows_process(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Pid(pid), Some(pidfd))
    }

    /// The container exists: the janitor goes home.
    pub(crate) fn dismiss(self) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Go, None)?;
        self.wait()
    }

    /// The container does not come to be: waits until everything is gone.
    pub(crate) fn clean_up(self) -> Result<()> {
        let Janitor { socket, pid } = self;
        drop(socket);
        reap(pid)
    }

    fn wait(self) -> Result<()> {
        reap(self.pid)
    }
}

fn reap(pid: i32) -> Result<()> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(_) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(chain::Error::call("wait for the janitor", "wait4", e)),
        }
    }
}

/// The janitor's life: listens until it is dismissed, or until the runner's end of the socket is closed.
fn watch(root: BorrowedFd<'_>, draft: &str, cgroup: &Bytes, socket: BorrowedFd<'_>) -> Result<()> {
    // A session of its own: ^C at the terminal is for the runner, and is what we are here for.
    rustix::process::setsid().cannot("start the janitor", "setsid")?;
    let (mut process, mut cgroups) = (None, None);
    while let Some((message, fd)) = meet::receive(socket)? {
        match message {
            Message::Go => return Ok(()),
            Message::Pid(_) => process = fd,
            Message::Receipt(receipt) => cgroups = Some(crate::cgroup::of_receipt(&receipt)),
            _ => {}
        }
    }
    unmake(root, draft, process, cgroups, cgroup)
}

fn unmake(
    root: BorrowedFd<'_>,
    draft: &str,
    process: Option<OwnedFd>,
    cgroups: Option<Vec<Bytes>>,
    cgroup: &Bytes,
) -> Result<()> {
    // No draft: nothing was made yet, or the container is whole and only our dismissal was lost.
    if rustix::fs::accessat(root, draft, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .is_err()
    {
        return Ok(());
    }
    if let Some(process) = process {
        match pidfd_signal(process.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(e) => {
                return Err(chain::Error::call("end the container's first process", "pidfd_send_signal", e));
            }
        }
    }
    let cgroups = match cgroups {
        Some(known) => known,
        None => crate::cgroup::expected(cgroup)?,
    };
    crate::cgroup::remove(&cgroups)?;
    remove_folder(root, draft, "remove the draft of the container")
}
