//! Flags of containers and of memory that is taken in rounds, named as criu's own command line has them.

use clap::{Args as Group, ValueEnum};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// See the module.
#[derive(Group, Clone, Debug, Default)]
pub(crate) struct More {
    /// dump, restore: the tree's `/`
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// dump: leave this out, and remember it under a key; restore: what comes back in its place
    #[arg(long, value_name = "TYPE[ID]:VALUE")]
    pub external: Vec<OsString>,
    /// restore: our fd N is what was open under this key
    #[arg(long, value_name = "fd[N]:KEY")]
    pub inherit_fd: Vec<OsString>,
    /// dump, restore: fds 0 to 2 come from outside: note them in descriptors.json, and put our own in their place
    #[arg(long)]
    pub stdio: bool,
    /// pre-dump, dump: the folder of the round before, relative to the images
    #[arg(long, value_name = "DIR", visible_alias = "prev-images-dir")]
    pub parent_path: Option<PathBuf>,
    /// pre-dump, dump: watch which pages are written to from here on
    #[arg(long)]
    pub track_mem: bool,
    /// dump, restore: drop pages that a later image has too
    #[arg(long)]
    pub auto_dedup: bool,
    /// dump, restore: leave memory where it is until it is used
    #[arg(long)]
    pub lazy_pages: bool,
    /// dump: write down a digest of memory too, not its size alone; takes as long as the dump
    #[arg(long)]
    pub hash_pages: bool,
    /// dump: write a NUL here as soon as lazy pages can be fetched
    #[arg(long, value_name = "FD")]
    pub ready_fd: Option<RawFd>,
    /// pre-dump, dump: send the pages there; page-server: listen there; lazy-pages: fetch them there
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// restore: close TCP connections
    #[arg(long)]
    pub tcp_close: bool,
    /// pre-dump, dump: leave out TCP connections that are being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// pre-dump, dump: give files without a name one for the time between
    #[arg(long)]
    pub link_remap: bool,
    /// dump, restore: what becomes of cgroups [default: ignore]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups: Option<CgroupsMode>,
    /// pre-dump, dump: freeze the tree by this cgroup
    #[arg(long, value_name = "DIR")]
    pub freeze_cgroup: Option<PathBuf>,
    /// dump, restore: make this namespace anew, with nothing in it
    #[arg(long, value_name = "KIND")]
    pub empty_ns: Vec<EmptyNamespace>,
    /// dump, restore: how packets are held back [default: what is there of iptables and nftables]
    #[arg(long, value_name = "WAY")]
    pub network_lock: Option<NetworkLock>,
    /// restore: another LSM profile, as apparmor:NAME or selinux:LABEL
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// restore: another context of mounts
    #[arg(long, value_name = "LABEL")]
    pub lsm_mount_context: Option<String>,
    /// dump, restore: a file of criu's own options, which win over these
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where `runner` waits.
    #[arg(long, value_name = "FD", hide = true)]
    pub meet_fd: Option<RawFd>,
}

/// criu's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupsMode {
    /// The tree stays in the cgroup that criu is in.
    Ignore,
    /// Restore what criu makes itself.
    Soft,
    /// Restore all of it.
    Full,
    /// Nothing may be there.
    Strict,
}

impl CgroupsMode {
    /// `criu_cg_mode`.
    pub(crate) fn number(self) -> i32 {
        match self {
            CgroupsMode::Ignore => 0,
            CgroupsMode::Soft => 3,
            CgroupsMode::Full => 4,
            CgroupsMode::Strict => 5,
        }
    }
}

/// `criu_network_lock_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkLock {
    /// iptables-restore.
    Iptables = 1,
    /// libnftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// The one kind that criu knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmptyNamespace {
    /// CLONE_NEWNET.
    Network,
}
