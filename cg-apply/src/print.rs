//! `--print`: the group's directories, every write with what it is called in the other version of cgroups, and what is
//! done to the process.

use crate::limits::{self, Controllers, Write};
use crate::plan::{Devices, Plan};
use crate::watch::Watch;
use crate::{devices, rlimits};
use chain::Result;
use chain::cgroup::{Dir, Version};
use chain::rdt::Wanted;
use chain::spec::CgApply;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// For people.
pub(crate) fn text(plan: &Plan, spec: &CgApply) -> Result<String> {
    let mut text = String::new();
    let mut line =
        |what: &str, value: String| writeln!(text, "{what:<10}{value}").expect("a String takes all");
    if let Some(unit) = &plan.unit {
        line("ask", format!("systemd for {}", unit.name));
        unit.properties.iter().for_each(|(name, value)| line("", format!("{name} = {value}")));
    }
    for dir in plan.group.iter().flat_map(|g| &g.dirs) {
        let what = if exists(dir)? { "use" } else { "make" };
        line(what, format!("{} ({})", dir.path, kind(dir)));
    }
    let elsewhere = elsewhere(spec);
    for write in &plan.writes {
        let mut value = format!("{} = {}, for {}", write.file, write.value, write.field);
        let others: Vec<String> =
            others(write, &elsewhere).map(|o| format!("{} = {}", o.file, o.value)).collect();
        let version = number(other(write.version));
        value += &match others.as_slice() {
            [] => format!(" ({version} has no such limit)"),
            list => format!(" ({version}: {})", list.join(", ")),
        };
        line("write", value);
    }
    match &plan.devices {
        Some(Devices::V1(exceptions)) => {
            let (all, except) = v1_files(exceptions);
            line("write", format!("{all} = a, for resources.devices (v2: a program)"));
            exceptions.lines().for_each(|l| line("write", format!("{except} = {l}")));
        }
        Some(Devices::V2(rules, program)) => {
            let count = program.len();
            line(
                "attach",
                format!("a device program of {count} instructions (v1: devices.allow, devices.deny)"),
            );
            rules.iter().for_each(|rule| line("", rule.to_string()));
        }
        None => {}
    }
    if let Some(uid) = plan.owner {
        line("give", format!("it to uid {uid}, who may make groups below it"));
    }
    if plan.group.is_some() || plan.unit.is_some() {
        line("join", if plan.leaf { "it, the command alone".into() } else { "it".to_string() });
    }
    for (resource, soft, hard) in &plan.rlimits {
        let word = rlimits::word;
        line("rlimit", format!("{} {}:{}", rlimits::name(*resource), word(*soft), word(*hard)));
    }
    if let Some(score) = plan.oom_score_adj {
        line("score", format!("oom_score_adj = {score}"));
    }
    plan.tuning.lines().into_iter().for_each(|(what, value)| line(what, value));
    if let Some(policy) = &plan.memory_policy {
        line("memory", policy.to_string());
    }
    plan.rdt.iter().flat_map(Wanted::told).for_each(|told| line("rdt", told));
    plan.watch.iter().flat_map(Watch::lines).for_each(|(what, value)| line(what, value));
    plan.degraded.iter().for_each(|lost| line("less", lost.clone()));
    if let Some(end) = end(plan)? {
        line("at last", end.into());
    }
    Ok(if text.is_empty() { "no cgroup, no limit\n".into() } else { text })
}

/// For programs: the layer, and what it comes to here.
pub(crate) fn document(plan: &Plan, spec: &CgApply) -> Result<Value> {
    let mut groups = Vec::new();
    for dir in plan.group.iter().flat_map(|g| &g.dirs) {
        groups.push(json!({"path": dir.path, "version": dir.version, "controllers": dir.controllers, "exists": exists(dir)?}));
    }
    let elsewhere = elsewhere(spec);
    let named = |w: &Write| json!({"version": w.version, "file": w.file, "value": w.value});
    let writes: Vec<Value> = plan
        .writes
        .iter()
        .map(|write| {
            let mut shown = named(write);
            shown["field"] = json!(write.field);
            shown["controller"] = json!(write.controller);
            shown["elsewhere"] = others(write, &elsewhere).map(named).collect();
            shown
        })
        .collect();
    let devices = match &plan.devices {
        Some(Devices::V1(exceptions)) => {
            let (all, except) = v1_files(exceptions);
            let lines: Vec<String> = exceptions.lines().collect();
            json!({"version": "v1", all: ["a"], except: lines})
        }
        Some(Devices::V2(rules, program)) => {
            let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
            json!({"version": "v2", "instructions": program.len(), "rules": shown})
        }
        None => Value::Null,
    };
    let unit = plan.unit.as_ref().map(|unit| {
        let properties: serde_json::Map<_, _> =
            unit.properties.iter().map(|(name, value)| (name.clone(), value.to_string().into())).collect();
        json!({"name": unit.name, "properties": properties})
    });
    Ok(
        json!({"tool": "cg-apply", "spec": spec, "unit": unit, "cgroup": groups, "writes": writes, "devices": devices,
        "degraded": plan.degraded, "end": end(plan)?}),
    )
}

/// What becomes of the group.
fn end(plan: &Plan) -> Result<Option<&'static str>> {
    if plan.unit.is_some() {
        return Ok(Some("the scope ends with the last process in it"));
    }
    let Some(group) = &plan.group else { return Ok(None) };
    Ok(Some(match (plan.keep, group.exists()?) {
        (true, _) => "the group stays",
        (false, true) => "the group stays: it was there before",
        (false, false) => "the group goes, with all that is left in it",
    }))
}

fn exists(dir: &Dir) -> Result<bool> {
    dir.open().map(|fd| fd.is_some())
}

fn kind(dir: &Dir) -> String {
    match dir.version {
        Version::V1 => format!("v1: {}", dir.controllers.join(",")),
        Version::V2 => "v2".into(),
    }
}

fn number(version: Version) -> &'static str {
    if version == Version::V1 { "v1" } else { "v2" }
}

fn other(version: Version) -> Version {
    if version == Version::V1 { Version::V2 } else { Version::V1 }
}

fn v1_files(exceptions: &devices::Exceptions) -> (&'static str, &'static str) {
    if exceptions.default_allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    }
}

/// What the same layer would write on a host that has everything in v1, and on one that has everything in v2.
fn elsewhere(spec: &CgApply) -> Vec<Write> {
    let all: Vec<String> = ["cpu", "cpuset", "hugetlb", "memory", "pids"].map(String::from).to_vec();
    let hosts = [Controllers { v1: all.clone(), v2: None }, Controllers { v1: Vec::new(), v2: Some(all) }];
    let Some(resources) = &spec.resources else { return Vec::new() };
    // What one version does not have is left out there.
    let writes =
        |host: &Controllers| limits::writes(resources, host, &["resources".into()]).map(|s| s.writes);
    hosts.iter().filter_map(|host| writes(host).ok()).flatten().collect()
}

/// The writes of the other version for the same field. v1's period and quota are one file in v2.
fn others<'a>(write: &'a Write, elsewhere: &'a [Write]) -> impl Iterator<Item = &'a Write> {
    let same = |w: &&Write| {
        let together = write.file == "cpu.max" || w.file == "cpu.max";
        let bandwidth = |f: &str| matches!(f, "resources.cpu.quota" | "resources.cpu.period");
        w.field == write.field || together && bandwidth(&w.field) && bandwidth(&write.field)
    };
    elsewhere.iter().filter(|w| w.version == other(write.version)).filter(same)
}
