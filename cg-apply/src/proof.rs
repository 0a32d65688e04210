//! The proof: what is in force is what was asked for.

use crate::apply::dir_of;
use crate::limits::{Expect, Write, members};
use chain::cgroup::{Dir, Group, Version};
use chain::{Error, Result};
use serde_json::{Map, Value};

/// What the files say, by field; refused when it is not what was asked. What was read right behind its write is not read
/// again, and is in the answer only if that is `told` to anybody.
pub(crate) fn read_back(
    group: &Group,
    writes: &[Write],
    degraded: &[String],
    told: bool,
) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    let left_out = |field: &str| {
        degraded.iter().any(|d| d.strip_prefix(field).is_some_and(|rest| rest.starts_with(": ")))
    };
    for (at, write) in writes.iter().enumerate() {
        if (write.found.is_some() && !told) || left_out(&write.field) || is_replaced(writes, at) {
            continue;
        }
        if let Some(text) = &write.found {
            found.insert(write.field.to_string(), text.as_str().into());
            continue;
        }
        let dir = dir_of(group, &write.controller, write.version)?;
        let Some(text) = dir.read(&write.file)? else {
            if write.optional {
                continue;
            }
            return Err(Error::readback(&write.file, &write.value, "nothing: the file is gone"));
        };
        let text = prove(dir, write, text)?;
        if told {
            found.insert(write.field.to_string(), text.into());
        }
    }
    Ok(found)
}

/// Whether the proof has to wait until everything is written: a file that another write changes, too, or that is written
/// once more.
pub(crate) fn waits(writes: &[Write], at: usize) -> bool {
    writes[at].expect == Expect::Anything || is_replaced(writes, at)
}

/// A later write to the same file is the one that counts, unless the file has a line for each.
fn is_replaced(writes: &[Write], at: usize) -> bool {
    let write = &writes[at];
    let one_of_many = matches!(write.expect, Expect::Anything | Expect::Words);
    !one_of_many && writes[at + 1..].iter().any(|w| w.file == write.file && w.version == write.version)
}

/// What the file says, if that is what was asked for.
pub(crate) fn prove(dir: &Dir, write: &Write, mut text: String) -> Result<String> {
    text.truncate(text.trim_end().len());
    if text != write.value && !agrees(write, text.trim_start()) {
        let object = format_args!("{} of {}", write.file, dir.path);
        return Err(Error::readback(object, &write.value, text.trim_start()));
    }
    in_force(dir, write).map(|()| text)
}

fn agrees(write: &Write, text: &str) -> bool {
    let numbers = || Some((write.value.parse::<u64>().ok()?, text.parse::<u64>().ok()?));
    match write.expect {
        Expect::Same => text == write.value,
        Expect::RoundedTo(unit) => {
            text == write.value || numbers().is_some_and(|(asked, found)| found == asked - asked % unit)
        }
        Expect::Unlimited => text.parse::<u64>().is_ok_and(|n| n >= i64::MAX as u64 - (1 << 21)),
        Expect::List => members(text) == members(&write.value),
        Expect::Line(line) => text.lines().any(|l| l == line),
        Expect::Words => text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            write.value.split_whitespace().all(|word| words.contains(&word))
        }),
        Expect::Anything => true,
    }
}

/// v2 takes any list of CPUs, and then runs on those that the ancestors have too: less than was asked is no success.
fn in_force(dir: &Dir, write: &Write) -> Result<()> {
    if write.expect != Expect::List || write.version != Version::V2 {
        return Ok(());
    }
    let file = format!("{}.effective", write.file);
    let text = dir.read(&file)?.unwrap_or_default();
    if members(&text) == members(&write.value) {
        Ok(())
    } else {
        Err(Error::readback(file, &write.value, text.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: &str, expect: Expect) -> Write {
        let (field, controller, file) = ("".into(), "".into(), "".into());
        Write {
            field,
            controller,
            version: Version::V1,
            file,
            value: value.into(),
            expect,
            optional: false,
            instead: None,
            found: None,
        }
    }

    #[test]
    fn a_limit_that_came_out_otherwise_is_noticed() {
        let table = [
            ("100", Expect::Same, "100", true),
            ("100", Expect::Same, "max", false),
            ("50000 100000", Expect::Same, "50000 100000", true),
            ("5000", Expect::RoundedTo(4096), "4096", true),
            ("8192", Expect::RoundedTo(4096), "8192", true),
            ("8192", Expect::RoundedTo(4096), "4096", false),
            ("8192", Expect::RoundedTo(4096), "9223372036854771712", false),
            ("-1", Expect::Unlimited, "9223372036854771712", true),
            ("-1", Expect::Unlimited, "4096", false),
            ("0,1", Expect::List, "0-1", true),
            ("0-1", Expect::List, "0", false),
            ("1", Expect::Line("oom_kill_disable 1"), "oom_kill_disable 1\nunder_oom 0", true),
            ("1", Expect::Line("oom_kill_disable 1"), "oom_kill_disable 0\nunder_oom 0", false),
            ("8:0 rbps=5", Expect::Words, "8:16 rbps=7\n8:0 rbps=5 wbps=max riops=max wiops=max", true),
            ("8:0 rbps=5", Expect::Words, "8:16 rbps=5\n8:0 rbps=50 wbps=max", false),
            ("333", Expect::Words, "default 333\n8:0 444", true),
        ];
        for (value, expect, found, agreed) in table {
            assert_eq!(agrees(&write(value, expect), found), agreed, "{value} {expect:?} {found}");
        }
    }
}
