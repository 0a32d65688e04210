//! Mounts whose ids are mapped (MOUNT_ATTR_IDMAP), and bind sources that are opened before a user namespace is entered:
//! only outside does a process have the power over the host's file systems that mapping them wants, and only there can
//! it reach folders that are closed to the user namespace's users.

use crate::bindings::{Source, Sources, Taking};
use crate::bytes::Bytes;
use crate::canary::reap;
use crate::error::{Cannot, Class, Error, Result};
use crate::given;
use crate::meet::{self, Message};
use crate::name::ToolName;
use crate::oci::{IdMapping, Mount};
use crate::proc;
use crate::spec::RootfsPrep;
use crate::state::State;
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::sys::process::{Forked, exit_now, fork};
use crate::userns::parse_map;
use nix::errno::Errno;
use nix::libc;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

/// AT_RECURSIVE of linux/fcntl.h.
const AT_RECURSIVE: i32 = 0x8000;

/// Users and groups of a mount: who they are in the file system, who they are seen as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maps {
    /// Of users.
    pub uids: Vec<IdMapping>,
    /// Of groups.
    pub gids: Vec<IdMapping>,
}

/// What is asked of the ids of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// None: as the container's are.
    pub maps: Option<Maps>,
    /// The second ids of the maps are the container's.
    pub relative: bool,
    /// Of all mounts below as well.
    pub below: bool,
}

/// User namespaces made for their maps alone, each once.
#[derive(Default)]
pub struct Spaces {
    made: Vec<(Maps, OwnedFd)>,
}

impl Spaces {
    /// The one with these maps.
    pub fn of(&mut self, maps: &Maps, doing: &str) -> Result<BorrowedFd<'_>> {
        let at = match self.made.iter().position(|(made, _)| made == maps) {
            Some(at) => at,
            None => {
                let space = make(maps, doing)?;
                self.made.push((maps.clone(), space));
                self.made.len() - 1
            }
        };
        Ok(self.made[at].1.as_fd())
    }
}

/// A user namespace that a child comes into and waits in, until its maps are written and it is opened.
fn make(maps: &Maps, doing: &str) -> Result<OwnedFd> {
    let proc = proc::private().or_else(|_| proc::host())?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .cannot(doing, "socketpair")?;
    let forked = fork(libc::CLONE_NEWUSER as u64).cannot(doing, "clone3(CLONE_NEWUSER)")?;
    let Forked::Parent(pid, _) = forked else {
        drop(ours);
        let mut end = [0; 1];
        // Its number in that procfs, which may be one of another pid namespace.
        if let Ok(own) = readlinkat(&proc, c"self", Vec::new())
            && rustix::io::write(&theirs, own.as_bytes()).is_ok()
        {
            while rustix::io::read(&theirs, &mut end) == Err(rustix::io::Errno::INTR) {}
        }
        exit_now(0)
    };
    drop(theirs);
    let made = mapped(maps, &proc, &ours, doing);
    drop(ours);
    reap(pid)?;
    made
}

fn mapped(maps: &Maps, proc: &OwnedFd, child: &OwnedFd, doing: &str) -> Result<OwnedFd> {
    let mut name = [0; 16];
    let size = rustix::io::read(child, &mut name).cannot(doing, "read(socketpair)")?;
    let name = str::from_utf8(&name[..size]).unwrap_or_default();
    if name.is_empty() {
        return Err(Error::new(Class::Internal, doing, "a child ended without a word"));
    }
    for (file, lines) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let lines = lines.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size));
        let text: String = lines.collect();
        proc::write_at(proc.as_fd(), &format!("{name}/{file}"), text.as_bytes()).map_err(|e| Error {
            doing: doing.into(),
            call: Some(format!("write({file}, {})", text.trim_end().replace('\n', ", "))),
            ..e
        })?;
    }
    let space = format!("{name}/ns/user");
    openat(proc, &space, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).cannot(doing, "open(ns/user)")
}

/// Maps the ids of a mount that is attached nowhere yet, or of it and all below.
pub fn map(mount: BorrowedFd<'_>, space: BorrowedFd<'_>, recursive: bool, doing: &str) -> Result<()> {
    let attr =
        MountAttr { attr_set: attr::IDMAP, userns_fd: space.as_raw_fd() as u64, ..MountAttr::default() };
    let flags = AtFlags::EMPTY_PATH.bits() as i32 | if recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(mount, c"", flags, &attr).cannot(doing, "mount_setattr(MOUNT_ATTR_IDMAP)").map_err(|e| {
        match e.errno() {
            Some(Errno::EINVAL) => e.class(Class::Unsupported).why("this file system has no idmapped mounts"),
            Some(Errno::ENOSYS) => e.class(Class::Unsupported).why("idmapped mounts came with Linux 5.12"),
            Some(Errno::EPERM) => e.why(
                "mapping wants CAP_SYS_ADMIN in the user namespace that the file system was mounted in; in a chain with \
                 a user namespace of its own that is so only before it is entered, from a plan",
            ),
            _ => e,
        }
    })
}

/// The same, by whoever started the chain: for a mount that is made in the user namespace itself, where nobody may map it.
pub fn map_by_runner(socket: BorrowedFd<'_>, mount: BorrowedFd<'_>, wish: &IdMap, doing: &str) -> Result<()> {
    let proc = proc::private().or_else(|_| proc::host())?;
    let read = |file: &str| proc::read_at(proc.as_fd(), file).and_then(|text| parse_map(&text));
    let (uids, gids) = (read("self/uid_map")?, read("self/gid_map")?);
    let maps = wish.on_the_host(Container::Maps(&uids, &gids), doing)?.unwrap_or_default();
    let message = Message::Map { maps, below: wish.below, what: doing.to_string() };
    meet::send(socket, &message, Some(mount))?;
    meet::wait_for_go(socket)
}

/// How a mount with `idmap` and no maps of its own is mapped: as the container is.
#[derive(Clone, Copy)]
pub enum Container<'a> {
    /// The maps that its user namespace will have.
    Maps(&'a [IdMapping], &'a [IdMapping]),
    /// Its user namespace, which is there.
    Namespace(BorrowedFd<'a>),
}

/// Opens the bind sources of the plan's rootfs-prep layer, and maps their ids where that is asked for. For the link that
/// is about to enter a user namespace. Where it may not, because it is no more privileged here than inside, the sources
/// are left to rootfs-prep, but for those to map.
pub fn open_sources(state: &mut State, container: Container<'_>) -> Result<()> {
    let done = state.receipts.len();
    let layer = state.layers.iter().skip(done).find(|l| l.tool == ToolName::RootfsPrep);
    let Some(spec) = layer.map(|l| l.spec::<RootfsPrep>()).transpose()? else { return Ok(()) };
    // As the mounts of the namespace that is made in there will be: a clone is a peer of what it was cloned from, and what
    // is mounted in it later would be mounted on the host as well.
    let propagation = match spec.rootfs_propagation.as_deref() {
        Some("slave" | "rslave" | "shared" | "rshared") => libc::MS_SLAVE,
        _ => libc::MS_PRIVATE,
    };
    let mut spaces = Spaces::default();
    let mut sources = sources_around(&spec);
    for (i, mount) in spec.mounts.iter().enumerate() {
        let Some((source, recursive)) = opened_early(mount) else { continue };
        let wish = mount.id_map(format_args!("mounts[{i}]"))?;
        let doing = format!("bind {source} on {}", mount.destination);
        let follow = !mount.options.iter().any(|o| o == "src-nofollow");
        let attr = Some(MountAttr { propagation, ..MountAttr::default() });
        let found = match given::is(source) {
            true => match given::clone(source, &doing) {
                Ok((fd, seen)) => Ok(Source::Clone(fd, seen, false)),
                Err(error) if wish.is_some() => return Err(error),
                // As below.
                Err(_) => continue,
            },
            false => sources.take(source, &Taking { recursive, follow, attr }),
        };
        let (fd, cut) = match found {
            Ok(Source::Clone(fd, _, cut)) => (fd, cut),
            // Not there yet.
            Ok(Source::Inside(_)) => continue,
            Err(error) if wish.is_some() => {
                return Err(Error::call(doing, format!("open_tree({source})"), error));
            }
            // No power over mounts here.
            Err(rustix::io::Errno::PERM) => return Ok(()),
            // rootfs-prep knows whether it may be missing, and says it in its own words.
            Err(_) => continue,
        };
        match if cut { Ok(()) } else { cut_off(fd.as_fd(), propagation) } {
            // Before Linux 5.12: as without power over mounts.
            Err(Errno::ENOSYS) if wish.is_none() => return Ok(()),
            other => other.cannot(&doing, format_args!("mount_setattr({source})"))?,
        }
        if let Some(wish) = wish {
            let space = match (wish.on_the_host(container, &doing)?, container) {
                (Some(maps), _) => spaces.of(&maps, &doing)?,
                (None, Container::Namespace(space)) => space,
                (None, Container::Maps(..)) => continue,
            };
            map(fd.as_fd(), space, wish.below, &doing)?;
        }
        state.fds.sources.push((i, fd.into_raw_fd()));
    }
    Ok(())
}

/// Source, and whether with all below, of a mount that is a plain bind.
fn opened_early(mount: &Mount) -> Option<(&Bytes, bool)> {
    let has = |name: &str| mount.options.iter().any(|o| o == name);
    let recursive = mount.bind()?;
    let source = mount.source.as_ref().filter(|s| s.0.starts_with(b"/") || given::is(s))?;
    (!has("remount") && !has("copy-symlink")).then_some((source, recursive))
}

/// Where the root cannot be looked at, rootfs-prep says so.
fn sources_around(spec: &RootfsPrep) -> Sources {
    let Some(root) = &spec.root else { return Sources::default() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, root.path.as_path(), flags, Mode::empty());
    folder.and_then(|folder| Sources::around(folder.as_fd())).unwrap_or_default()
}

fn cut_off(mount: BorrowedFd<'_>, propagation: u64) -> std::result::Result<(), Errno> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount_setattr(mount, c"", AtFlags::EMPTY_PATH.bits() as i32 | AT_RECURSIVE, &attr)
}

impl Mount {
    /// Of a bind, whether it takes along what is mounted below.
    pub fn bind(&self) -> Option<bool> {
        let last = self.options.iter().rev().find(|o| *o == "bind" || *o == "rbind");
        match last {
            Some(option) => Some(option == "rbind"),
            None => (self.kind.as_deref() == Some("bind")).then_some(false),
        }
    }

    /// What is asked of its ids; `name` is its place in the config.
    pub fn id_map(&self, name: impl Display) -> Result<Option<IdMap>> {
        let wrong = |detail: String| Error::usage(format!("mount on {}", self.destination), detail);
        let mut wish = None;
        for option in &self.options {
            let (word, value) = option.split_once('=').map_or((option.as_str(), None), |(w, v)| (w, Some(v)));
            if !matches!(word, "idmap" | "ridmap") {
                continue;
            }
            let mut asked = IdMap { below: word == "ridmap", ..IdMap::default() };
            if let Some(value) = value {
                asked.maps = Some(in_words(value, &mut asked.relative).ok_or_else(|| {
                    wrong(format!("{name}.options: '{option}' is not {word}=uids=ID-HOSTID-SIZE#…;gids=…"))
                })?);
            }
            wish = Some(asked);
        }
        match (self.uid_mappings.is_empty(), self.gid_mappings.is_empty()) {
            (true, true) => Ok(wish),
            (false, false) => {
                let maps = Maps { uids: self.uid_mappings.clone(), gids: self.gid_mappings.clone() };
                Ok(Some(IdMap { maps: Some(maps), below: wish.is_some_and(|w| w.below), relative: false }))
            }
            (no_uids, _) => {
                let missing = if no_uids { "uidMappings" } else { "gidMappings" };
                Err(wrong(format!("{name}.{missing}: missing, where the other is there")))
            }
        }
    }
}

/// `uids=0-100000-10#20-5-1;gids=…` as crun has it: id in the file system, id on the host, how many. With an `@` in
/// front the second is one of the container's.
fn in_words(text: &str, relative: &mut bool) -> Option<Maps> {
    let mut maps = Maps::default();
    for part in text.split(';').filter(|p| !p.is_empty()) {
        let (into, lines) = match part.split_once('=')? {
            ("uids", lines) => (&mut maps.uids, lines),
            ("gids", lines) => (&mut maps.gids, lines),
            _ => return None,
        };
        for line in lines.split('#') {
            *relative |= line.starts_with('@');
            let mut numbers = line.trim_start_matches('@').split('-').map(|n| n.parse().ok());
            let (container_id, host_id, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
            if numbers.next().is_some() {
                return None;
            }
            into.push(IdMapping { container_id, host_id, size });
        }
    }
    (!maps.uids.is_empty() && !maps.gids.is_empty()).then_some(maps)
}

impl IdMap {
    /// Its maps in ids of the host.
    fn on_the_host(&self, container: Container<'_>, doing: &str) -> Result<Option<Maps>> {
        let Some(maps) = &self.maps else {
            return Ok(match container {
                Container::Maps(uids, gids) => Some(Maps { uids: uids.to_vec(), gids: gids.to_vec() }),
                Container::Namespace(_) => None,
            });
        };
        if !self.relative {
            return Ok(Some(maps.clone()));
        }
        let Container::Maps(uids, gids) = container else {
            let detail =
                "ids of the container (@) want its maps, and its user namespace is one that is joined";
            return Err(Error::new(Class::Unsupported, doing, detail));
        };
        let moved = |lines: &[IdMapping], by: &[IdMapping]| -> Option<Vec<_>> {
            lines.iter().map(|m| translated(*m, by)).collect()
        };
        let wrong = || Error::usage(doing, "a range of ids (@) is not one range of the container's");
        let uids = moved(&maps.uids, uids).ok_or_else(wrong)?;
        Ok(Some(Maps { uids, gids: moved(&maps.gids, gids).ok_or_else(wrong)? }))
    }
}

/// A range whose second ids are the container's, in ids of the host.
fn translated(line: IdMapping, by: &[IdMapping]) -> Option<IdMapping> {
    let range = by.iter().find(|m| {
        let at = line.host_id.checked_sub(m.container_id);
        at.is_some_and(|at| u64::from(at) + u64::from(line.size) <= u64::from(m.size))
    })?;
    Some(IdMapping { host_id: range.host_id + (line.host_id - range.container_id), ..line })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(mount: serde_json::Value) -> Result<Option<IdMap>> {
        serde_json::from_value::<Mount>(mount).unwrap().id_map("mounts[0]")
    }

    fn line(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn maps_come_as_lists_or_in_words_or_are_the_containers() {
        assert_eq!(asked(json!({"options": ["bind"]})).unwrap(), None);
        let plain = asked(json!({"options": ["idmap", "ridmap"]})).unwrap().unwrap();
        assert_eq!(plain, IdMap { below: true, ..IdMap::default() });
        let words = asked(json!({"options": ["idmap=uids=0-1-10#10-11-10;gids=0-100-10"]})).unwrap().unwrap();
        let maps = words.maps.unwrap();
        assert_eq!((maps.uids, maps.gids), (vec![line(0, 1, 10), line(10, 11, 10)], vec![line(0, 100, 10)]));
        assert!(!words.relative && !words.below);
        let lists = json!([{"containerID": 0, "hostID": 7, "size": 1}]);
        let both = asked(json!({"options": ["ridmap"], "uidMappings": lists, "gidMappings": lists}))
            .unwrap()
            .unwrap();
        assert!(both.below && both.maps.unwrap().uids == [line(0, 7, 1)]);
        for bad in [
            "idmap=",
            "idmap=uids=0-1-1",
            "idmap=uids=0-1;gids=0-1-1",
            "idmap=uids=a-1-1;gids=0-1-1",
            "idmap=0-1-1",
        ] {
            let error = asked(json!({"options": [bad]})).unwrap_err();
            assert!(error.to_string().contains("mounts[0].options"), "{error}");
        }
        let half = asked(json!({"gidMappings": lists})).unwrap_err();
        assert!(half.to_string().contains("mounts[0].uidMappings: missing"), "{half}");
    }

    #[test]
    fn ids_of_the_container_become_the_hosts() {
        let wish = asked(json!({"options": ["idmap=uids=@0-5-10;gids=@0-0-1"]})).unwrap().unwrap();
        let (uids, gids) = ([line(0, 1000, 1), line(1, 100_000, 65536)], [line(0, 2000, 1)]);
        let maps = wish.on_the_host(Container::Maps(&uids, &gids), "x").unwrap().unwrap();
        assert_eq!((maps.uids, maps.gids), (vec![line(0, 100_004, 10)], vec![line(0, 2000, 1)]));
        assert_eq!(translated(line(0, 0, 2), &uids), None, "two ranges are not one");
        assert_eq!(translated(line(0, u32::MAX - 1, 1), &uids), None);
    }
}
