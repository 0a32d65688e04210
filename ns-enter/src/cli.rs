//! The command line: unshare(1)'s and nsenter(1)'s letters.

use chain::bytes::Bytes;
use chain::cli::{Common, Flags, Parsed};
use chain::oci::NamespaceKind;
use chain::target::Target;
use chain::{Error, Result};
use std::ffi::OsString;

const EXAMPLES: &str = "\
Examples:
  ns-enter -mpniuC -- rootfs-prep --root ./rootfs --proc /proc -- sh
  ns-enter --unshare all --share net --hostname box -- sh
  ns-enter -t 4711 -a -- ps ax              in all namespaces of process 4711
  ns-enter -m --join net=/run/netns/vpn -- curl example.org
  ns-enter -T --boottime 100000000 -- uptime
  ns-enter -n --netdev eth1=eth%d -- ip address
  ns-enter -mpi --tty=pty -- sh             cannot type commands for the shell that started it
  ns-enter -np --persist /run/box -- true   and then: ns-enter --join /run/box -- sh; ns-enter --unpersist /run/box
  ns-enter -n --veth box,10.9.0.1/24=eth0,10.9.0.2/24 -- ping -c 1 10.9.0.1

With a new or joined pid namespace the command is a child: ns-enter stays, forwards signals, gives back its status,
and the command dies with it. In a new one the command is pid 1 itself, with a pid 1's duties, unless --init.";

/// A letter without a path: what no word of a command line can be.
pub(crate) const NO_PATH: &str = "\0";

/// Make or join namespaces, and execute the next program in there
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "ns-enter", disable_version_flag = true, after_help = EXAMPLES,
    override_usage = "ns-enter [OPTIONS] -- PROGRAM [ARGS…]")]
pub(crate) struct Args {
    /// Mount namespace: a new one, PID's with -t, or this one
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) mount: Option<OsString>,
    /// UTS namespace
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) uts: Option<OsString>,
    /// IPC namespace
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) ipc: Option<OsString>,
    /// Network namespace
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) net: Option<OsString>,
    /// Pid namespace
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) pid: Option<OsString>,
    /// User namespace; a new one has no maps: idmap makes one that has
    #[arg(short = 'U', long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) user: Option<OsString>,
    /// Cgroup namespace
    #[arg(short = 'C', long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) cgroup: Option<OsString>,
    /// Time namespace
    #[arg(short = 'T', long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = NO_PATH)]
    pub(crate) time: Option<OsString>,
    /// New namespaces: names, or all (every kind; user only for a caller without privilege)
    #[arg(long, value_name = "LIST|all", value_delimiter = ',')]
    pub(crate) unshare: Vec<Unshare>,
    /// Take these away from --unshare
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) share: Vec<Kind>,
    /// Join namespaces of this process: those whose letter stands here, or --all. With the inode of its pidfd, or by an
    /// open pidfd, no other process can be meant
    #[arg(short, long, value_name = "PID|PID:INODE|fd:N")]
    pub(crate) target: Option<Target>,
    /// With -t: all its namespaces
    #[arg(short, long, requires = "target")]
    pub(crate) all: bool,
    /// Join a namespace by its file, or by an open fd of it; or all that --persist keeps in a folder (repeatable)
    #[arg(long, value_name = "KIND=PATH|KIND=fd:N|DIR")]
    pub(crate) join: Vec<OsString>,
    /// Let the namespaces that are made or joined outlive the command, all in a folder or one on a file, to be joined
    /// again. A pid or mount namespace, and whoever may not mount, needs a process for that, which stays. Nothing stays if the
    /// chain fails (repeatable)
    #[arg(long, value_name = "DIR|KIND=FILE")]
    pub(crate) persist: Vec<OsString>,
    /// Take away what --persist has made there, and do nothing else (repeatable)
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) unpersist: Vec<OsString>,
    /// Host name, in a new or joined UTS namespace
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// NIS domain name, in a new or joined UTS namespace
    #[arg(long, value_name = "NAME")]
    pub(crate) domainname: Option<String>,
    /// Leave lo down in a new network namespace
    #[arg(long)]
    pub(crate) no_lo: bool,
    /// Offset of CLOCK_MONOTONIC in a new time namespace
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) monotonic: Option<i64>,
    /// Offset of CLOCK_BOOTTIME in a new time namespace
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) boottime: Option<i64>,
    /// Kernel parameter of a new or joined namespace (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// Move this network device into a new or joined network namespace, under its name, another, or a template as
    /// eth%d; it comes back when the command has ended (repeatable)
    #[arg(long, value_name = "DEVICE[=NAME]")]
    pub(crate) netdev: Vec<String>,
    /// Make a pair of virtual Ethernet devices, one end here and one in the new network namespace, each with these
    /// addresses, and up (repeatable)
    #[arg(long, value_name = "NAME[,ADDR/LEN]=NAME[,ADDR/LEN]")]
    pub(crate) veth: Vec<String>,
    /// Do without these where the host cannot make them
    #[arg(long = "try", value_name = "LIST", value_delimiter = ',')]
    pub(crate) attempt: Vec<Kind>,
    /// The new pid namespace's first process forwards signals and reaps, and the command is its child
    #[arg(long)]
    pub(crate) init: bool,
    /// No user namespace can be made inside, by anybody; in one that -U or idmap has made
    #[arg(long)]
    pub(crate) disable_userns: bool,
    /// Keep the command from typing into our terminal (TIOCSTI, TIOCLINUX): by a filter, with nothing else changed; by a
    /// terminal of its own, which ns-enter stays to carry bytes for; or by a session of its own without a terminal, which
    /// is without ^Z and fg, and no hindrance to who holds the host's CAP_SYS_ADMIN
    #[arg(long, value_name = "filter|pty|setsid")]
    pub(crate) tty: Option<Tty>,
    /// Do not enter a new or joined pid namespace: the command's children will be in it
    #[arg(long)]
    pub(crate) no_fork: bool,
    /// The flags of every tool.
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Args {
    /// The letters: what stands behind each, if it was given.
    pub(crate) fn letters(&self) -> [(NamespaceKind, &Option<OsString>); 8] {
        [
            (NamespaceKind::User, &self.user),
            (NamespaceKind::Mount, &self.mount),
            (NamespaceKind::Uts, &self.uts),
            (NamespaceKind::Ipc, &self.ipc),
            (NamespaceKind::Network, &self.net),
            (NamespaceKind::Pid, &self.pid),
            (NamespaceKind::Cgroup, &self.cgroup),
            (NamespaceKind::Time, &self.time),
        ]
    }
}

/// The places of `--unpersist`, a form without a next program and without a plan.
pub(crate) fn unpersist() -> Result<Option<Vec<Bytes>>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&argv);
    if !own.iter().any(|w| w.to_string_lossy().split('=').next() == Some("--unpersist")) {
        return Ok(None);
    }
    let Parsed::Flags(args) = chain::cli::parse::<Args>("ns-enter", own)? else { return Ok(None) };
    // It may have been the value of another option.
    if args.unpersist.is_empty() {
        return Ok(None);
    }
    if next.is_some() || own.len() > 2 * args.unpersist.len() {
        let detail = "--unpersist takes away what is kept, and does nothing else";
        return Err(Error::usage("read the command line", detail).cure("leave out all other words"));
    }
    Ok(Some(args.unpersist.iter().map(|path| Bytes::from(path.as_os_str())).collect()))
}

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// `--tty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tty {
    /// By a filter.
    Filter,
    /// By a terminal of its own.
    Pty,
    /// By a session of its own.
    Setsid,
}

/// A kind by any name that is in use: `mnt` and `mount`, `net` and `network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) NamespaceKind);

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Kind, String> {
        let kind = NamespaceKind::ALL.into_iter().find(|k| name == k.as_str() || name == k.proc_name());
        kind.map(Kind).ok_or_else(|| {
            format!(
                "no namespace is called '{}'; there are mount uts ipc net pid user cgroup time",
                name.escape_debug()
            )
        })
    }
}

/// One word of `--unshare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unshare {
    /// `all`.
    All,
    /// A kind.
    One(NamespaceKind),
}

impl std::str::FromStr for Unshare {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Unshare, String> {
        if name == "all" { Ok(Unshare::All) } else { name.parse().map(|Kind(kind)| Unshare::One(kind)) }
    }
}
