//! Capabilities by name: the caps crate's names, with or without `CAP_`, in any case; `cap_41` for newer ones.

use caps::Capability;
use chain::{Error, Result, near};
use std::str::FromStr;

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Every capability that is held.
    All,
    /// This one.
    One(u32),
}

/// A word of a list.
pub(crate) fn parse(word: &str) -> Result<Word> {
    if word.eq_ignore_ascii_case("all") {
        return Ok(Word::All);
    }
    number(word).map(Word::One).ok_or_else(|| unknown(word))
}

/// The number of a capability.
pub(crate) fn number(word: &str) -> Option<u32> {
    let bare = word.get(..4).filter(|p| p.eq_ignore_ascii_case("cap_")).map_or(word, |_| &word[4..]);
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        return bare.parse().ok().filter(|n| *n < 64);
    }
    let name = format!("CAP_{}", bare.to_ascii_uppercase());
    Capability::from_str(&name).ok().map(|cap| cap.index().into())
}

/// Its name.
pub(crate) fn of(number: u32) -> String {
    let named = caps::all().into_iter().find(|c| u32::from(c.index()) == number);
    named.map_or_else(|| format!("cap_{number}"), |c| c.to_string())
}

/// The names in a mask, by number.
pub(crate) fn list(mask: u64) -> Vec<String> {
    (0..64).filter(|n| mask & 1 << n != 0).map(of).collect()
}

/// For a line of `--print`.
pub(crate) fn words(mask: u64) -> String {
    list(mask).join(", ")
}

/// For a sentence: the first few.
pub(crate) fn few(mask: u64) -> String {
    let names = list(mask);
    match names.len() {
        0..=5 => names.join(", "),
        n => format!("{} and {} more", names[..3].join(", "), n - 3),
    }
}

fn unknown(word: &str) -> Error {
    let known: Vec<String> = (0..64).map(of).collect();
    let asked = word.to_ascii_uppercase();
    let asked = if asked.starts_with("CAP_") { asked } else { format!("CAP_{asked}") };
    let error = Error::usage("read the capabilities", format_args!("'{}' is not known", word.escape_debug()));
    match near::nearest(&asked, known.iter().map(String::as_str)) {
        Some(near) => error.cure(format_args!("{}?", near.to_ascii_lowercase().trim_start_matches("cap_"))),
        None => error.cure("a number, as cap_41, for one that is newer than this program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_are_told_is_what_is_known_here() {
        let here: Vec<String> = (0..caps::all().len() as u32).map(of).collect();
        assert_eq!(here, chain::oci::names::CAPABILITIES);
    }

    #[test]
    fn names_in_every_spelling_and_numbers() {
        for (word, n) in [
            ("CAP_CHOWN", 0),
            ("chown", 0),
            ("Cap_Net_Raw", 13),
            ("checkpoint_restore", 40),
            ("cap_41", 41),
            ("63", 63),
        ] {
            assert_eq!(parse(word).unwrap(), Word::One(n), "{word}");
        }
        assert_eq!(parse("ALL").unwrap(), Word::All);
        assert_eq!(of(0), "CAP_CHOWN");
        assert_eq!(of(41), "cap_41");
    }

    #[test]
    fn a_word_that_is_no_capability_is_refused_and_the_near_one_named() {
        for bad in ["", "cap_", "chwon", "cap_64", "-1", "CAP_CAP_CHOWN", "chown ", "net-raw", "capéchown"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse("CAP_SYS_ADMN").unwrap_err().cure.unwrap(), "sys_admin?");
        assert_eq!(parse("net-raw").unwrap_err().cure.unwrap(), "net_raw?");
    }
}
