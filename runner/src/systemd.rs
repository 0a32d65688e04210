//! `--systemd-cgroup`: linux.cgroupsPath is `slice:prefix:name` then, and the group a scope that systemd makes.

use crate::update;
use chain::oci::Config;
use chain::spec::Systemd;
use chain::{Error, Result};

/// What annotations that are properties of the unit begin with.
pub(crate) const PROPERTY: &str = "org.systemd.property.";

/// The scope of a container. Without a path it is `catena-ID.scope`; without a slice that of the system, or for an
/// ordinary user that of users.
pub(crate) fn scope(config: &Config, path: Option<&str>, id: &str, is_rootless: bool) -> Result<Systemd> {
    let wrong = |path: &str| {
        Err(Error::usage(
            "name the container's scope",
            format_args!("linux.cgroupsPath is '{path}', and with systemd it is SLICE:PREFIX:NAME"),
        )
        .cure("user.slice:runc:ID, or a cgroup manager without systemd: --cgroup-manager cgroupfs"))
    };
    let (slice, prefix, name) = match path.filter(|path| !path.is_empty()) {
        None => ("", "catena", id),
        Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] if !name.is_empty() => (slice, prefix, name),
            _ => return wrong(path),
        },
    };
    if name.ends_with(".slice") {
        return Err(Error::usage(
            "name the container's scope",
            format_args!("linux.cgroupsPath names the slice {name}, and a slice holds no process"),
        ));
    }
    let slice = match slice {
        "" if is_rootless => "user.slice",
        "" => "system.slice",
        slice => slice,
    };
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    let properties = config.annotations.iter();
    let properties =
        properties.filter_map(|(key, text)| Some((key.strip_prefix(PROPERTY)?.into(), text.clone())));
    Ok(Systemd { unit, slice: Some(slice.into()), properties: properties.collect() })
}

/// Has cg-apply end a scope, so that its name is free for the next container.
pub(crate) fn stop(unit: &str) -> Result<()> {
    update::tool(&["--stop", "--scope", unit], b"", format!("end the scope {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: Option<&str>, is_rootless: bool) -> Option<(String, String)> {
        let scope = scope(&Config::default(), path, "box", is_rootless).ok()?;
        Some((scope.slice?, scope.unit))
    }

    #[test]
    fn a_path_names_slice_and_scope() {
        let expected = |slice: &str, unit: &str| Some((slice.to_string(), unit.to_string()));
        assert_eq!(named(None, false), expected("system.slice", "catena-box.scope"));
        assert_eq!(named(Some(""), true), expected("user.slice", "catena-box.scope"));
        assert_eq!(
            named(Some("machine.slice:libpod:1f"), false),
            expected("machine.slice", "libpod-1f.scope")
        );
        assert_eq!(named(Some(":docker:1f"), false), expected("system.slice", "docker-1f.scope"));
        assert_eq!(named(Some("a-b.slice::1f"), true), expected("a-b.slice", "1f.scope"));
        for bad in ["/a/b", "a:b", "a:b:c:d", "a:b:", "::c.slice"] {
            assert_eq!(named(Some(bad), false), None, "{bad}");
        }
    }

    #[test]
    fn annotations_are_properties() {
        let mut config = Config::default();
        config.annotations.insert("org.systemd.property.TimeoutStopUSec".into(), "uint64 5".into());
        config.annotations.insert("org.other".into(), "x".into());
        let scope = scope(&config, None, "box", false).expect("it is one");
        assert_eq!(
            scope.properties.into_iter().collect::<Vec<_>>(),
            [("TimeoutStopUSec".into(), "uint64 5".into())]
        );
    }
}
