//! What a cgroup has used, in the shape of runc's `events`, from either version's files. What nobody counts here is
//! left out or zero, as runc has it.

use chain::Result;
use chain::cgroup::Group;
use serde_json::{Map, Value, json};

/// All of it.
pub(crate) fn of(group: &Group) -> Result<Value> {
    let files = Files(group);
    Ok(json!({
        "cpu": cpu(&files)?,
        "cpuset": cpuset(&files)?,
        "memory": memory(&files)?,
        "pids": set(&[("current", files.number("pids.current")?), ("limit", files.number("pids.max")?)]),
        "blkio": blkio(&files)?,
        "hugetlb": huge_pages(&files)?,
        "intel_rdt": {},
        "network_interfaces": null,
    }))
}

/// The files of a group's directories: the first that has one of that name. v1's come first; beside them v2 has no file
/// of the same name but `cpu.stat`, whose words are others, and `cgroup.*`.
struct Files<'a>(&'a Group);

impl Files<'_> {
    fn text(&self, file: &str) -> Result<Option<String>> {
        for dir in &self.0.dirs {
            if let Some(text) = dir.read(file)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
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

    fn has(&self, file: &str) -> Result<bool> {
        Ok(self.text(file)?.is_some())
    }

    /// Lines of `key number`.
    fn table(&self, file: &str) -> Result<Map<String, Value>> {
        let text = self.text(file)?.unwrap_or_default();
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_string(), json!(value.trim().parse::<u64>().ok()?)))
        };
        Ok(text.lines().filter_map(pair).collect())
    }

    /// `some avg10=0.00 avg60=… total=…`, and `full`.
    fn pressure(&self, file: &str) -> Result<Option<Value>> {
        // EOPNOTSUPP where the kernel was told not to account it.
        let Ok(Some(text)) = self.text(file) else { return Ok(None) };
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

fn at(table: &Map<String, Value>, key: &str) -> u64 {
    table.get(key).and_then(Value::as_u64).unwrap_or(0)
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
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let nanos = 1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1);
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
    for flag in FLAGS {
        let text = files.text(&format!("cpuset.{flag}"))?.unwrap_or_default();
        found[flag] = json!(text.trim().parse::<i64>().unwrap_or(0));
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
    let mut memory = match files.has("memory.usage_in_bytes")? {
        true => memory_v1(files)?,
        false => memory_v2(files)?,
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

fn memory_v1(files: &Files<'_>) -> Result<Value> {
    let mut memory = json!({});
    for (key, part) in [("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")] {
        let number = |file: &str| files.number(&format!("memory.{part}{file}"));
        memory[key] = entry(
            number("limit_in_bytes")?,
            number("usage_in_bytes")?,
            number("max_usage_in_bytes")?,
            number("failcnt")?,
        );
    }
    Ok(memory)
}

/// Swap is memory and swap together in v1's words, which readers of these lines know.
fn memory_v2(files: &Files<'_>) -> Result<Value> {
    let (limit, usage) = (files.limit("memory.max")?, files.number("memory.current")?);
    let (swap_limit, swap) = (files.limit("memory.swap.max")?, files.number("memory.swap.current")?);
    let failed = at(&files.table("memory.events")?, "max");
    Ok(json!({
        "usage": entry(limit, usage, files.number("memory.peak")?, failed),
        "swap": entry(swap_limit.saturating_add(limit), swap.saturating_add(usage), 0, 0),
        "kernel": entry(0, 0, 0, 0),
        "kernelTCP": entry(0, 0, 0, 0),
    }))
}

fn blkio(files: &Files<'_>) -> Result<Value> {
    let mut found = json!({});
    let (bytes, count) = match files.text("io.stat")? {
        Some(text) => {
            (io_stat(&text, ["rbytes", "wbytes", "dbytes"]), io_stat(&text, ["rios", "wios", "dios"]))
        }
        None => {
            let lines = |file: &str| files.text(&format!("blkio.throttle.{file}_recursive"));
            (
                io_v1(&lines("io_service_bytes")?.unwrap_or_default()),
                io_v1(&lines("io_serviced")?.unwrap_or_default()),
            )
        }
    };
    for (key, list) in [("ioServiceBytesRecursive", bytes), ("ioServicedRecursive", count)] {
        if !list.is_empty() {
            found[key] = json!(list);
        }
    }
    if let Some(pressure) = files.pressure("io.pressure")? {
        found["psi"] = pressure;
    }
    Ok(found)
}

fn io_entry(device: &str, op: &str, value: u64) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u64, u64) = (major.parse().ok()?, minor.parse().ok()?);
    Some(json!({"major": major, "minor": minor, "op": op, "value": value}))
}

/// `8:0 Read 4096`.
fn io_v1(text: &str) -> Vec<Value> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, op, value] = words.as_slice() else { return None };
        io_entry(device, op, value.parse().ok()?)
    };
    text.lines().filter_map(one).collect()
}

/// `8:0 rbytes=4096 wbytes=0 …`.
fn io_stat(text: &str, keys: [&str; 3]) -> Vec<Value> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ').unwrap_or((line, ""));
        let value = |key: &str| {
            rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        };
        let ops = keys.into_iter().zip(["Read", "Write", "Discard"]);
        ops.filter_map(|(key, op)| io_entry(device, op, value(key)?)).collect::<Vec<_>>()
    };
    text.lines().flat_map(line).collect()
}

/// By the sizes of the group's own files: `hugetlb.2MB.…`.
fn huge_pages(files: &Files<'_>) -> Result<Value> {
    let mut found = json!({});
    for kib in sizes() {
        let name = match kib {
            k if k >= 1 << 20 => format!("{}GB", k >> 20),
            k if k >= 1 << 10 => format!("{}MB", k >> 10),
            k => format!("{k}KB"),
        };
        let file = |word: &str| format!("hugetlb.{name}.{word}");
        let entry = match files.has(&file("current"))? {
            true => (files.number(&file("current"))?, 0, at(&files.table(&file("events"))?, "max")),
            false if !files.has(&file("usage_in_bytes"))? => continue,
            false => {
                let number = |word: &str| files.number(&file(word));
                (number("usage_in_bytes")?, number("max_usage_in_bytes")?, number("failcnt")?)
            }
        };
        found[&name] = json!({"failcnt": entry.2});
        for (key, n) in [("usage", entry.0), ("max", entry.1)].into_iter().filter(|(_, n)| *n != 0) {
            found[&name][key] = json!(n);
        }
    }
    Ok(found)
}

/// Of huge pages on this kernel, in KiB: sysfs has `hugepages-2048kB`.
fn sizes() -> Vec<u64> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let size = |name: std::ffi::OsString| {
        name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
    };
    entries.filter_map(|entry| size(entry.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_both_versions_in_one_shape() {
        let v1 = io_v1("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n");
        let v2 = io_stat("8:0 rbytes=4096 wbytes=0\n7:1\n", ["rbytes", "wbytes", "dbytes"]);
        assert_eq!(v1, v2);
        assert_eq!(v1[0], json!({"major": 8, "minor": 0, "op": "Read", "value": 4096}));
    }

    #[test]
    fn lists_of_cpus_are_numbers() {
        assert_eq!(members("0-2,5\n"), [0, 1, 2, 5]);
        assert!(members("\n").is_empty() && members("x").is_empty());
    }
}
