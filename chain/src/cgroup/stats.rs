//! What a cgroup has used, in the shape of runc's `events`, from either version's files. What nobody counts here is
//! left out or zero, as runc has it; what runc does not tell (`peak`, `rdma`, `misc`) stands beside.

mod disks;
mod others;

use super::usage::{counter, nanos_per_tick};
use super::{Dir, Group, Version};
use crate::error::Result;
use crate::rdt::Rdt;
use disks::blkio;
use others::{huge_pages, misc, rdma, sizes};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;

/// Reads what groups have used: one reader for many groups, as what the kernel has is the same for all.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Sizes of huge pages, as the kernel names them.
    huge_pages: Vec<String>,
    /// The group of Intel RDT that goes with the one that is read.
    rdt: Option<Rdt>,
}

impl Stats {
    /// Looks which huge pages there are.
    pub fn new() -> Stats {
        Stats { huge_pages: sizes(), rdt: None }
    }

    /// Tells this group of Intel RDT, too.
    pub fn with_rdt(self, rdt: Option<Rdt>) -> Stats {
        Stats { rdt, ..self }
    }

    /// All of it.
    pub fn of(&self, group: &Group) -> Result<Value> {
        let files = Files::of(group);
        let mut found = json!({
            "cpu": cpu(&files)?,
            "cpuset": cpuset(&files)?,
            "memory": memory(&files)?,
            "pids": pids(&files)?,
            "blkio": blkio(&files)?,
            "hugetlb": huge_pages(&files, &self.huge_pages)?,
            "intel_rdt": self.rdt.as_ref().map_or_else(|| json!({}), Rdt::stats),
            "network_interfaces": null,
        });
        for (key, value) in [("rdma", rdma(&files)?), ("misc", misc(&files)?)] {
            if let Some(value) = value {
                found[key] = value;
            }
        }
        Ok(found)
    }
}

impl Default for Stats {
    fn default() -> Stats {
        Stats::new()
    }
}

/// The files of a group's directories. A file is its controller's, whose name it begins with; v1's come first: beside
/// them v2 has no file of the same name but `cpu.stat`, whose words are others, and `cgroup.*`.
struct Files<'a> {
    dirs: Vec<(&'a Dir, OnceCell<Option<Dir>>)>,
}

impl<'a> Files<'a> {
    fn of(group: &'a Group) -> Files<'a> {
        Files { dirs: group.dirs.iter().map(|dir| (dir, OnceCell::new())).collect() }
    }

    /// Where a file of this name would be. A group found again by its paths alone does not know its controllers.
    fn places(&self, file: &str) -> impl Iterator<Item = usize> {
        let controller = file.split('.').next().unwrap_or_default();
        let known = self.dirs.iter().position(|(dir, _)| dir.has(controller));
        let may = move |(at, (dir, _)): &(usize, &(&Dir, OnceCell<_>))| match known {
            Some(known) => *at == known,
            None => dir.version == Version::V2 || dir.controllers.is_empty(),
        };
        self.dirs.iter().enumerate().filter(may).map(|(at, _)| at)
    }

    /// Each directory is opened once, when something of it is wanted; None when it is not there.
    fn dir(&self, at: usize) -> Result<Option<&Dir>> {
        let (dir, opened) = &self.dirs[at];
        if opened.get().is_none() {
            let fd = dir.open_at_once()?;
            let found = fd.map(|fd| Dir { fd: Some(fd), ..(*dir).clone() });
            return Ok(opened.get_or_init(|| found).as_ref());
        }
        Ok(opened.get().and_then(Option::as_ref))
    }

    fn text(&self, file: &str) -> Result<Option<String>> {
        for at in self.places(file) {
            if let Some(text) = self.dir(at)?.map(|dir| dir.read(file)).transpose()?.flatten() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// v2's own, where pressure is told: no v1 directory has it.
    fn v2_text(&self, file: &str) -> Option<String> {
        // EOPNOTSUPP where the kernel was told not to account it.
        let at = self.dirs.iter().position(|(dir, _)| dir.version == Version::V2)?;
        self.dir(at).ok()??.read(file).ok().flatten()
    }

    /// `max`, which is no number, and no file are 0.
    fn number(&self, file: &str) -> Result<u64> {
        Ok(self.text(file)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    /// A limit; none is the largest number.
    fn limit(&self, file: &str) -> Result<u64> {
        Ok(match self.text(file)? {
            Some(text) => text.trim().parse().unwrap_or(u64::MAX),
            None => 0,
        })
    }

    /// Lines of `key number`.
    fn table(&self, file: &str) -> Result<Map<String, Value>> {
        Ok(table(&self.text(file)?.unwrap_or_default()))
    }

    /// `some avg10=0.00 avg60=… total=…`, and `full`.
    fn pressure(&self, file: &str) -> Result<Option<Value>> {
        let Some(text) = self.v2_text(file) else { return Ok(None) };
        let mut found = json!({});
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(kind) = words.next() else { continue };
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                found[kind][key] = serde_json::from_str(value).unwrap_or(Value::Null);
            }
        }
        Ok(Some(found))
    }
}

fn table(text: &str) -> Map<String, Value> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_string(), json!(value.trim().parse::<u64>().ok()?)))
    };
    text.lines().filter_map(pair).collect()
}

fn at(table: &Map<String, Value>, key: &str) -> u64 {
    table.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn cpu(files: &Files<'_>) -> Result<Value> {
    // v1's come first in a group, so this is v1's file where there is one.
    let stat = files.table("cpu.stat")?;
    let mut cpu = match files.text("cpuacct.usage")? {
        Some(total) => cpu_v1(files, total.trim().parse().unwrap_or(0), &stat)?,
        None => {
            let nanos = |key: &str| at(&stat, key) * 1000;
            let (total, kernel, user) = (nanos("usage_usec"), nanos("system_usec"), nanos("user_usec"));
            let held =
                throttling(at(&stat, "nr_periods"), at(&stat, "nr_throttled"), nanos("throttled_usec"));
            json!({"usage": {"total": total, "kernel": kernel, "user": user}, "throttling": held})
        }
    };
    if let Some(pressure) = files.pressure("cpu.pressure")? {
        cpu["psi"] = pressure;
    }
    Ok(cpu)
}

fn cpu_v1(files: &Files<'_>, total: u64, stat: &Map<String, Value>) -> Result<Value> {
    let nanos = nanos_per_tick();
    let times = files.table("cpuacct.stat")?;
    let mut usage = json!({
        "total": total,
        "percpu": numbers(&files.text("cpuacct.usage_percpu")?.unwrap_or_default()),
        "kernel": at(&times, "system") * nanos,
        "user": at(&times, "user") * nanos,
    });
    // "cpu user system", then a line for each.
    let all = files.text("cpuacct.usage_all")?.unwrap_or_default();
    let rows: Vec<Vec<u64>> = all.lines().skip(1).map(numbers).filter(|row| row.len() == 3).collect();
    if !rows.is_empty() {
        usage["percpu_user"] = rows.iter().map(|row| row[1]).collect();
        usage["percpu_kernel"] = rows.iter().map(|row| row[2]).collect();
    }
    let throttling = throttling(at(stat, "nr_periods"), at(stat, "nr_throttled"), at(stat, "throttled_time"));
    Ok(json!({"usage": usage, "throttling": throttling}))
}

fn throttling(periods: u64, throttled: u64, time: u64) -> Value {
    set(&[("periods", periods), ("throttledPeriods", throttled), ("throttledTime", time)])
}

/// runc leaves zeros out.
fn set(members: &[(&str, u64)]) -> Value {
    let found = members.iter().filter(|(_, n)| *n != 0).map(|(key, n)| (key.to_string(), json!(n)));
    Value::Object(found.collect())
}

fn cpuset(files: &Files<'_>) -> Result<Value> {
    const FLAGS: [&str; 9] = [
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ];
    let mut found = json!({});
    for (key, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
        let list = members(&files.text(file)?.unwrap_or_default());
        if !list.is_empty() {
            found[key] = json!(list);
        }
    }
    // v2 has none of them.
    let mut there = true;
    for flag in FLAGS {
        let text = if there { files.text(&format!("cpuset.{flag}"))? } else { None };
        there = text.is_some();
        found[flag] = json!(text.unwrap_or_default().trim().parse::<i64>().unwrap_or(0));
    }
    Ok(found)
}

/// The numbers of the kernel's `0-3,7`.
fn members(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn entry(limit: u64, usage: u64, max: u64, failed: u64) -> Value {
    let mut entry = json!({"limit": limit, "failcnt": failed});
    for (key, n) in [("usage", usage), ("max", max)].into_iter().filter(|(_, n)| *n != 0) {
        entry[key] = json!(n);
    }
    entry
}

fn memory(files: &Files<'_>) -> Result<Value> {
    let raw = files.table("memory.stat")?;
    let mut memory = match files.text("memory.usage_in_bytes")? {
        Some(usage) => memory_v1(files, usage.trim().parse().unwrap_or(0))?,
        None => memory_v2(files)?,
    };
    let cache = if raw.contains_key("file") { at(&raw, "file") } else { at(&raw, "cache") };
    if cache != 0 {
        memory["cache"] = json!(cache);
    }
    if !raw.is_empty() {
        memory["raw"] = Value::Object(raw);
    }
    if let Some(pressure) = files.pressure("memory.pressure")? {
        memory["psi"] = pressure;
    }
    Ok(memory)
}

fn memory_v1(files: &Files<'_>, usage: u64) -> Result<Value> {
    let mut memory = json!({});
    for (key, part) in [("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")] {
        let number = |file: &str| files.number(&format!("memory.{part}{file}"));
        // Kernels without that count, or that part of it, have none of its files.
        memory[key] = match files.text(&format!("memory.{part}limit_in_bytes"))? {
            None => entry(0, 0, 0, 0),
            Some(limit) => entry(
                limit.trim().parse().unwrap_or(0),
                if key == "usage" { usage } else { number("usage_in_bytes")? },
                number("max_usage_in_bytes")?,
                number("failcnt")?,
            ),
        };
    }
    let kills = files.text("memory.oom_control")?.map_or(0, |text| counter(&text, "oom_kill"));
    memory["kills"] = json!(kills);
    Ok(memory)
}

/// Swap is memory and swap together in v1's words, which readers of these lines know.
fn memory_v2(files: &Files<'_>) -> Result<Value> {
    let (limit, usage) = (files.limit("memory.max")?, files.number("memory.current")?);
    let (swap_limit, swap) = (files.limit("memory.swap.max")?, files.number("memory.swap.current")?);
    let events = files.table("memory.events")?;
    Ok(json!({
        "usage": entry(limit, usage, files.number("memory.peak")?, at(&events, "max")),
        "swap": entry(swap_limit.saturating_add(limit), swap.saturating_add(usage), 0, 0),
        "kernel": entry(0, 0, 0, 0),
        "kernelTCP": entry(0, 0, 0, 0),
        "kills": at(&events, "oom_kill"),
    }))
}

/// runc leaves the peak out.
fn pids(files: &Files<'_>) -> Result<Value> {
    let number = |file: &str| files.number(&format!("pids.{file}"));
    Ok(set(&[("current", number("current")?), ("limit", number("max")?), ("peak", number("peak")?)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_numbers() {
        assert_eq!(members("0-2,5\n"), [0, 1, 2, 5]);
        assert!(members("\n").is_empty() && members("x").is_empty());
    }
}
