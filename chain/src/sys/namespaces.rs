//! Namespaces: what kind one is, the NIS domain name, the loopback interface.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// NS_GET_NSTYPE of linux/nsfs.h, Linux 4.11: the CLONE_NEW* flag of the namespace behind `fd`. ENOTTY on any other
/// file.
pub fn kind_of(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the ioctl takes no argument and returns a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into()).map(|flag| flag as i32)
}

/// NS_GET_OWNER_UID of linux/nsfs.h, Linux 4.11: who made the user namespace behind `fd`, as ours calls him.
pub fn owner_of(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the ioctl writes one uid_t, which lives across the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) }.into()).map(|_| uid)
}

/// setdomainname(2).
pub fn set_domain_name(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel copies `len` bytes.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Brings `lo` of this network namespace up; gives its flags as read back.
pub fn loopback_up() -> Result<i32, Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    // Any socket reaches the devices of its namespace, and an unbound unix one is always there.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| Errno::from_raw(e.raw_os_error()))?;
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    let flags = interface_flags(socket.as_fd(), libc::SIOCGIFFLAGS, 0)?;
    interface_flags(socket.as_fd(), libc::SIOCSIFFLAGS, flags | up)?;
    interface_flags(socket.as_fd(), libc::SIOCGIFFLAGS, 0).map(i32::from)
}

fn interface_flags(socket: BorrowedFd<'_>, request: libc::c_ulong, flags: i16) -> Result<i16, Errno> {
    let mut name = [0; libc::IFNAMSIZ];
    (name[0], name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
    let mut ifreq =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    let argument = std::ptr::from_mut(&mut ifreq);
    // SAFETY: both requests read and write one ifreq, which lives across the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request, argument) }.into())?;
    // SAFETY: both requests leave `ifru_flags`, an integer, in the union; it was initialised above as well.
    Ok(unsafe { ifreq.ifr_ifru.ifru_flags })
}
