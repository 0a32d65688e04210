//! Overlays: layers of folders seen as one.

use crate::build::{self, Detached};
use crate::data::Store;
use crate::facts::in_user_namespace;
use crate::place::Place;
use crate::plan::{MountStep, What};
use chain::Result;
use chain::bytes::Bytes;

/// A layer's path as overlayfs reads it in a list: colons part layers, commas options.
pub(crate) fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, ':' | ',' | '\\' | '"') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The layers of a `lowerdir=` value, each with the option that takes it alone (Linux 6.5): behind `::` are those for
/// data only.
pub(crate) fn layers(value: &str) -> Vec<(&'static str, String)> {
    let mut out = vec![("lowerdir+", String::new())];
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.last_mut().map_or((), |(_, layer)| layer.extend(chars.next())),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                out.push(("datadir+", String::new()));
            }
            ':' => out.push((
                if out.last().is_some_and(|(o, _)| *o == "datadir+") { "datadir+" } else { "lowerdir+" },
                String::new(),
            )),
            c => out.last_mut().map_or((), |(_, layer)| layer.push(c)),
        }
    }
    out
}

/// Attributes that a user namespace may write have other names; without them what is removed or replaced could not be
/// marked.
pub(crate) fn for_user_namespace(step: &mut MountStep) {
    let data = &mut step.options.data;
    if !data.iter().any(|o| o == "userxattr") && in_user_namespace() {
        data.push("userxattr".into());
    }
}

/// One whose changes go to memory, and away with it.
pub(crate) fn in_memory(place: &mut Place, step: &mut MountStep, doing: &str) -> Result<Option<Detached>> {
    let store = Store::new(place, doing)?;
    for (option, name) in [("upperdir", "upper"), ("workdir", "work")] {
        step.options.data.push(format!("{option}={}", store.folder(name, doing)?));
    }
    let overlay = build::detached(place, step, doing);
    store.detach(doing)?;
    overlay
}

/// Whether its upper layer is to be made in memory.
pub(crate) fn is_in_memory(step: &MountStep) -> bool {
    step.options.own_upper && matches!(&step.what, What::Fs { kind, .. } if kind == "overlay")
}

/// Sources of `--overlay-src` as the option; the last one is on top.
pub(crate) fn lowerdir(sources: &[Bytes]) -> Option<String> {
    let layers: Option<Vec<String>> =
        sources.iter().rev().map(|s| str::from_utf8(&s.0).ok().map(escaped)).collect();
    layers.map(|layers| format!("lowerdir={}", layers.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_parted_by_colons_that_no_backslash_guards() {
        let plain = |value: &str| layers(value).into_iter().map(|(_, l)| l).collect::<Vec<_>>();
        assert_eq!(plain("/a:/b"), ["/a", "/b"]);
        for odd in ["/a:b", "/a,b", "/a\\b", "/a\"b", "/plain"] {
            assert_eq!(plain(&escaped(odd)), [odd]);
        }
        let data = layers("/a:/b::/c:/d");
        assert_eq!(
            data.iter().map(|(o, _)| *o).collect::<Vec<_>>(),
            ["lowerdir+", "lowerdir+", "datadir+", "datadir+"]
        );
    }

    #[test]
    fn the_last_source_is_on_top() {
        assert_eq!(lowerdir(&["/low".into(), "/up:per".into()]).unwrap(), "lowerdir=/up\\:per:/low");
        assert_eq!(lowerdir(&[Bytes(vec![0xff])]), None);
    }
}
