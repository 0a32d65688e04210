//! Paths as words: made absolute, cleaned, compared. Nothing here looks at a file system.

use chain::bytes::Bytes;
use chain::{Error, Result};

/// Absolute from the container's root, without empty components, `.` and `..`; `..` above the root stays there. A
/// destination that is relative is from the root, as older configs have it.
pub(crate) fn clean(path: &Bytes, name: impl std::fmt::Display) -> Result<Bytes> {
    if path.0.is_empty() {
        return Err(Error::usage("prepare the root", format_args!("{name}: it is empty")));
    }
    if path.0.contains(&0) {
        return Err(Error::usage("prepare the root", format_args!("{name}: it holds a NUL")));
    }
    let mut out: Vec<&[u8]> = Vec::new();
    for part in path.0.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    let mut whole = Vec::with_capacity(path.0.len() + 1);
    for part in &out {
        whole.push(b'/');
        whole.extend_from_slice(part);
    }
    Ok(if whole.is_empty() { "/".into() } else { Bytes(whole) })
}

/// Whether the clean path `path` is `above` or below it.
pub(crate) fn is_below(path: &Bytes, above: &Bytes) -> bool {
    if above.0 == b"/" {
        return true;
    }
    let rest = path.0.strip_prefix(above.0.as_slice());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The clean path itself and those above it, but for the root.
pub(crate) fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (1..=path.len()).filter(|end| path.get(*end).is_none_or(|b| *b == b'/'));
    ends.map(|end| &path[..end]).filter(|path| *path != b"/")
}

/// A clean path without its leading slash, for calls that start at the root's fd.
pub(crate) fn from_root(path: &Bytes) -> &[u8] {
    match path.0.strip_prefix(b"/") {
        Some(b"") | None => b".",
        Some(rest) => rest,
    }
}

/// `name` below the clean path `dir`.
pub(crate) fn join(dir: &Bytes, name: &str) -> Bytes {
    let mut whole = if dir.0 == b"/" { Vec::new() } else { dir.0.clone() };
    whole.push(b'/');
    whole.extend_from_slice(name.as_bytes());
    Bytes(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_stay_below_the_root() {
        for (raw, clean_path) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("a/b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../x", "/x"),
            ("..", "/"),
        ] {
            assert_eq!(clean(&raw.into(), "x").unwrap(), clean_path.into(), "{raw}");
        }
        assert!(clean(&"".into(), "x").is_err());
        assert!(clean(&"/a\0b".into(), "x").is_err());
    }

    #[test]
    fn below_goes_by_components() {
        assert!(is_below(&"/a/b".into(), &"/a".into()));
        assert!(is_below(&"/a".into(), &"/a".into()));
        assert!(is_below(&"/a".into(), &"/".into()));
        assert!(!is_below(&"/ab".into(), &"/a".into()));
        assert!(!is_below(&"/a".into(), &"/a/b".into()));
        let above_all: [&[u8]; 3] = [b"/a", b"/a/bc", b"/a/bc/d"];
        assert_eq!(above(b"/a/bc/d").collect::<Vec<_>>(), above_all);
        assert_eq!(above(b"/").count(), 0);
        assert_eq!(from_root(&"/".into()), b".");
        assert_eq!(from_root(&"/a/b".into()), b"a/b");
        assert_eq!(join(&"/".into(), "x"), "/x".into());
        assert_eq!(join(&"/d".into(), "x"), "/d/x".into());
    }
}
