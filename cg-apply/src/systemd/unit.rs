//! A transient scope, as properties: what is true of every one, the limits that systemd has names for, and what the
//! config asks for by name. Pure. systemd.scope(5) and systemd.resource-control(5) are the reference.

use super::gvariant;
use super::wire::Value;
use crate::limits::{Write, unsupported};
use chain::cgroup::Layout;
use chain::sched::{CPUS, members};
use chain::spec::{CgApply, Systemd};
use chain::{Class, Error, Result};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    /// `NAME.scope`.
    pub(crate) name: String,
    /// In systemd's order of precedence: what comes later counts.
    pub(crate) properties: Vec<(String, Value)>,
}

impl Unit {
    /// Where its group is below its systemd's, if no slice is named in `default`: a-b.slice is in a.slice.
    pub(crate) fn place(&self, default: &str) -> String {
        let named = |(name, value): &(String, Value)| match value {
            Value::Str(slice) if name == "Slice" => Some(slice.clone()),
            _ => None,
        };
        let slice = self.properties.iter().rev().find_map(named).unwrap_or_else(|| default.into());
        let stem = slice.strip_suffix(".slice").unwrap_or(&slice);
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        let mut place: String = ends
            .filter(|end| *end > 0 && stem != "-")
            .map(|end| format!("/{}.slice", &stem[..end]))
            .collect();
        place.push('/');
        place.push_str(&self.name);
        place
    }
}

/// The unit of a layer, with the limits of `writes`.
pub(crate) fn resolve(spec: &CgApply, systemd: &Systemd, layout: Layout, writes: &[Write]) -> Result<Unit> {
    if spec.cgroups_path.is_some() || spec.existing.is_some() {
        return Err(Error::usage("ask systemd for a scope", "systemd excludes cgroupsPath and existing"));
    }
    if layout != Layout::V2 {
        return Err(unsupported(
            "systemd",
            "only where cgroup v2 is all there is, as systemd has it since 248",
        )
        .cure("without systemd: --cgroup-manager cgroupfs"));
    }
    name(&systemd.unit, ".scope")?;
    let mut properties = vec![
        ("Description".to_string(), Value::Str(format!("catena container {}", systemd.unit))),
        // The command may have groups of its own below, with every controller.
        ("Delegate".into(), Value::Bool(true)),
        ("DefaultDependencies".into(), Value::Bool(false)),
        // One that failed, as after an out-of-memory kill, does not stay in the way of the next of its name.
        ("CollectMode".into(), Value::Str("inactive-or-failed".into())),
    ];
    if let Some(slice) = &systemd.slice {
        name(slice, ".slice")?;
        properties.push(("Slice".into(), Value::Str(slice.clone())));
    }
    for what in ["CPU", "IO", "Memory", "Tasks"] {
        properties.push((format!("{what}Accounting"), Value::Bool(true)));
    }
    properties.extend(limits(writes));
    for (name, text) in &systemd.properties {
        properties.push(property(name, text)?);
    }
    Ok(Unit { name: systemd.unit.clone(), properties })
}

fn name(name: &str, suffix: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let stem = name.strip_suffix(suffix).unwrap_or_default();
    if stem.is_empty() || name.len() > 255 || !name.chars().all(good) {
        let detail = format!("'{name}' is no name of a unit, as NAME{suffix}: letters, digits and :-_.\\@");
        return Err(Error::usage("ask systemd for a scope", detail));
    }
    Ok(())
}

/// A quota as systemd keeps it: what is in the file is what systemd would write there the next time it looks at its units.
pub(crate) fn as_kept(writes: &mut [Write]) {
    for write in writes.iter_mut().filter(|write| write.file == "cpu.max") {
        if let Some((quota, period)) = rate(&write.value) {
            let kept = u128::from(kept(quota, period)) * u128::from(period) / SECOND;
            write.value = format!("{kept} {period}");
        }
    }
}

/// The limits by systemd's names, so that it keeps them when it looks at its units again. Each is written to its file
/// once more afterwards, for systemd has no name for some.
pub(crate) fn limits(writes: &[Write]) -> Vec<(String, Value)> {
    writes.iter().flat_map(|write| of_file(&write.file, &write.value)).collect()
}

const NO_LIMIT: u64 = u64::MAX;

fn of_file(file: &str, value: &str) -> Vec<(String, Value)> {
    let number = || if value == "max" { Some(NO_LIMIT) } else { value.parse().ok() };
    let one = |name: &str, value: Option<Value>| value.map(|v| (name.to_string(), v)).into_iter().collect();
    let plain = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        // Its word for idle.
        "cpu.idle" => return one("CPUWeight", (value == "1").then_some(Value::U64(0))),
        "cpu.max" => return quota(value),
        "cpuset.cpus" => return one("AllowedCPUs", mask(value)),
        "cpuset.mems" => return one("AllowedMemoryNodes", mask(value)),
        _ => return Vec::new(),
    };
    one(plain, number().map(Value::U64))
}

/// What systemd keeps of a quota: it writes it down in whole percents of a CPU, and drops the rest.
const PERCENT: u128 = 10_000;
/// In microseconds.
const SECOND: u128 = 1_000_000;

/// `QUOTA PERIOD`, where there is a quota.
fn rate(value: &str) -> Option<(u64, u64)> {
    let mut words = value.split_whitespace();
    let quota = words.next()?.parse().ok()?;
    Some((quota, words.next().map_or(Some(100_000), |period| period.parse().ok())?.max(1)))
}

/// Run time per second, rounded up to what systemd keeps, as runc does.
fn kept(quota: u64, period: u64) -> u64 {
    let exact = (u128::from(quota) * SECOND).div_ceil(u128::from(period));
    exact.next_multiple_of(PERCENT).try_into().unwrap_or(NO_LIMIT)
}

/// `QUOTA PERIOD` in microseconds.
fn quota(value: &str) -> Vec<(String, Value)> {
    let period = value.split_whitespace().nth(1).and_then(|p| p.parse().ok()).unwrap_or(100_000);
    let per_second = rate(value).map_or(NO_LIMIT, |(quota, period)| kept(quota, period));
    vec![
        ("CPUQuotaPerSecUSec".into(), Value::U64(per_second)),
        ("CPUQuotaPeriodUSec".into(), Value::U64(period)),
    ]
}

/// `0-3,7` as bits, the lowest first.
fn mask(list: &str) -> Option<Value> {
    let members = members(list, CPUS)?;
    let mut bytes = vec![0_u8; members.last()? / 8 + 1];
    members.into_iter().for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    Some(Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect()))
}

/// One that the config names. `FooSec`, which is how people write times, is `FooUSec` on the bus.
fn property(name: &str, text: &str) -> Result<(String, Value)> {
    let wrong = |what: &str| {
        Error::new(
            Class::Usage,
            "ask systemd for a scope",
            format_args!("systemd.properties.{name}: {what}: {text}"),
        )
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(wrong("no name of a property"));
    }
    let value = gvariant::parse(text)
        .ok_or_else(|| wrong("not a value in GVariant's text, as uint64 5 or 'text'"))?;
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else {
        return Ok((name.into(), value));
    };
    let seconds = match value {
        Value::I32(n) => u64::try_from(n).ok(),
        Value::U32(n) => Some(u64::from(n)),
        Value::I64(n) => u64::try_from(n).ok(),
        Value::U64(n) => Some(n),
        Value::F64(n) if n >= 0.0 => return Ok((format!("{stem}USec"), Value::U64((n * 1e6) as u64))),
        _ => None,
    };
    let micros =
        seconds.and_then(|s| s.checked_mul(1_000_000)).ok_or_else(|| wrong("not a number of seconds"))?;
    Ok((format!("{stem}USec"), Value::U64(micros)))
}

/// As the bus takes them: a(sv).
pub(crate) fn pairs(properties: &[(String, Value)]) -> Value {
    let pair = |(name, value): &(String, Value)| {
        Value::Struct(vec![Value::Str(name.clone()), Value::Variant(Box::new(value.clone()))])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Expect;
    use chain::cgroup::Version;

    fn bytes(list: &[u8]) -> Value {
        Value::Array("y".into(), list.iter().copied().map(Value::Byte).collect())
    }

    #[test]
    fn limits_have_systemds_names() {
        let one = |file, value| of_file(file, value);
        let named = |name: &str, value| vec![(name.to_string(), value)];
        assert_eq!(one("memory.max", "4096"), named("MemoryMax", Value::U64(4096)));
        assert_eq!(one("memory.swap.max", "max"), named("MemorySwapMax", Value::U64(u64::MAX)));
        assert_eq!(one("pids.max", "7"), named("TasksMax", Value::U64(7)));
        assert_eq!(one("cpuset.cpus", "0-1,9"), named("AllowedCPUs", bytes(&[3, 2])));
        assert_eq!(one("cpu.idle", "1"), named("CPUWeight", Value::U64(0)));
        assert_eq!(one("cpu.idle", "0"), []);
        assert_eq!(one("hugetlb.2MB.max", "0"), []);
        let [(name, value), (other, period)] = &one("cpu.max", "50000 100000")[..] else { panic!("two") };
        assert_eq!((name.as_str(), value), ("CPUQuotaPerSecUSec", &Value::U64(500_000)));
        assert_eq!((other.as_str(), period), ("CPUQuotaPeriodUSec", &Value::U64(100_000)));
        assert_eq!(one("cpu.max", "500000 900000")[0].1, Value::U64(560_000));
        let kept = |value| {
            let (quota, period) = rate(value).expect("a quota");
            (kept(quota, period), period)
        };
        assert_eq!(kept("500000 900000"), (560_000, 900_000));
        assert_eq!(kept("7"), (10_000, 100_000));
        let file = |value: &str| {
            let mut writes = [Write {
                field: "resources.cpu".into(),
                controller: "cpu".into(),
                version: Version::V2,
                file: "cpu.max".into(),
                value: value.into(),
                expect: Expect::Same,
                optional: false,
                instead: None,
                found: None,
            }];
            as_kept(&mut writes);
            writes[0].value.clone()
        };
        assert_eq!(file("500000 900000"), "504000 900000");
        assert_eq!(file("max 900000"), "max 900000");
        assert_eq!((rate("max 100000"), rate("max")), (None, None));
        assert_eq!(one("cpu.max", "max 50000")[0].1, Value::U64(u64::MAX));
        assert_eq!(mask("0-99999"), None);
    }

    #[test]
    fn properties_by_name() {
        let good = |name, text| property(name, text).expect("it is one");
        assert_eq!(good("TimeoutStopSec", "5"), ("TimeoutStopUSec".into(), Value::U64(5_000_000)));
        assert_eq!(good("TimeoutStopUSec", "uint64 5"), ("TimeoutStopUSec".into(), Value::U64(5)));
        for (name, text) in [("A b", "1"), ("", "1"), ("X", "nonsense"), ("XSec", "-1"), ("XSec", "'5'")] {
            assert_eq!(property(name, text).expect_err("it is none").class, Class::Usage, "{name} {text}");
        }
    }

    #[test]
    fn a_slice_is_in_that_of_the_part_before_its_dash() {
        let place = |slices: &[&str]| {
            let properties =
                slices.iter().map(|slice| ("Slice".to_string(), Value::Str(slice.to_string()))).collect();
            Unit { name: "x-y.scope".into(), properties }.place("system.slice")
        };
        assert_eq!(place(&[]), "/system.slice/x-y.scope");
        assert_eq!(place(&["-.slice"]), "/x-y.scope");
        assert_eq!(place(&["machine.slice", "a-b-c.slice"]), "/a.slice/a-b.slice/a-b-c.slice/x-y.scope");
    }

    #[test]
    fn names() {
        for good in ["a.scope", "docker-1f.scope", "a\\x2db@c:d_e.scope"] {
            assert!(name(good, ".scope").is_ok(), "{good}");
        }
        for bad in [".scope", "a.slice", "a/b.scope", "a b.scope", "", "ä.scope"] {
            assert!(name(bad, ".scope").is_err(), "{bad}");
        }
    }
}
