//! From flags to a layer, and from a layer to what will be done: pure but for [`facts`]. What can be refused is refused
//! here.

use crate::cli::Args;
use crate::devices::{self, Exceptions, Rule};
use crate::existing::{self, Joins};
use crate::limits::{self, Controllers, Write, may_fail, unsupported};
use crate::memory;
use crate::memory_policy::{self, Policy};
use crate::rlimits;
use crate::sizes::CpuTime;
use crate::systemd::{self, Unit};
use crate::tuning::{self, Tuning};
use crate::watch::{self, Watch};
use chain::bytes::Bytes;
use chain::cgroup::{Group, Hierarchies, Layout, Version, cpu_shares_of_weight};
use chain::files::Files;
use chain::oci::{Cpu, Memory, Pids, Resources};
use chain::rdt::{Rdt, Wanted};
use chain::spec::CgApply;
use chain::sys::bpf::Instruction;
use chain::{Cannot, Class, Error, Result, near};
use nix::sys::signal::SigSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `--try` may name.
const FIELDS: [&str; 38] = [
    "cgroupsPath",
    "resources",
    "resources.devices",
    "resources.memory",
    "resources.memory.limit",
    "resources.memory.swap",
    "resources.memory.reservation",
    "resources.memory.swappiness",
    "resources.memory.disableOOMKiller",
    "resources.memory.useHierarchy",
    "resources.memory.kernel",
    "resources.memory.kernelTCP",
    "resources.cpu",
    "resources.cpu.shares",
    "resources.cpu.quota",
    "resources.cpu.period",
    "resources.cpu.burst",
    "resources.cpu.realtimeRuntime",
    "resources.cpu.realtimePeriod",
    "resources.cpu.idle",
    "resources.cpu.cpus",
    "resources.cpu.mems",
    "resources.pids",
    "resources.pids.limit",
    "resources.blockIO",
    "resources.blockIO.weight",
    "resources.hugepageLimits",
    "resources.network",
    "resources.network.classID",
    "resources.rdma",
    "resources.unified",
    "rlimits",
    "oomScoreAdj",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
    "memoryPolicy",
    "intelRdt",
];

/// Puts flags on top of a config's share.
pub(crate) fn from_flags(args: &Args, mut spec: CgApply, _files: &Files<'_>) -> Result<CgApply> {
    if let Some(path) = &args.cgroup {
        spec.cgroups_path = Some(path.clone().into());
    }
    if let Some(unit) = &args.scope {
        let whole = spec.systemd.get_or_insert_default();
        whole.unit = if unit.ends_with(".scope") { unit.clone() } else { format!("{unit}.scope") };
        whole.slice = args.slice.clone().or(whole.slice.take());
    }
    let resources = spec.resources.get_or_insert_default();
    memory_flags(args, resources.memory.get_or_insert_default());
    cpu_flags(args, resources.cpu.get_or_insert_default());
    if let Some(pids) = args.pids {
        resources.pids = Some(Pids { limit: Some(pids.0) });
    }
    resources.memory = resources.memory.take().filter(|m| *m != Memory::default());
    resources.cpu = resources.cpu.take().filter(|c| *c != Cpu::default());
    spec.resources = spec.resources.take().filter(|r| *r != Resources::default());
    for limit in &args.rlimit {
        // A flag replaces the config's limit of the same name; two flags of one name are the user's mistake, found later.
        spec.rlimits.retain(|l| l.kind != limit.0.kind || args.rlimit.iter().any(|f| f.0 == *l));
        spec.rlimits.push(limit.0.clone());
    }
    spec.oom_score_adj = args.oom_score_adj.or(spec.oom_score_adj);
    args.tuning.put_into(&mut spec)?;
    spec.wall_time = args.wall_time.map(|time| time.0).or(spec.wall_time);
    spec.cpu_time = args.cpu_time.map(|time| time.0).or(spec.cpu_time);
    if let Some(path) = &args.report {
        let whole = std::path::absolute(path)
            .cannot("write the report", format_args!("getcwd({})", path.display()))?;
        spec.report = Some(Bytes::from(whole.as_path()));
    }
    spec.keep |= args.keep;
    spec.leaf |= args.leaf;
    spec.exclusive |= args.exclusive;
    spec.attempt.extend(args.attempt.iter().cloned());
    check_attempt(&spec.attempt)?;
    Ok(spec)
}

fn memory_flags(args: &Args, memory: &mut Memory) {
    let set = |to: &mut Option<i64>, from: Option<crate::sizes::Size>| *to = from.map(|s| s.0).or(*to);
    set(&mut memory.limit, args.memory);
    set(&mut memory.swap, args.memory_swap);
    set(&mut memory.reservation, args.memory_reservation);
}

fn cpu_flags(args: &Args, cpu: &mut Cpu) {
    if let Some(CpuTime(quota)) = args.cpus {
        (cpu.quota, cpu.period) = (Some(quota), Some(CpuTime::PERIOD));
    }
    cpu.quota = args.cpu_quota.map(|q| q.0).or(cpu.quota);
    cpu.period = args.cpu_period.or(cpu.period);
    cpu.shares = args.cpu_shares.or(args.cpu_weight.map(cpu_shares_of_weight)).or(cpu.shares);
    cpu.cpus = args.cpuset_cpus.clone().or(cpu.cpus.take());
    cpu.mems = args.cpuset_mems.clone().or(cpu.mems.take());
}

fn check_attempt(fields: &[String]) -> Result<()> {
    let Some(unknown) =
        fields.iter().find(|f| !FIELDS.contains(&f.as_str()) && !f.starts_with("resources.unified."))
    else {
        return Ok(());
    };
    let error = Error::usage(
        "read the command line",
        format_args!("--try: unknown field '{}'", unknown.escape_debug()),
    );
    Err(match near::nearest(unknown, FIELDS.into_iter()) {
        Some(meant) => error.cure(format_args!("{meant}?")),
        None => error
            .cure("resources.memory, resources.cpu, resources.pids, resources.devices, rlimits, oomScoreAdj"),
    })
}

/// What a layer is resolved against.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    hierarchies: Hierarchies,
    controllers: Controllers,
    fresh: String,
}

impl Facts {
    /// With this for the name of a group that the layer does not name.
    pub(crate) fn named(mut self, fresh: impl Into<String>) -> Facts {
        self.fresh = fresh.into();
        self
    }

    /// What there is.
    pub(crate) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Who controls what.
    pub(crate) fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// The name for a group that the layer does not name.
    pub(crate) fn fresh(&self) -> &str {
        &self.fresh
    }
}

/// Reads as much of the host as this layer needs.
pub(crate) fn facts(spec: &CgApply) -> Result<Facts> {
    if spec.existing.is_some() {
        let controllers = Controllers { v1: Vec::new(), v2: None };
        return Ok(Facts { hierarchies: Hierarchies::detect()?, controllers, fresh: String::new() });
    }
    let hierarchies = match wants_group(spec) {
        true => Hierarchies::detect()?,
        false => Hierarchies { layout: Layout::None, all: Vec::new() },
    };
    let v1 = hierarchies.all.iter().flat_map(|h| h.controllers.clone()).collect();
    let v2 = hierarchies.v2().map(chain::cgroup::Hierarchy::root_controllers).transpose()?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let fresh = format!("catena-{}-{clock:x}", std::process::id());
    Ok(Facts { hierarchies, controllers: Controllers { v1, v2 }, fresh })
}

pub(crate) fn wants_group(spec: &CgApply) -> bool {
    spec.cgroups_path.is_some()
        || spec.systemd.is_some()
        || spec.resources.as_ref().is_some_and(says_something)
        || spec.report.is_some()
        || spec.wall_time.is_some()
        || spec.cpu_time.is_some()
}

fn says_something(resources: &Resources) -> bool {
    // The one 0 that is a limit.
    resources.pids.as_ref().is_some_and(|pids| pids.limit.is_some())
        || serde_json::to_value(resources)
            .map_or(true, |v| !chain::share::says_nothing(&v) || !resources.devices.is_empty())
}

/// Everything that will be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The group; None when nothing asks for one.
    pub(crate) group: Option<Group>,
    /// The scope that systemd is to make; then the group is its.
    pub(crate) unit: Option<Unit>,
    /// Its name is ours, so nobody may have made it before.
    pub(crate) fresh: bool,
    /// Leave it behind.
    pub(crate) keep: bool,
    /// The command alone enters it, at the landing.
    pub(crate) leaf: bool,
    /// Refuse it when it is in use.
    pub(crate) exclusive: bool,
    /// The group is this scope's, which goes with this process.
    pub(crate) scope: Option<String>,
    /// This process was made in the v2 directory already.
    pub(crate) in_v2: bool,
    /// v2 controllers that its ancestors must give it.
    pub(crate) needed: Vec<String>,
    /// Limits, in order.
    pub(crate) writes: Vec<Write>,
    /// Refuse these memory limits if they are below present use.
    pub(crate) check_usage: Option<memory::Limits>,
    /// Whose it is, if not ours.
    pub(crate) owner: Option<u32>,
    /// Device rules.
    pub(crate) devices: Option<Devices>,
    /// (RLIMIT_* number, soft, hard).
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    /// OOM score.
    pub(crate) oom_score_adj: Option<i32>,
    /// Scheduler, I/O priority, affinity.
    pub(crate) tuning: Tuning,
    /// Memory nodes.
    pub(crate) memory_policy: Option<Policy>,
    /// What may fail.
    pub(crate) attempt: Vec<String>,
    /// What is known already to be left out.
    pub(crate) degraded: Vec<String>,
    /// The group is there, and only joined.
    pub(crate) joins: Option<Joins>,
    /// The signal mask from before the signals were held back.
    pub(crate) held: Option<SigSet>,
    /// Limits of time, and the report.
    pub(crate) watch: Option<Watch>,
    /// It is only tried out: who tries it says what became of it.
    pub(crate) trial: bool,
    /// The group of Intel RDT, and what of it was made.
    pub(crate) rdt: Option<Wanted>,
    pub(crate) rdt_made: Option<Rdt>,
    /// Groups of it that are there.
    pub(crate) rdt_join: Vec<Bytes>,
}

impl Plan {
    /// Whether somebody stays outside of the group until the command has ended.
    pub(crate) fn stays(&self) -> bool {
        self.watch.is_some() || (self.group.is_some() || self.rdt.is_some()) && !self.keep
    }
}

/// How the device rules are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// Exceptions for devices.allow and devices.deny.
    V1(Exceptions),
    /// The rules, and the program that they are.
    V2(Vec<Rule>, Vec<Instruction>),
}

/// Works out what will be done.
pub(crate) fn resolve(spec: &CgApply, facts: &Facts) -> Result<Plan> {
    check_attempt(&spec.attempt)?;
    let watch = watch::resolve(spec)?;
    let mut plan = Plan {
        keep: spec.keep,
        leaf: leaf(spec)?,
        // What is killed is ours alone.
        exclusive: spec.exclusive || watch.as_ref().is_some_and(Watch::kills),
        watch,
        attempt: spec.attempt.clone(),
        rlimits: rlimits::resolve(&spec.rlimits)?,
        oom_score_adj: spec.oom_score_adj,
        tuning: tuning::resolve(spec)?,
        memory_policy: spec.memory_policy.as_ref().map(memory_policy::resolve).transpose()?,
        ..Plan::default()
    };
    if let Some(score) = spec.oom_score_adj.filter(|s| !(-1000..=1000).contains(s)) {
        return Err(Error::usage(
            "set the OOM score",
            format_args!("oomScoreAdj: {score} is not from -1000 to 1000"),
        ));
    }
    if let Some(asked) = &spec.intel_rdt {
        plan.rdt = match Wanted::of(asked, spec.rdt_name.as_deref().unwrap_or(&facts.fresh)) {
            Err(e) if may_fail(&plan.attempt, "intelRdt") && e.class != Class::Usage => {
                plan.degraded.push(format!("intelRdt: {e}"));
                None
            }
            other => other.map(Some)?,
        };
    }
    plan.rdt_join = spec.rdt_join.clone();
    if let Some(existing) = &spec.existing {
        existing::resolve(existing, spec, &facts.hierarchies, &mut plan)?;
        return Ok(plan);
    }
    if !wants_group(spec) {
        return Ok(plan);
    }
    if spec.systemd.is_none() {
        plan.group = Some(facts.hierarchies.group(spec.cgroups_path.as_ref(), &facts.fresh)?);
        plan.fresh = spec.cgroups_path.is_none();
    }
    plan.owner = spec.owner.filter(|_| facts.hierarchies.layout == Layout::V2);
    if let Some(resources) = &spec.resources {
        let sheet = limits::writes(resources, &facts.controllers, &spec.attempt)?;
        (plan.writes, plan.degraded) = (sheet.writes, sheet.degraded);
        plan.check_usage = resources.memory.as_ref().and_then(memory::to_check);
        plan.devices = match resolve_devices(resources, &facts.controllers) {
            Err(e) if may_fail(&plan.attempt, "resources.devices") && e.class != Class::Usage => {
                plan.degraded.push(format!("resources.devices: {e}"));
                None
            }
            other => other?,
        };
    }
    plan.needed = needed(&plan);
    if let Some(systemd) = &spec.systemd {
        systemd::unit::as_kept(&mut plan.writes);
        plan.unit = Some(systemd::unit::resolve(spec, systemd, facts.hierarchies.layout, &plan.writes)?);
        // Nobody has to remove it.
        plan.keep = true;
    }
    Ok(plan)
}

/// Whether the command alone enters the group, which is then one that is made here.
fn leaf(spec: &CgApply) -> Result<bool> {
    if !spec.leaf {
        return Ok(false);
    }
    let what = match () {
        () if spec.systemd.is_some() => "a scope is made with the processes that it begins with",
        () if spec.existing.is_some() => "existing is joined by the chain",
        () if !wants_group(spec) => "there is no cgroup to enter: neither cgroupsPath nor a limit",
        () => return Ok(true),
    };
    Err(Error::usage("let the command alone enter its cgroup", format_args!("leaf: {what}")))
}

fn resolve_devices(resources: &Resources, controllers: &Controllers) -> Result<Option<Devices>> {
    let rules = devices::parse(&resources.devices)?;
    if rules.is_empty() {
        return Ok(None);
    }
    if controllers.v1.iter().any(|c| c == "devices") {
        return Exceptions::of(&rules).map(|e| Some(Devices::V1(e)));
    }
    match controllers.v2 {
        Some(_) => devices::program(&rules).map(|program| Some(Devices::V2(rules, program))),
        None => Err(unsupported("resources.devices", "no v1 devices hierarchy and no cgroup v2 is mounted")),
    }
}

/// Controllers that v2's ancestors must hand down; those of fields that may be left out are not among them.
fn needed(plan: &Plan) -> Vec<String> {
    let strict = |w: &&Write| {
        w.version == Version::V2 && w.controller != "cgroup" && !may_fail(&plan.attempt, &w.field)
    };
    let mut needed: Vec<String> =
        plan.writes.iter().filter(strict).map(|w| w.controller.to_string()).collect();
    needed.sort();
    needed.dedup();
    needed
}
