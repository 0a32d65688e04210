//! Network devices that move from one network namespace to another, with all that is theirs, and back.

pub mod device;
pub mod netlink;

use crate::error::{Cannot, Class, Error, Result};
use device::{Address, Link};
use netlink::Socket;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// One device to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its name outside.
    pub from: String,
    /// Its name inside, or the template of one.
    pub to: String,
}

/// The network namespace we come from, and what is to leave it, as it was found.
pub struct Outside {
    /// In it.
    pub socket: Socket,
    home: OwnedFd,
    devices: Vec<(Move, Link, Vec<Address>)>,
    warn: fn(String),
}

/// Looks for all of them, while we are still outside. `proc` shows this process; `warn` is told what is no error.
pub fn look(wanted: &[Move], proc: BorrowedFd<'_>, warn: fn(String)) -> Result<Outside> {
    let socket = Socket::open().cannot("look for network devices", "socket(AF_NETLINK)")?;
    let one = |asked: &Move| {
        let doing = format_args!("move the network device {}", asked.from);
        let found = device::find(&socket, &asked.from).cannot(doing, "netlink(RTM_GETLINK)")?;
        let link = found.ok_or_else(|| {
            Error::new(
                Class::Missing,
                doing,
                "there is no such device in the network namespace of the caller",
            )
        })?;
        let addresses = device::addresses(&socket, link.index).cannot(doing, "netlink(RTM_GETADDR)")?;
        Ok((asked.clone(), link, addresses))
    };
    let devices = wanted.iter().map(one).collect::<Result<_>>()?;
    Ok(Outside { home: here(proc)?, socket, devices, warn })
}

/// The network namespace we are in. `proc` shows this process.
pub fn here(proc: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(proc, "self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot("remember a network namespace", "open(/proc/self/ns/net)")
}

/// The same devices, where they went.
pub struct Inside {
    /// In there.
    pub socket: Socket,
    /// Where they come from.
    pub outside: Outside,
    /// As many of `outside.devices` as were moved, from the first on, as they are inside.
    moved: Vec<Link>,
}

impl Outside {
    /// Moves all of it to the network namespace `to`, which we are in by now. Nothing of it stays behind where it must
    /// not: a device that was moved for a command that does not run would end with its new namespace.
    pub fn enter(self, to: BorrowedFd<'_>) -> Result<Inside> {
        let socket = Socket::open().cannot("look for network devices", "socket(AF_NETLINK)")?;
        self.fill(socket, to)
    }

    /// The same from outside, for somebody who has no power over this namespace any more, as in a user namespace.
    pub fn send(self, to: BorrowedFd<'_>) -> Result<Inside> {
        let doing = "look into a network namespace";
        let go =
            |to: BorrowedFd<'_>| setns(to, CloneFlags::CLONE_NEWNET).cannot(doing, "setns(CLONE_NEWNET)");
        go(to)?;
        // A socket stays where it was opened; we do not, whatever became of it.
        let socket = Socket::open().cannot(doing, "socket(AF_NETLINK)");
        go(self.home.as_fd())?;
        self.fill(socket?, to)
    }

    fn fill(self, socket: Socket, to: BorrowedFd<'_>) -> Result<Inside> {
        let mut inside = Inside { socket, outside: self, moved: Vec::new() };
        let all = 0..inside.outside.devices.len();
        match all.into_iter().try_for_each(|number| inside.fetch(number, to)) {
            Ok(()) => Ok(inside),
            Err(error) => {
                if let Err(also) = inside.give_back() {
                    (inside.outside.warn)(also.to_string());
                }
                Err(error)
            }
        }
    }
}

impl Inside {
    fn fetch(&mut self, number: usize, here: BorrowedFd<'_>) -> Result<()> {
        let (asked, link, addresses) = &self.outside.devices[number];
        let doing = format_args!("move the network device {}", asked.from);
        let taken = device::find(&self.socket, &asked.to).cannot(doing, "netlink(RTM_GETLINK)")?;
        if taken.is_some() {
            let detail = format!("there is a {} in the namespace already", asked.to);
            return Err(Error::new(Class::Conflict, doing, detail).cure("a template as a name, as eth%d"));
        }
        // Its number may be another one in there, and nothing says which. So it comes under a name of ours, whose number
        // can be asked for, and gets the one that was asked for then: a template is filled in by the kernel.
        let passing = passing_name(number);
        device::send(&self.outside.socket, link, here, &passing).map_err(|e| why_not(e, link))?;
        let found = device::find(&self.socket, &passing).cannot(doing, "netlink(RTM_GETLINK)")?;
        let mut new = found.ok_or_else(|| Error::readback(&asked.from, "a device inside", "none"))?;
        self.moved.push(new.clone());
        new.name = device::rename(&self.socket, new.index, &asked.to)?;
        self.moved[number] = new.clone();
        device::give(&self.socket, &new, &link.name, addresses)?;
        device::up(&self.socket, &new)
    }

    /// Moves them back, under the names they had, with their addresses, and up if they were. What is gone by then is
    /// told.
    pub fn give_back(&self) -> Result<()> {
        let devices = self.moved.iter().zip(&self.outside.devices);
        // Each, whatever becomes of the others.
        let results: Vec<Result<()>> =
            devices.map(|(now, (_, before, addresses))| self.return_one(now, before, addresses)).collect();
        results.into_iter().collect()
    }

    fn return_one(&self, now: &Link, before: &Link, addresses: &[Address]) -> Result<()> {
        let doing = format!("give the network device {} back", before.name);
        let now = match device::by_index(&self.socket, now.index) {
            Err(Errno::ENODEV) => {
                (self.outside.warn)(format!("the network device {} is gone", before.name));
                return Ok(());
            }
            other => other.cannot(&doing, "netlink(RTM_GETLINK)")?,
        };
        device::send(&self.socket, &now, self.outside.home.as_fd(), &before.name)
            .map_err(|e| Error { doing: doing.clone(), ..e })?;
        let socket = &self.outside.socket;
        let found = device::find(socket, &before.name).cannot(&doing, "netlink(RTM_GETLINK)")?;
        let link = found.ok_or_else(|| Error::readback(&before.name, "a device outside", "none"))?;
        device::restore(socket, &link, before)?;
        device::give(socket, &link, &before.name, addresses)?;
        if before.up { device::up(socket, &link) } else { Ok(()) }
    }

    /// For the receipt: the names outside and inside.
    pub fn told(&self) -> Value {
        let pairs = self.moved.iter().zip(&self.outside.devices);
        let devices: Vec<[&String; 2]> =
            pairs.map(|(now, (_, before, _))| [&before.name, &now.name]).collect();
        json!(devices)
    }

    /// What has to stay open for [`Inside::give_back`].
    pub fn fds(&self) -> [RawFd; 3] {
        [
            self.socket.as_fd().as_raw_fd(),
            self.outside.socket.as_fd().as_raw_fd(),
            self.outside.home.as_raw_fd(),
        ]
    }
}

/// A name that nobody else chooses: 15 bytes are all that fits.
fn passing_name(number: usize) -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("~{:x}-{number:x}", (now.tv_sec as u64 & 0xf_ffff) << 16 | now.tv_nsec as u64 >> 14)
}

fn why_not(error: Error, link: &Link) -> Error {
    match error.errno() {
        Some(Errno::EPERM) => {
            error.why("it wants CAP_NET_ADMIN over the namespace it leaves, and over the one it goes to")
        }
        Some(Errno::EINVAL) => error.why(format_args!(
            "{} is bound to its namespace, as lo is, and some bridges and tunnels",
            link.name
        )),
        _ => error,
    }
}
