//! The calls of a line: names, `@sets`, and what is taken out of these with `!`.

use crate::value::Wrong;
use crate::{arch, number, sets};
use chain::near;

/// A call, and whether it was named by itself.
pub(super) type Named = (String, bool);

fn wrong(text: String, cure: impl Into<String>) -> Wrong {
    Wrong { text, cure: cure.into() }
}

/// All calls of these words. `lenient` is for names that nobody knows.
pub(super) fn of<'a>(words: impl Iterator<Item = &'a str>, lenient: bool) -> Result<Vec<Named>, Wrong> {
    let (mut found, mut without): (Vec<Named>, Vec<(&str, Vec<String>)>) = (Vec::new(), Vec::new());
    for word in words {
        match word.strip_prefix('!') {
            Some(rest) => without.push((word, one(rest, lenient)?)),
            None => {
                let alone = !word.starts_with('@');
                for name in one(word, lenient)? {
                    match found.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, true)) if alone => {
                            return Err(wrong(format!("'{name}' stands twice in this line"), "once"));
                        }
                        Some((_, by_itself)) => *by_itself |= alone,
                        None => found.push((name, alone)),
                    }
                }
            }
        }
    }
    for (word, names) in without {
        let before = found.len();
        found.retain(|(name, alone)| *alone || !names.contains(name));
        if found.len() == before {
            return Err(wrong(
                format!("'{word}' takes nothing out of this line's sets"),
                "@system-service !@chown",
            ));
        }
    }
    match found.is_empty() {
        true => Err(wrong("no call".into(), "allow read write")),
        false => Ok(found),
    }
}

fn one(word: &str, lenient: bool) -> Result<Vec<String>, Wrong> {
    if word.starts_with('@') {
        return sets::calls(word).ok_or_else(|| {
            let near = near::nearest(word, sets::names()).map(|near| format!("{near}?"));
            let cure = near.unwrap_or_else(|| sets::names().collect::<Vec<_>>().join(" "));
            wrong(format!("there is no set '{}'", word.escape_debug()), cure)
        });
    }
    let looks = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if looks && (lenient || number::entries(word, arch::native()).is_some()) {
        return Ok(vec![word.into()]);
    }
    let near = number::nearest(word, arch::native()).map(|near| format!("{near}?"));
    let cure = near.unwrap_or_else(|| "--try syscalls, to leave out what this build does not know".into());
    Err(wrong(format!("'{}' is not a system call", word.escape_debug()), cure))
}

/// One call that must be known.
pub(super) fn known(word: &str) -> Result<String, Wrong> {
    match word.starts_with('@') {
        true => Err(wrong(format!("'{}' is not one call", word.escape_debug()), "the newest of them")),
        false => one(word, false).map(|mut names| names.remove(0)),
    }
}
