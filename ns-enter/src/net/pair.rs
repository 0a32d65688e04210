//! A pair of virtual Ethernet devices, veth(4): one end outside, one inside, with addresses, up.

use chain::net::device::{self, Address, IFLA_IFNAME, IFLA_NET_NS_FD, Link};
use chain::net::netlink::{CREATE, EXCLUSIVE, RTM_NEWLINK, Request, Socket, link_body};
use chain::{Cannot, Error, Result};
use nix::errno::Errno;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attributes of linux/if_link.h and linux/veth.h.
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// One end: its name, its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) addresses: Vec<(IpAddr, u8)>,
}

/// Two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) outside: End,
    pub(crate) inside: End,
}

/// The end outside, whose removal is that of both.
pub(crate) struct Made(Link);

impl Pair {
    /// Makes it across two namespaces: `here` is the one inside.
    pub(crate) fn make(&self, out: &Socket, inner: &Socket, here: BorrowedFd<'_>) -> Result<Made> {
        let (outside, inside) = (&self.outside.name, &self.inside.name);
        let doing = format_args!("make the pair of network devices {outside} and {inside}");
        let request = Request::link(RTM_NEWLINK, CREATE | EXCLUSIVE, 0, None)
            .name(IFLA_IFNAME, outside)
            .nest(IFLA_LINKINFO, &[], |info| {
                info.attribute(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, &[], |data| {
                    data.nest(VETH_INFO_PEER, &link_body(0, None), |peer| {
                        peer.name(IFLA_IFNAME, inside)
                            .attribute(IFLA_NET_NS_FD, &here.as_raw_fd().to_ne_bytes())
                    })
                })
            });
        device::told(out, &request, doing, "RTM_NEWLINK").map_err(|e| why_not(e, outside))?;
        let found = |socket: &Socket, name: &str| {
            let found = device::find(socket, name).cannot(doing, "netlink(RTM_GETLINK)")?;
            found.ok_or_else(|| Error::readback(name, "a device", "none"))
        };
        let made = Made(found(out, outside)?);
        let furnish = || {
            give(out, &made.0, &self.outside)?;
            give(inner, &found(inner, inside)?, &self.inside)
        };
        match furnish() {
            Ok(()) => Ok(made),
            Err(error) => {
                made.unmake(out)?;
                Err(error)
            }
        }
    }
}

impl Made {
    /// Removes both ends, unless that happened already.
    pub(crate) fn unmake(&self, out: &Socket) -> Result<()> {
        match device::remove(out, &self.0) {
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(()),
            other => other,
        }
    }
}

fn give(socket: &Socket, link: &Link, end: &End) -> Result<()> {
    let addresses: Vec<Address> =
        end.addresses.iter().map(|(ip, prefix)| Address::new(*ip, *prefix)).collect();
    device::give(socket, link, &link.name, &addresses)?;
    device::up(socket, link)
}

fn why_not(error: Error, outside: &str) -> Error {
    match error.errno() {
        Some(Errno::EEXIST) => error.why(format_args!("there is a {outside} outside already")),
        Some(Errno::EPERM) => error.why("it wants CAP_NET_ADMIN over the network namespace of the caller"),
        Some(Errno::EOPNOTSUPP) => error.why("this kernel has no veth devices"),
        _ => error,
    }
}
