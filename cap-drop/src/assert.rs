//! `--show PID --assert WHAT=VALUE`: is it so? What is not is told line by line, and the status says it to a script.

use crate::name::{self, Word};
use chain::{Error, Result};
use procfs::process::Status;

/// What can be asserted of a process.
const KNOWN: &str = "bounding, permitted, effective, inheritable, ambient = none|CAP,…; no_new_privs = on|off; \
                     uid, gid = ID; groups = none|ID,…";

/// One line for each that does not hold. All words are read before any of them is looked at.
pub(crate) fn broken(words: &[String], status: &Status) -> Result<Vec<String>> {
    let found = words.iter().map(|word| found(word, status)).collect::<Result<Vec<_>>>()?;
    let lines = words.iter().zip(found).filter_map(|(word, found)| Some(format!("{word}: it is {}", found?)));
    Ok(lines.collect())
}

/// What is there instead, if it is something else.
fn found(word: &str, status: &Status) -> Result<Option<String>> {
    let wrong =
        |what: String| Error::usage("read --assert", format_args!("'{}': {what}", word.escape_debug()));
    let (what, value) = word.split_once('=').ok_or_else(|| wrong("not WHAT=VALUE".into()).cure(KNOWN))?;
    // A kernel that does not tell proves nothing.
    let set = |there: Option<u64>| {
        let wanted = mask(value)?;
        let shown = there.map_or("unknown".to_string(), shown);
        Ok((there != Some(wanted)).then_some(shown))
    };
    let id = |there: u32| match value.parse::<u32>() {
        Ok(wanted) => Ok((there != wanted).then(|| there.to_string())),
        Err(_) => Err(wrong("not a number".into())),
    };
    match what {
        "bounding" => set(status.capbnd),
        "permitted" => set(Some(status.capprm)),
        "effective" => set(Some(status.capeff)),
        "inheritable" => set(Some(status.capinh)),
        "ambient" => set(status.capamb),
        "uid" => id(status.euid),
        "gid" => id(status.egid),
        "groups" => groups(value, &status.groups).ok_or_else(|| wrong("not numbers".into())),
        "no_new_privs" => {
            let there = status.nonewprivs.map(|n| if n == 1 { "on" } else { "off" });
            match value {
                "on" | "off" => Ok((there != Some(value)).then(|| there.unwrap_or("unknown").to_string())),
                _ => Err(wrong("neither on nor off".into())),
            }
        }
        _ => Err(wrong(format!("'{}' cannot be asserted", what.escape_debug())).cure(KNOWN)),
    }
}

fn mask(value: &str) -> Result<u64> {
    if value == "none" {
        return Ok(0);
    }
    value.split(',').try_fold(0, |mask, word| match name::parse(word)? {
        Word::One(number) => Ok(mask | 1 << number),
        Word::All => {
            Err(Error::usage("read --assert", "all: what that is depends on the kernel").cure("the names"))
        }
    })
}

fn shown(mask: u64) -> String {
    if mask == 0 { "none".into() } else { name::words(mask).to_ascii_lowercase().replace("cap_", "") }
}

/// Not a number: None. Their order means nothing.
fn groups(value: &str, there: &[u32]) -> Option<Option<String>> {
    let words = if value == "none" { Vec::new() } else { value.split(',').collect() };
    let mut wanted: Vec<u32> = words.into_iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let mut there = there.to_vec();
    wanted.sort_unstable();
    there.sort_unstable();
    let words: Vec<String> = there.iter().map(ToString::to_string).collect();
    let shown = if words.is_empty() { "none".into() } else { words.join(",") };
    Some((wanted != there).then_some(shown))
}
