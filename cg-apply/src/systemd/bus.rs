//! systemd's manager, asked over D-Bus: one connection, and all that need not wait for an answer sent in one write.

use super::wire::{Call, Message, Value, length, read};
use chain::{Cannot, Class, Error, Result};
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long a manager may take; one that is busy with a thousand units is slow, not dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a manager.
pub(crate) struct Bus {
    stream: UnixStream,
    /// What is said first, with the first call: on a bus, that we are there and what we listen to.
    greeting: Vec<u8>,
    serial: u32,
    place: String,
    deadline: Instant,
    buffer: Vec<u8>,
    /// Jobs that are over: id, path, unit, result.
    removed: Vec<Vec<String>>,
}

/// Where a manager listens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    socket: Socket,
    /// A bus with others on it, and not the manager itself.
    shared: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Socket {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

/// The unix socket of a bus address, as `unix:path=/run/dbus/system_bus_socket,guid=…`; of several the first.
fn socket_of(address: &str) -> Option<Socket> {
    address.split(';').find_map(|one| {
        one.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => Some(Socket::Path(unescape(path).into())),
            ("abstract", name) => Some(Socket::Abstract(unescape(name).into_bytes())),
            _ => None,
        })
    })
}

/// %20 for a space.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => out.push(char::from(byte)),
            None => return text.into(),
        }
        rest = &after[2..];
    }
    out + rest
}

/// The manager of the system for root, which has a socket of its own for root, without a bus between; else the user's.
fn places(is_root: bool, env: impl Fn(&str) -> Option<String>) -> Vec<Place> {
    let own = |path: String| Place { socket: Socket::Path(path.into()), shared: false };
    let bus = |socket| Place { socket, shared: true };
    if is_root {
        let address = env("DBUS_SYSTEM_BUS_ADDRESS").and_then(|a| socket_of(&a));
        let usual = Socket::Path("/run/dbus/system_bus_socket".into());
        return vec![own("/run/systemd/private".into()), bus(address.unwrap_or(usual))];
    }
    let folder = env("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let address = env("DBUS_SESSION_BUS_ADDRESS").and_then(|a| socket_of(&a));
    let usual = folder.as_ref().map(|dir| Socket::Path(format!("{dir}/bus").into()));
    let private = folder.map(|dir| own(format!("{dir}/systemd/private")));
    private.into_iter().chain(address.or(usual).map(bus)).collect()
}

impl Bus {
    /// Connects to the manager that this process's cgroups are in the hands of.
    pub(crate) fn connect(is_root: bool) -> Result<Bus> {
        let doing = "ask systemd";
        let places = places(is_root, |name| std::env::var(name).ok());
        let mut failed: Option<Error> = None;
        for place in places {
            match connect(&place.socket) {
                Ok(stream) => {
                    let mut bus = Bus::over(stream, &place);
                    return bus.introduce(doing).map(|()| bus);
                }
                Err(e) => {
                    failed = Err::<(), _>(e)
                        .cannot(doing, format_args!("connect({})", shown(&place.socket)))
                        .err();
                }
            }
        }
        let error = failed.unwrap_or_else(|| {
            Error::new(Class::Missing, doing, "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set")
        });
        let who = if is_root {
            "systemd is not this host's first process"
        } else {
            "the user has no systemd (systemctl --user status)"
        };
        Err(error.class(Class::Missing).why(who).cure("without systemd: --cgroup-manager cgroupfs"))
    }

    fn over(stream: UnixStream, place: &Place) -> Bus {
        let mut greeting = Vec::new();
        let mut serial = 0;
        if place.shared {
            let bus = |member, body| Call {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member,
                body,
            };
            let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved',path='{PATH}'");
            greeting.extend(bus("Hello", Vec::new()).message(1));
            greeting.extend(bus("AddMatch", vec![Value::Str(rule)]).message(2));
            serial = 2;
        }
        let deadline = Instant::now() + PATIENCE;
        Bus {
            stream,
            greeting,
            serial,
            place: shown(&place.socket),
            deadline,
            buffer: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Calls a method of the manager, and gives the strings of its answer.
    pub(crate) fn call(&mut self, doing: &str, member: &str, body: Vec<Value>) -> Result<Vec<String>> {
        self.serial += 1;
        let serial = self.serial;
        let mut bytes = std::mem::take(&mut self.greeting);
        bytes
            .extend(Call { destination: NAME, path: PATH, interface: MANAGER, member, body }.message(serial));
        let call = format!("{member}({})", self.place);
        self.stream.write_all(&bytes).cannot(doing, &call)?;
        loop {
            let message = self.next(doing, &call)?;
            match message.kind {
                // Of the greeting only a refusal is news.
                3 if message.reply_to <= serial => return Err(refused(doing, &call, message)),
                2 if message.reply_to == serial => return Ok(message.strings),
                4 if message.member == "JobRemoved" => self.removed.push(message.strings),
                _ => {}
            }
        }
    }

    /// Waits until this job is over; its result, in systemd's word.
    pub(crate) fn wait(&mut self, doing: &str, job: &str) -> Result<String> {
        let call = format!("JobRemoved({})", self.place);
        loop {
            for removed in self.removed.drain(..) {
                if let [path, _, result] = removed.as_slice()
                    && path == job
                {
                    return Ok(result.clone());
                }
            }
            let message = self.next(doing, &call)?;
            if message.kind == 4 && message.member == "JobRemoved" {
                self.removed.push(message.strings);
            }
        }
    }

    fn next(&mut self, doing: &str, call: &str) -> Result<Message> {
        let head = self.take(16, doing, call)?;
        let broken =
            || Error::new(Class::Internal, doing, format_args!("{call}: the answer is no D-Bus message"));
        let length = length(&head).ok_or_else(broken)?;
        let rest = self.take(length - 16, doing, call)?;
        read(&[head, rest].concat()).ok_or_else(broken)
    }

    /// Says who we are, and waits until it is believed: a manager that got a call with the same read would not look at it
    /// before there is more to read. Without a name the peer takes the one that the kernel says, which in a user namespace
    /// is another than ours. The answer is `DATA`, then `OK` and the bus's number.
    fn introduce(&mut self, doing: &str) -> Result<()> {
        let call = format!("AUTH({})", self.place);
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").cannot(doing, &call)?;
        for word in ["DATA", "OK"] {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && line.len() < 512 {
                line.extend(self.take(1, doing, &call)?);
            }
            if !line.starts_with(word.as_bytes()) {
                let said = String::from_utf8_lossy(&line).trim().to_string();
                return Err(Error::new(Class::Denied, doing, format_args!("{call}: {said}"))
                    .why("the bus does not take this user"));
            }
        }
        Ok(())
    }

    /// So many bytes, in time.
    fn take(&mut self, count: usize, doing: &str, call: &str) -> Result<Vec<u8>> {
        while self.buffer.len() < count {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::call(doing, call, nix::errno::Errno::ETIMEDOUT)
                    .why(format_args!("no answer within {} s", PATIENCE.as_secs())));
            }
            self.stream.set_read_timeout(Some(left)).cannot(doing, call)?;
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => {
                    return Err(Error::new(Class::Internal, doing, format_args!("{call}: it hung up")));
                }
                Ok(size) => self.buffer.extend(&part[..size]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e).cannot(doing, call),
            }
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }
}

/// What the error was called, for those who go on in another way.
pub(crate) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

fn refused(doing: &str, call: &str, message: Message) -> Error {
    let text = message.strings.into_iter().next().unwrap_or_default();
    let class = match message.error.as_str() {
        UNIT_EXISTS => Class::Conflict,
        name if name.ends_with(".NoSuchUnit") => Class::Missing,
        name if name.ends_with("AccessDenied") || name.ends_with("InteractiveAuthorizationRequired") => {
            Class::Denied
        }
        name if name.ends_with("InvalidArgs") || name.ends_with("PropertyReadOnly") => Class::Usage,
        _ => Class::Internal,
    };
    Error::new(class, doing, format_args!("{call}: {text} ({})", message.error))
}

fn connect(socket: &Socket) -> std::io::Result<UnixStream> {
    match socket {
        Socket::Path(path) => UnixStream::connect(path),
        Socket::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
    }
}

fn shown(socket: &Socket) -> String {
    match socket {
        Socket::Path(path) => path.display().to_string(),
        Socket::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string())
    }

    #[test]
    fn where_a_manager_is_looked_for() {
        let shown = |places: Vec<Place>| places.iter().map(|p| shown(&p.socket)).collect::<Vec<_>>();
        assert_eq!(shown(places(true, env(&[]))), ["/run/systemd/private", "/run/dbus/system_bus_socket"]);
        assert_eq!(shown(places(false, env(&[]))), [""; 0]);
        let user = [("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(shown(places(false, env(&user))), ["/run/user/7/systemd/private", "/run/user/7/bus"]);
        let named = [("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/a%20b,guid=1")];
        assert_eq!(shown(places(false, env(&named))), ["@/a b"]);
        let other = [("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x;unix:path=/b")];
        assert_eq!(shown(places(true, env(&other)))[1], "/b");
    }
}
