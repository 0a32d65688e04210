//! One device: found, moved, named, its addresses written again, and up.

use super::netlink::{
    Attribute, CREATE, DUMP, EXCLUSIVE, RTM_DELLINK, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK,
    Request, Socket, number,
};
use crate::error::{Error, Result};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// IFLA_IFNAME of linux/if_link.h: its name.
pub const IFLA_IFNAME: u16 = 3;
/// IFLA_NET_NS_FD: the namespace it goes to.
pub const IFLA_NET_NS_FD: u16 = 28;
/// IFLA_ADDRESS, IFLA_MTU.
const KEPT: [u16; 2] = [1, 4];

/// Attributes of an address, linux/if_addr.h.
pub(crate) const IFA_ADDRESS: u16 = 1;
pub(crate) const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
pub(crate) const IFA_FLAGS: u16 = 8;

const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_DEPRECATED: u32 = 0x20;
const RT_SCOPE_UNIVERSE: u8 = 0;
/// `struct ifaddrmsg`.
const ADDRESS_BODY: usize = 8;
/// `struct ifinfomsg`.
const LINK_BODY: usize = 16;

/// A device as it is.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// IFF_UP.
    pub up: bool,
    /// Its hardware address and its MTU, which whoever has it inside may change.
    kept: Vec<Attribute>,
}

/// An address with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    attributes: Vec<Attribute>,
}

impl Address {
    /// A plain one. One of version 6 is not looked for on the network first: it would not answer for a second.
    pub fn new(ip: std::net::IpAddr, prefix: u8) -> Address {
        const IFA_F_NODAD: u32 = 0x02;
        let (family, bytes, flags) = match ip {
            std::net::IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec(), IFA_F_PERMANENT),
            // The kernel tells of a local address only where it is another than that of the peer.
            std::net::IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec(), IFA_F_PERMANENT | IFA_F_NODAD),
        };
        let mut attributes = vec![(IFA_ADDRESS, bytes.clone()), (IFA_FLAGS, flags.to_ne_bytes().to_vec())];
        if ip.is_ipv4() {
            attributes.push((IFA_LOCAL, bytes));
        }
        Address { family: family as u8, prefix, scope: RT_SCOPE_UNIVERSE, attributes }
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| *k == kind).map(|(_, value)| value.as_slice())
    }

    fn flags(&self) -> u32 {
        self.attribute(IFA_FLAGS).map_or(0, number)
    }

    /// The specification's: those that somebody gave the device for good, and that mean something elsewhere.
    fn is_to_be_kept(&self) -> bool {
        self.flags() & IFA_F_PERMANENT != 0 && self.scope == RT_SCOPE_UNIVERSE
    }

    /// Not to be used for new connections any more: preferred for no time.
    fn is_deprecated(&self) -> bool {
        self.flags() & IFA_F_DEPRECATED != 0
    }

    /// What the kernel takes to make it: of a permanent one it tells lifetimes without end, and a flag.
    fn written(&self) -> Vec<Attribute> {
        let mut attributes = self.attributes.clone();
        attributes.retain(|(kind, _)| *kind != IFA_CACHEINFO);
        if self.is_deprecated() {
            // `struct ifa_cacheinfo`: preferred, valid, made, changed.
            let info = [0, u32::MAX, 0, 0].map(u32::to_ne_bytes).concat();
            attributes.push((IFA_CACHEINFO, info));
        }
        attributes
    }

    /// IPv4 labels begin with the device's name, and go with it: `eth0:web`.
    fn renamed(mut self, from: &str, to: &str) -> Address {
        for (_, value) in self.attributes.iter_mut().filter(|(kind, _)| *kind == IFA_LABEL) {
            let rest =
                value.strip_prefix(from.as_bytes()).filter(|r| r.starts_with(b":") || r.starts_with(b"\0"));
            // The kernel's own rule when a device is renamed: 15 bytes and the NUL.
            if let Some(label) = rest.map(|rest| [to.as_bytes(), rest].concat()) {
                *value = if label.len() <= 16 { label } else { [to.as_bytes(), b"\0"].concat() };
            }
        }
        self
    }

    /// What was written and what is found are one address. Flags that the kernel raises by itself, and the moments it
    /// notes, differ.
    fn same(&self, found: &Address) -> bool {
        const NOTED: [u16; 2] = [IFA_FLAGS, IFA_CACHEINFO];
        let kept = |(kind, value): &Attribute| NOTED.contains(kind) || found.attribute(*kind) == Some(value);
        (self.family, self.prefix, self.scope) == (found.family, found.prefix, found.scope)
            && self.attributes.iter().all(kept)
            && self.is_deprecated() == found.is_deprecated()
    }

    fn shown(&self) -> String {
        let bytes = self.attribute(IFA_LOCAL).or_else(|| self.attribute(IFA_ADDRESS)).unwrap_or(&[]);
        let ip = match (bytes.first_chunk::<4>(), bytes.first_chunk::<16>()) {
            (_, Some(bytes)) => std::net::IpAddr::from(*bytes).to_string(),
            (Some(bytes), None) => std::net::IpAddr::from(*bytes).to_string(),
            (None, None) => "an address".into(),
        };
        format!("{ip}/{}", self.prefix)
    }
}

/// The device of that name, if there is one.
pub fn find(socket: &Socket, name: &str) -> std::result::Result<Option<Link>, Errno> {
    let request = Request::link(RTM_GETLINK, 0, 0, None).name(IFLA_IFNAME, name);
    match socket.ask(&request) {
        Ok(answers) => Ok(answers.first().map(link)),
        Err(Errno::ENODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The device of that number.
pub fn by_index(socket: &Socket, index: i32) -> std::result::Result<Link, Errno> {
    let answers = socket.ask(&Request::link(RTM_GETLINK, 0, index, None))?;
    answers.first().map(link).ok_or(Errno::ENODEV)
}

fn link(answer: &super::netlink::Answer) -> Link {
    let attributes = answer.attributes(LINK_BODY);
    let name = attributes.iter().find(|(kind, _)| *kind == IFLA_IFNAME).cloned();
    let name = name.map_or_else(Vec::new, |(_, mut name)| {
        name.pop();
        name
    });
    Link {
        index: answer.number(4) as i32,
        name: String::from_utf8_lossy(&name).into_owned(),
        up: answer.number(8) & libc::IFF_UP as u32 != 0,
        kept: attributes.into_iter().filter(|(kind, _)| KEPT.contains(kind)).collect(),
    }
}

/// The addresses of device `index` that go with it.
pub fn addresses(socket: &Socket, index: i32) -> std::result::Result<Vec<Address>, Errno> {
    let answers = socket.ask(&Request::new(RTM_GETADDR, DUMP, &[0; ADDRESS_BODY]))?;
    let own = answers.into_iter().filter(|a| a.number(4) as i32 == index);
    let all = own.map(|a| {
        let mut attributes = a.attributes(ADDRESS_BODY);
        if !attributes.iter().any(|(kind, _)| *kind == IFA_FLAGS) {
            // The first eight flags have a place of their own, of old.
            attributes.push((IFA_FLAGS, u32::from(a.byte(2)).to_ne_bytes().to_vec()));
        }
        Address { family: a.byte(0), prefix: a.byte(1), scope: a.byte(3), attributes }
    });
    Ok(all.filter(Address::is_to_be_kept).collect())
}

/// Moves a device to another namespace, under this name: both at once, or neither.
pub fn send(socket: &Socket, link: &Link, to: BorrowedFd<'_>, name: &str) -> Result<()> {
    let request = Request::link(RTM_NEWLINK, 0, link.index, None)
        .attribute(IFLA_NET_NS_FD, &to.as_raw_fd().to_ne_bytes())
        .name(IFLA_IFNAME, name);
    told(socket, &request, format_args!("move the network device {}", link.name), "RTM_NEWLINK")
}

/// Gives device `index` a name, which may be a template; the name it got.
pub fn rename(socket: &Socket, index: i32, name: &str) -> Result<String> {
    let doing = format_args!("call the network device {name}");
    let request = Request::link(RTM_NEWLINK, 0, index, None).name(IFLA_IFNAME, name);
    told(socket, &request, doing, "RTM_NEWLINK")?;
    let found = by_index(socket, index).map_err(|e| Error::call(doing, "netlink(RTM_GETLINK)", e))?.name;
    if fits(name, &found) {
        Ok(found)
    } else {
        Err(Error::readback("the name of the network device", name, found))
    }
}

/// Is `found` what a template, or a plain name, asks for?
pub fn fits(name: &str, found: &str) -> bool {
    match name.split_once("%d") {
        None => name == found,
        Some((head, tail)) => {
            let middle = found.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
            middle.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

/// Writes `wanted`, of a device that was called `from`, to `link`, and reads them back.
pub fn give(socket: &Socket, link: &Link, from: &str, wanted: &[Address]) -> Result<()> {
    let wanted: Vec<Address> = wanted.iter().map(|a| a.clone().renamed(from, &link.name)).collect();
    for address in &wanted {
        let mut body = [address.family, address.prefix, address.flags() as u8, address.scope, 0, 0, 0, 0];
        body[4..].copy_from_slice(&link.index.to_ne_bytes());
        let request = Request::new(RTM_NEWADDR, CREATE | EXCLUSIVE, &body);
        let request = address.written().iter().fold(request, |r, (kind, value)| r.attribute(*kind, value));
        let doing = format_args!("give {} the address {}", link.name, address.shown());
        told(socket, &request, doing, "RTM_NEWADDR")?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let doing = format_args!("prove the addresses of {}", link.name);
    let found = addresses(socket, link.index).map_err(|e| Error::call(doing, "netlink(RTM_GETADDR)", e))?;
    match wanted.iter().find(|wanted| !found.iter().any(|found| wanted.same(found))) {
        Some(lost) => {
            let found = found.iter().map(Address::shown).collect::<Vec<_>>().join(" ");
            Err(Error::readback(format_args!("an address of {}", link.name), lost.shown(), found))
        }
        None => Ok(()),
    }
}

/// Brings device `link` up, and looks.
pub fn up(socket: &Socket, link: &Link) -> Result<()> {
    let doing = format_args!("bring {} up", link.name);
    told(socket, &Request::link(RTM_NEWLINK, 0, link.index, Some(true)), doing, "RTM_NEWLINK")?;
    let found = by_index(socket, link.index).map_err(|e| Error::call(doing, "netlink(RTM_GETLINK)", e))?;
    if found.up { Ok(()) } else { Err(Error::readback(&link.name, "up", "down")) }
}

/// Gives `link` the hardware address and the MTU that it had as `before`, where they are others now.
pub fn restore(socket: &Socket, link: &Link, before: &Link) -> Result<()> {
    for (kind, value) in before.kept.iter().filter(|kept| !link.kept.contains(kept)) {
        let request = Request::link(RTM_NEWLINK, 0, link.index, None).attribute(*kind, value);
        told(socket, &request, format_args!("restore the network device {}", link.name), "RTM_NEWLINK")?;
    }
    Ok(())
}

/// Removes a device, and its peer with it.
pub fn remove(socket: &Socket, link: &Link) -> Result<()> {
    let doing = format_args!("remove the network device {}", link.name);
    told(socket, &Request::link(RTM_DELLINK, 0, link.index, None), doing, "RTM_DELLINK")
}

/// Asks for a change.
pub fn told(socket: &Socket, request: &Request, doing: impl std::fmt::Display, what: &str) -> Result<()> {
    socket.ask(request).map(drop).map_err(|e| Error::call(doing, format_args!("netlink({what})"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_told_from_a_name() {
        for (name, found, is) in [
            ("eth%d", "eth0", true),
            ("eth%d", "eth12", true),
            ("e%dx", "e3x", true),
            ("eth%d", "eth", false),
            ("eth%d", "eth%d", false),
            ("eth%d", "ethx", false),
            ("eth0", "eth0", true),
            ("eth0", "eth1", false),
        ] {
            assert_eq!(fits(name, found), is, "{name} {found}");
        }
    }

    #[test]
    fn a_label_goes_with_the_name_of_its_device() {
        let label = |text: &[u8], from: &str, to: &str| {
            let address =
                Address { family: 2, prefix: 8, scope: 0, attributes: vec![(IFA_LABEL, text.to_vec())] };
            let value = address.renamed(from, to).attributes[0].1.clone();
            String::from_utf8(value).unwrap()
        };
        assert_eq!(label(b"eth0\0", "eth0", "box0"), "box0\0");
        assert_eq!(label(b"eth0:web\0", "eth0", "box0"), "box0:web\0");
        assert_eq!(label(b"eth01\0", "eth0", "box0"), "eth01\0");
        assert_eq!(label(b"eth0:a-long-one\0", "eth0", "much-longer-one"), "much-longer-one\0");
    }

    #[test]
    fn an_address_is_known_again() {
        let one = Address::new("10.0.0.1".parse().unwrap(), 24);
        let mut found = one.clone();
        found.attributes.push((4, vec![10, 0, 0, 255]));
        assert!(one.same(&found) && !found.same(&one));
        assert!(!one.same(&Address::new("10.0.0.1".parse().unwrap(), 16)));
        assert_eq!(one.shown(), "10.0.0.1/24");
        assert_eq!(Address::new("fd00::1".parse().unwrap(), 64).shown(), "fd00::1/64");
    }
}
