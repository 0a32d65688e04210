//! The janitor: a small process that knows what a create has made so far, and unmakes it if the create does not come to
//! its end, whether it failed or was killed at any moment. It cleans up the same way for both, so the rare case is
//! tested by the common one.

use crate::container::{Draft, is_there, remove_folder};
use crate::hooks::After;
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::state::Receipt;
use chain::sys::process::{Forked, fork, pidfd_signal};
use chain::{Cannot, Result};
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
        // Named after the runner, which may be gone when the janitor wants to know.
        let draft = Draft::name(id);
        match fork(0).cannot(doing, "clone3")? {
            Forked::Parent(pid, _) => {
                own_group(pid)?;
                Ok(Janitor { socket: ours, pid })
            }
            Forked::Child => {
                drop(ours);
                let status = match watch(root, &draft, cgroup, poststop, theirs.as_fd()) {
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

    /// Gives it a hold on the chain, so that a runner that is killed between writing the container down and letting it
    /// go on leaves one that goes on.
    pub(crate) fn holds(&self, chain: BorrowedFd<'_>) -> Result<()> {
        meet::send(self.socket.as_fd(), &Message::Ready, Some(chain))
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
    draft: &str,
    cgroup: &Bytes,
    poststop: &After,
    socket: BorrowedFd<'_>,
) -> Result<()> {
    own_group(0)?;
    let (mut process, mut chain, mut cgroups) = (None, None, None);
    while let Some((message, fd)) = meet::receive(socket)? {
        match message {
            Message::Go => return Ok(()),
            Message::Pid(_) => process = fd,
            Message::Ready => chain = fd,
            Message::Receipt(receipt) => cgroups = Some(crate::cgroup::of_receipt(&receipt)),
            _ => {}
        }
    }
    // No draft: nothing was made yet, or the container is whole and waits for the runner's word.
    if !is_there(root, draft)? {
        return chain.map_or(Ok(()), |chain| let_go_on(chain.as_fd()));
    }
    unmake(root, draft, process, cgroups, cgroup)?;
    poststop.run();
    Ok(())
}

/// If the runner's word came before it died, nobody reads this one.
fn let_go_on(chain: BorrowedFd<'_>) -> Result<()> {
    match meet::send(chain, &Message::Go, None) {
        Err(e) if matches!(e.errno(), Some(Errno::EPIPE | Errno::ECONNRESET)) => Ok(()),
        other => other,
    }
}

fn unmake(
    root: BorrowedFd<'_>,
    draft: &str,
    process: Option<OwnedFd>,
    cgroups: Option<Vec<Bytes>>,
    cgroup: &Bytes,
) -> Result<()> {
    if let Some(process) = process {
        match pidfd_signal(process.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
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
