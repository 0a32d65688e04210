//! `--show PID`: what is in force for a process, as a layer that asks for the same. Of the group: its own limits, not
//! those of groups above it; what is as in a new group is left out.

use crate::{rlimits, tuning};
use chain::bytes::Bytes;
use chain::cgroup::{Dir, Hierarchies, Hierarchy, Version, cpu_shares_of_weight, cpu_weight_of_shares};
use chain::oci::{Cpu, DeviceRule, Memory, Pids, Resources};
use chain::spec::CgApply;
use chain::{Class, Error, Result, proc};
use nix::errno::Errno;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The layer of process `pid`.
pub(crate) fn in_force(pid: i32) -> Result<CgApply> {
    let read = |file: &str| {
        proc::read(&format!("/proc/{pid}/{file}")).map(|t| String::from_utf8_lossy(&t).into_owned())
    };
    let shown = || {
        let theirs = Hierarchies::detect_for(&pid.to_string())?;
        let resources = resources(&theirs)?;
        Ok(CgApply {
            cgroups_path: path(&theirs, &Hierarchies::detect()?),
            resources: Some(resources).filter(|r| *r != Resources::default()),
            rlimits: rlimits::in_text(&read("limits")?),
            oom_score_adj: read("oom_score_adj")?.trim().parse().ok(),
            scheduler: tuning::scheduler_of(pid)?,
            io_priority: tuning::io_priority_of(pid),
            ..CgApply::default()
        })
    };
    shown().map_err(|e: Error| match e.errno() {
        Some(Errno::ENOENT | Errno::ESRCH) => {
            let detail = format_args!("there is no process {pid}").to_string();
            Error::new(Class::Missing, format_args!("show process {pid}"), detail)
        }
        _ => e,
    })
}

/// The one cgroupsPath that names its group in every hierarchy: absolute, or else relative to our own groups. None where
/// it is in the root, or somewhere else in one hierarchy than in another.
fn path(theirs: &Hierarchies, ours: &Hierarchies) -> Option<Bytes> {
    let counts =
        |h: &&Hierarchy| h.controllers.iter().all(|c| !c.starts_with("name=") || c == "name=systemd");
    let groups: Vec<&Hierarchy> = theirs.all.iter().filter(counts).collect();
    let absolute = groups.iter().map(|h| h.own.clone());
    let relative = groups.iter().map(|h| {
        let mut base = ours.all.iter().find(|o| o.controllers == h.controllers)?.own.clone()?;
        if h.version == Version::V2 {
            base.pop();
        }
        h.own.as_ref()?.strip_prefix(base.as_slice()).map(<[_]>::to_vec)
    });
    let start = |text: &[u8], parts: Vec<Vec<u8>>| Bytes([text, &parts.join(&b'/')].concat());
    same(absolute).map(|parts| start(b"/", parts)).or_else(|| same(relative).map(|parts| start(b"", parts)))
}

/// What all of them are, if they are the same and something.
fn same(mut paths: impl Iterator<Item = Option<Vec<Vec<u8>>>>) -> Option<Vec<Vec<u8>>> {
    let first = paths.next()??;
    (!first.is_empty() && paths.all(|p| p.as_ref() == Some(&first))).then_some(first)
}

fn resources(theirs: &Hierarchies) -> Result<Resources> {
    let mut found = Resources::default();
    for hierarchy in &theirs.all {
        let Some(dir) = hierarchy.own_dir() else { continue };
        match hierarchy.version {
            Version::V1 => of_v1(hierarchy, &dir, &mut found)?,
            Version::V2 => of_v2(&dir, &mut found)?,
        }
    }
    found.memory = found.memory.take().filter(|m| *m != Memory::default());
    found.cpu = found.cpu.take().filter(|c| *c != Cpu::default());
    Ok(found)
}

fn of_v1(hierarchy: &Hierarchy, dir: &Dir, found: &mut Resources) -> Result<()> {
    if dir.has("memory") {
        found.memory = Some(memory_v1(dir)?);
    }
    if dir.has("cpu") {
        let cpu = found.cpu.get_or_insert_default();
        cpu_v1(dir, cpu)?;
        if hierarchy.own.as_ref().is_some_and(|own| !own.is_empty()) {
            cpu.realtime_runtime = number(dir, "cpu.rt_runtime_us")?.filter(|n| *n != 0);
            cpu.realtime_period = cpu.realtime_runtime.and(count(dir, "cpu.rt_period_us")?);
        }
    }
    if dir.has("cpuset") {
        // Every group has a list there, at first its parent's.
        let own = |file: &str| -> Result<Option<String>> {
            let root = std::fs::read_to_string(hierarchy.mount.as_path().join(file)).unwrap_or_default();
            Ok(text(dir, file)?.filter(|list| list != root.trim()))
        };
        let cpu = found.cpu.get_or_insert_default();
        (cpu.cpus, cpu.mems) = (own("cpuset.cpus")?, own("cpuset.mems")?);
    }
    if dir.has("pids") {
        found.pids = limit(dir, "pids.max")?.map(|n| Pids { limit: Some(n) });
    }
    if dir.has("hugetlb") {
        found.hugepage_limits = huge_pages(dir, "limit_in_bytes")?;
    }
    if dir.has("devices") {
        found.devices = devices(&dir.read("devices.list")?.unwrap_or_default());
    }
    Ok(())
}

fn memory_v1(dir: &Dir) -> Result<Memory> {
    // A new group has the system's.
    let usual = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap_or_default();
    let usual = usual.trim().parse::<u64>().ok();
    let never = dir.read("memory.oom_control")?.unwrap_or_default();
    Ok(Memory {
        limit: limit(dir, "memory.limit_in_bytes")?,
        reservation: limit(dir, "memory.soft_limit_in_bytes")?,
        swap: limit(dir, "memory.memsw.limit_in_bytes")?,
        kernel_tcp: limit(dir, "memory.kmem.tcp.limit_in_bytes")?,
        swappiness: count(dir, "memory.swappiness")?.filter(|n| Some(*n) != usual && *n <= 100),
        disable_oom_killer: never.lines().any(|l| l == "oom_kill_disable 1").then_some(true),
        ..Memory::default()
    })
}

fn cpu_v1(dir: &Dir, cpu: &mut Cpu) -> Result<()> {
    cpu.idle = number(dir, "cpu.idle")?.filter(|n| *n != 0);
    // An idle group has no weight of its own.
    cpu.shares = count(dir, "cpu.shares")?.filter(|n| *n != 1024 && cpu.idle.is_none());
    cpu.quota = limit(dir, "cpu.cfs_quota_us")?.filter(|n| *n > 0);
    cpu.period = count(dir, "cpu.cfs_period_us")?.filter(|n| cpu.quota.is_some() || *n != 100_000);
    cpu.burst = count(dir, "cpu.cfs_burst_us")?.filter(|n| *n != 0);
    Ok(())
}

fn of_v2(dir: &Dir, found: &mut Resources) -> Result<()> {
    if let Some(max) = text(dir, "memory.max")? {
        let limit = finite(&max);
        let swap = limit_of_swap(dir, limit, &mut found.unified)?;
        let reservation = match text(dir, "memory.low")?.as_deref() {
            None | Some("0") => None,
            Some(low) => Some(finite(low).unwrap_or(-1)),
        };
        found.memory = Some(Memory { limit, swap, reservation, ..Memory::default() });
    }
    if let Some(max) = text(dir, "cpu.max")? {
        cpu_v2(dir, &max, found)?;
    }
    if dir.read("cpuset.cpus")?.is_some() {
        let cpu = found.cpu.get_or_insert_default();
        (cpu.cpus, cpu.mems) = (text(dir, "cpuset.cpus")?, text(dir, "cpuset.mems")?);
    }
    if let Some(max) = limit(dir, "pids.max")? {
        found.pids = Some(Pids { limit: Some(max) });
    }
    if let Some(limits) = huge_pages(dir, "max")? {
        found.hugepage_limits = Some(limits);
    }
    // What OCI has no words for, where it is not as in a new group.
    let files =
        [("memory.min", "0"), ("memory.high", "max"), ("memory.swap.high", "max"), ("memory.oom.group", "0")];
    for (file, usual) in files.into_iter().chain([("io.weight", "default 100"), ("io.max", "")]) {
        if let Some(value) = text(dir, file)?.filter(|v| v != usual) {
            found.unified.insert(file.into(), value);
        }
    }
    Ok(())
}

/// OCI's limit is of memory and swap together; one of swap alone, where memory has none, it cannot say.
fn limit_of_swap(
    dir: &Dir,
    memory: Option<i64>,
    unified: &mut BTreeMap<String, String>,
) -> Result<Option<i64>> {
    let file = "memory.swap.max";
    match (limit(dir, file)?, memory) {
        (Some(swap), Some(memory)) => Ok(Some(memory.saturating_add(swap))),
        (Some(swap), None) => {
            unified.insert(file.into(), swap.to_string());
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

fn cpu_v2(dir: &Dir, max: &str, found: &mut Resources) -> Result<()> {
    let cpu = found.cpu.get_or_insert_default();
    cpu.idle = number(dir, "cpu.idle")?.filter(|n| *n != 0);
    let weight = count(dir, "cpu.weight")?.filter(|n| *n != 100 && cpu.idle.is_none());
    match weight.map(|w| (w, cpu_shares_of_weight(w))) {
        Some((weight, shares)) if cpu_weight_of_shares(shares) == weight => cpu.shares = Some(shares),
        // No shares mean this weight.
        Some((weight, _)) => drop(found.unified.insert("cpu.weight".into(), weight.to_string())),
        None => {}
    }
    let mut words = max.split_whitespace();
    cpu.quota = words.next().and_then(finite);
    cpu.period = words.next().and_then(|w| w.parse().ok()).filter(|n| cpu.quota.is_some() || *n != 100_000);
    cpu.burst = count(dir, "cpu.max.burst")?.filter(|n| *n != 0);
    Ok(())
}

/// Of the sizes that this kernel has, by their directories in sysfs: `hugepages-2048kB`.
fn huge_pages(dir: &Dir, file: &str) -> Result<Option<Value>> {
    let entries =
        std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().filter_map(std::io::Result::ok);
    let mut sizes: Vec<u64> = entries
        .filter_map(|e| e.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    let mut limits = Vec::new();
    for kib in sizes {
        let name = match kib {
            k if k >= 1 << 20 => format!("{}GB", k >> 20),
            k if k >= 1 << 10 => format!("{}MB", k >> 10),
            k => format!("{k}KB"),
        };
        if let Some(bytes) = limit(dir, &format!("hugetlb.{name}.{file}"))? {
            limits.push(json!({"pageSize": name, "limit": bytes}));
        }
    }
    Ok((!limits.is_empty()).then(|| limits.into()))
}

/// v1's list of what is allowed. With everything allowed the kernel does not tell what is excepted.
fn devices(list: &str) -> Vec<DeviceRule> {
    let one = |line: &str| {
        let (kind, rest) = line.split_once(' ')?;
        let (numbers, access) = rest.split_once(' ')?;
        let (major, minor) = numbers.split_once(':')?;
        Some(DeviceRule {
            allow: true,
            kind: Some(kind.into()),
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            access: Some(access.into()),
        })
    };
    let allowed: Vec<DeviceRule> = list.lines().filter_map(one).collect();
    if allowed.iter().any(|rule| rule.kind.as_deref() == Some("a")) {
        return Vec::new();
    }
    let deny = DeviceRule { access: Some("rwm".into()), ..DeviceRule::default() };
    std::iter::once(deny).chain(allowed).collect()
}

fn text(dir: &Dir, file: &str) -> Result<Option<String>> {
    Ok(dir.read(file)?.map(|t| t.trim().to_string()).filter(|t| !t.is_empty()))
}

fn number(dir: &Dir, file: &str) -> Result<Option<i64>> {
    Ok(text(dir, file)?.and_then(|t| t.parse().ok()))
}

fn count(dir: &Dir, file: &str) -> Result<Option<u64>> {
    Ok(text(dir, file)?.and_then(|t| t.parse().ok()))
}

/// A limit that limits.
fn limit(dir: &Dir, file: &str) -> Result<Option<i64>> {
    Ok(text(dir, file)?.as_deref().and_then(finite))
}

/// `max` and v1's largest numbers, rounded down to whole (huge) pages, are none.
fn finite(word: &str) -> Option<i64> {
    word.parse::<i64>().ok().filter(|n| *n >= 0 && *n < i64::MAX - (1 << 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_left_out() {
        for word in ["max", "-1", "9223372036854771712", "9223372035781033984", "18446744073709551615", ""] {
            assert_eq!(finite(word), None, "{word}");
        }
        assert_eq!((finite("0"), finite("4096")), (Some(0), Some(4096)));
    }

    #[test]
    fn a_devices_list_as_rules() {
        assert!(devices("a *:* rwm\n").is_empty());
        let rules = devices("c 1:3 rw\nb *:* m\n");
        assert_eq!(rules.len(), 3);
        assert!(!rules[0].allow && rules[0].kind.is_none());
        assert_eq!((rules[1].major, rules[1].minor, rules[2].major), (Some(1), Some(3), None));
        // Nothing is allowed.
        assert_eq!(devices("").len(), 1);
    }

    #[test]
    fn one_path_for_all_hierarchies_or_none() {
        let own = |h: &[&str]| Some(h.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(same([own(&["a"]), own(&["a"])].into_iter()), own(&["a"]));
        for paths in [[own(&["a"]), own(&["b"])], [own(&[]), own(&[])], [own(&["a"]), None], [None, None]] {
            assert_eq!(same(paths.into_iter()), None);
        }
    }
}
