//! The janitor: a small process that knows what a create has made so far, and unmakes it if the create does not come to
//! its end, whether it failed or was killed at any moment. It cleans up the same way for both, so the rare case is
//! tested by the common one.

use crate::draft;
use crate::hooks::After;
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::state::Receipt;
use chain::sys::process::{Forked, fork, pidfd_signal};
use chain::{Cannot, Result, ToolName};
use nix::errno::Errno;
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
    /// Starts it. `root` is the state folder, `id` names the draft, `cgroup` is where the container's group will be,
    /// `poststop` what is to run when all is gone.
    pub(crate) fn start(root: BorrowedFd<'_>, id: &str, cgroup: &Bytes, poststop: &After) -> Result<Janitor> {
        let doing = "start the janitor";
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .cannot(doing, "socketpair")?;
        match fork(0).cannot(doing, "clone3")? {
            Forked::Parent(pid, _) => {
                own_group(pid)?;
                Ok(Janitor { socket: ours, pid })
            }
            Forked::Child => {
                drop(ours);
                let status = match watch(root, id, cgroup, poststop, theirs.as_fd()) {
                    Ok(()) => 0,
                    Err(error) => chain::report::error("runner", &error),
                };
                chain::sys::process::exit_now(i32::from(status))
            }
        }
    }

    /// Tells it which folder was made, and so gives it a hold on its lock: nobody else takes the id before all is gone.
    pub(crate) fn knows_folder(&self, folder: BorrowedFd<'_>) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Folder, Some(folder))
    }

    /// Tells it that no cgroup was made.
    pub(crate) fn knows_no_cgroup(&self) -> Result<()> {
        self.knows_cgroup(&Receipt::verified(ToolName::CgApply, serde_json::Value::Null))
    }

    /// Tells it where the cgroup is.
    pub(crate) fn knows_cgroup(&self, receipt: &Receipt) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Receipt(Box::new(receipt.clone())), None)
    }

    /// Tells it which process is to go if the rest fails.
    pub(crate) fn knows_process(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Pid(pid), Some(pidfd))
    }

    /// Gives it a hold on the chain, so that a runner that is killed between writing the container down and letting it
    /// go on leaves one that goes on.
    pub(crate) fn holds(&self, chain: BorrowedFd<'_>) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Ready, Some(chain))
    }

    /// The container exists: the janitor goes home. One that somebody killed is no harm any more.
    pub(crate) fn dismiss(self) -> Result<()> {
        unless_gone(meet::send(self.socket.as_fd(), &Message::Go, None))?;
        reap(self.pid)
    }

    /// The container does not come to be: waits until everything is gone.
    pub(crate) fn clean_up(self) -> Result<()> {
        let Janitor { socket, pid } = self;
        drop(socket);
        reap(pid)
    }
}

/// Takes the janitor out of the runner's group: a kill of that is what the janitor is there for. Said by the runner and
/// by the janitor itself, for neither may go on before it is so.
fn own_group(pid: i32) -> Result<()> {
    match nix::unistd::setpgid(Pid::from_raw(pid), Pid::from_raw(pid)) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(chain::Error::call("start the janitor", "setpgid", e)),
    }
}

fn reap(pid: i32) -> Result<()> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(chain::Error::call("wait for the janitor", "wait4", e)),
        }
    }
}

/// The janitor's life: listens until it is dismissed, or until the runner's end of the socket is closed.
fn watch(
    root: BorrowedFd<'_>,
    id: &str,
    cgroup: &Bytes,
    poststop: &After,
    socket: BorrowedFd<'_>,
) -> Result<()> {
    own_group(0)?;
    let (mut folder, mut process, mut chain, mut cgroups) = (None, None, None, None);
    while let Some((message, fd)) = meet::receive(socket)? {
        match message {
            Message::Go => return Ok(()),
            Message::Folder => folder = fd,
            Message::Pid(_) => process = fd,
            Message::Ready => chain = fd,
            Message::Receipt(receipt) => cgroups = Some(crate::cgroup::of_receipt(&receipt)),
            _ => {}
        }
    }
    let Some(folder) = folder else {
        // Nothing was made, but perhaps a folder that the runner did not live to tell of.
        return draft::sweep(root, &draft::name(id)).map(drop);
    };
    // The container is whole, and waits for the runner's word.
    if draft::is_at(root, id, folder.as_fd())? {
        return chain.map_or(Ok(()), |chain| unless_gone(meet::send(chain.as_fd(), &Message::Go, None)));
    }
    if let Some(process) = process {
        end(process.as_fd())?;
    }
    match cgroups {
        // Known, so it is ours, with all that a hook may have left in it.
        Some(known) => {
            crate::cgroup::empty(&known)?;
            crate::cgroup::remove(&known)?;
        }
        None => crate::cgroup::remove_leaf(&crate::cgroup::expected(cgroup)?)?,
    }
    draft::remove(root, &draft::name(id), "remove the draft of the container")?;
    poststop.run();
    Ok(())
}

/// Nobody is there to hear it, and nobody needs to.
fn unless_gone(sent: Result<()>) -> Result<()> {
    match sent {
        Err(e) if matches!(e.errno(), Some(Errno::EPIPE | Errno::ECONNRESET)) => Ok(()),
        other => other,
    }
}

/// Kills the container's first process.
pub(crate) fn end(process: BorrowedFd<'_>) -> Result<()> {
    match pidfd_signal(process, libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(chain::Error::call("end the container's first process", "pidfd_send_signal", e)),
    }
}
