//! The command line.

use crate::sizes::{Count, CpuTime, LimitSpec, Size, Time};
use crate::tuning_flags::TuningFlags;
use chain::cli::{Common, Flags, Parsed};
use chain::{Error, Result};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  cg-apply -m 512M --pids 100 --cpus 1.5 -- make -j8
  cg-apply -m 512M -- ns-enter -mpniuC -- rootfs-prep --root ./rootfs -- cap-drop --all -- sh
  cg-apply -m 256M --pids 3 --cpu-time 2s --wall-time 6s --report verdict.json -- ./solution
  cg-apply --pids 1 --leaf -- ns-enter -mp -- ./solution         no second process, whatever the links fork
  cg-apply --rlimit nofile=1024:4096 --oom-score-adj 500 -- sh
  cg-apply --batch --nice 10 --class idle --cpu-list 0-3 --interleave 0-1 -- ./simulation
  cg-apply --cgroup /batch/7 --keep -m 2G -- ./job      and later: cg-apply --rm /batch/7 --kill
  cg-apply --update --cgroup /batch/7 -m 3G                      while it runs
  cg-apply stats /batch/7 -r      events, top, freeze, thaw, kill: of groups that are there; each has --help
  cg-apply --scope job-7 --slice batch.slice -m 2G -- ./job      where systemd has the groups

Without --keep a supervisor stays outside the group, and removes it with all that is left in it when the command ends.
If the supervisor is killed (SIGKILL), the command is killed with it; the group stays, for --rm PATH --kill.
--print says which files would be written and what they are called in the other version of cgroups; --check tries it all
on a group that is gone afterwards; --show PID prints a layer, which --plan takes.
Sizes take K, M, G, T (powers of 1024); 'max', 'infinity', 'unlimited' and -1 mean no limit.";

/// Make, limit and join a cgroup (v1, hybrid or v2), set rlimits, and execute the next program
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "cg-apply", disable_version_flag = true, after_help = EXAMPLES,
    override_usage = "cg-apply [OPTIONS] -- PROGRAM [ARGS…]")]
pub(crate) struct Args {
    /// The group: absolute from the root of each hierarchy, or relative to the caller's own (default: a fresh name)
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<OsString>,
    /// Leave the group behind, and no supervisor
    #[arg(long)]
    pub(crate) keep: bool,
    /// Instead of a group of our own: a scope of this name that systemd makes, and ends with its last process
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cgroup", "keep", "report", "wall_time", "cpu_time"])]
    pub(crate) scope: Option<String>,
    /// End the scope --scope with all that is in it, and do nothing else
    #[arg(long, requires = "scope", conflicts_with_all = ["slice", "leaf", "exclusive", "rlimit", "oom_score_adj", "plan", "oci",
        "check", "show", "stdin", "keep_fd", "rm", "update", "memory", "memory_swap", "memory_reservation", "pids", "cpus",
        "cpu_shares", "cpu_weight", "cpu_quota", "cpu_period", "cpuset_cpus", "cpuset_mems", "attempt", "report", "wall_time", "cpu_time"])]
    pub(crate) stop: bool,
    /// Only the command enters the group, last of all: --pids 1 counts it alone, and no link before it
    #[arg(long, conflicts_with = "scope")]
    pub(crate) leaf: bool,
    /// The slice that the scope is in
    #[arg(long, value_name = "NAME.slice", requires = "scope")]
    pub(crate) slice: Option<String>,
    /// Refuse a group that holds processes already or is frozen
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// Remove this group and those below it, and do nothing else
    #[arg(long, value_name = "PATH", conflicts_with_all = ["cgroup", "keep", "leaf", "scope", "exclusive", "attempt", "memory",
        "memory_swap", "memory_reservation", "pids", "cpus", "cpu_shares", "cpu_weight", "cpu_quota", "cpu_period",
        "cpuset_cpus", "cpuset_mems", "rlimit", "oom_score_adj", "plan", "oci", "check", "show", "stdin", "keep_fd", "report",
        "wall_time", "cpu_time"])]
    pub(crate) rm: Option<OsString>,
    /// Change the limits of the group --cgroup, which exists, and do nothing else
    #[arg(long, conflicts_with_all = ["keep", "leaf", "exclusive", "slice", "rlimit", "oom_score_adj", "plan", "oci", "check", "show", "stdin",
        "keep_fd", "rm", "report", "wall_time", "cpu_time"])]
    pub(crate) update: bool,
    /// With --update: the group by its directories, one in each hierarchy, instead of --cgroup (repeatable)
    #[arg(long, value_name = "DIR", requires = "update", conflicts_with = "cgroup")]
    pub(crate) dir: Vec<OsString>,
    /// With --update: limits as OCI's linux.resources; flags come on top
    #[arg(long, value_name = "FILE|-", requires = "update")]
    pub(crate) resources: Option<PathBuf>,
    /// With --rm: kill what is in it first
    #[arg(long, requires = "rm")]
    pub(crate) kill: bool,
    /// May be done less of than asked, recorded in the receipt: resources.cpu, oomScoreAdj, … (repeatable)
    #[arg(long = "try", value_name = "FIELD", value_delimiter = ',')]
    pub(crate) attempt: Vec<String>,

    /// Most memory
    #[arg(short = 'm', long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Memory")]
    pub(crate) memory: Option<Size>,
    /// Most memory and swap together (equal to --memory: no swap)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Memory")]
    pub(crate) memory_swap: Option<Size>,
    /// Memory that is left to it when memory gets scarce
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Memory")]
    pub(crate) memory_reservation: Option<Size>,

    /// Most processes and threads
    #[arg(
        long,
        visible_alias = "pids-limit",
        value_name = "N",
        allow_hyphen_values = true,
        help_heading = "Tasks and CPU"
    )]
    pub(crate) pids: Option<Count>,
    /// As much run time as so many CPUs have
    #[arg(long, value_name = "N", conflicts_with_all = ["cpu_quota", "cpu_period"], help_heading = "Tasks and CPU")]
    pub(crate) cpus: Option<CpuTime>,
    /// Relative weight in v1's numbers, 2 to 262144 (default 1024)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144), help_heading = "Tasks and CPU")]
    pub(crate) cpu_shares: Option<u64>,
    /// Relative weight in v2's numbers, 1 to 10000 (default 100)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000),
        conflicts_with = "cpu_shares", help_heading = "Tasks and CPU")]
    pub(crate) cpu_weight: Option<u64>,
    /// Run time per period, in microseconds
    #[arg(long, value_name = "US", allow_hyphen_values = true, help_heading = "Tasks and CPU")]
    pub(crate) cpu_quota: Option<Count>,
    /// Length of a period, in microseconds
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u64).range(1000..=1_000_000), help_heading = "Tasks and CPU")]
    pub(crate) cpu_period: Option<u64>,
    /// CPUs it may run on, as 0-3,7
    #[arg(long, value_name = "LIST", help_heading = "Tasks and CPU")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as 0-1
    #[arg(long, value_name = "LIST", help_heading = "Tasks and CPU")]
    pub(crate) cpuset_mems: Option<String>,

    /// Kill all of it after this time, with status 124: seconds, or 500ms, 20m
    #[arg(long, value_name = "TIME", help_heading = "Watching it")]
    pub(crate) wall_time: Option<Time>,
    /// Kill all of it when all of it together has run for so long, with status 124
    #[arg(long, value_name = "TIME", help_heading = "Watching it")]
    pub(crate) cpu_time: Option<Time>,
    /// When it has ended, write times, peaks, oom kills and the exit to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Watching it")]
    pub(crate) report: Option<PathBuf>,

    /// A resource limit, as prlimit(1) writes it: nofile=1024:4096, core=0, cpu=unlimited (repeatable)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "The process itself")]
    pub(crate) rlimit: Vec<LimitSpec>,
    /// How readily the kernel kills it when memory is out: -1000 (never) to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000),
        help_heading = "The process itself")]
    pub(crate) oom_score_adj: Option<i32>,
    /// Scheduling and memory policy.
    #[command(flatten)]
    pub(crate) tuning: TuningFlags,
    /// The flags of every tool.
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Flags for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The flags, if `--rm`, `--update` or `--stop` is among them: those forms have no next program and no plan.
pub(crate) fn alone() -> Result<Option<Args>> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (own, next) = chain::next::split(&argv);
    let is = |w: &OsString| {
        w == "--rm" || w == "--update" || w == "--stop" || w.as_encoded_bytes().starts_with(b"--rm=")
    };
    if !own.iter().any(is) {
        return Ok(None);
    }
    if let Some(fd) = chain::cli::status_fd(own).filter(|fd| chain::sys::fd::borrow(*fd).is_ok()) {
        chain::report::status_to(fd);
    }
    let Parsed::Flags(args) = chain::cli::parse::<Args>("cg-apply", own)? else { return Ok(None) };
    // The word may have been the value of another option.
    if args.rm.is_none() && !args.update && !args.stop {
        return Ok(None);
    }
    if next.is_some() {
        let what = match (args.update, args.stop) {
            (true, _) => "--update changes",
            (_, true) => "--stop ends",
            _ => "--rm removes",
        };
        return Err(Error::usage("read the command line", format_args!("{what} a group and runs nothing"))
            .cure("leave out -- and what stands behind it"));
    }
    if args.update && args.cgroup.is_none() && args.dir.is_empty() {
        return Err(Error::usage("read the command line", "--update: which group?").cure("--cgroup PATH"));
    }
    Ok(Some(args))
}
