//! Cgroups of either version: which hierarchies this process can see, and one group in all of them.
//!
//! cgroups(7) and the kernel's `cgroup-v1`, `cgroup-v2` documents are the reference. A host has v1 hierarchies (each
//! with some controllers), the one v2 hierarchy, or both (hybrid: v2 mounted at `unified`, with the controllers that no
//! v1 hierarchy took). A [`Group`] is one directory in each of them.

pub mod alarm;
mod convert;
mod create;
mod dir;
mod existing;
mod freeze;
mod group;
mod kill;
mod remove;
mod report;
mod stats;
pub mod stream;
mod usage;

pub use alarm::duration;
pub use convert::{cpu_shares_of_weight, cpu_weight_of_shares};
pub use create::Purpose;
pub use dir::Dir;
pub use existing::sub_group;
pub use freeze::read_whole;
pub use group::Group;
pub use kill::list;
pub use report::{Ended, Report};
pub use stats::Stats;
pub use usage::{CpuTime, Memory, nanos_per_tick};

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::proc::{MountInfo, parse_mountinfo};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use serde::{Deserialize, Serialize};

/// Version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// One of several, with its own controllers.
    #[serde(rename = "v1")]
    V1,
    /// The unified hierarchy.
    #[serde(rename = "v2")]
    V2,
}

/// What the host has, as far as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// No cgroup file system is mounted here.
    None,
    /// Only v1.
    V1,
    /// v1 for (most) controllers, and v2.
    Hybrid,
    /// Only v2.
    V2,
}

/// One hierarchy, by a mount of it that this process can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its version.
    pub version: Version,
    /// Controllers of a v1 hierarchy (several when they are mounted together, as `cpu,cpuacct`); `name=systemd` for one
    /// that only has a name. Empty for v2, whose `cgroup.controllers` differ from group to group.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: Bytes,
    /// Which group that mount shows as its root: `/` but for containers and cgroup namespaces.
    pub root: Bytes,
    /// The caller's own group as components below that mount; None when the mount does not show it, as when it was
    /// mounted in another cgroup namespace.
    pub own: Option<Vec<Vec<u8>>>,
}

/// All hierarchies; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// What there is.
    pub layout: Layout,
    /// v1 ones in the kernel's order, v2 last.
    pub all: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Reads /proc/self/mountinfo and /proc/self/cgroup.
    pub fn detect() -> Result<Hierarchies> {
        Hierarchies::detect_for("self")
    }

    /// As [`Hierarchies::detect`], with the groups of process `who` (`self`, a pid) for its own: where this process can
    /// reach them.
    pub fn detect_for(who: &str) -> Result<Hierarchies> {
        let mountinfo = crate::proc::read("/proc/self/mountinfo")?;
        let own = crate::proc::read(&format!("/proc/{who}/cgroup"))?;
        let mut failed = Ok(());
        let found = Hierarchies::of(&mountinfo, &own, |mount| {
            is_visible(mount).unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
        });
        failed.map(|()| found)
    }

    /// The hierarchies of these two texts; `visible` says whether a mount can be reached under its path.
    fn of(mountinfo: &[u8], own: &[u8], mut visible: impl FnMut(&MountInfo) -> bool) -> Hierarchies {
        // A host can have thousands of mounts; only these few are worth taking apart.
        let cgroup = |line: &&[u8]| line.windows(9).any(|w| w == b" - cgroup");
        let lines: Vec<&[u8]> = mountinfo.split(|b| *b == b'\n').filter(cgroup).collect();
        let mounts: Vec<MountInfo> =
            parse_mountinfo(&lines.join(&b'\n')).into_iter().filter(|m| visible(m)).collect();
        let found =
            own.split(|b| *b == b'\n').filter_map(Membership::parse).filter_map(|m| m.hierarchy(&mounts));
        let (v1, v2): (Vec<_>, Vec<_>) = found.partition(|h: &Hierarchy| h.version == Version::V1);
        let layout = match (v1.is_empty(), v2.is_empty()) {
            (true, true) => Layout::None,
            (false, true) => Layout::V1,
            (true, false) => Layout::V2,
            (false, false) => Layout::Hybrid,
        };
        Hierarchies { layout, all: v1.into_iter().chain(v2).collect() }
    }

    /// The v1 hierarchy of a controller.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.all.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// The v2 hierarchy.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.all.iter().find(|h| h.version == Version::V2)
    }

    /// The group that was recorded as these absolute directories, with what each hierarchy controls; those that no
    /// hierarchy here holds are left out.
    pub fn group_at(&self, paths: &[Bytes]) -> Group {
        let dirs = paths.iter().filter_map(|path| {
            let inside = |h: &&Hierarchy| below(&path.0, &h.mount.0).is_some_and(|rest| !rest.is_empty());
            let hierarchy = self.all.iter().filter(inside).max_by_key(|h| h.mount.0.len())?;
            Some(Dir::new(hierarchy, &below(&path.0, &hierarchy.mount.0)?))
        });
        Group { dirs: dirs.collect() }
    }

    /// The roots, as their mounts show them: to look at, and at what is below them.
    pub fn roots(&self) -> Group {
        Group { dirs: self.all.iter().map(|hierarchy| Dir::new(hierarchy, &[])).collect() }
    }

    /// One group in all hierarchies that have a controller, in `name=systemd` and in v2. Other named hierarchies belong
    /// to whoever made them.
    ///
    /// An absolute path starts at the root of each hierarchy's mount. A relative one starts, as runc's cgroupfs manager
    /// has it, at the caller's own group in a v1 hierarchy, and beside the caller's own group (below its parent) in v2,
    /// where a group that holds the caller cannot give controllers to its children. Without a path the group is
    /// `fallback` as a relative path. `..` is refused, and so is the root.
    pub fn group(&self, path: Option<&Bytes>, fallback: &str) -> Result<Group> {
        let path = path.cloned().unwrap_or_else(|| fallback.into());
        let components = components(&path)?;
        let absolute = path.0.starts_with(b"/");
        if self.layout == Layout::None {
            return Err(Error::new(
                Class::Unsupported,
                format_args!("use the cgroup {path}"),
                "no cgroup file system is mounted here",
            )
            .cure("mount -t cgroup2 cgroup2 /sys/fs/cgroup"));
        }
        let wanted =
            |h: &&Hierarchy| h.controllers.iter().all(|c| !c.starts_with("name=") || c == "name=systemd");
        let dirs = self
            .all
            .iter()
            .filter(wanted)
            .map(|h| h.dir(&path, absolute, &components))
            .collect::<Result<_>>()?;
        Ok(Group { dirs })
    }
}

impl Hierarchy {
    fn dir(&self, path: &Bytes, absolute: bool, components: &[Vec<u8>]) -> Result<Dir> {
        let mut below = Vec::new();
        if !absolute {
            let Some(own) = &self.own else {
                let detail =
                    format_args!("the mount {} does not show the caller's own group", self.mount).to_string();
                return Err(Error::new(Class::Unsupported, format_args!("use the cgroup {path}"), detail)
                    .why("it was mounted in another cgroup namespace")
                    .cure(format_args!("/{path}, which starts at the root of that mount")));
            };
            below.extend_from_slice(own);
            if self.version == Version::V2 {
                below.pop();
            }
        }
        below.extend_from_slice(components);
        Ok(Dir::new(self, &below))
    }

    /// Controllers that the root of this v2 mount has.
    pub fn root_controllers(&self) -> Result<Vec<String>> {
        let text = Dir::new(self, &[]).read("cgroup.controllers")?.unwrap_or_default();
        Ok(text.split_whitespace().map(String::from).collect())
    }

    /// The directory of the caller's own group.
    pub fn own_dir(&self) -> Option<Dir> {
        self.own.as_ref().map(|own| Dir::new(self, own))
    }
}

/// The mount that is seen at a path may be another one, put over it later.
fn is_visible(mount: &MountInfo) -> Result<bool> {
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let doing = "see which cgroups there are";
    let fd = match openat(CWD, mount.target.as_path(), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(false),
        // A hierarchy that was there and is passed over would be one that nobody joins.
        other => other.cannot(doing, format_args!("open({})", mount.target))?,
    };
    let stat = fstat(&fd).cannot(doing, format_args!("fstat({})", mount.target))?;
    let device = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    Ok(device == mount.device)
}

/// One line of /proc/PID/cgroup.
#[derive(Clone, Debug)]
struct Membership {
    controllers: Vec<String>,
    path: Vec<u8>,
}

impl Membership {
    /// Those of this process.
    fn own() -> Result<Vec<Membership>> {
        let text = crate::proc::read("/proc/self/cgroup")?;
        Ok(text.split(|b| *b == b'\n').filter_map(Membership::parse).collect())
    }

    fn parse(line: &[u8]) -> Option<Membership> {
        let mut fields = line.splitn(3, |b| *b == b':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = std::str::from_utf8(controllers).ok()?;
        let controllers: Vec<String> =
            controllers.split(',').filter(|c| !c.is_empty()).map(String::from).collect();
        // "0::" is v2. A v1 hierarchy without a controller has a name.
        (!controllers.is_empty() || id == b"0").then(|| Membership { controllers, path: path.to_vec() })
    }

    fn hierarchy(self, mounts: &[MountInfo]) -> Option<Hierarchy> {
        let version = if self.controllers.is_empty() { Version::V2 } else { Version::V1 };
        let fits = |m: &&MountInfo| match version {
            Version::V2 => m.kind == "cgroup2",
            Version::V1 => m.kind == "cgroup" && self.controllers.iter().all(|c| m.super_options.contains(c)),
        };
        // A mount that shows the whole hierarchy before one that shows a part of it (a bind mount in a container).
        let best =
            |m: &&MountInfo| (below(&self.path, &m.root.0).is_some(), std::cmp::Reverse(m.root.0.len()));
        let mount = mounts.iter().filter(fits).rev().max_by_key(best)?;
        let own = below(&self.path, &mount.root.0);
        let (root, mount) = (mount.root.clone(), mount.target.clone());
        Some(Hierarchy { version, controllers: self.controllers, mount, root, own })
    }
}

/// `path` as components below `root`, if it is there. Both are what the kernel shows in this cgroup namespace; a root
/// above the namespace's own reads `/..`, and what leads from there to us cannot be known.
fn below(path: &[u8], root: &[u8]) -> Option<Vec<Vec<u8>>> {
    let split =
        |p: &[u8]| p.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (path, root) = (split(path), split(root));
    if path.iter().chain(&root).any(|c| c == b"..") {
        return None;
    }
    path.strip_prefix(root.as_slice()).map(<[_]>::to_vec)
}

/// Refuses a cgroupsPath that could never be used, before anything is made.
pub fn check_path(path: &Bytes) -> Result<()> {
    components(path).map(drop)
}

/// The components of a cgroupsPath.
fn components(path: &Bytes) -> Result<Vec<Vec<u8>>> {
    let wrong = |what: &str| Err(Error::usage(format_args!("use the cgroup '{path}'"), what));
    let parts: Vec<Vec<u8>> =
        path.0.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).collect();
    if parts.is_empty() {
        return wrong("it names no group below the root");
    }
    for part in &parts {
        if part == b".." {
            return wrong("'..' could lead out of the hierarchy");
        }
        // The kernel refuses a newline itself; a NUL would cut the name short.
        if part.len() > 255 || part.iter().any(|b| matches!(b, 0 | b'\n')) {
            return wrong("a component is longer than 255 bytes or has a NUL or a newline");
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        39 31 0:39 / /sys/fs/cgroup/openrc rw - cgroup cgroup rw,name=openrc\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const OWN: &[u8] = b"5:name=openrc:/o\n4:name=systemd:/s\n3:memory:/m/x\n2:cpu,cpuacct:/\n0::/u/v\n";

    fn paths(group: &Group) -> Vec<String> {
        group.paths().map(|p| p.to_string()).collect()
    }

    #[test]
    fn a_hybrid_host_and_where_paths_lead() {
        let found = Hierarchies::of(HYBRID, OWN, |_| true);
        assert_eq!(found.layout, Layout::Hybrid);
        assert_eq!(found.v1("cpuacct").unwrap().mount, "/sys/fs/cgroup/cpu,cpuacct".into());
        let absolute = paths(&found.group(Some(&"/a//./b".into()), "").unwrap());
        let below = |p: &str| {
            ["systemd", "memory", "cpu,cpuacct", "unified"].map(|h| format!("/sys/fs/cgroup/{h}{p}"))
        };
        assert_eq!(absolute, below("/a/b"));
        let relative = paths(&found.group(Some(&"r".into()), "").unwrap());
        let expected = ["systemd/s/r", "memory/m/x/r", "cpu,cpuacct/r", "unified/u/r"];
        assert_eq!(relative, expected.map(|p| format!("/sys/fs/cgroup/{p}")));
        assert_eq!(paths(&found.group(None, "r").unwrap()), relative);
    }

    #[test]
    fn a_recorded_group_is_found_in_its_hierarchies() {
        let found = Hierarchies::of(HYBRID, OWN, |_| true);
        let group = found.group(Some(&"/a/b".into()), "").unwrap();
        let recorded: Vec<Bytes> = group.paths().cloned().collect();
        let again = found.group_at(&recorded);
        assert_eq!(paths(&again), paths(&group));
        assert_eq!(again.v1("memory").unwrap().path, "/sys/fs/cgroup/memory/a/b".into());
        assert_eq!(again.v2().unwrap().path, "/sys/fs/cgroup/unified/a/b".into());
        // Neither a mount itself nor what is elsewhere.
        assert!(found.group_at(&["/sys/fs/cgroup/memory".into(), "/tmp/x".into()]).dirs.is_empty());
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let found = Hierarchies::of(HYBRID, OWN, |_| true);
        for bad in ["", "/", "//", ".", "../x", "/a/../../b", "a/..", "a\0b", "a\nb"] {
            assert!(found.group(Some(&bad.into()), "f").is_err(), "{bad:?}");
        }
        assert!(found.group(Some(&Bytes(vec![b'a'; 256])), "f").is_err());
    }

    #[test]
    fn a_mount_put_over_hides_what_is_below() {
        let over = |m: &MountInfo| m.kind == "cgroup2";
        let found = Hierarchies::of(HYBRID, OWN, over);
        assert_eq!((found.layout, found.all.len()), (Layout::V2, 1));
        assert_eq!(Hierarchies::of(HYBRID, OWN, |_| false).layout, Layout::None);
        assert!(Hierarchies::of(HYBRID, OWN, |_| false).group(None, "x").is_err());
    }

    #[test]
    fn a_mount_of_a_part_shows_our_group_from_there() {
        let mounts = b"9 1 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let inside = Hierarchies::of(mounts, b"0::/docker/abc/app\n", |_| true);
        assert_eq!(paths(&inside.group(Some(&"r".into()), "").unwrap()), ["/sys/fs/cgroup/r"]);
        let elsewhere = Hierarchies::of(mounts, b"0::/docker/abcd\n", |_| true);
        assert_eq!(elsewhere.all[0].own, None);
        assert!(elsewhere.group(Some(&"r".into()), "").is_err());
        assert_eq!(paths(&elsewhere.group(Some(&"/r".into()), "").unwrap()), ["/sys/fs/cgroup/r"]);
        let above = b"9 1 0:38 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(Hierarchies::of(above, b"0::/\n", |_| true).all[0].own, None);
    }

    #[test]
    fn the_host_itself_is_understood() {
        let found = Hierarchies::detect().unwrap();
        for hierarchy in &found.all {
            assert!(Path::new(hierarchy.mount.as_os_str()).is_dir(), "{hierarchy:?}");
            assert!(hierarchy.mount.0.starts_with(b"/"));
        }
    }
}
