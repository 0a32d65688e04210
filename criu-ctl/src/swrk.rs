//! The conversation with criu: `criu swrk FD`, one request and one answer over a socket pair of packets.

use crate::restored;
use crate::rpc::{Kind, Notify, Opts, Req, Resp};
use chain::error::{Cannot, Class, Error, IntoErrno, Result};
use chain::sys::process::{pidfd_open, pidfd_signal};
use chain::{report, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use prost::Message;
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Who is told how far criu is.
pub(crate) type Told<'a> = dyn FnMut(&Notify, Option<OwnedFd>) -> Result<()> + 'a;

/// More than criu ever answers.
const ANSWER_MAX: usize = 1 << 16;

/// How often a restore is looked at, in milliseconds, and how many looks a dying tree may take.
const STEP: u16 = 500;
const PATIENCE: u32 = 10;

/// What criu may take to end after its answer.
const GRACE: u16 = 10_000;

/// The criu to use: the one asked for, else the one in PATH, or where Debian has it.
pub(crate) fn find(asked: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = asked {
        return Ok(path.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    listed.chain(usual).map(|dir| dir.join("criu")).find(|path| path.is_file()).ok_or_else(missing)
}

fn missing() -> Error {
    Error::new(Class::Missing, "start criu", "it is not in PATH").cure("apt-get install criu")
}

/// A file in memory for what a program prints, and an end of it for the program.
pub(crate) fn capture() -> Result<(OwnedFd, Stdio, Stdio)> {
    let doing = "start criu";
    let fd = rustix::fs::memfd_create("criu-printed", MemfdFlags::CLOEXEC).cannot(doing, "memfd_create")?;
    let copy = || fd.try_clone().cannot(doing, "fcntl(F_DUPFD)").map(Stdio::from);
    let (out, err) = (copy()?, copy()?);
    Ok((fd, out, err))
}

/// What was printed.
pub(crate) fn captured(fd: &OwnedFd) -> Vec<u8> {
    let mut text = vec![0; ANSWER_MAX];
    let got = rustix::io::pread(fd, &mut text[..], 0).unwrap_or(0);
    text.truncate(got);
    text
}

/// An error for a program that would not start.
pub(crate) fn not_started(program: &Path, error: std::io::Error) -> Error {
    let cannot = Error::call("start criu", format_args!("execve({})", program.display()), error);
    if cannot.class == Class::Missing { cannot.cure("apt-get install criu") } else { cannot }
}

/// A criu at work. Killed when dropped before it has ended.
pub(crate) struct Criu {
    child: Child,
    pidfd: OwnedFd,
    socket: OwnedFd,
    printed: OwnedFd,
    held: Option<SignalFd>,
    /// The first signal that was held back.
    came: Cell<Option<Signal>>,
    /// Children that were ours before a restore, while one is under way.
    before: Option<Vec<i32>>,
    ended: bool,
}

/// Whose terminal signals are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// criu shares our process group, and so our terminal.
    Ours,
    /// criu is in a group of its own, where ^C does not reach it: a criu stopped in the middle of a dump leaves its
    /// code in the processes of the tree, and they crash on it.
    Own,
}

impl Criu {
    /// Starts criu.
    pub(crate) fn start(program: &Path, group: Group) -> Result<Criu> {
        let doing = "start criu";
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, theirs) = socketpair(kind.0, kind.1, kind.2, None).cannot(doing, "socketpair")?;
        let (printed, out, err) = capture()?;
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string()).stdout(out).stderr(err);
        if group == Group::Own {
            command.process_group(0).stdin(Stdio::null());
        }
        sys::fd::set_cloexec(theirs.as_fd(), false).cannot(doing, "fcntl(F_SETFD)")?;
        let mut child = command.spawn().map_err(|e| not_started(program, e))?;
        match pidfd_open(child.id() as i32) {
            Ok(pidfd) => {
                let (held, came, before) = (None, Cell::new(None), None);
                Ok(Criu { child, pidfd, socket, printed, held, came, before, ended: false })
            }
            Err(e) => {
                child.kill().cannot(doing, "kill")?;
                child.wait().cannot(doing, "wait4")?;
                Err(Error::call(doing, "pidfd_open", e))
            }
        }
    }

    /// From here on the first ^C, or SIGTERM, is a warning, and only the second one is carried out.
    pub(crate) fn hold_signals(&mut self) -> Result<()> {
        let doing = "hold back signals";
        let set: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
        set.thread_block().cannot(doing, "sigprocmask")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        self.held = Some(SignalFd::with_flags(&set, flags).cannot(doing, "signalfd")?);
        Ok(())
    }

    /// From here on a tree that is being restored and dies is noticed, and criu is not waited for much longer: it may wait
    /// for the tree, whose init waits for a process that criu traces.
    pub(crate) fn look_for_the_dying(&mut self, before: &[i32]) {
        self.before = Some([before, &[self.child.id() as i32]].concat());
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, kind: Kind, opts: Option<Opts>, doing: &str) -> Result<Resp> {
        self.converse(Req { kind: kind as i32, opts, ..Req::default() }, &mut |_, _| Ok(()), doing)
    }

    /// The same, and `told` is told how far criu is, with the fd that comes along. When it fails, so does criu's work.
    pub(crate) fn converse(&mut self, request: Req, told: &mut Told<'_>, doing: &str) -> Result<Resp> {
        let kind = request.kind;
        self.send(&request, doing)?;
        let mut refused = None;
        let answer = loop {
            let (answer, fd) = self.answer(doing)?;
            if answer.kind != Kind::Notify as i32 {
                break answer;
            }
            let heard = told(&answer.notify.unwrap_or_default(), fd);
            let notify_success = Some(heard.is_ok());
            refused = refused.or(heard.err());
            self.send(&Req { kind: Kind::Notify as i32, notify_success, ..Req::default() }, doing)?;
        };
        if let Some(error) = refused {
            return Err(error);
        }
        if answer.success && answer.kind != kind {
            let found = answer.kind;
            return Err(Error::new(
                Class::Internal,
                doing,
                format_args!("criu answered something else: type {found}"),
            ));
        }
        Ok(answer)
    }

    fn send(&mut self, request: &Req, doing: &str) -> Result<()> {
        match send(&self.socket, &request.encode_to_vec(), SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(self.death(doing)),
            Err(e) => Err(Error::call(doing, "send(criu)", e)),
        }
    }

    fn answer(&mut self, doing: &str) -> Result<(Resp, Option<OwnedFd>)> {
        let mut buffer = vec![0; ANSWER_MAX];
        let Some((got, fd)) = self.receive(&mut buffer, doing)? else { return Err(self.death(doing)) };
        let answer = Resp::decode(&buffer[..got]).map_err(|e| {
            Error::new(Class::Internal, doing, format_args!("criu's answer is no answer: {e}"))
        })?;
        Ok((answer, fd))
    }

    /// One packet; nothing when criu has gone. Its end of the socket may live on in a process it made, so its own end
    /// is looked at too.
    fn receive(&self, buffer: &mut [u8], doing: &str) -> Result<Option<(usize, Option<OwnedFd>)>> {
        let mut dying = 0;
        let step = if self.before.is_some() { PollTimeout::from(STEP) } else { PollTimeout::NONE };
        loop {
            let signals = self.held.as_ref().map_or(self.pidfd.as_fd(), AsFd::as_fd);
            let mut fds = [self.socket.as_fd(), self.pidfd.as_fd(), signals]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, step) {
                Ok(0) => {
                    let dies = self.before.as_ref().is_some_and(|before| restored::any_dies(before));
                    dying = if dies { dying + 1 } else { 0 };
                    if dying >= PATIENCE {
                        let text = "the tree died, and criu does not end";
                        return Err(Error::new(Class::Internal, doing, text));
                    }
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call(doing, "poll(criu)", e)),
            }
            match packet(self.socket.as_fd(), buffer) {
                Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(None),
                Ok((got, _)) if got > buffer.len() => {
                    return Err(Error::new(
                        Class::Internal,
                        doing,
                        format_args!("criu's answer has {got} bytes"),
                    ));
                }
                Ok(got) => return Ok(Some(got)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => return Err(Error::call(doing, "recvmsg(criu)", e)),
            }
            if chain::supervise::has_ended(self.pidfd.as_fd())? {
                return Ok(None);
            }
            self.hear_signal(doing)?;
        }
    }

    fn hear_signal(&self, doing: &str) -> Result<()> {
        let Some(Ok(Some(info))) = self.held.as_ref().map(SignalFd::read_signal) else { return Ok(()) };
        let signal = Signal::try_from(info.ssi_signo as i32).cannot(doing, "signalfd")?;
        if self.came.replace(Some(signal)).is_some() {
            return Err(Error::new(
                Class::Conflict,
                doing,
                format_args!("{signal} came for the second time"),
            ));
        }
        let text = format!(
            "{signal}: criu is at work, and stopping it now can crash the tree; the next one stops it"
        );
        report::warn(crate::NAME, text);
        Ok(())
    }

    /// The signal that came and was held back.
    pub(crate) fn interrupted(&self) -> Option<Signal> {
        self.came.get()
    }

    /// What criu printed so far.
    pub(crate) fn printed(&self) -> Vec<u8> {
        captured(&self.printed)
    }

    /// Why there is no answer.
    fn death(&mut self, doing: &str) -> Error {
        let how = match self.end() {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        Error::new(Class::Internal, doing, format_args!("criu went away without an answer: {how}"))
    }

    /// Waits until criu has ended; it has nothing to do after an answer.
    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        let doing = "wait for criu";
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        if let Ok(0) = poll(&mut fds, PollTimeout::from(GRACE)) {
            self.kill()?;
        }
        let status = self.child.wait().cannot(doing, "wait4(criu)")?;
        self.ended = true;
        Ok(status)
    }

    fn kill(&self) -> Result<()> {
        match pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::call("stop criu", "pidfd_send_signal(SIGKILL)", e.into_errno())),
        }
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        if !self.ended && self.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or(());
        }
    }
}

/// A packet that is there, how long it is, and the fd that came with it.
fn packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let got = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fd = None;
    for control in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            fd = fds.first().map(|fd| sys::fd::adopt(*fd)).transpose()?;
        }
    }
    Ok((got.bytes, fd))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it stopped".into(),
    }
}
