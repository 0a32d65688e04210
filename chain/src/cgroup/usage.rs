//! What a group has come to: its run time, its peaks, and whether something in it was killed for want of memory.

use super::{Dir, Group, Version};
use crate::error::Result;
use crate::size;
use std::time::Duration;

/// Memory of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its own limit.
    pub limit: Option<u64>,
    /// The most it ever had; Linux 5.19 in v2.
    pub peak: Option<u64>,
    /// Whether it ever wanted more than its limit.
    pub reached: bool,
    /// How many of its processes the kernel killed to get memory back.
    pub oom_kills: u64,
}

impl Memory {
    /// Why something in it was killed, behind "it was"; None where memory was never out.
    pub fn killed(&self) -> Option<String> {
        let kills = match self.oom_kills {
            0 => return None,
            1 => "1 oom kill".to_string(),
            n => format!("{n} oom kills"),
        };
        let peak = self.peak.map_or_else(String::new, |peak| format!("peak {}, ", size::words(peak)));
        let by = match self.limit.filter(|_| self.reached) {
            Some(limit) => format!("by its memory limit of {}", size::words(limit)),
            None => "for want of memory above its own limit: of the host, or of a group above".into(),
        };
        Some(format!("killed {by} ({peak}{kills})"))
    }
}

/// Run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it.
    pub total: Duration,
    /// Of it, in user space.
    pub user: Duration,
    /// Of it, in the kernel.
    pub system: Duration,
}

impl Group {
    /// The first of its directories that has this file, and what is in it.
    fn file(&self, name: &str) -> Result<Option<(&Dir, String)>> {
        for dir in &self.dirs {
            if let Some(text) = dir.read(name)? {
                return Ok(Some((dir, text)));
            }
        }
        Ok(None)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.file(name)?.and_then(|(_, text)| text.trim().parse().ok()))
    }

    /// Its memory; all nothing where nobody counts it.
    pub fn memory(&self) -> Result<Memory> {
        if let Some((dir, _)) = self.file("memory.oom_control")? {
            return memory_v1(dir);
        }
        let Some((dir, events)) = self.file("memory.events")? else { return Ok(Memory::default()) };
        let number = |file: &str| dir.read(file).map(|text| text.and_then(|t| t.trim().parse().ok()));
        Ok(Memory {
            limit: number("memory.max")?,
            peak: number("memory.peak")?,
            reached: counter(&events, "oom") > 0,
            oom_kills: counter(&events, "oom_kill"),
        })
    }

    /// Its run time; None where nobody counts it.
    pub fn cpu_time(&self) -> Result<Option<CpuTime>> {
        if let Some(total) = self.number("cpuacct.usage")? {
            let times = self.file("cpuacct.stat")?.map(|(_, text)| text).unwrap_or_default();
            let ticks = |key: &str| Duration::from_nanos(counter(&times, key) * nanos_per_tick());
            let (user, system) = (ticks("user"), ticks("system"));
            return Ok(Some(CpuTime { total: Duration::from_nanos(total), user, system }));
        }
        // Beside v1's controller of that name, v2 has a file of that name too.
        let Some(text) = self.v2().map(|dir| dir.read("cpu.stat")).transpose()?.flatten() else {
            return Ok(None);
        };
        let micros = |key: &str| Duration::from_micros(counter(&text, key));
        Ok(Some(CpuTime {
            total: micros("usage_usec"),
            user: micros("user_usec"),
            system: micros("system_usec"),
        }))
    }

    /// The most tasks it ever had at once; Linux 6.6.
    pub fn pids_peak(&self) -> Result<Option<u64>> {
        self.number("pids.peak")
    }
}

const BATCH: u64 = 64 << 12;

/// Nanoseconds of what v1 counts run time in.
pub fn nanos_per_tick() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1)
}

/// The number behind `key ` at the start of a line; 0 where there is none.
pub(super) fn counter(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn memory_v1(dir: &Dir) -> Result<Memory> {
    debug_assert_eq!(dir.version, Version::V1);
    let number = |file: &str| dir.read(file).map(|text| text.and_then(|t| t.trim().parse::<u64>().ok()));
    let limit = |file: &str| number(file).map(|n| n.filter(|n| *n < 1 << 62));
    let (alone, both) = (limit("memory.limit_in_bytes")?, limit("memory.memsw.limit_in_bytes")?);
    // failcnt stays 0 on some kernels; memory is charged in batches of 64 pages.
    let near = |most: Option<u64>, peak: Option<u64>| {
        most.zip(peak).is_some_and(|(most, peak)| peak + BATCH >= most)
    };
    let peak = number("memory.max_usage_in_bytes")?;
    let reached = near(alone, peak) || near(both, number("memory.memsw.max_usage_in_bytes")?);
    let mut kills = 0;
    dir.each_below(&mut |text| kills += counter(text, "oom_kill"), "memory.oom_control")?;
    Ok(Memory { limit: alone.or(both), peak, reached, oom_kills: kills })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_limit_and_what_was_used() {
        let memory = |limit, peak, reached, oom_kills| Memory { limit, peak, reached, oom_kills }.killed();
        assert_eq!(
            memory(Some(8 << 20), Some(8 << 20), true, 1).as_deref(),
            Some("killed by its memory limit of 8 MiB (peak 8 MiB, 1 oom kill)")
        );
        assert_eq!(
            memory(Some(3 << 29), None, true, 2).as_deref(),
            Some("killed by its memory limit of 1.5 GiB (2 oom kills)")
        );
        assert_eq!(memory(Some(8 << 20), Some(8 << 20), true, 0), None);
        // The host's own want is not this limit's work.
        let host = memory(Some(8 << 20), Some(1 << 20), false, 1).unwrap();
        assert!(host.contains("of the host") && host.contains("peak 1 MiB"), "{host}");
    }

    #[test]
    fn a_key_is_a_whole_word() {
        let text = "low 1\noom 2\noom_kill 3\n";
        assert_eq!((counter(text, "oom"), counter(text, "oom_kill"), counter(text, "max")), (2, 3, 0));
    }
}
