//! A container's id: runc's grammar, so that no id is a path.

use chain::{Error, Result};

/// Names of folders on the kinds of file systems that hold state.
const NAME_MAX: usize = 255;

/// Refuses what runc refuses: anything but letters, digits, `_ + - .`; `.` and `..`; the empty id; a longer one than a
/// file name.
pub(crate) fn check(id: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
    let reason = if id.is_empty() {
        "it is empty"
    } else if id == "." || id == ".." {
        "it is a path"
    } else if id.len() > NAME_MAX {
        "it is longer than 255 bytes"
    } else if !id.bytes().all(good) {
        "only letters, digits and _ + - . are allowed"
    } else {
        return Ok(());
    };
    let shown: String = id.escape_debug().to_string().chars().take(80).collect();
    Err(Error::usage(format_args!("use '{shown}' as a container id"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_paths() {
        let long = "a".repeat(256);
        for bad in ["", ".", "..", "../x", "a/b", "/", "a\n", "a\0b", "ä", "a b", "~x", &long] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A-1_2+3.4", "...", "-", &long[..255]] {
            check(good).unwrap();
        }
    }
}
