//! Flags of scheduling and memory policy, named as in chrt(1), nice(1), ionice(1), taskset(1) and numactl(8).

use chain::oci::{CpuAffinity, IoPriority, MemoryPolicy, Scheduler};
use chain::spec::CgApply;
use chain::{Error, Result};

/// At most one policy, one class, one mode.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct TuningFlags {
    /// Real-time policy, first in first out, with this priority (1 to 99)
    #[arg(long, value_name = "PRIORITY", group = "policy", help_heading = "Scheduling")]
    fifo: Option<i32>,
    /// Real-time policy, round robin, with this priority (1 to 99)
    #[arg(long, value_name = "PRIORITY", group = "policy", help_heading = "Scheduling")]
    rr: Option<i32>,
    /// Policy of work that computes
    #[arg(long, group = "policy", help_heading = "Scheduling")]
    batch: bool,
    /// Policy of work that runs when nothing else does
    #[arg(long, group = "policy", help_heading = "Scheduling")]
    idle: bool,
    /// The usual policy
    #[arg(long, group = "policy", help_heading = "Scheduling")]
    other: bool,
    /// Deadline policy: --sched-runtime in each --sched-period, by --sched-deadline
    #[arg(long, group = "policy", requires = "sched_runtime", help_heading = "Scheduling")]
    deadline: bool,
    /// Run time, in nanoseconds
    #[arg(long, value_name = "NS", requires = "deadline", help_heading = "Scheduling")]
    sched_runtime: Option<u64>,
    /// Deadline (default: the period)
    #[arg(long, value_name = "NS", requires = "deadline", help_heading = "Scheduling")]
    sched_deadline: Option<u64>,
    /// Length of a period (default: the deadline)
    #[arg(long, value_name = "NS", requires = "deadline", help_heading = "Scheduling")]
    sched_period: Option<u64>,
    /// Children of the command start with the usual policy
    #[arg(long, requires = "policy", help_heading = "Scheduling")]
    reset_on_fork: bool,
    /// -20 (first) to 19 (last)
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Scheduling")]
    nice: Option<i32>,
    /// I/O scheduling class: realtime, best-effort, idle
    #[arg(long, value_name = "NAME", value_parser = ["realtime", "best-effort", "idle"], help_heading = "Scheduling")]
    class: Option<String>,
    /// Priority in that class, 0 (first) to 7 (default 4)
    #[arg(long, value_name = "N", requires = "class", help_heading = "Scheduling")]
    classdata: Option<i32>,
    /// CPUs of the command itself, as 0-3,7; a cpuset (--cpuset-cpus) it could not leave
    #[arg(long, value_name = "LIST", help_heading = "Scheduling")]
    cpu_list: Option<String>,

    /// Memory from these nodes in turn
    #[arg(long, value_name = "NODES", group = "mode", help_heading = "Memory")]
    interleave: Option<String>,
    /// Memory from these nodes in turn, by the weights in /sys/kernel/mm/mempolicy
    #[arg(long, value_name = "NODES", group = "mode", help_heading = "Memory")]
    weighted_interleave: Option<String>,
    /// Memory from these nodes alone
    #[arg(long, value_name = "NODES", group = "mode", help_heading = "Memory")]
    membind: Option<String>,
    /// Memory from this node while it has some
    #[arg(long, value_name = "NODE", group = "mode", help_heading = "Memory")]
    preferred: Option<String>,
    /// Memory from these nodes while they have some
    #[arg(long, value_name = "NODES", group = "mode", help_heading = "Memory")]
    preferred_many: Option<String>,
    /// Memory from the node of the CPU
    #[arg(long, group = "mode", help_heading = "Memory")]
    localalloc: bool,
}

impl TuningFlags {
    /// Puts them on top of what the layer has.
    pub(crate) fn put_into(&self, spec: &mut CgApply) -> Result<()> {
        if let Some(policy) = self.policy() {
            spec.scheduler = Some(policy);
        }
        if let Some(nice) = self.nice {
            let usual = || Scheduler { policy: "SCHED_OTHER".into(), ..Scheduler::default() };
            let scheduler = spec.scheduler.get_or_insert_with(usual);
            if !matches!(scheduler.policy.as_str(), "SCHED_OTHER" | "SCHED_BATCH") {
                let detail = format_args!("--nice: {} has none", scheduler.policy).to_string();
                return Err(Error::usage("read the command line", detail));
            }
            scheduler.nice = nice;
        }
        if let Some(class) = &self.class {
            let (class, usual) = match class.as_str() {
                "realtime" => ("IOPRIO_CLASS_RT", 4),
                "best-effort" => ("IOPRIO_CLASS_BE", 4),
                _ => ("IOPRIO_CLASS_IDLE", 0),
            };
            let priority = self.classdata.unwrap_or(usual);
            spec.io_priority = Some(IoPriority { class: class.into(), priority });
        }
        // In config.json an empty list says nothing; who writes the flag means something.
        if self.cpu_list.as_deref().is_some_and(|list| list.trim().is_empty()) {
            return Err(Error::usage("read the command line", "--cpu-list: an empty list"));
        }
        if self.cpu_list.is_some() {
            spec.exec_cpu_affinity = Some(CpuAffinity { initial: None, last: self.cpu_list.clone() });
        }
        if let Some(policy) = self.memory() {
            spec.memory_policy = Some(policy);
        }
        Ok(())
    }

    fn policy(&self) -> Option<Scheduler> {
        let names = [(self.batch, "SCHED_BATCH"), (self.idle, "SCHED_IDLE"), (self.other, "SCHED_OTHER")];
        let (policy, priority) = match (self.fifo, self.rr) {
            (Some(priority), _) => ("SCHED_FIFO", priority),
            (_, Some(priority)) => ("SCHED_RR", priority),
            _ if self.deadline => ("SCHED_DEADLINE", 0),
            _ => (names.into_iter().find(|(asked, _)| *asked)?.1, 0),
        };
        let flags = if self.reset_on_fork { vec!["SCHED_FLAG_RESET_ON_FORK".into()] } else { Vec::new() };
        let (deadline, period) = (self.sched_deadline, self.sched_period);
        Some(Scheduler {
            policy: policy.into(),
            priority,
            flags,
            runtime: self.sched_runtime.unwrap_or(0),
            deadline: deadline.or(period).unwrap_or(0),
            period: period.unwrap_or(0),
            ..Scheduler::default()
        })
    }

    fn memory(&self) -> Option<MemoryPolicy> {
        let modes = [
            (&self.interleave, "MPOL_INTERLEAVE"),
            (&self.weighted_interleave, "MPOL_WEIGHTED_INTERLEAVE"),
            (&self.membind, "MPOL_BIND"),
            (&self.preferred, "MPOL_PREFERRED"),
            (&self.preferred_many, "MPOL_PREFERRED_MANY"),
        ];
        let named = modes.into_iter().find_map(|(nodes, mode)| Some((nodes.clone()?, mode)));
        let (nodes, mode) = named.or(self.localalloc.then(|| (String::new(), "MPOL_LOCAL")))?;
        Some(MemoryPolicy { mode: mode.into(), nodes, flags: Vec::new() })
    }
}
