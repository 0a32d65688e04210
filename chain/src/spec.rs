//! What each tool can be asked, as data: the `spec` of its layer. Names and shapes are the OCI runtime-spec's wherever
//! it has one; the rest is documented here and in `docs/plan.md`. Unknown members are errors: a plan that asks for
//! something this build does not know must not run with less.

use crate::bytes::Bytes;
use crate::ids::{Gid, Uid};
use crate::oci::{
    Capabilities, CpuAffinity, Device, IdMapping, IntelRdt, IoPriority, MemoryPolicy, Mount, Profile,
    Resources, Rlimit, Root, Scheduler, Seccomp, SyscallRule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod ns_enter;
pub use ns_enter::{NsEnter, Persist, Tty, Veth, VethEnd};

/// A layer's `spec`.
pub trait Spec: Serialize + serde::de::DeserializeOwned {
    /// Whose it is.
    const TOOL: crate::name::ToolName;
}

macro_rules! spec {
    ($type:ident) => {
        impl Spec for $type {
            const TOOL: crate::name::ToolName = crate::name::ToolName::$type;
        }
    };
}

spec!(CgApply);
spec!(Idmap);
spec!(NsEnter);
spec!(RootfsPrep);
spec!(CapDrop);
spec!(SeccompLoad);

/// `cg-apply`: make, limit and join a cgroup; rlimits; OOM score; scheduling and memory policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CgApply {
    /// The cgroup, as in OCI: absolute from the root of each hierarchy, or relative to the caller's own cgroup.
    /// Left out: a fresh name below the caller's own cgroup, when there is any limit to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<Bytes>,
    /// A scope that systemd makes, instead of a group of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd: Option<Systemd>,
    /// The uid, as the caller counts them, that may make groups below it. Where cgroup v2 is all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Resource limits of the process; set exactly at landing, raised before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// /proc/self/oom_score_adj, -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Policy and parameters. What does not survive a fork is set at landing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Of its reads and writes of disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// CPUs before and after the cgroup is joined.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
    /// It may run wherever its cgroup lets it, whatever the caller was bound to.
    #[serde(rename = "resetCPUAffinity", skip_serializing_if = "std::ops::Not::not")]
    pub reset_cpu_affinity: bool,
    /// Memory nodes of its pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Intel RDT: caches and memory bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// What a group of Intel RDT is called that `intelRdt` does not name, and one that counts: the container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdt_name: Option<String>,
    /// Groups of Intel RDT that are there, to join.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rdt_join: Vec<Bytes>,
    /// Leave the cgroup behind; without it a supervisor stays to remove the cgroup when the command ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// Kill all of it, with status 124, when so many milliseconds have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<u64>,
    /// The same, when all of it has run for so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<u64>,
    /// File that gets a report when the command has ended: times, peaks, how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Bytes>,
    /// Only the command enters the cgroup, last of all: links, and those who wait for the command, stay outside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaf: bool,
    /// Refuse a cgroup that exists already and holds processes or is frozen (what `runner create` wants).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Join a group that is there, and leave it as it is, instead of making one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,
    /// What may be done less of than asked, recorded in the receipt: names of fields, as `resources.cpu`.
    #[serde(rename = "try", skip_serializing_if = "Vec::is_empty")]
    pub attempt: Vec<String>,
}

/// `systemd` of a cg-apply layer: a transient scope, systemd.scope(5), which ends with its last process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Systemd {
    /// Its name, `NAME.scope`.
    pub unit: String,
    /// The slice that it is in, `NAME.slice`; systemd's own choice when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Properties by name, as GVariant's text: `{"TimeoutStopUSec": "uint64 5000000"}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// `existing` of a cg-apply layer: what `runner exec` joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Existing {
    /// Its directory in each hierarchy, absolute, as a receipt names them.
    pub paths: Vec<Bytes>,
    /// A group below it, by v1 controller; under the empty name, in every hierarchy. Never out of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub below: BTreeMap<String, Bytes>,
    /// Where v2 has no such group any more, or one that gives its controllers to children and so takes no process: the
    /// group of this process instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<i32>,
}

/// `idmap`: a user namespace and its maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Idmap {
    /// User ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Leave setgroups(2) allowed (`true`) or deny it (`false`); left out: denied only where the kernel demands it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setgroups: Option<bool>,
    /// No further user namespace can be made inside: the maps are those of a second one in the first, whose limit of
    /// one is used up by it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_user_namespaces: bool,
    /// Map the users and groups from 0 to 65535 to as many that nobody has, chosen when the maps are written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pick: bool,
    /// Whose the namespace is; left out: the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// `owner` of an idmap layer: who has all capabilities over the user namespace from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `rootfs-prep`: the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RootfsPrep {
    /// What becomes `/`. Left out: the present root stays, and mounts are made in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Mounts in order. Relative bind sources were made absolute when the layer was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Devices made besides the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Make the default devices and links of the specification in /dev: null zero full random urandom tty, ptmx, fd,
    /// stdin, stdout, stderr (core as runc does).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_devices: bool,
    /// Paths made unreadable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<Bytes>,
    /// Paths made read-only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<Bytes>,
    /// Propagation of the root mount; `rprivate` when left out of a command line, runc's `rslave` from OCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<String>,
    /// SELinux label of the mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Working directory of the command; made when it is missing (OCI), checked at landing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Bytes>,
    /// Make a terminal: pty from the container's own devpts, its other end sent over the meeting socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// Size of that terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<(u16, u16)>,
    /// Move the new root over `/` instead of pivot_root (for an initramfs, whose root cannot be pivoted).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_pivot: bool,
    /// The caller's mount namespace stays: the root is made in one that is left again, taken along as a tree that is
    /// attached nowhere, and entered by chroot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_mount_namespace: bool,
    /// A procfs is of a new pid namespace, or refused: it would show the processes outside. Not so for OCI, where
    /// engines share pid namespaces on purpose.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fresh_proc: bool,
    /// Mount destinations that may be left out where their source is missing.
    #[serde(rename = "try", skip_serializing_if = "Vec::is_empty")]
    pub attempt: Vec<Bytes>,
}

/// `cap-drop`: who the command is and what it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CapDrop {
    /// User, groups, umask. Left out: unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserSpec>,
    /// The five sets, named `CAP_CHOWN`. Left out: unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Changes to the present sets (or to `capabilities`), as setpriv and docker spell them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<CapChange>,
    /// Set no_new_privs.
    pub no_new_privileges: bool,
    /// Secure bits, named as in capabilities(7): `noroot` or `+noroot` sets one, `-noroot` clears it, the rest stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub securebits: Vec<String>,
    /// Name of a new session keyring; empty for one without a name, which nobody else can join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_keyring: Option<String>,
    /// AppArmor profile for the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// SELinux label for the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// As the specification says of config.json: an unknown capability is a warning, recorded in `degraded`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown_capabilities_warn: bool,
    /// What may be done less of than asked: `bounding`, `groups`, `ambient`.
    #[serde(rename = "try", skip_serializing_if = "Vec::is_empty")]
    pub attempt: Vec<String>,
}

/// `user` of a cap-drop layer: OCI's numbers, or names that are looked up where the link runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UserSpec {
    /// User id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Group id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<Gid>,
    /// Supplementary groups, exactly these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_gids: Option<Vec<Gid>>,
    /// File mode creation mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// `USER[:GROUP]`, looked up in /etc/passwd and /etc/group of the root the link runs in. Numbers are not looked up,
    /// but for the group of a user who stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Supplementary groups by name or number, exactly these; instead of `additionalGids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Take the supplementary groups of the user from /etc/group.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init_groups: bool,
    /// Leave the supplementary groups as they are. Without any word on groups, a change of user clears them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_groups: bool,
}

/// Changes to the present capability sets (or to `capabilities`), in the order of the members. Names, numbers as
/// `cap_41`, or `all`, which is all that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CapChange {
    /// Start from nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_all: bool,
    /// Taken from all five sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Kept, or put back, in bounding, permitted and effective; never in inheritable. A command that is not root loses
    /// them at its exec, as with docker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// What the command is to hold: as `add`, and raised in ambient where root's own rule of exec does not serve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The ambient set, and so in inheritable, permitted and effective. Left out: empty, unless something is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient: Option<Vec<String>>,
    /// The bounding set: names for exactly these, or changes as `+chown`, `-all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounding: Option<Vec<String>>,
    /// The permitted set, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<Vec<String>>,
    /// The effective set, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Vec<String>>,
    /// The inheritable set, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inheritable: Option<Vec<String>>,
}

/// `seccomp-load`: the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SeccompLoad {
    /// The filter, as OCI has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Instead of it, a profile with rules that depend on the capabilities of the command: these are known only where
    /// the filter is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileSource>,
    /// Rules on top: each takes its calls out of every rule below. Without anything below, the rest is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<SyscallRule>,
    /// For calls that no rule names, instead of what the profile says; with `names` empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<SyscallRule>,
    /// The socket of the agent that notified calls are asked of, instead of the filter's `listenerPath`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Bytes>,
    /// Log whatever is not allowed (SECCOMP_FILTER_FLAG_LOG), besides the flags of the filter.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// Calls this build's libseccomp does not know are left out (and recorded) instead of refused: OCI's rule.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown_syscalls_warn: bool,
    /// Load without no_new_privs (needs CAP_SYS_ADMIN).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_new_privileges: bool,
    /// Watch the command instead, refuse nothing, and write the calls it makes into this file as a profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn: Option<Bytes>,
    /// Tell each call that the filter stops, as it stops it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
    /// Folder of filters that were made before, this one perhaps among them; made if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Bytes>,
}

/// Where a profile with conditions comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of a profile, as \"@default\", or a profile")]
pub enum ProfileSource {
    /// One of this build's own: `@default`.
    Own(String),
    /// A document as Docker writes them.
    Document(Box<Profile>),
}
