//! NOTIFY_SOCKET: the command of the container gets a socket of its own to say READY=1 to, and what it says is passed on
//! to the service manager that waits at ours, with the pid that it is to look at from then on.

use crate::activation::put;
use chain::bytes::Bytes;
use chain::oci::Mount;
use chain::{Cannot, Class, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::fs::{AtFlags, CWD, Mode, chmodat, mkdirat};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{bind, connect, recv, send, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::OsString;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The folder in the container's state, and its place in the container.
const FOLDER: &str = "notify";
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";

/// How long a service manager may take to have read what was said, in milliseconds.
const PATIENCE: u16 = 30_000;

/// Where the manager listens, if one does.
pub(crate) fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// What the container gets: a folder with the socket, which is there before start, and its name.
pub(crate) fn mount(draft: &Path) -> Mount {
    Mount {
        destination: INSIDE.into(),
        kind: Some("bind".into()),
        source: Some(draft.join(FOLDER).as_path().into()),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).to_vec(),
        ..Mount::default()
    }
}

/// Tells the command.
pub(crate) fn tell(env: &mut Vec<Bytes>) {
    put(env, "NOTIFY_SOCKET", format!("{INSIDE}/{SOCKET}").as_bytes());
}

/// Makes the folder, which whoever the command is may enter.
pub(crate) fn make_folder(dir: BorrowedFd<'_>) -> Result<()> {
    let doing = "make the container's notify socket";
    let mode = Mode::from_raw_mode(0o755);
    mkdirat(dir, FOLDER, mode).cannot(doing, format_args!("mkdir({FOLDER})"))?;
    chmodat(dir, FOLDER, mode, AtFlags::empty()).cannot(doing, format_args!("chmod({FOLDER})"))
}

/// The runner's end of it.
pub(crate) struct Notify {
    socket: OwnedFd,
    manager: OsString,
}

impl Notify {
    /// Listens in the folder of the container at `dir`, if there is a manager to tell.
    pub(crate) fn listen(dir: BorrowedFd<'_>) -> Result<Option<Notify>> {
        let Some(manager) = manager() else { return Ok(None) };
        let doing = "listen at the container's notify socket";
        let kind = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::DGRAM, kind, None).cannot(doing, "socket")?;
        let path = format!("/proc/self/fd/{}/{FOLDER}/{SOCKET}", dir.as_raw_fd());
        let address = SocketAddrUnix::new(&path).cannot(doing, "sockaddr_un")?;
        bind(&socket, &address).cannot(doing, format_args!("bind({FOLDER}/{SOCKET})")).map_err(
            |e| match e.errno() {
                Some(nix::errno::Errno::ENOENT) => e.why("it was created without NOTIFY_SOCKET"),
                _ => e,
            },
        )?;
        // Whoever the command is may say that it is ready.
        chmodat(CWD, &path, Mode::from_raw_mode(0o777), AtFlags::empty())
            .cannot(doing, "chmod(notify.sock)")?;
        Ok(Some(Notify { socket, manager }))
    }

    /// Readable when the container said something.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits until the container said that it is ready, and passes it on; or until its first process has ended.
    pub(crate) fn wait(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = [self.fd(), pidfd].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::call("wait until the container is ready", "poll", e)),
            }
            if let Some(manager) = self.pass_on(pid)? {
                return barrier(&manager);
            }
            if fds[1].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// Reads what was said; if it was that the container is ready, tells the manager, and that `pid` is to be looked at.
    pub(crate) fn pass_on(&self, pid: i32) -> Result<Option<OwnedFd>> {
        let mut buffer = [0; 4096];
        let doing = "hear whether the container is ready";
        loop {
            let size = match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((size, _)) => size,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(Error::call(doing, "recv(notify.sock)", e)),
            };
            let mut lines = buffer[..size].split(|byte| *byte == b'\n');
            if let Some(ready) = lines.find(|line| line.starts_with(b"READY=")) {
                return self.tell(&[ready, b"\n"].concat(), pid).map(Some);
            }
        }
    }

    fn tell(&self, ready: &[u8], pid: i32) -> Result<OwnedFd> {
        let doing = "tell the service manager";
        let shown = self.manager.display();
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .cannot(doing, "socket")?;
        let name = self.manager.as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name),
            None => SocketAddrUnix::new(name),
        };
        connect(&socket, &address.cannot(doing, format_args!("sockaddr_un({shown})"))?)
            .cannot(doing, format_args!("connect({shown})"))?;
        for line in [ready, format!("MAINPID={pid}\n").as_bytes()] {
            let sent =
                send(&socket, line, SendFlags::NOSIGNAL).cannot(doing, format_args!("send({shown})"))?;
            if sent != line.len() {
                return Err(Error::new(Class::Internal, doing, "it took half of what was said"));
            }
        }
        Ok(socket)
    }
}

impl chain::proxy::Beside for Notify {
    fn fd(&self) -> BorrowedFd<'_> {
        Notify::fd(self)
    }

    /// Without a word to wait for.
    fn attend(&self) -> Result<()> {
        self.pass_on(std::process::id() as i32).map(drop)
    }
}

/// Waits until the manager has read all that was said, for it asks the kernel who said it, and we are about to go. It
/// closes the pipe that comes with the message; one that does not know of that is not waited for without end.
fn barrier(manager: &OwnedFd) -> Result<()> {
    let doing = "wait for the service manager";
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
    let fds = [theirs.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let text = [IoSlice::new(b"BARRIER=1")];
    sendmsg::<()>(manager.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .cannot(doing, "sendmsg(BARRIER=1)")?;
    drop(theirs);
    match poll(&mut [PollFd::new(ours.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE)) {
        Ok(0) => crate::log::warn("the service manager did not answer BARRIER=1 in 30 s"),
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(e) => return Err(Error::call(doing, "poll", e)),
    }
    Ok(())
}
