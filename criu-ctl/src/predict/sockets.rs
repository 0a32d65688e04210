//! Sockets by their inodes, from the tables of a network namespace, and the peers of unix sockets, which sock_diag(7)
//! alone tells.

use super::Fd;
use chain::net::netlink::{self, Answer, Request, Socket};
use chain::proc;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

/// TCP_* of linux/tcp_states.h.
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// SOCK_DIAG_BY_FAMILY of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// NETLINK_SOCK_DIAG of linux/netlink.h.
const SOCK_DIAG: u32 = 4;
/// UDIAG_SHOW_PEER, and the attribute UNIX_DIAG_PEER, of linux/unix_diag.h.
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// The columns of the inode.
const PLAIN: [(&str, usize); 9] = [
    ("udp", 9),
    ("udp6", 9),
    ("udplite", 9),
    ("udplite6", 9),
    ("raw", 9),
    ("raw6", 9),
    ("icmp", 9),
    ("netlink", 9),
    ("packet", 8),
];

/// What a socket is; None: nothing that would be in the way.
pub(super) type Table = HashMap<u32, Option<Fd>>;

/// All sockets of the network namespace of a process.
pub(super) fn table(pid: i32) -> Table {
    let mut table = Table::new();
    for (name, column) in PLAIN {
        for words in lines(pid, name) {
            if let Some(inode) = words.get(column).and_then(|word| word.parse().ok()) {
                table.insert(inode, None);
            }
        }
    }
    for name in ["tcp", "tcp6"] {
        table.extend(lines(pid, name).iter().filter_map(|words| tcp(words)));
    }
    let peers = peers(pid).unwrap_or_default();
    table.extend(lines(pid, "unix").iter().filter_map(|words| unix(words, &peers)));
    table
}

fn lines(pid: i32, name: &str) -> Vec<Vec<String>> {
    let text = proc::read(&format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().skip(1).map(|line| line.split_whitespace().map(String::from).collect()).collect()
}

fn tcp(words: &[String]) -> Option<(u32, Option<Fd>)> {
    let inode = words.get(9)?.parse().ok()?;
    let ends = format!("{} to {}", end(words.get(1)?)?, end(words.get(2)?)?);
    Some((
        inode,
        match u8::from_str_radix(words.get(3)?, 16).ok()? {
            LISTEN | CLOSE => None,
            SYN_SENT | SYN_RECV => Some(Fd::Tcp { ends, in_flight: true }),
            _ => Some(Fd::Tcp { ends, in_flight: false }),
        },
    ))
}

/// `0100007F:1F90`: each four bytes of the address as a number of the machine's own order.
fn end(word: &str) -> Option<String> {
    let (address, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let quads =
        address.as_bytes().chunks(8).map(|quad| u32::from_str_radix(str::from_utf8(quad).ok()?, 16).ok());
    let bytes: Vec<u8> =
        quads.collect::<Option<Vec<_>>>()?.iter().flat_map(|quad| quad.to_ne_bytes()).collect();
    match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(v4), _) => Some(format!("{}:{port}", Ipv4Addr::from(v4))),
        (_, Ok(v6)) => Some(format!("[{}]:{port}", Ipv6Addr::from(v6))),
        _ => None,
    }
}

/// `Num RefCount Protocol Flags Type St Inode`, all but the last in hexadecimal.
fn unix(words: &[String], peers: &HashMap<u32, u32>) -> Option<(u32, Option<Fd>)> {
    /// SS_CONNECTED of linux/net.h, and SOCK_DGRAM.
    const CONNECTED: u8 = 3;
    const DATAGRAMS: u16 = 2;
    let inode = words.get(6)?.parse().ok()?;
    let datagrams = u16::from_str_radix(words.get(4)?, 16).ok()? == DATAGRAMS;
    let connected = u8::from_str_radix(words.get(5)?, 16).ok()? == CONNECTED;
    let peer = peers.get(&inode).copied();
    // One of datagrams has a peer without being called connected.
    let matters = if datagrams { peer.is_some() } else { connected };
    Some((inode, matters.then_some(Fd::Unix { inode, peer, datagrams })))
}

/// Who is connected with whom; None where this kernel does not tell.
fn peers(pid: i32) -> Option<HashMap<u32, u32>> {
    let socket = in_its_network(pid, || Socket::of(SOCK_DIAG).ok())??;
    // struct unix_diag_req: family, protocol, padding, states, inode, what to show, cookie.
    let mut body = [0; 24];
    body[0] = 1; // AF_UNIX
    body[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    body[12..16].copy_from_slice(&SHOW_PEER.to_ne_bytes());
    let answers = socket.ask(&Request::new(BY_FAMILY, netlink::DUMP, &body)).ok()?;
    // struct unix_diag_msg: family, type, state, padding, inode, cookie.
    let pair = |answer: &Answer| {
        let peer = answer.attributes(16).into_iter().find(|(kind, _)| *kind == PEER)?;
        Some((answer.number(4), netlink::number(&peer.1)))
    };
    Some(answers.iter().filter_map(pair).collect())
}

/// Does it in the network namespace of a process, and comes back.
fn in_its_network<T>(pid: i32, call: impl FnOnce() -> T) -> Option<T> {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let enter = |fd: &OwnedFd| move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network)).ok();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = open("/proc/self/ns/net", flags, Mode::empty()).ok()?;
    let its = open(format!("/proc/{pid}/ns/net"), flags, Mode::empty()).ok()?;
    if rustix::fs::fstat(&own).ok()?.st_ino == rustix::fs::fstat(&its).ok()?.st_ino {
        return Some(call());
    }
    enter(&its)?;
    let result = call();
    enter(&own)?;
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernel_s_lines_of_tcp_are_read() {
        let line = |state: &str| {
            words(&format!("0: 0100007F:1F90 0200000A:0050 {state} 0:0 0:0 0 0 0 4711 1 0 20 4 30 10 -1"))
        };
        let ends = || "127.0.0.1:8080 to 10.0.0.2:80".to_string();
        assert_eq!(tcp(&line("01")), Some((4711, Some(Fd::Tcp { ends: ends(), in_flight: false }))));
        assert_eq!(tcp(&line("02")), Some((4711, Some(Fd::Tcp { ends: ends(), in_flight: true }))));
        assert_eq!(tcp(&line("0A")), Some((4711, None)));
        assert_eq!(end("00000000000000000000000001000000:0016").unwrap(), "[::1]:22");
        assert_eq!(end("1F90"), None);
    }

    #[test]
    fn a_unix_socket_matters_when_it_is_connected() {
        let peers = HashMap::from([(9, 8)]);
        let connected = Fd::Unix { inode: 9, peer: Some(8), datagrams: false };
        let line = |kind: &str, state: &str| {
            words(&format!("0000: 00000003 00000000 00000000 {kind} {state} 9 /run/x"))
        };
        assert_eq!(unix(&line("0001", "03"), &peers), Some((9, Some(connected))));
        assert_eq!(unix(&line("0001", "01"), &peers), Some((9, None)));
        let datagrams = Fd::Unix { inode: 9, peer: Some(8), datagrams: true };
        assert_eq!(unix(&line("0002", "01"), &peers), Some((9, Some(datagrams))));
        assert_eq!(unix(&line("0002", "01"), &HashMap::new()), Some((9, None)));
    }

    #[test]
    fn the_ends_of_a_pair_know_each_other() {
        use std::os::fd::AsRawFd;
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let inode = |fd: i32| rustix::fs::stat(format!("/proc/self/fd/{fd}")).unwrap().st_ino as u32;
        let (a, b) = (inode(one.as_raw_fd()), inode(other.as_raw_fd()));
        let table = table(std::process::id() as i32);
        // Kernels without unix_diag do not tell the peer.
        let expected =
            |inode, peer| [Some(peer), None].map(|peer| Some(Fd::Unix { inode, peer, datagrams: false }));
        assert!(expected(a, b).contains(&table[&a]), "{:?}", table[&a]);
        assert!(expected(b, a).contains(&table[&b]), "{:?}", table[&b]);
    }
}
