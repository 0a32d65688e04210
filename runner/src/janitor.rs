//! The janitor: a small process that knows what a create has made so far, and unmakes it if the create does not come to
//! its end, whether it failed or was killed at any moment. It cleans up the same way for both, so the rare case is
//! tested by the common one.
//!
//! It costs a create that succeeds next to nothing: it sleeps on the runner's own memory, what it is told waits unread
//! in its socket, and only when the runner's end of that is closed does it become a runner of its own and read. (Of two
//! processes with one memory the kernel kills both if it runs out of that; `delete --force` still finds what is left.)

use crate::cgroup::Expected;
use crate::container::StateRoot;
use crate::draft;
use crate::hooks::After;
use chain::bytes::Bytes;
use chain::meet::{self, Message};
use chain::next::cstring;
use chain::state::Receipt;
use chain::sys::process::pidfd_signal;
use chain::{Cannot, Class, Error, Result, ToolName, sys};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Its first argument. No container is called so.
const WORD: &str = "~janitor";

/// The runner's end.
pub(crate) struct Janitor {
    socket: OwnedFd,
    pid: Pid,
}

impl Janitor {
    /// Starts it. `root` is the state folder, `id` names the draft, `expected` is what the chain will
    /// make, `poststop` what is to run when all is gone. It closes `mounts` while the chain begins: the last to close one
    /// waits until no CPU looks at it any more, for which its own end, or the command's, would be the wrong time.
    pub(crate) fn start(
        root: BorrowedFd<'_>,
        id: &str,
        expected: &Expected,
        poststop: &After,
        mounts: Vec<OwnedFd>,
    ) -> Result<Janitor> {
        let doing = "start the janitor";
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .cannot(doing, "socketpair")?;
        let (socket, folder) = (theirs.as_raw_fd(), root.as_raw_fd());
        let poststop = poststop.travelling()?;
        let after = poststop.as_ref().map(|fd| fd.as_raw_fd());
        let rdt = expected.rdt.as_ref().map(serde_json::to_string).transpose();
        let rdt = rdt.map_err(|e| Error::new(Class::Internal, doing, e))?.unwrap_or_default();
        let words = [
            OsString::from("runner"),
            WORD.into(),
            socket.to_string().into(),
            folder.to_string().into(),
            after.map_or_else(OsString::new, |fd| fd.to_string().into()),
            id.into(),
            expected.cgroup.as_path().into(),
            rdt.into(),
        ];
        let kept = [Some(socket), Some(folder), after].into_iter().flatten().map(sys::fd::borrow);
        let kept: Vec<_> = kept.collect::<std::result::Result<_, _>>().cannot(doing, "fcntl")?;
        let argv = words.iter().map(cstring).collect();
        let closed = std::iter::once(&ours).chain(&mounts).map(|fd| fd.as_raw_fd()).collect();
        let pid = sys::spawn::sentinel(closed, kept[0], &kept, argv).cannot(doing, "clone(CLONE_VM)")?;
        drop(mounts);
        let pid = Pid::from_raw(pid);
        // Out of the runner's group: a kill of that is what the janitor is there for. Nothing was made before it is so.
        setpgid(pid, pid).cannot(doing, "setpgid")?;
        Ok(Janitor { socket: ours, pid })
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

    /// The container exists: the janitor has nothing to do any more, not even to wake up for its end.
    pub(crate) fn dismiss(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL).cannot("dismiss the janitor", "kill")?;
        reap(self.pid).map(drop)
    }

    /// The container does not come to be: waits until everything is gone. Of a janitor that was killed, or could not
    /// start, what can be found without having been told is removed here: an empty group, and the draft.
    pub(crate) fn clean_up(self, root: &StateRoot, id: &str, expected: &Expected) -> Result<()> {
        let Janitor { socket, pid } = self;
        drop(socket);
        if reap(pid)? {
            return Ok(());
        }
        let (root, name) = (root.open(false)?, draft::name(id));
        // Without a draft nothing was made; and the group of that name is another's.
        if draft::is_there(root.as_fd(), &name)? && draft::sweep(root.as_fd(), &name)? {
            expected.remove()?;
        }
        Ok(())
    }
}

/// Whether it came to a good end.
fn reap(pid: Pid) -> Result<bool> {
    loop {
        match waitpid(pid, None) {
            Ok(ended) => return Ok(ended == WaitStatus::Exited(pid, 0)),
            Err(Errno::ECHILD) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::call("wait for the janitor", "wait4", e)),
        }
    }
}

/// The janitor's life, if this process is one: its exit status.
pub(crate) fn main() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    if words.next().as_deref() != Some(OsStr::new(WORD)) {
        return None;
    }
    match unmake_all(&words.collect::<Vec<_>>()) {
        Ok(()) => Some(0),
        Err(error) => Some(chain::report::error("runner", &error)),
    }
}

fn unmake_all(words: &[OsString]) -> Result<()> {
    let doing = "clean up";
    let usage = || Error::usage(doing, format_args!("{WORD} is the runner's own word"));
    let [socket, root, after, id, cgroup, rdt] = words else { return Err(usage()) };
    let fd = |word: &OsString| {
        let number = word.to_str().and_then(|w| w.parse::<RawFd>().ok()).ok_or_else(usage)?;
        sys::fd::adopt(number).cannot(doing, format_args!("fcntl({number})"))
    };
    let (socket, root) = (fd(socket)?, fd(root)?);
    let poststop = if after.is_empty() { After::default() } else { After::arrived(fd(after)?)? };
    let id = id.to_str().ok_or_else(usage)?;
    let rdt = Some(rdt.as_encoded_bytes()).filter(|rdt| !rdt.is_empty());
    let rdt = rdt.map(serde_json::from_slice).transpose().map_err(|_| usage())?;
    let expected = Expected { cgroup: Bytes::from(std::path::Path::new(cgroup)), rdt };
    watch(root.as_fd(), id, &expected, &poststop, socket.as_fd())
}

/// Reads what the runner said to the end, and unmakes what it left half made.
fn watch(
    root: BorrowedFd<'_>,
    id: &str,
    expected: &Expected,
    poststop: &After,
    socket: BorrowedFd<'_>,
) -> Result<()> {
    let (mut folder, mut process, mut chain, mut cgroups, mut rdt) = (None, None, None, None, None);
    while let Some((message, fd)) = meet::receive(socket)? {
        match message {
            Message::Folder => folder = fd,
            Message::Pid(_) => process = fd,
            Message::Ready => chain = fd,
            Message::Receipt(receipt) => {
                cgroups = Some(crate::cgroup::of_receipt(&receipt));
                rdt = crate::cgroup::rdt_of_receipt(&receipt);
            }
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
    rdt.map_or(Ok(()), |rdt| rdt.remove())?;
    match cgroups {
        // Known, so it is ours, with all that a hook may have left in it.
        Some(known) => {
            crate::cgroup::empty(&known)?;
            crate::cgroup::remove(&known)?;
        }
        None => expected.remove()?,
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
        Err(e) => Err(Error::call("end the container's first process", "pidfd_send_signal", e)),
    }
}
