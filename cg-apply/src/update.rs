//! `--update`: changes the limits of a group that exists, and of nothing else.

use crate::cli::Args;
use crate::limits::{Controllers, Expect, Write};
use crate::plan::{self, Facts};
use crate::{apply, print, systemd};
use chain::bytes::Bytes;
use chain::cgroup::{Group, Version};
use chain::files::Files;
use chain::oci::{Cpu, Resources, read_resources};
use chain::report::stdout;
use chain::spec::CgApply;
use chain::{Class, Error, Result};

/// Sets the limits that the flags and `--resources` name; what they leave out stays as it is.
pub(crate) fn group(args: &Args) -> Result<u8> {
    let files = Files::default();
    let base = CgApply { resources: resources(args)?, ..CgApply::default() };
    let mut spec = plan::from_flags(args, base, &files)?;
    spec.systemd = None;
    // Something has to stand there for a group to be looked for; it is replaced below.
    spec.cgroups_path.get_or_insert_with(|| "update".into());
    let facts = plan::facts(&spec)?;
    let group = named(args, &spec, &facts)?;
    refuse_missing(&group)?;
    let resources = spec.resources.get_or_insert_default();
    if !resources.devices.is_empty() {
        return Err(Error::usage(
            "change the limits",
            "resources.devices: they are set when the group is made",
        ));
    }
    fill_in(resources, &group)?;
    let zeros = zeros(resources.cpu.as_ref(), facts.controllers());
    let mut plan = plan::resolve(&spec, &facts)?;
    plan.group = Some(group);
    plan.writes.splice(0..0, zeros);
    if args.scope.is_some() {
        systemd::unit::as_kept(&mut plan.writes);
    }
    if args.common.print {
        let text = if args.common.json {
            format!("{}\n", print::document(&plan, &spec)?)
        } else {
            changes(&plan.writes)
        };
        return stdout(text.as_bytes()).map(|()| 0);
    }
    if let Some(unit) = &args.scope {
        // Before systemd gets it, who would carry it out at once.
        if let (Some(limits), Some(group)) = (plan.check_usage, &plan.group) {
            limits.refuse_below_use(group)?;
        }
        systemd::change(unit, &systemd::unit::limits(&plan.writes))?;
    }
    let applied = apply::change(&mut plan, args.scope.is_some())?;
    if args.common.json {
        stdout(
            format!("{}\n", serde_json::json!({"limits": applied, "degraded": plan.degraded})).as_bytes(),
        )?;
    }
    Ok(0)
}

/// For people.
fn changes(writes: &[Write]) -> String {
    writes.iter().map(|w| format!("write     {} = {}, for {}\n", w.file, w.value, w.field)).collect()
}

fn resources(args: &Args) -> Result<Option<Resources>> {
    let Some(path) = &args.resources else { return Ok(None) };
    let doing = format_args!("read the limits of {}", path.display());
    read_resources(path, &doing).map(Some)
}

/// By directories as somebody recorded them, else by the path that made it.
fn named(args: &Args, spec: &CgApply, facts: &Facts) -> Result<Group> {
    if args.dir.is_empty() {
        return facts.hierarchies().group(spec.cgroups_path.as_ref(), "");
    }
    let dirs: Vec<Bytes> = args.dir.iter().map(|dir| dir.clone().into()).collect();
    Ok(facts.hierarchies().group_at(&dirs))
}

fn refuse_missing(group: &Group) -> Result<()> {
    if group.exists()? {
        return Ok(());
    }
    let path = group.paths().next().map_or_else(String::new, ToString::to_string);
    Err(Error::new(Class::Missing, "change the limits", format_args!("there is no cgroup {path}")))
}

/// Two files of v2 hold two fields each: one that is not asked for keeps what it has.
fn fill_in(resources: &mut Resources, group: &Group) -> Result<()> {
    let v2 = |controller: &str| group.v2().filter(|_| group.v1(controller).is_none());
    if let (Some(cpu), Some(dir)) = (&mut resources.cpu, v2("cpu")) {
        let asked = (cpu.quota.filter(|q| *q != 0), cpu.period.filter(|p| *p != 0));
        let text = if asked.0.is_some() == asked.1.is_some() { None } else { dir.read("cpu.max")? };
        let mut words = text.as_deref().unwrap_or_default().split_whitespace();
        let (quota, period) = (words.next(), words.next());
        cpu.quota = asked.0.or(quota.map(|q| q.parse().unwrap_or(-1)));
        cpu.period = asked.1.or(period.and_then(|p| p.parse().ok()));
    }
    if let (Some(memory), Some(dir)) = (&mut resources.memory, v2("memory")) {
        let (swap, limit) = (memory.swap.unwrap_or(0), memory.limit.unwrap_or(0));
        if swap > 0 && limit == 0 {
            memory.limit = dir.read("memory.max")?.and_then(|max| max.trim().parse().ok());
        }
    }
    Ok(())
}

/// In a new group a zero is what there is; here it takes back what was set. Idle comes first, for an idle group has no
/// weight.
fn zeros(cpu: Option<&Cpu>, controllers: &Controllers) -> Vec<Write> {
    let version = if controllers.v1.iter().any(|c| c == "cpu") { Version::V1 } else { Version::V2 };
    let write = |name: &str, file: &'static str| Write {
        field: format!("resources.cpu.{name}").into(),
        controller: "cpu".into(),
        version,
        file: file.into(),
        value: "0".into(),
        expect: Expect::Same,
        optional: true,
        instead: None,
        found: None,
    };
    let burst = if version == Version::V1 { "cpu.cfs_burst_us" } else { "cpu.max.burst" };
    let idle = cpu.filter(|cpu| cpu.idle == Some(0)).map(|_| write("idle", "cpu.idle"));
    let burst = cpu.filter(|cpu| cpu.burst == Some(0)).map(|_| write("burst", burst));
    idle.into_iter().chain(burst).collect()
}
