//! A seccomp agent: listens on a socket, gets the listeners of filters, answers the calls they ask about.

use crate::TempDir;
use chain::sys::notify::{answer, notified};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What it was told of one process.
#[derive(Debug)]
pub struct Told {
    /// The document.
    pub document: Value,
    /// How many fds came along.
    pub fds: usize,
    /// More came on the same connection than one document.
    pub closed: bool,
}

/// No call has this number.
const LEAVES: i64 = i64::MIN;

/// An agent that refuses one call with EXDEV and lets all others take place.
#[derive(Debug)]
pub struct Agent {
    dir: TempDir,
    told: Receiver<Told>,
    asked: Receiver<i32>,
}

impl Agent {
    /// Refuses the call of this number.
    pub fn refusing(number: i64) -> Agent {
        let dir = TempDir::new();
        let socket = UnixListener::bind(dir.join("agent.sock")).expect("the socket can be made");
        let ((tell, told), (ask, asked)) = (channel(), channel());
        std::thread::spawn(move || {
            for connection in socket.incoming().flatten() {
                let (tell, ask) = (tell.clone(), ask.clone());
                std::thread::spawn(move || serve(connection, number, &tell, &ask));
            }
        });
        Agent { dir, told, asked }
    }

    /// Gives every listener back unheard: from then on what it would be asked is ENOSYS.
    pub fn that_leaves() -> Agent {
        Agent::refusing(LEAVES)
    }

    /// Its socket.
    pub fn path(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// What it is told next.
    #[track_caller]
    pub fn told(&self) -> Told {
        self.told.recv_timeout(Duration::from_secs(20)).expect("it is told of a process")
    }

    /// Whether it was told of anything it was not asked for yet.
    pub fn knows_more(&self) -> bool {
        self.told.try_recv().is_ok()
    }

    /// Whether it was asked about this call.
    pub fn was_asked(&self, number: i64) -> bool {
        self.asked.try_iter().any(|asked| i64::from(asked) == number)
    }
}

fn serve(mut connection: UnixStream, number: i64, tell: &Sender<Told>, ask: &Sender<i32>) {
    let mut buffer = [0; 65536];
    let mut space = nix::cmsg_space!([i32; 8]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let Ok(got) = recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut space), flags) else { return };
    let fds: Vec<OwnedFd> = got
        .cmsgs()
        .expect("the control message is whole")
        .flat_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds,
            _ => Vec::new(),
        })
        .map(|fd| chain::sys::fd::adopt(fd).expect("an fd that arrived"))
        .collect();
    let size = got.bytes;
    let document = serde_json::from_slice(&buffer[..size]).expect("one whole document");
    let mut more = Vec::new();
    let closed = connection.read_to_end(&mut more).is_ok() && more.is_empty();
    tell.send(Told { document, fds: fds.len(), closed }).unwrap_or(());
    let Some(listener) = fds.first().filter(|_| number != LEAVES) else { return };
    while let Ok(call) = notified(listener.as_fd()) {
        ask.send(call.number).unwrap_or(());
        let errno = (i64::from(call.number) == number).then_some(Errno::EXDEV as i32);
        // Whoever made the call may be gone by now.
        answer(listener.as_fd(), call.id, errno).unwrap_or(());
    }
}
