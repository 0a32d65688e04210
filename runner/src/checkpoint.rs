//! checkpoint and restore: runc's and crun's options. criu-ctl takes process trees; a container's mounts and cgroups it
//! cannot take yet, so what is asked is checked, and then refused.

use crate::bundle::unsupported;
use crate::container::{StateRoot, Status};
use crate::id;
use chain::{Class, Error, Result};
use clap::{Args as Group, ValueEnum};
use std::path::PathBuf;

/// Options of both.
#[derive(Group, Debug)]
pub(crate) struct Common {
    /// The container
    id: String,
    /// Folder of the images
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Folder of criu's logs
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// With established TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// With unix sockets whose other end is outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// With a terminal of the caller's
    #[arg(long)]
    shell_job: bool,
    /// Fetch memory when it is used
    #[arg(long)]
    lazy_pages: bool,
    /// With file locks
    #[arg(long)]
    file_locks: bool,
    /// What becomes of cgroups
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<CgroupsMode>,
    /// How packets are held back
    #[arg(long, value_name = "WAY")]
    network_lock: Option<NetworkLock>,
    /// Make this namespace anew, with nothing in it
    #[arg(long, value_name = "KIND")]
    empty_ns: Vec<EmptyNamespace>,
    /// Drop pages that a later image has too
    #[arg(long)]
    auto_dedup: bool,
}

/// Options of checkpoint.
#[derive(Group, Debug)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    common: Common,
    /// Folder of an earlier pre-dump, relative to the images
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// With files that have no name any more
    #[arg(long)]
    link_remap: bool,
    /// fd that gets a NUL when lazy pages can be fetched
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// Server that takes the pages
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Take the memory only, and leave the container running
    #[arg(long)]
    pre_dump: bool,
}

/// Options of restore.
#[derive(Group, Debug)]
pub(crate) struct Restore {
    #[command(flatten)]
    common: Common,
    /// Folder of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Do not wait for the command
    #[arg(short, long)]
    detach: bool,
    /// File to write the first process's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Close TCP connections
    #[arg(long)]
    tcp_close: bool,
    /// Do not adopt processes that the container leaves behind
    #[arg(long)]
    no_subreaper: bool,
    /// Move the root over / instead of pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// Another LSM profile, as apparmor:NAME or selinux:LABEL
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Another context of mounts
    #[arg(long, value_name = "LABEL")]
    lsm_mount_context: Option<String>,
}

/// criu's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CgroupsMode {
    Soft,
    Full,
    Strict,
    Ignore,
}

/// criu's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkLock {
    Iptables,
    Nftables,
    Skip,
}

/// The one kind that criu knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmptyNamespace {
    Network,
}

/// `runner checkpoint`.
pub(crate) fn checkpoint(root: &StateRoot, options: &Checkpoint) -> Result<u8> {
    let id = &options.common.id;
    let container = root.container(id)?;
    let status = container.status()?;
    if matches!(status, Status::Created | Status::Stopped) {
        let detail = format!("container cannot be checkpointed: it is {}", status.as_str());
        return Err(Error::new(Class::Conflict, format_args!("checkpoint {id}"), detail));
    }
    Err(unsupported("checkpoint").why("criu-ctl takes process trees, and no container's mounts yet"))
}

/// `runner restore`.
pub(crate) fn restore(root: &StateRoot, options: &Restore) -> Result<u8> {
    let id = &options.common.id;
    id::check(id)?;
    match root.container(id) {
        Err(error) if error.class == Class::Missing => {}
        other => {
            other?;
            let doing = format!("restore {id}");
            return Err(Error::new(Class::Conflict, doing, "container with given ID already exists"));
        }
    }
    Err(unsupported("restore").why("criu-ctl brings process trees back, and no container's mounts yet"))
}
