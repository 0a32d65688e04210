//! A group that is there already, to be joined: found by its recorded directories, walked to by fd.

use super::{Dir, Group, Hierarchies, Hierarchy, Version, components};
use crate::bytes::Bytes;
use crate::error::{Class, Error, Result};
use crate::spec::Existing;

impl Hierarchies {
    /// The group of `existing`, or that below it. Nothing is opened yet.
    pub fn existing(&self, existing: &Existing) -> Result<Group> {
        let doing = "find the container's cgroup";
        let mut dirs = Vec::with_capacity(existing.paths.len());
        for path in &existing.paths {
            let found = self.all.iter().filter_map(|h| Some((h, beneath(&path.0, &h.mount.0)?)));
            let Some((hierarchy, below)) = found.min_by_key(|(_, below)| below.len()) else {
                let detail =
                    format_args!("{path} is below no cgroup mount that this process sees").to_string();
                return Err(Error::new(Class::Missing, doing, detail));
            };
            dirs.push(dir(hierarchy, below, &existing.below)?);
        }
        let has = |name: &String| name.is_empty() || dirs.iter().any(|d| d.has(name));
        match existing.below.keys().find(|name| !has(name)) {
            Some(unknown) => Err(Error::usage(
                format_args!("join a cgroup below the container's for {unknown}"),
                format_args!("unknown controller {unknown}"),
            )),
            None => Ok(Group { dirs }),
        }
    }
}

/// The components of `path` below `mount`, if it is there.
fn beneath(path: &[u8], mount: &[u8]) -> Option<Vec<Vec<u8>>> {
    let rest = path.strip_prefix(mount)?;
    (mount.ends_with(b"/") || rest.starts_with(b"/"))
        .then(|| rest.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(<[u8]>::to_vec).collect())
}

fn dir(
    hierarchy: &Hierarchy,
    mut below: Vec<Vec<u8>>,
    asked: &std::collections::BTreeMap<String, Bytes>,
) -> Result<Dir> {
    let own = |name: &String| name.is_empty() || hierarchy.controllers.contains(name);
    for (_, path) in asked.iter().filter(|(name, _)| own(name)) {
        below.extend(sub_group(path)?);
    }
    Ok(Dir::new(hierarchy, &below))
}

/// Components below a group: never `..`, whatever it would lead to. `/` is the group itself.
pub fn sub_group(path: &Bytes) -> Result<Vec<Vec<u8>>> {
    if path.0.split(|b| *b == b'/').all(|c| c.is_empty() || c == b".") {
        return Ok(Vec::new());
    }
    components(path).map_err(|e| {
        Error::usage(
            format_args!("join the cgroup '{path}' below the container's"),
            format_args!("bad sub cgroup path: {}", e.detail.unwrap_or_default()),
        )
    })
}

impl Dir {
    /// Opens it, component by component: there are no links in a cgroup file system, and none would be followed.
    pub fn hold(&mut self) -> Result<bool> {
        self.fd = self.open()?;
        Ok(self.fd.is_some())
    }

    /// Whether the caller is in it, in its very directory.
    pub fn is_own(&self) -> bool {
        self.own.as_ref() == Some(&self.below)
    }
}

impl Group {
    /// Takes `dir` for the v2 directory.
    pub fn replace_v2(&mut self, dir: Dir) {
        self.dirs.retain(|d| d.version != Version::V2);
        self.dirs.push(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;

    fn host() -> Hierarchies {
        let one = |mount: &str, version, controllers: &[&str]| Hierarchy {
            version,
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: mount.into(),
            root: "/".into(),
            own: Some(Vec::new()),
        };
        Hierarchies {
            layout: Layout::Hybrid,
            all: vec![
                one("/cg/memory", Version::V1, &["memory"]),
                one("/cg/cpu,cpuacct", Version::V1, &["cpu", "cpuacct"]),
                one("/cg/unified", Version::V2, &[]),
            ],
        }
    }

    fn of(below: &[(&str, &str)]) -> Result<Vec<String>> {
        let paths = ["/cg/memory/a", "/cg/cpu,cpuacct/a", "/cg/unified/a"].map(Bytes::from).to_vec();
        let below = below.iter().map(|(name, path)| (name.to_string(), Bytes::from(*path))).collect();
        let group = host().existing(&Existing { paths, below, process: None })?;
        Ok(group.paths().map(|p| p.to_string().trim_start_matches("/cg/").to_string()).collect())
    }

    #[test]
    fn one_group_in_all_hierarchies_or_by_controller() {
        assert_eq!(of(&[]).unwrap(), ["memory/a", "cpu,cpuacct/a", "unified/a"]);
        assert_eq!(of(&[("", "/")]).unwrap(), of(&[("", "./")]).unwrap());
        assert_eq!(of(&[("", "b/c")]).unwrap(), ["memory/a/b/c", "cpu,cpuacct/a/b/c", "unified/a/b/c"]);
        assert_eq!(of(&[("cpuacct", "/b/")]).unwrap(), ["memory/a", "cpu,cpuacct/a/b", "unified/a"]);
    }

    #[test]
    fn no_way_out_and_no_controller_that_is_not_there() {
        for bad in ["..", "../a", "../a-suffix", "b/../..", "/..", "b/../c", "a\0b", "a\nb"] {
            let error = of(&[("", bad)]).unwrap_err().to_string();
            assert!(error.contains("bad sub cgroup path"), "{bad:?}: {error}");
        }
        assert!(of(&[("whaaat", "/")]).unwrap_err().to_string().contains("unknown controller whaaat"));
        let foreign = Existing { paths: vec!["/cg/memoryx/a".into()], ..Existing::default() };
        assert!(host().existing(&foreign).is_err());
    }
}
