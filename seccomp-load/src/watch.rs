//! `--learn` and `--explain`: the command's calls arrive here before they take place. Who watches forks off before the
//! filter is there, gets its listener, answers every call, and ends when nobody is left behind the filter.
//!
//! A listener and not ptrace: a debugger still works inside, and when this process is killed, what it would have been
//! asked fails with ENOSYS from then on, so nothing goes on unwatched.

use crate::learn::Learn;
use crate::plan::Plan;
use crate::stopped::Stopped;
use chain::spec::SeccompLoad;
use chain::state::State;
use chain::supervise::{Side, Supervised, split};
use chain::sys::notify::{Notified, answer, notified, take_turns};
use chain::sys::process::prctl;
use chain::sys::seccomp::{FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV, knows};
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

const DOING: &str = "watch the command";

/// What is done with the calls.
pub(crate) enum Watch {
    Learn(Box<Learn>),
    Explain(Stopped),
}

/// The flags of a filter whose calls are watched. Only a fatal signal takes away a call that has arrived here, where the
/// kernel knows how (Linux 5.19): else a signal at that moment would end it with EINTR.
pub(crate) fn flags() -> Result<u64> {
    match FLAG_NEW_LISTENER {
        both if knows(both | FLAG_WAIT_KILLABLE_RECV) => Ok(both | FLAG_WAIT_KILLABLE_RECV),
        plain if knows(plain) => Ok(plain),
        _ => Err(Error::new(Class::Unsupported, DOING, "this kernel gives out no listeners for filters")
            .why("they came with Linux 5.0, and what holds this process may keep seccomp(2) from it")),
    }
}

/// What is to be watched, if anything; changes the plan's filter to ask. Whatever would keep the result from being
/// written is found here, before anything runs.
pub(crate) fn prepare(spec: &SeccompLoad, plan: &mut Plan) -> Result<Option<Watch>> {
    if let Some(path) = &spec.learn {
        return Learn::open(path).map(|learn| Some(Watch::Learn(Box::new(learn))));
    }
    if spec.explain {
        Stopped::prepare(spec, plan).map(|stopped| Some(Watch::Explain(stopped)))
    } else {
        Ok(None)
    }
}

impl Watch {
    /// Forks. The child goes on with the chain, and gets None; here the command's status, when all is over.
    pub(crate) fn over(mut self, state: &mut State) -> Result<Option<u8>> {
        let none = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, none).cannot(DOING, "socketpair")?;
        let child = match split(0, state)? {
            Side::Child => {
                state.fds.agent = Some(theirs.into_raw_fd());
                return Ok(None);
            }
            Side::Supervisor(child) => child,
        };
        drop(theirs);
        // It answers for a filter that it is not under itself: no process of the command's user may get hold of it.
        prctl(libc::PR_SET_DUMPABLE, 0, 0).cannot(DOING, "prctl(PR_SET_DUMPABLE)")?;
        let mut watched = Watched { child, status: None, told_to_end: false };
        let listener = watched.listener(ours)?;
        if let Some(listener) = listener {
            // Spares time where it is known, and changes nothing else.
            take_turns(listener.as_fd()).unwrap_or(());
            watched.serve(listener, &mut |listener, call| self.asked(listener, call))?;
            self.end()?;
        }
        watched.status.map_or_else(|| watched.child.wait(), Ok).map(Some)
    }

    /// An errno, or None for a call that takes place.
    fn asked(&mut self, listener: BorrowedFd<'_>, call: &Notified) -> Option<i32> {
        match self {
            Watch::Learn(learn) => {
                learn.asked(call);
                None
            }
            Watch::Explain(stopped) => Some(stopped.asked(listener, call)),
        }
    }

    fn end(self) -> Result<()> {
        match self {
            Watch::Learn(learn) => learn.end(),
            Watch::Explain(stopped) => {
                stopped.end();
                Ok(())
            }
        }
    }
}

struct Watched {
    child: Supervised,
    /// Of the command, once it has ended.
    status: Option<u8>,
    /// A signal that is to end us came when the command, which it would go to, was gone.
    told_to_end: bool,
}

impl Watched {
    /// The listener that the landing sends; None where the chain ends before.
    fn listener(&mut self, socket: OwnedFd) -> Result<Option<OwnedFd>> {
        while self.status.is_none() {
            if !self.wait(socket.as_fd())?.is_empty() {
                return receive(&socket);
            }
        }
        Ok(None)
    }

    /// Waits for signals, which it sees to, and for `other`; what became of that.
    fn wait(&mut self, other: BorrowedFd<'_>) -> Result<PollFlags> {
        let mut fds = [self.child.signal_fd(), other].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::call(DOING, "poll(signalfd, listener)", e)),
        }
        let [signals, other] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !signals.is_empty() {
            self.signals()?;
        }
        Ok(other)
    }

    fn signals(&mut self) -> Result<()> {
        const FATAL: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
        let (over, mut fatal) = (self.status.is_some(), false);
        let ended = self.child.handle_signals(|signal| fatal |= FATAL.contains(&signal))?;
        self.told_to_end |= over && fatal;
        self.status = self.status.or(ended);
        Ok(())
    }

    /// Answers until nobody is left who could ask: the command may have left others behind.
    fn serve(
        &mut self,
        listener: OwnedFd,
        asked: &mut dyn FnMut(BorrowedFd<'_>, &Notified) -> Option<i32>,
    ) -> Result<()> {
        let tells_of_the_end = tells_of_the_end();
        loop {
            let found = self.wait(listener.as_fd())?;
            if found.contains(PollFlags::POLLIN) {
                one(listener.as_fd(), asked)?;
            } else if found.contains(PollFlags::POLLHUP) {
                return Ok(());
            }
            if self.told_to_end || self.status.is_some() && !tells_of_the_end {
                return Ok(());
            }
        }
    }
}

/// Since Linux 5.9 the listener hangs up when nobody is left behind its filter; since then a process tells how many
/// filters it has.
fn tells_of_the_end() -> bool {
    let status = chain::proc::read("/proc/self/status").unwrap_or_default();
    chain::proc::status_field(&status, "Seccomp_filters").is_some()
}

fn one(
    listener: BorrowedFd<'_>,
    asked: &mut dyn FnMut(BorrowedFd<'_>, &Notified) -> Option<i32>,
) -> Result<()> {
    let call = match notified(listener) {
        Ok(call) => call,
        // Who made it is gone, or a signal came first.
        Err(Errno::ENOENT | Errno::EINTR) => return Ok(()),
        Err(e) => return Err(Error::call(DOING, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)", e)),
    };
    match answer(listener, call.id, asked(listener, &call)) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EINVAL) => {
            let error = Error::call(DOING, "ioctl(SECCOMP_IOCTL_NOTIF_SEND)", Errno::EINVAL);
            Err(error.why("letting a call take place came with Linux 5.5"))
        }
        Err(e) => Err(Error::call(DOING, "ioctl(SECCOMP_IOCTL_NOTIF_SEND)", e)),
    }
}

/// The fd that goes with the message to an agent; what the message says is known here. None at its end: there was no
/// landing.
fn receive(socket: &OwnedFd) -> Result<Option<OwnedFd>> {
    let doing = "take the listener of the filter";
    let mut text = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let got =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).cannot(doing, "recvmsg")?;
    for message in got.cmsgs().cannot(doing, "recvmsg")? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            return fds.first().map(|fd| chain::sys::fd::adopt(*fd).cannot(doing, "fcntl")).transpose();
        }
    }
    Ok(None)
}
