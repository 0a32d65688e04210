//! What ns-enter can be asked.

use crate::bytes::Bytes;
use crate::oci::{Namespace, NamespaceKind, NetDevice, Personality, TimeOffset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `ns-enter`: every other namespace, made or joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NsEnter {
    /// As in OCI: a `path` joins, none makes. A new `user` that an `idmap` link has made already is taken as done.
    pub namespaces: Vec<Namespace>,
    /// Clock offsets of a new time namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// Host name; needs a new or joined uts namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Kernel parameters that belong to one of the namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Leave `lo` down in a new network namespace.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_loopback: bool,
    /// Execution domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Network devices of the namespace we come from, by name, that move into the one that is made or joined.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// Stay until the command has ended, and move these devices back. Not so for OCI, whose engines own the namespace.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub give_back: bool,
    /// Pairs of virtual Ethernet devices: one end here, one in the new network namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub veth: Vec<Veth>,
    /// The process that all the paths below /proc belong to, as `PID:INODE` or `fd:N`: nobody else is joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The first process of the new pid namespace is a reaper, and the command its child.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// No further user namespace can be made inside, as `disableUserNamespaces` of idmap has it; in a new user namespace,
    /// or one that an `idmap` link has made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_user_namespaces: bool,
    /// What keeps the command from typing into the terminal of whoever started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<Tty>,
    /// Where namespaces are kept that are to outlive the command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub persist: Vec<Persist>,
    /// Do not stay as the parent: the first process becomes a child of our parent (clone(2) CLONE_PARENT), its pid
    /// goes to the one who waits on the meeting socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hand_over: bool,
    /// The root directory to take, as `/proc/PID/root`: of the process that is joined, where the mount namespace is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Bytes>,
    /// Make a new pid namespace without entering it: the first child of the next program is its first process.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_fork: bool,
    /// Kinds that may be left out where the host cannot make them.
    #[serde(rename = "try", skip_serializing_if = "Vec::is_empty")]
    pub attempt: Vec<NamespaceKind>,
}

/// One of `persist` of an ns-enter layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persist {
    /// The one namespace that is kept, on a file; left out: all that are made or joined, in a folder.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NamespaceKind>,
    /// The file, or the folder; made where it is missing.
    pub path: Bytes,
}

/// `tty` of an ns-enter layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tty {
    /// A filter refuses to type.
    Filter,
    /// A terminal of its own, and a proxy outside.
    Pty,
    /// A session of its own, without a terminal.
    Setsid,
}

/// One of `veth` of an ns-enter layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veth {
    /// The end in the network namespace we come from.
    pub outside: VethEnd,
    /// The end in the new one.
    pub inside: VethEnd,
}

/// One end of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VethEnd {
    /// Its name.
    pub name: String,
    /// Its addresses, as `10.0.0.1/24`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}
