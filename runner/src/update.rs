//! update: new limits for a container's group. cg-apply sets them, reads them back, and puts back what was there before
//! if one is refused; here is only what runc's flags mean.

use crate::container::{Record, StateRoot, Status};
use crate::{cgroup, log};
use chain::oci::{BlockIo, Cpu, IntelRdt, Memory, Pids, Resources};
use chain::{Cannot, Class, Error, Result, ToolName, next, size};
use clap::Args as Group;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Options of update.
#[derive(Group, Debug)]
pub(crate) struct Update {
    /// The container
    pub(crate) id: String,
    /// Take the limits from this file, as OCI's linux.resources; devices stay as they are
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) resources: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// Limits by flags; 0 is not set, but for --cpu-idle and --cpu-burst.
#[derive(Group, Debug)]
#[group(id = "limits", multiple = true, conflicts_with = "resources")]
pub(crate) struct Limits {
    /// Relative weight of block I/O, 10 to 1000
    #[arg(long, value_name = "N", default_value_t = 0)]
    blkio_weight: u16,
    /// Length of a period of CPU time, in microseconds; without a quota the present one stays
    #[arg(long, value_name = "US", default_value_t = 0)]
    cpu_period: u64,
    /// CPU time in a period, in microseconds, -1: all; without a period the present one stays
    #[arg(long, value_name = "US", default_value_t = 0, allow_negative_numbers = true)]
    cpu_quota: i64,
    /// CPU time above the quota that may be saved up, in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// Relative weight, 2 to 262144
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu_share: u64,
    /// Length of a realtime period, in microseconds (v1)
    #[arg(long, value_name = "US", default_value_t = 0)]
    cpu_rt_period: u64,
    /// Realtime in a period, in microseconds (v1)
    #[arg(long, value_name = "US", default_value_t = 0, allow_negative_numbers = true)]
    cpu_rt_runtime: i64,
    /// 1: run only when nobody else wants to
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    cpu_idle: Option<i64>,
    /// CPUs it may run on, as 0-3,7
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes it may use, as 0-1
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Most memory, -1: no limit, and none of swap either
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "0", allow_negative_numbers = true)]
    memory: i64,
    /// Memory that is left to it when memory gets scarce
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "0", allow_negative_numbers = true)]
    memory_reservation: i64,
    /// Most memory and swap together, -1: no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "0", allow_negative_numbers = true)]
    memory_swap: i64,
    /// Kernels have no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_negative_numbers = true)]
    kernel_memory: Option<String>,
    /// runc sets it no more
    #[arg(long, value_name = "SIZE", hide = true, allow_negative_numbers = true)]
    kernel_memory_tcp: Option<String>,
    /// Most processes and threads, -1: no limit, 0: as 1
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Schema of Intel RDT's L3 cache
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Schema of Intel RDT's memory bandwidth
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
}

fn bytes(word: &str) -> std::result::Result<i64, String> {
    match word {
        "-1" => Ok(-1),
        word => size::bytes(word)
            .and_then(|n| n.try_into().ok())
            .ok_or_else(|| "not a size, as 512M, 1.5G, 65536, -1".into()),
    }
}

/// `runner update`.
pub(crate) fn update(root: &StateRoot, options: &Update) -> Result<u8> {
    let container = root.container(&options.id)?;
    container.lock()?;
    let doing = format!("update {}", options.id);
    if container.status()? == Status::Stopped {
        return Err(Error::new(Class::Conflict, doing, "container not running"));
    }
    let resources = match &options.resources {
        Some(path) => from_file(path, &doing)?,
        None => from_flags(&options.limits),
    };
    let rdt = rdt(&options.limits);
    if rdt != IntelRdt::default() {
        let Some(group) = &container.record.rdt else {
            return Err(Error::new(Class::Unsupported, doing, "it was made without linux.intelRdt"));
        };
        group.change(&rdt).map_err(|error| Error { doing: doing.clone(), ..error })?;
    }
    if resources == Resources::default() {
        return Ok(0);
    }
    if container.record.cgroups.is_empty() {
        return Err(cgroup::none(doing));
    }
    apply(&container.record, &resources, doing).map(|()| 0)
}

/// Whoever updates a container sends all of its resources; its devices are in force since it was made.
fn from_file(path: &Path, doing: &str) -> Result<Resources> {
    let resources = chain::oci::read_resources(path, &doing)?;
    Ok(Resources { devices: Vec::new(), ..resources })
}

fn from_flags(flags: &Limits) -> Resources {
    for (flag, value) in
        [("--kernel-memory", &flags.kernel_memory), ("--kernel-memory-tcp", &flags.kernel_memory_tcp)]
    {
        if value.is_some() {
            log::warn(format_args!("{flag} sets nothing: it is obsolete"));
        }
    }
    let set = |n: i64| Some(n).filter(|n| *n != 0);
    let count = |n: u64| Some(n).filter(|n| *n != 0);
    let list = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let memory = Memory {
        limit: set(flags.memory),
        reservation: set(flags.memory_reservation),
        swap: set(flags.memory_swap),
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: count(flags.cpu_share),
        quota: set(flags.cpu_quota),
        burst: flags.cpu_burst,
        period: count(flags.cpu_period),
        realtime_runtime: set(flags.cpu_rt_runtime),
        realtime_period: count(flags.cpu_rt_period),
        cpus: list(&flags.cpuset_cpus),
        mems: list(&flags.cpuset_mems),
        idle: flags.cpu_idle,
    };
    let weight = Some(flags.blkio_weight).filter(|w| *w != 0);
    Resources {
        memory: Some(memory).filter(|m| *m != Memory::default()),
        cpu: Some(cpu).filter(|c| *c != Cpu::default()),
        pids: flags.pids_limit.map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    }
}

/// Not of the cgroup.
fn rdt(flags: &Limits) -> IntelRdt {
    let (l3_cache_schema, mem_bw_schema) = (flags.l3_cache_schema.clone(), flags.mem_bw_schema.clone());
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    IntelRdt {
        l3_cache_schema: some(l3_cache_schema),
        mem_bw_schema: some(mem_bw_schema),
        ..IntelRdt::default()
    }
}

/// Has cg-apply do it.
pub(crate) fn apply(record: &Record, resources: &Resources, doing: String) -> Result<()> {
    let text = serde_json::to_vec(resources).map_err(|e| Error::new(Class::Internal, &doing, e))?;
    let mut args = vec!["--update".as_ref(), "--resources".as_ref(), "-".as_ref()];
    for dir in &record.cgroups {
        args.extend(["--dir".as_ref(), dir.as_os_str()]);
    }
    if let Some(unit) = &record.unit {
        args.extend(["--scope", unit].map(AsRef::<OsStr>::as_ref));
    }
    tool(&args, &text, doing)
}

/// Runs cg-apply, and tells in its words what it could not do.
pub(crate) fn tool(args: &[impl AsRef<OsStr>], input: &[u8], doing: String) -> Result<()> {
    let output = run(args, input, &doing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(refusal(&output, doing))
}

fn run(args: &[impl AsRef<OsStr>], input: &[u8], doing: &str) -> Result<Output> {
    let tool = next::find_tool(ToolName::CgApply).ok_or_else(|| {
        Error::new(Class::Missing, doing, "cg-apply is not beside this program and not in PATH")
    })?;
    let mut command = Command::new(tool);
    command.args(["--status-fd", "1"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().cannot(doing, "execve(cg-apply)")?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It refused before it read them, and says why.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
            other => other.cannot(doing, "write(cg-apply)")?,
        }
    }
    child.wait_with_output().cannot(doing, "wait4(cg-apply)")
}

fn refusal(output: &Output, doing: String) -> Error {
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(event) = events.rfind(|event| event["event"] == "error") else {
        return Error::new(Class::Internal, doing, format_args!("cg-apply said nothing: {}", output.status));
    };
    let word = |key: &str| event[key].as_str().map(String::from);
    let class = serde_json::from_value(event["class"].clone()).unwrap_or(Class::Internal);
    let said = word("message").unwrap_or_default();
    let error = Error::new(class, doing, format_args!("cg-apply {said}"));
    Error { why: word("why"), cure: word("try"), ..error }
}
