//! `resources.memory` as writes. v1 limits memory and swap together, v2 each by itself.

use crate::limits::{Expect, Setting, Sheet, unsupported};
use crate::sizes::NO_LIMIT;
use chain::cgroup::{Group, Version};
use chain::oci::Memory;
use chain::{Class, Error, Result};

/// The kernel counts in these.
pub(crate) fn page() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|n| u64::try_from(n).ok()).unwrap_or(4096)
}

/// The writes. `limit` comes before `swap`: in a new group, where neither is limited, v1 takes them in this order. In
/// one that has limits it may want the other order, and then the second round finds it.
pub(crate) fn writes(memory: &Memory, sheet: &mut Sheet<'_>) -> Result<()> {
    let (limit, swap) = (memory.limit.filter(|n| *n != 0), memory.swap.filter(|n| *n != 0));
    below_no_limit("limit", limit)?;
    below_no_limit("swap", swap)?;
    if let Some(limit) = limit {
        let field = "resources.memory.limit";
        sheet.put(
            field,
            "memory",
            Some(v1("memory.limit_in_bytes", limit)),
            Some(v2("memory.max", limit)),
        )?;
    }
    swap_writes(limit, swap, sheet)?;
    if let Some(soft) = memory.reservation.filter(|n| *n != 0) {
        below_no_limit("reservation", Some(soft))?;
        let field = "resources.memory.reservation";
        sheet.put(
            field,
            "memory",
            Some(v1("memory.soft_limit_in_bytes", soft)),
            Some(v2("memory.low", soft)),
        )?;
    }
    v1_only(memory, sheet)
}

fn below_no_limit(name: &str, value: Option<i64>) -> Result<()> {
    match value {
        Some(n) if n < NO_LIMIT => {
            Err(Error::usage("limit the cgroup", format_args!("resources.memory.{name}: {n} is below -1")))
        }
        _ => Ok(()),
    }
}

fn v1(file: &'static str, bytes: i64) -> Setting {
    let expect = if bytes == NO_LIMIT { Expect::Unlimited } else { Expect::RoundedTo(page()) };
    (file, bytes.to_string(), expect)
}

fn v2(file: &'static str, bytes: i64) -> Setting {
    match bytes {
        NO_LIMIT => (file, "max".into(), Expect::Same),
        n => (file, n.to_string(), Expect::RoundedTo(page())),
    }
}

/// OCI's `swap` is memory and swap together, so v2's limit of swap alone is the difference. Memory without a limit
/// takes the limit off swap as well, as runc has it.
fn swap_writes(limit: Option<i64>, swap: Option<i64>, sheet: &mut Sheet<'_>) -> Result<()> {
    let field = "resources.memory.swap";
    let swap = swap.or(limit.filter(|n| *n == NO_LIMIT));
    let Some(swap) = swap else { return Ok(()) };
    let alone = match (swap, limit) {
        (NO_LIMIT, _) => NO_LIMIT,
        (swap, Some(limit)) if limit != NO_LIMIT && swap >= limit => swap - limit,
        (swap, Some(limit)) if limit != NO_LIMIT => {
            let detail =
                format!("{field}: {swap} is below the memory limit {limit}, and it is both together");
            return Err(Error::usage("limit the cgroup", detail));
        }
        _ if sheet.version_of("memory") == Some(Version::V1) && limit.is_none() => swap,
        _ => {
            let detail = format!("{field}: it is memory and swap together, so memory needs a limit too");
            return Err(Error::usage("limit the cgroup", detail));
        }
    };
    sheet.put(
        field,
        "memory",
        Some(v1("memory.memsw.limit_in_bytes", swap)),
        Some(v2("memory.swap.max", alone)),
    )
}

fn v1_only(memory: &Memory, sheet: &mut Sheet<'_>) -> Result<()> {
    let is_v2 = sheet.version_of("memory") == Some(Version::V2);
    if let Some(swappiness) = memory.swappiness.filter(|s| !(is_v2 && *s == 0)) {
        if swappiness > 100 {
            let detail = format_args!("resources.memory.swappiness: {swappiness} is above 100").to_string();
            return Err(Error::usage("limit the cgroup", detail));
        }
        let v1 = ("memory.swappiness", swappiness.to_string(), Expect::Same);
        sheet.put("resources.memory.swappiness", "memory", Some(v1), None)?;
    }
    if memory.disable_oom_killer == Some(true) {
        let v1 = ("memory.oom_control", "1".to_string(), Expect::Line("oom_kill_disable 1"));
        sheet.put("resources.memory.disableOOMKiller", "memory", Some(v1), None)?;
    }
    // The only way a kernel since 5.11 knows, and v2 ever.
    if memory.use_hierarchy == Some(true) && !is_v2 {
        let v1 = ("memory.use_hierarchy", "1".to_string(), Expect::Same);
        sheet.put("resources.memory.useHierarchy", "memory", Some(v1), None)?;
    }
    if let Some(bytes) = memory.kernel_tcp.filter(|n| *n != 0) {
        let field = "resources.memory.kernelTCP";
        sheet.put(field, "memory", Some(v1("memory.kmem.tcp.limit_in_bytes", bytes)), None)?;
    }
    if memory.kernel.is_some_and(|n| n != 0) {
        let field = "resources.memory.kernel";
        sheet.give_up(field, unsupported(field, "the kernel gave this limit up (Linux 5.4)"))?;
    }
    Ok(())
}

/// What `checkBeforeUpdate` is about: a limit below what is used now would have the kernel kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    memory: Option<i64>,
    both: Option<i64>,
}

/// The limits that are to be checked.
pub(crate) fn to_check(memory: &Memory) -> Option<Limits> {
    let limit = |bytes: Option<i64>| bytes.filter(|n| *n > 0);
    let limits = Limits { memory: limit(memory.limit), both: limit(memory.swap) };
    (memory.check_before_update == Some(true)).then_some(limits)
}

impl Limits {
    /// Memory and swap together come first, as in runc: what is above that is above the other too.
    pub(crate) fn refuse_below_use(self, group: &Group) -> Result<()> {
        let (dir, version) = match (group.v1("memory"), group.v2()) {
            (Some(dir), _) => (dir, Version::V1),
            (None, Some(dir)) => (dir, Version::V2),
            (None, None) => return Ok(()),
        };
        let number =
            |file| -> Result<Option<i64>> { Ok(dir.read(file)?.and_then(|text| text.trim().parse().ok())) };
        // A kernel that does not count swap has no file of it.
        let (used, both) = if version == Version::V1 {
            let used = number("memory.usage_in_bytes")?.unwrap_or(0);
            (used, number("memory.memsw.usage_in_bytes")?.unwrap_or(used))
        } else {
            let used = number("memory.current")?.unwrap_or(0);
            (used, used.saturating_add(number("memory.swap.current")?.unwrap_or(0)))
        };
        for (what, limit, used) in [("memory+swap", self.both, both), ("memory", self.memory, used)] {
            if let Some(limit) = limit.filter(|limit| *limit < used) {
                let detail =
                    format!("{used} bytes are in use, and resources.memory.checkBeforeUpdate is set");
                let doing = format_args!("limit {what} to {limit} bytes");
                return Err(Error::new(Class::Conflict, doing, detail));
            }
        }
        Ok(())
    }
}
