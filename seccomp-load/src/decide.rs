//! What a filter says to one call: its program is run here, as the kernel would run it.

use crate::action::Action;
use crate::plan::Filter;
use crate::table::Table;
use crate::{arch, number, simulate, value};
use chain::{Error, Result};
use serde_json::json;

const DOING: &str = "test a call";

/// A call as it is written: `NAME(ARG,…)`.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    name: String,
    number: u32,
    args: [u64; 6],
}

impl Call {
    fn made(&self) -> simulate::Made {
        simulate::Made { number: self.number, audit: arch::native().audit, args: self.args }
    }
}

/// The call that `NAME(ARG,…)` makes.
pub(crate) fn made(word: &str) -> Result<simulate::Made> {
    Ok(call(word)?.made())
}

/// A line for each call, and whether all of them go through.
pub(crate) fn test(filter: &Filter, words: &[String], as_json: bool) -> Result<(String, bool)> {
    let (mut text, mut all) = (String::new(), true);
    for word in words {
        let call = call(word)?;
        let made = call.made();
        let action = Action::of_ret(simulate::run(&filter.code, made));
        let because = because(&filter.table, call.number);
        all &= action.lets_through();
        let cure = format!("--allow {}", call.name);
        let line = match (as_json, action.lets_through()) {
            (true, true) => {
                json!({"call": word, "action": action.to_string(), "because": because}).to_string()
            }
            (true, false) => {
                json!({"call": word, "action": action.to_string(), "because": because, "try": cure})
                    .to_string()
            }
            (false, true) => format!("{word}: {action}: {because}"),
            (false, false) => format!("{word}: {action}: {because}; {cure} would let it through"),
        };
        text += &(line + "\n");
    }
    Ok((text, all))
}

fn because(table: &Table, number: u32) -> &'static str {
    let calls = table.archs.first();
    match calls.and_then(|calls| calls.calls.get(&number)) {
        Some(call) if call.when.is_empty() => "a rule names it",
        Some(_) => "a rule looks at its arguments",
        None if calls.is_some_and(|calls| calls.is_unheard(number)) => "it is newer than the profile",
        None => "no rule names it, or one that says what the default says",
    }
}

fn call(word: &str) -> Result<Call> {
    let wrong = |what: String| Error::usage(DOING, format_args!("'{}': {what}", word.escape_debug()));
    let (name, list) = match word.split_once('(') {
        None => (word, ""),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(list) => (name, list),
            None => return Err(wrong("no ) at its end".into())),
        },
    };
    let native = arch::native();
    let number = match number::entries(name, native) {
        Some([Some(number::Entry::Direct(number)), _]) => number,
        _ => {
            let error = wrong(format!("'{}' is no system call here", name.escape_debug()));
            return Err(match number::nearest(name, native) {
                Some(near) => error.cure(format_args!("{near}?")),
                None => error,
            });
        }
    };
    let mut args = [0; 6];
    let words: Vec<&str> = list.split(',').map(str::trim).filter(|_| !list.trim().is_empty()).collect();
    if words.len() > args.len() {
        return Err(wrong("a call has at most six arguments".into()));
    }
    for (arg, word) in args.iter_mut().zip(words) {
        *arg = value(word)?;
    }
    Ok(Call { name: name.into(), number, args })
}

/// What is behind a pointer no filter sees: a text is as good as any address.
fn value(word: &str) -> Result<u64> {
    if word == "…" || word == "..." || word.starts_with('"') && word.ends_with('"') && word.len() > 1 {
        return Ok(0);
    }
    value::of(word).map(|value| value.bits).map_err(|wrong| wrong.error(DOING, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_they_are_written() {
        let of = |word| call(word).map(|call| (call.name, call.args));
        assert_eq!(of("getpid").unwrap(), ("getpid".into(), [0; 6]));
        assert_eq!(of("getpid()").unwrap().1, [0; 6]);
        let args = of("openat(AT_FDCWD, \"/etc\", O_WRONLY|O_CREAT,0x1ff)").unwrap().1;
        let expected = [-100_i64 as u64, 0, (libc::O_WRONLY | libc::O_CREAT) as u64, 0x1ff, 0, 0];
        assert_eq!(args, expected);
        assert_eq!(of("kill(-1, …)").unwrap().1[0], u64::MAX);
        for (bad, said) in [
            ("", "'' is no system call here"),
            ("opnat()", "'opnat' is no system call here"),
            ("getpid(", "no ) at its end"),
            ("getpid(1,2,3,4,5,6,7)", "at most six"),
            ("kill(1,)", "'' is no number"),
            ("kill(0x)", "'0x' is no number"),
            ("kill(+1)", "'+1' is no number"),
            ("clone(CLONE_NEWUSR)", "'CLONE_NEWUSR' is no number"),
        ] {
            let error = call(bad).expect_err(bad).to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
