//! netlink(7), and of rtnetlink(7) as much as moving a device, and making a pair of them, takes.

use nix::errno::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// RTM_NEWLINK of linux/rtnetlink.h: make or change a device.
pub const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_GETADDR: u16 = 22;

/// Flags of a request, linux/netlink.h. NLM_F_DUMP: all there are.
pub const DUMP: u16 = 0x300;
/// NLM_F_EXCL: it must not be there yet.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE: it may be made.
pub const CREATE: u16 = 0x400;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
/// The table changed while it was listed.
const INTERRUPTED: u16 = 0x10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// The two upper bits of an attribute's type say how it is encoded.
const TYPE: u16 = 0x3fff;
/// The kernel writes a listing in pieces of at most 32 KiB.
const BUFFER: usize = 64 << 10;

/// One attribute: type, value.
pub type Attribute = (u16, Vec<u8>);

/// A request being written.
pub struct Request(Vec<u8>);

impl Request {
    /// `kind` with `flags` beside the usual ones, and the message's own header.
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Request {
        let flags = flags | REQUEST | if flags & DUMP == DUMP { 0 } else { ACK };
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend(body);
        Request(bytes)
    }

    /// A `struct ifinfomsg`: device `index`, and its state if that is to change.
    pub fn link(kind: u16, flags: u16, index: i32, up: Option<bool>) -> Request {
        Request::new(kind, flags, &link_body(index, up))
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a name.
    pub fn name(self, kind: u16, name: &str) -> Request {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value)
    }

    /// Adds an attribute made of attributes, behind `body`.
    pub fn nest(mut self, kind: u16, body: &[u8], inner: impl FnOnce(Request) -> Request) -> Request {
        let start = self.0.len();
        self = self.attribute(kind, body);
        self = inner(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// `struct ifinfomsg`.
pub fn link_body(index: i32, up: Option<bool>) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        body[8] = u8::from(up);
        body[12] = libc::IFF_UP as u8;
    }
    body
}

/// One message of an answer, behind its header.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// A byte of the message's own header.
    pub fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// A number of the message's own header.
    pub fn number(&self, at: usize) -> u32 {
        number(self.0.get(at..).unwrap_or(&[]))
    }

    /// The attributes behind a header of `size` bytes.
    pub fn attributes(&self, size: usize) -> Vec<Attribute> {
        let mut rest = self.0.get(size..).unwrap_or(&[]);
        let mut found = Vec::new();
        while let Some((kind, value, length)) = attribute(rest) {
            found.push((kind, value.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        found
    }
}

fn attribute(rest: &[u8]) -> Option<(u16, &[u8], usize)> {
    let length = usize::from(short(rest.get(..2)?));
    Some((short(rest.get(2..4)?) & TYPE, rest.get(4..length)?, length))
}

fn short(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

/// The first four bytes as a number; 0 where there are fewer.
pub fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_ne_bytes(*four))
}

/// A socket: it stays in the network namespace that it was opened in.
pub struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// To the network namespace we are in.
    pub fn open() -> Result<Socket, Errno> {
        // NETLINK_ROUTE.
        Socket::of(0)
    }

    /// The same, of another protocol of netlink(7).
    pub fn of(protocol: u32) -> Result<Socket, Errno> {
        let protocol = NonZero::new(protocol).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol);
        socket.map(Socket).map_err(errno)
    }

    /// Asks, and gives what comes back.
    pub fn ask(&self, request: &Request) -> Result<Vec<Answer>, Errno> {
        // A listing that was cut across by a change is asked for again; on a machine where devices come and go all the
        // time it may never be whole, and then that is the answer.
        for _ in 0..10 {
            match self.ask_once(request)? {
                Some(answers) => return Ok(answers),
                None => continue,
            }
        }
        Err(Errno::EINTR)
    }

    fn ask_once(&self, request: &Request) -> Result<Option<Vec<Answer>>, Errno> {
        let mut bytes = request.0.clone();
        let length = bytes.len() as u32;
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        send(&self.0, &bytes, SendFlags::empty()).map_err(errno)?;
        let (mut answers, mut whole) = (Vec::new(), true);
        let mut buffer = vec![0; BUFFER];
        loop {
            let (_, length) = match recv(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(errno)?,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
            while rest.len() >= HEADER {
                let length = number(rest) as usize;
                let message = rest.get(HEADER..length).ok_or(Errno::EBADMSG)?;
                whole &= short(&rest[6..8]) & INTERRUPTED == 0;
                match short(&rest[4..6]) {
                    NLMSG_ERROR if number(message) == 0 => return Ok(whole.then_some(answers)),
                    NLMSG_ERROR => return Err(Errno::from_raw((number(message) as i32).wrapping_neg())),
                    NLMSG_DONE => return Ok(whole.then_some(answers)),
                    _ => answers.push(Answer(message.to_vec())),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request::link(RTM_NEWLINK, 0, 7, Some(true)).name(3, "eth0").nest(18, &[], |inner| {
            inner.name(1, "veth").nest(2, &link_body(0, None), |peer| peer.name(3, "x"))
        });
        let answer = Answer(request.0[HEADER..].to_vec());
        assert_eq!((answer.number(4), answer.byte(8), answer.byte(12)), (7, 1, 1));
        let attributes = answer.attributes(16);
        assert_eq!(attributes[0], (3, b"eth0\0".to_vec()));
        assert_eq!(attributes[1].0, 18);
        let inner = Answer(attributes[1].1.clone()).attributes(0);
        assert_eq!(inner[0], (1, b"veth\0".to_vec()));
        assert_eq!(Answer(inner[1].1.clone()).attributes(16), [(3, b"x\0".to_vec())]);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        for bytes in [&[9, 0, 3, 0, 1][..], &[3, 0, 3, 0], &[4, 0], &[0, 0, 0, 0, 0, 0]] {
            assert!(Answer(bytes.to_vec()).attributes(0).is_empty(), "{bytes:?}");
        }
        assert_eq!(Answer(vec![4, 0, 3, 0x80]).attributes(0), [(3, Vec::new())]);
    }

    #[test]
    fn the_kernel_answers() {
        let socket = Socket::open().unwrap();
        let all = socket.ask(&Request::link(RTM_GETLINK, DUMP, 0, None)).unwrap();
        assert!(all.iter().any(|link| link.attributes(16).contains(&(3, b"lo\0".to_vec()))));
        let none = Request::link(RTM_GETLINK, 0, 0, None).name(3, "no-such-device");
        assert_eq!(socket.ask(&none).unwrap_err(), Errno::ENODEV);
    }
}
