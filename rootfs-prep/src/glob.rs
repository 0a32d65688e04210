//! Devices of the host by a pattern, as a shell matches names: `*`, `?` and `[a-z]`, none of which matches a slash, or a
//! dot at the start of a name.

use chain::bytes::Bytes;
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, openat, stat};
use std::mem::MaybeUninit;

/// What the absolute pattern matches, in order: devices, and folders, which may hold some. Anything else that it matches
/// was not meant.
pub(crate) fn devices(pattern: &Bytes, words: &str) -> Result<Vec<Bytes>> {
    let doing = "read the command line";
    let mut found = vec![Vec::new()];
    for part in pattern.0.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        let mut deeper = Vec::new();
        for folder in &found {
            let names = if is_pattern(part) { matching(folder, part)? } else { vec![part.to_vec()] };
            deeper.extend(names.into_iter().map(|name| [folder.as_slice(), b"/", name.as_slice()].concat()));
        }
        found = deeper;
    }
    let mut devices = Vec::new();
    for path in found.into_iter().map(Bytes) {
        let Ok(stat) = stat(path.as_path()) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Directory => devices.push(path),
            _ => {
                let detail = format_args!("{words}: {path} is no device").to_string();
                return Err(Error::new(Class::Conflict, doing, detail));
            }
        }
    }
    devices.sort();
    Ok(devices)
}

fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// Names in a folder. One that is not there, or none, matches nothing.
fn matching(folder: &[u8], part: &[u8]) -> Result<Vec<Vec<u8>>> {
    let path = if folder.is_empty() { b"/" } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(CWD, path, flags, Mode::empty()) else { return Ok(Vec::new()) };
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.cannot("look for devices", "getdents64")?;
        let name = entry.file_name().to_bytes();
        let hidden = name.starts_with(b".") && !part.starts_with(b".");
        if !hidden && name != b"." && name != b".." && matches(part, name) {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// One name against one part of a pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        Some((first, rest)) => {
            let Some((c, name)) = name.split_first() else { return false };
            match (first, class(pattern)) {
                (b'[', Some((class, rest))) => in_class(class, *c) && matches(rest, name),
                (b'?', _) => matches(rest, name),
                _ => first == c && matches(rest, name),
            }
        }
    }
}

/// `[…]` at the start, and what comes behind; a bracket that is not closed is a bracket.
fn class(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = pattern.strip_prefix(b"[")?;
    // One that stands first is a member.
    let from = if inner.starts_with(b"!") || inner.starts_with(b"^") { 2 } else { 1 };
    let end = inner.iter().skip(from).position(|b| *b == b']')? + from;
    Some((&inner[..end], &inner[end + 1..]))
}

fn in_class(class: &[u8], c: u8) -> bool {
    let (not, mut members) = match class.split_first() {
        Some((b'!' | b'^', members)) => (true, members),
        _ => (false, class),
    };
    let mut found = false;
    while let Some((from, rest)) = members.split_first() {
        members = match rest {
            [b'-', to, rest @ ..] => {
                found |= (*from..=*to).contains(&c);
                rest
            }
            _ => {
                found |= *from == c;
                rest
            }
        };
    }
    found != not
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, yes, no) in [
            ("nvidia*", &["nvidia0", "nvidiactl", "nvidia"][..], &["xnvidia", "nvidi"][..]),
            ("nvidia[0-9]", &["nvidia0", "nvidia9"], &["nvidiactl", "nvidia10", "nvidia"]),
            ("sd[!a]?", &["sdb1"], &["sda1", "sdb"]),
            ("*0*", &["0", "a0", "a0b", "00"], &["", "a"]),
            ("a[", &["a["], &["a", "ab"]),
            ("[]x]", &["]", "x"], &["a", ""]),
            ("[a-]", &["a", "-"], &["b"]),
        ] {
            for name in yes {
                assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_no_device_is_named_and_what_is_none_is_empty() {
        let of = |pattern: &str| devices(&pattern.into(), "--dev-bind-glob x");
        assert_eq!(of("/dev/nul[l]").unwrap(), ["/dev/null".into()]);
        assert_eq!(of("/de[v]/{null,zero}").unwrap(), []);
        assert_eq!(of("/d?v/[nz]*l*").unwrap().first(), Some(&"/dev/null".into()));
        assert!(of("/dev/catena-none*").unwrap().is_empty() && of("/no/such/*").unwrap().is_empty());
        let error = of("/etc/passw[d]").unwrap_err();
        assert!(error.to_string().contains("/etc/passwd is no device"), "{error}");
    }
}
