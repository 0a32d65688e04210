//! `resources` as writes to files of a cgroup: pure. Zero and empty values, which engines write for "not set", are none.

use crate::{block, memory, network};
use chain::cgroup::{Version, cpu_weight_of_shares};
use chain::oci::{Cpu, Resources};
use chain::{Class, Error, Result};
use serde_json::Value;
use std::borrow::Cow;

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controllers {
    /// Controllers of v1 hierarchies.
    pub(crate) v1: Vec<String>,
    /// Controllers that the root of the v2 mount has; None without v2.
    pub(crate) v2: Option<Vec<String>>,
}

/// What the file must say afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// What was written.
    Same,
    /// The number written, rounded down to a multiple of this.
    RoundedTo(u64),
    /// A number as large as numbers get.
    Unlimited,
    /// A list with the same members, also in the file that says what is in force, where there is one.
    List,
    /// This line among others.
    Line(&'static str),
    /// A line with all words of what was written, among others.
    Words,
    /// Nothing that can be foretold.
    Anything,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Which field asked for it, by its JSON path.
    pub(crate) field: Cow<'static, str>,
    /// The controller; the part before the first dot of a file's name in v2.
    pub(crate) controller: Cow<'static, str>,
    /// In which of the group's directories.
    pub(crate) version: Version,
    /// Which file.
    pub(crate) file: Cow<'static, str>,
    /// What.
    pub(crate) value: String,
    /// What it must say afterwards.
    pub(crate) expect: Expect,
    /// A kernel without this file is no failure.
    pub(crate) optional: bool,
    /// A kernel without this file has another one, and a value for it.
    pub(crate) instead: Option<(&'static str, String)>,
    /// What the file said right behind the write.
    pub(crate) found: Option<String>,
}

impl Write {
    /// Turns to the other file, if there is one.
    pub(crate) fn use_instead(&mut self) -> bool {
        let Some((file, value)) = self.instead.take() else { return false };
        (self.file, self.value) = (file.into(), value);
        true
    }
}

/// A file, its value and what it must say then.
pub(crate) type Setting = (&'static str, String, Expect);

/// The writes so far.
pub(crate) struct Sheet<'a> {
    controllers: &'a Controllers,
    attempt: &'a [String],
    pub(crate) writes: Vec<Write>,
    pub(crate) degraded: Vec<String>,
}

/// Whether `--try` names this field or one above it.
pub(crate) fn may_fail(attempt: &[String], field: &str) -> bool {
    attempt.iter().any(|a| {
        field.strip_prefix(a.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// The error for what this host or version cannot do, by JSON path.
pub(crate) fn unsupported(field: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Class::Unsupported, "limit the cgroup", format_args!("{field}: {why}"))
        .cure(format_args!("--try {field}"))
}

/// All of `resources` but `devices`.
pub(crate) fn writes<'a>(
    resources: &Resources,
    controllers: &'a Controllers,
    attempt: &'a [String],
) -> Result<Sheet<'a>> {
    let mut sheet = Sheet { controllers, attempt, writes: Vec::new(), degraded: Vec::new() };
    if let Some(memory) = &resources.memory {
        memory::writes(memory, &mut sheet)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_time(cpu, &mut sheet)?;
        cpu_set(cpu, &mut sheet)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit) {
        // 0 is a limit of its own since 1.3 of the specification. systemd knows no 0, so runc has 1 for it everywhere:
        // the container's first process and no other.
        let value = if limit < 0 { "max".to_string() } else { limit.max(1).to_string() };
        let setting = ("pids.max", value, Expect::Same);
        sheet.put("resources.pids.limit", "pids", Some(setting.clone()), Some(setting))?;
    }
    if let Some(block) = &resources.block_io {
        block::writes(block, &mut sheet)?;
    }
    if let Some(limits) = resources.hugepage_limits.as_ref().filter(|v| !v.is_null()) {
        huge_pages(limits, &mut sheet)?;
    }
    network::writes(resources.network.as_ref(), resources.rdma.as_ref(), &mut sheet)?;
    for (file, value) in &resources.unified {
        unified(file, value, &mut sheet)?;
    }
    Ok(sheet)
}

impl Sheet<'_> {
    /// Adds a write to whichever version of the cgroup file system holds the controller. None: it cannot be done there.
    pub(crate) fn put(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        controller: &'static str,
        v1: Option<Setting>,
        v2: Option<Setting>,
    ) -> Result<()> {
        self.put_in(field.into(), controller, [v1, v2])
    }

    fn put_in(
        &mut self,
        field: Cow<'static, str>,
        controller: &'static str,
        [v1, v2]: [Option<Setting>; 2],
    ) -> Result<()> {
        let Some(version) = self.version_of(controller) else {
            let error =
                unsupported(&field, format_args!("this host has no cgroup controller '{controller}'"));
            return self.give_up(&field, error);
        };
        let setting = if version == Version::V1 { v1 } else { v2 };
        let Some((file, value, expect)) = setting else {
            let number = if version == Version::V1 { "v1" } else { "v2" };
            return self
                .give_up(&field, unsupported(&field, format_args!("cgroup {number} has no such limit")));
        };
        self.add(field, controller.into(), version, file.into(), value, expect);
        Ok(())
    }

    fn add(
        &mut self,
        field: Cow<'static, str>,
        controller: Cow<'static, str>,
        version: Version,
        file: Cow<'static, str>,
        value: String,
        expect: Expect,
    ) {
        self.writes.push(Write {
            field,
            controller,
            version,
            file,
            value,
            expect,
            optional: false,
            instead: None,
            found: None,
        });
    }

    /// Which version holds the controller.
    pub(crate) fn version_of(&self, controller: &str) -> Option<Version> {
        let has = |list: &[String]| list.iter().any(|c| c == controller);
        if has(&self.controllers.v1) {
            return Some(Version::V1);
        }
        self.controllers.v2.as_deref().is_some_and(has).then_some(Version::V2)
    }

    /// The error, unless the field may be left out.
    pub(crate) fn give_up(&mut self, field: &str, error: Error) -> Result<()> {
        if !may_fail(self.attempt, field) {
            return Err(error);
        }
        self.degraded.push(format!("{field}: {error}"));
        Ok(())
    }
}

fn cpu_time(cpu: &Cpu, sheet: &mut Sheet<'_>) -> Result<()> {
    use Expect::{Anything, Same};
    let idle = cpu.idle.filter(|i| *i != 0);
    if let Some(shares) = cpu.shares.filter(|s| *s != 0) {
        // A group that is made idle below has no weight of its own, and the file says so.
        let expect = if idle.is_some() { Anything } else { Same };
        let v2 = ("cpu.weight", cpu_weight_of_shares(shares).to_string(), expect);
        sheet.put(
            "resources.cpu.shares",
            "cpu",
            Some(("cpu.shares", shares.to_string(), expect)),
            Some(v2),
        )?;
    }
    let (quota, period) = (cpu.quota.filter(|q| *q != 0), cpu.period.filter(|p| *p != 0));
    let quota = quota.map(|q| q.max(-1));
    if quota.is_some() || period.is_some() {
        bandwidth(quota, period, sheet)?;
    }
    if let Some(burst) = cpu.burst.filter(|b| *b != 0) {
        let of = |file| Some((file, burst.to_string(), Same));
        sheet.put("resources.cpu.burst", "cpu", of("cpu.cfs_burst_us"), of("cpu.max.burst"))?;
    }
    if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
        let v1 = ("cpu.rt_period_us", period.to_string(), Same);
        sheet.put("resources.cpu.realtimePeriod", "cpu", Some(v1), None)?;
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|r| *r != 0) {
        let v1 = ("cpu.rt_runtime_us", runtime.to_string(), Same);
        sheet.put("resources.cpu.realtimeRuntime", "cpu", Some(v1), None)?;
    }
    if let Some(idle) = idle {
        let setting = ("cpu.idle", idle.to_string(), Same);
        sheet.put("resources.cpu.idle", "cpu", Some(setting.clone()), Some(setting))?;
    }
    Ok(())
}

/// v1 has two files, v2 one with both numbers.
fn bandwidth(quota: Option<i64>, period: Option<u64>, sheet: &mut Sheet<'_>) -> Result<()> {
    let field = if quota.is_some() { "resources.cpu.quota" } else { "resources.cpu.period" };
    if sheet.version_of("cpu") != Some(Version::V1) {
        let quota = quota.filter(|q| *q > 0).map_or("max".to_string(), |q| q.to_string());
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        return sheet.put(field, "cpu", None, Some(("cpu.max", value, Expect::Same)));
    }
    if let Some(period) = period {
        let v1 = ("cpu.cfs_period_us", period.to_string(), Expect::Same);
        sheet.put("resources.cpu.period", "cpu", Some(v1), None)?;
    }
    if let Some(quota) = quota {
        sheet.put(field, "cpu", Some(("cpu.cfs_quota_us", quota.to_string(), Expect::Same)), None)?;
    }
    Ok(())
}

fn cpu_set(cpu: &Cpu, sheet: &mut Sheet<'_>) -> Result<()> {
    let lists =
        [("resources.cpu.cpus", "cpuset.cpus", &cpu.cpus), ("resources.cpu.mems", "cpuset.mems", &cpu.mems)];
    for (field, file, list) in lists {
        let Some(list) = list.as_ref().filter(|l| !l.is_empty()) else { continue };
        if members(list).is_none() {
            let detail =
                format_args!("{field}: '{}' is not a list such as 0-3,7", list.escape_debug()).to_string();
            return Err(Error::usage("limit the cgroup", detail));
        }
        let setting = (file, list.clone(), Expect::List);
        sheet.put(field, "cpuset", Some(setting.clone()), Some(setting))?;
    }
    Ok(())
}

/// The numbers of a list such as `0-3,7`, sorted; None when it is none.
pub(crate) fn members(list: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 1 << 16;
    let mut numbers = Vec::new();
    for part in list.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    (!numbers.is_empty()).then_some(numbers)
}

fn huge_pages(limits: &Value, sheet: &mut Sheet<'_>) -> Result<()> {
    let wrong = |at: usize, what: &str| {
        Err(Error::usage("limit the cgroup", format_args!("resources.hugepageLimits[{at}]: {what}")))
    };
    for (at, limit) in limits.as_array().into_iter().flatten().enumerate() {
        // Go reads names in any case, and configs were written that rely on it.
        let size = ["pageSize", "pagesize"].iter().find_map(|name| limit[*name].as_str());
        let (Some(size), Some(bytes)) = (size, limit["limit"].as_u64()) else {
            return wrong(at, "not a pageSize and a limit");
        };
        let Some(multiple) = page_size(size) else { return wrong(at, "pageSize: not as 2MB, 1GB") };
        let field = format!("resources.hugepageLimits[{at}]");
        let Some(version) = sheet.version_of("hugetlb") else {
            let error = unsupported(&field, "this host has no cgroup controller 'hugetlb'");
            sheet.give_up(&field, error)?;
            continue;
        };
        let (file, value, expect) = match (version, i64::try_from(bytes)) {
            (Version::V1, Ok(n)) => ("limit_in_bytes", n.to_string(), Expect::RoundedTo(multiple)),
            (Version::V1, Err(_)) => ("limit_in_bytes", "-1".into(), Expect::Unlimited),
            (Version::V2, Ok(n)) => ("max", n.to_string(), Expect::RoundedTo(multiple)),
            (Version::V2, Err(_)) => ("max", "max".into(), Expect::Same),
        };
        // Pages that are reserved and not yet used count apart since Linux 5.7.
        for (prefix, optional) in [("", false), ("rsvd.", true)] {
            sheet.add(
                field.clone().into(),
                "hugetlb".into(),
                version,
                format!("hugetlb.{size}.{prefix}{file}").into(),
                value.clone(),
                expect,
            );
            if let Some(last) = sheet.writes.last_mut() {
                last.optional = optional;
            }
        }
    }
    Ok(())
}

/// Bytes of a page size as the kernel names it: `64KB`, `2MB`, `1GB`.
fn page_size(name: &str) -> Option<u64> {
    let digits = name.find(|c: char| !c.is_ascii_digit())?;
    let shift = match &name[digits..] {
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    name[..digits].parse::<u64>().ok()?.checked_shl(shift).filter(|n| *n > 0)
}

/// A v2 file by its name. Each line is a write of its own, as the kernel wants it for `io.max` and its like.
fn unified(file: &str, value: &str, sheet: &mut Sheet<'_>) -> Result<()> {
    let field = format!("resources.unified.{file}");
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let (controller, rest) = file.split_once('.').unwrap_or((file, ""));
    let acts = ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.subtree_control", "cgroup.type"];
    if !file.bytes().all(name) || controller.is_empty() || rest.is_empty() || acts.contains(&file) {
        return Err(Error::usage(
            "limit the cgroup",
            format_args!("{field}: not the name of a file that sets a limit"),
        ));
    }
    if controller != "cgroup" && sheet.version_of(controller) != Some(Version::V2) {
        let error = unsupported(
            &field,
            format_args!("invalid configuration: cgroup v2 has no controller '{controller}' on this host"),
        );
        return sheet.give_up(&field, error);
    }
    if sheet.controllers.v2.is_none() {
        return sheet.give_up(&field, unsupported(&field, "this host has no cgroup v2"));
    }
    for line in value.lines().filter(|l| !l.is_empty()) {
        let number = line.parse::<u64>().is_ok();
        let bytes = number && matches!(controller, "memory" | "hugetlb");
        let expect = match (bytes, number || line == "max") {
            (true, _) => Expect::RoundedTo(memory::page()),
            (false, true) => Expect::Same,
            (false, false) => Expect::Anything,
        };
        let (field, controller) = (field.clone().into(), controller.to_string().into());
        sheet.add(field, controller, Version::V2, file.to_string().into(), line.to_string(), expect);
    }
    Ok(())
}
