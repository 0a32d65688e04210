//! The state: the plan, plus what each link did, travelling from link to link in a sealed memfd.
//!
//! `CATENA_STATE=fd:N:INODE` names it; the inode guards against a number that means another fd by now. It is never in
//! argv and never in a file. It is advisory: whoever starts a chain can forge it, so no privilege follows from it and
//! order checks read the kernel.

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::hook::ChainHooks;
use crate::landing::Landing;
use crate::name::ToolName;
use crate::oci::NamespaceKind;
use crate::plan::{BUILD, CATENA, Layer};
use crate::sys;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The variable that names the state.
pub const ENV: &str = "CATENA_STATE";

/// What one link did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Who.
    pub tool: ToolName,
    /// Its spec; told to `--status-fd`, then stripped, for later links need not know host paths.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub asked: Value,
    /// What it did, in the kernel's words.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub applied: Value,
    /// The kernel's state was read back and agrees. The landing refuses a chain with an unverified receipt.
    pub verified: bool,
    /// Left out or done by halves, because `--try` allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Namespaces this link made or joined, by inode.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ns: BTreeMap<NamespaceKind, u64>,
}

impl Receipt {
    /// A receipt of `applied`, read back and found equal.
    pub fn verified(tool: ToolName, applied: Value) -> Receipt {
        Receipt {
            tool,
            asked: Value::Null,
            applied,
            verified: true,
            degraded: Vec::new(),
            ns: BTreeMap::new(),
        }
    }
}

/// Fds that travel with the state, by number. Between links they are inherited; inside a link they are close-on-exec.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fds {
    /// Later links, on a detached read-only mount.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<ToolName, RawFd>,
    /// Files that later links name, opened before the first link acted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(Bytes, RawFd)>,
    /// Bind sources of rootfs-prep's layer, by their place in its mounts, opened before a user namespace was entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<(usize, RawFd)>,
    /// `--status-fd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RawFd>,
    /// The socket on which `runner` meets the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meet: Option<RawFd>,
    /// Listening socket of the start gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<RawFd>,
    /// `--block-fd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<RawFd>,
    /// The compiled filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<RawFd>,
    /// A memfd that `runner` reads later: seccomp-load writes what it made there, to be [kept](crate::filters).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<RawFd>,
    /// A connection to the agent that is to have the listener of the filter, where no `runner` hands it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<RawFd>,
    /// A socket to whoever keeps something that is taken back if the chain fails: the landing says there that it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<RawFd>,
    /// The command's terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<RawFd>,
    /// pidfd of the supervisor, whose death is the chain's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<RawFd>,
    /// pidfd of the process whose namespaces and cgroup are joined, where whoever started the chain has proven its pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<RawFd>,
    /// Files of the cgroup that the command alone enters, one for each hierarchy: the landing writes itself into them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<RawFd>,
    /// Fds the command is to have besides 0, 1 and 2.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<RawFd>,
}

impl Fds {
    /// The chain's own: not given by the user, not for the command.
    pub fn own(&self) -> impl Iterator<Item = RawFd> {
        let single = [
            self.meet,
            self.gate,
            self.filter,
            self.compiled,
            self.agent,
            self.witness,
            self.terminal,
            self.parent,
            self.process,
        ];
        let files = self.files.iter().map(|(_, fd)| *fd);
        let sources = self.sources.iter().map(|(_, fd)| *fd);
        let groups = self.groups.iter().copied();
        self.tools
            .values()
            .copied()
            .chain(files)
            .chain(sources)
            .chain(groups)
            .chain(single.into_iter().flatten())
    }

    /// Every number in it.
    pub fn all(&self) -> impl Iterator<Item = RawFd> {
        self.own().chain(self.status).chain(self.block).chain(self.keep.iter().copied())
    }
}

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`CATENA`].
    pub catena: u32,
    /// [`BUILD`].
    pub build: String,
    /// Layers in order; one whose receipt exists has lost its spec.
    pub layers: Vec<Layer>,
    /// As many as layers were carried out.
    pub receipts: Vec<Receipt>,
    /// Fds.
    pub fds: Fds,
    /// What the last link will do, as far as it is known.
    pub landing: Landing,
    /// The container's hooks, if it has any that a link is to know of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<ChainHooks>>,
    /// The runner's `--debug`: it wants to hear every receipt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub debug: bool,
    /// The last member.
    pub complete: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            catena: CATENA,
            build: BUILD.to_string(),
            layers: Vec::new(),
            receipts: Vec::new(),
            fds: Fds::default(),
            landing: Landing::default(),
            hooks: None,
            debug: false,
            complete: true,
        }
    }
}

impl State {
    /// The state that the link before this one left, if there is one.
    pub fn receive() -> Result<Option<State>> {
        let Some(name) = std::env::var_os(ENV) else { return Ok(None) };
        let doing = "take over the state of the chain";
        let fd = open_named(&name)?;
        let size = fstat(&fd).cannot(doing, "fstat")?.st_size as usize;
        let mut text = vec![0; size];
        let mut done = 0;
        while done < size {
            match rustix::io::pread(&fd, &mut text[done..], done as u64).cannot(doing, "pread")? {
                0 => return Err(Error::new(Class::Internal, doing, "it ends early")),
                n => done += n,
            }
        }
        same_build(&text, doing)?;
        let state: State = crate::json::parse(&text, doing)?;
        state.is_whole()?;
        for fd in state.fds.all() {
            let fd = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
            sys::fd::set_cloexec(fd, true).cannot(doing, "fcntl(F_SETFD)")?;
        }
        Ok(Some(state))
    }

    fn is_whole(&self) -> Result<()> {
        let wrong = match () {
            () if self.catena != CATENA => format!("catena: version {}, not {CATENA}", self.catena),
            () if !self.complete => "complete: it is not".to_string(),
            // A layer added now would find a receipt that is there already.
            () if self.receipts.len() > self.layers.len() => "it has more receipts than layers".to_string(),
            () => return Ok(()),
        };
        Err(Error::usage("take over the state of the chain", wrong))
    }

    /// Writes the state to a sealed memfd for the next link; gives the fd and the variable that names it.
    pub fn send(&self) -> Result<(OwnedFd, OsString)> {
        let doing = "hand the state to the next link";
        let text = serde_json::to_vec(self).map_err(|e| Error::new(Class::Internal, doing, e))?;
        let fd = sealed(c"catena-state", &text).cannot(doing, "memfd_create(catena-state)")?;
        let inode = fstat(&fd).cannot(doing, "fstat")?.st_ino;
        let name = format!("fd:{}:{inode}", fd.as_raw_fd());
        Ok((fd, name.into()))
    }

    /// The layer to carry out now, when the chain is driven by a plan.
    pub fn current(&self) -> Option<&Layer> {
        self.layers.get(self.receipts.len())
    }

    /// The receipt of `tool`, if it ran.
    pub fn receipt(&self, tool: ToolName) -> Option<&Receipt> {
        self.receipts.iter().find(|r| r.tool == tool)
    }
}

/// The build is looked at before the rest is believed; ours writes it in one way, so equality is a comparison of bytes.
fn same_build(text: &[u8], doing: &str) -> Result<()> {
    if text.starts_with(format!("{{\"catena\":{CATENA},\"build\":\"{BUILD}\",").as_bytes()) {
        return Ok(());
    }
    let head: Head = crate::json::parse(text, doing)?;
    if head.build == BUILD {
        return Ok(());
    }
    // The one thing in there that is used all the same, for who waits for us reads no stderr of ours. If it is something
    // else by now than a socket with a reader, nothing is sent.
    if let Some(meet) = head.fds.get("meet").and_then(serde_json::Value::as_i64) {
        crate::report::errors_to(RawFd::try_from(meet).unwrap_or(-1));
    }
    let detail = format_args!("it was written by build {}, this is {BUILD}", head.build).to_string();
    Err(Error::new(Class::Conflict, doing, detail).cure("install all the tools from one build"))
}

/// What is checked before the rest is believed.
#[derive(Deserialize)]
struct Head {
    build: String,
    #[serde(default)]
    fds: serde_json::Value,
}

fn open_named(name: &std::ffi::OsStr) -> Result<OwnedFd> {
    let doing = "take over the state of the chain";
    let wrong = |what: &str| Error::usage(doing, format_args!("{ENV}={}: {what}", name.display()));
    let text = name.to_str().and_then(|s| s.strip_prefix("fd:")).ok_or_else(|| wrong("not fd:N:INODE"))?;
    let (number, inode) = text.split_once(':').ok_or_else(|| wrong("not fd:N:INODE"))?;
    let number: RawFd = number.parse().map_err(|_| wrong("not fd:N:INODE"))?;
    let inode: u64 = inode.parse().map_err(|_| wrong("not fd:N:INODE"))?;
    if number < 3 {
        return Err(wrong("not above the standard fds"));
    }
    let fd = sys::fd::adopt(number).cannot(doing, format_args!("fcntl({number})"))?;
    let stat = fstat(&fd).cannot(doing, format_args!("fstat({number})"))?;
    let seals = fcntl_get_seals(&fd).map_err(|_| wrong("that fd is no memfd"))?;
    if stat.st_ino != inode {
        return Err(wrong("that fd is another file by now"));
    }
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW) {
        return Err(wrong("that fd is not sealed"));
    }
    Ok(fd)
}

/// A memfd of `content` that nobody can change.
pub fn sealed(name: &std::ffi::CStr, content: &[u8]) -> rustix::io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    write_all(fd.as_fd(), content)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for _ in 0..20 {
        match fcntl_add_seals(&fd, seals) {
            // The pages are still on another CPU's way to the LRU lists: memfd_wait_for_pins() in mm/memfd.c waits for
            // a tenth of a second, which on a busy machine is not always enough.
            Err(rustix::io::Errno::BUSY) => {}
            other => return other.map(|()| fd),
        }
    }
    Err(rustix::io::Errno::BUSY)
}

/// write(2) until all is written.
pub fn write_all(fd: BorrowedFd<'_>, mut content: &[u8]) -> rustix::io::Result<()> {
    while !content.is_empty() {
        match rustix::io::write(fd, content) {
            Ok(n) => content = &content[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
