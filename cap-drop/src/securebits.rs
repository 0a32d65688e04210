//! The secure bits of capabilities(7), by name.

use chain::{Error, Result, near};

/// uid 0 means nothing special at exec.
pub(crate) const NOROOT: u32 = 1;
/// Keep capabilities over setuid; goes off at exec.
const KEEP_CAPS: u32 = 1 << 4;

/// In linux/securebits.h each bit is followed by the one that locks it.
const NAMES: [&str; 6] = [
    "noroot",
    "no_setuid_fixup",
    "keep_caps",
    "no_cap_ambient_raise",
    "exec_restrict_file",
    "exec_deny_interactive",
];

/// The whole mask that `words` make of `present`.
pub(crate) fn parse(words: &[String], present: u32) -> Result<u32> {
    let mut bits = present & !KEEP_CAPS;
    for word in words {
        let (clear, name) = match word.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, word.strip_prefix('+').unwrap_or(word)),
        };
        let bit = if clear && name == "all" { u32::MAX } else { bit(name)? };
        if bit == KEEP_CAPS && !clear {
            return Err(Error::usage("set the secure bits", "keep_caps: execve(2) clears it").cure("--keep"));
        }
        bits = if clear { bits & !bit } else { bits | bit };
    }
    Ok(bits)
}

fn bit(name: &str) -> Result<u32> {
    let (bare, locked) = name.strip_suffix("_locked").map_or((name, 0), |bare| (bare, 1));
    match NAMES.iter().position(|n| bare == *n) {
        Some(at) => Ok(1 << (2 * at + locked)),
        None => {
            let error =
                Error::usage("read the secure bits", format_args!("'{}' is not known", name.escape_debug()));
            let near = near::nearest(name, NAMES.into_iter());
            Err(error.cure(near.map_or_else(|| NAMES.join(", "), |n| format!("{n}?"))))
        }
    }
}

/// The names in a mask.
pub(crate) fn list(bits: u32) -> Vec<String> {
    let name = |n: u32| {
        let lock = if n % 2 == 1 { "_locked" } else { "" };
        NAMES.get(n as usize / 2).map_or_else(|| format!("bit_{n}"), |name| format!("{name}{lock}"))
    };
    (0..32).filter(|n| bits & 1 << n != 0).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> Vec<String> {
        list.split(',').map(String::from).collect()
    }

    #[test]
    fn as_the_kernels_header_numbers_them() {
        assert_eq!(parse(&words("noroot,noroot_locked"), 0).unwrap(), 3);
        assert_eq!(parse(&words("+no_cap_ambient_raise,-noroot"), 3).unwrap(), 0b100_0010);
        assert_eq!(parse(&words("exec_deny_interactive_locked"), 0).unwrap(), 1 << 11);
        assert_eq!(parse(&words("-all,noroot"), 0xff).unwrap(), 1);
        assert_eq!(list(0x41), ["noroot", "no_cap_ambient_raise"]);
        assert_eq!(parse(&words("nroot"), 0).unwrap_err().cure.unwrap(), "noroot?");
    }

    #[test]
    fn a_bit_that_exec_clears_is_not_promised() {
        parse(&words("keep_caps"), 0).unwrap_err();
        parse(&words("+keep_caps,noroot"), 0).unwrap_err();
        assert_eq!(parse(&words("-keep_caps,keep_caps_locked"), 0x10).unwrap(), 0x20);
    }
}
