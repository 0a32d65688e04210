//! From flags to the layer: everything becomes numbers here, so that a plan is data.

use crate::cli::{Args, Ids, Setgroups};
use crate::subid::{self, Grant};
use chain::files::Files;
use chain::oci::IdMapping;
use chain::spec::Idmap;
use chain::{Error, Result};

/// Which map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// uid_map.
    User,
    /// gid_map.
    Group,
}

impl Kind {
    /// Where the grants are.
    pub(crate) fn grants_file(self) -> &'static str {
        match self {
            Kind::User => "/etc/subuid",
            Kind::Group => "/etc/subgid",
        }
    }

    /// Its member in a layer.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Kind::User => "uidMappings",
            Kind::Group => "gidMappings",
        }
    }

    /// Its file below /proc/PID.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Kind::User => "uid_map",
            Kind::Group => "gid_map",
        }
    }

    /// The program that writes it for an ordinary user.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Kind::User => "newuidmap",
            Kind::Group => "newgidmap",
        }
    }

    /// For sentences.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Group => "group",
        }
    }
}

/// Flags on top of a share of an OCI config: maps in flags replace those of the config.
pub(crate) fn from_flags(args: &Args, base: Idmap, _files: &Files<'_>) -> Result<Idmap> {
    compose(args, base)
}

/// As [`from_flags`].
pub(crate) fn compose(args: &Args, mut base: Idmap) -> Result<Idmap> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let kept = keep_id(args)?;
    let auto = args.auto || args.keep_id.is_some();
    let current = args.map_current_user || args.keep_id.is_some() && kept.is_none();
    let root = args.map_root_user || auto && !current;
    let inside = |named: Option<u32>, own: u32| named.or(current.then_some(own)).or(root.then_some(0));
    let user = inside(args.map_user.map(|u| u.0).or(kept), uid);
    let group = inside(args.map_group.map(|g| g.0).or(kept), gid);
    let grants = |kind: Kind| if auto { subid::of(kind.grants_file(), uid) } else { Ok(Vec::new()) };

    let written =
        |kind, words: &[Ids]| words.iter().map(|word| ids(kind, *word, uid)).collect::<Result<Vec<_>>>();
    let (map_users, map_groups) =
        (written(Kind::User, &args.map_users)?.concat(), written(Kind::Group, &args.map_groups)?.concat());
    let users = map(user.map(|id| (id, uid)), &grants(Kind::User)?, &map_users);
    let groups = map(group.map(|id| (id, gid)), &grants(Kind::Group)?, &map_groups);
    if args.pick {
        (base.uid_mappings, base.gid_mappings, base.pick) = (Vec::new(), Vec::new(), true);
    } else if !users.is_empty() || !groups.is_empty() {
        base.pick = false;
        (base.uid_mappings, base.gid_mappings) = (users, groups);
    } else if args.common.oci.is_none() {
        return Err(Error::usage("read the command line", "it says no ids to map")
            .cure("-r, -c, --auto, --pick or --map-users I:O:N"));
    }
    base.owner = args.owner.map(|owner| owner.0).or(base.owner);
    base.disable_user_namespaces |= args.disable_userns;
    if let Some(setgroups) = args.setgroups {
        base.setgroups = Some(setgroups == Setgroups::Allow);
    }
    Ok(base)
}

/// `--keep-id=ID`.
fn keep_id(args: &Args) -> Result<Option<u32>> {
    let Some(text) = args.keep_id.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let id =
        text.parse::<u32>().ok().filter(|id| *id != u32::MAX && text.bytes().all(|b| b.is_ascii_digit()));
    id.map(Some).ok_or_else(|| {
        Error::usage("read the command line", format_args!("--keep-id={}: not an id", text.escape_debug()))
    })
}

/// The lines that one word of `--map-users` means.
fn ids(kind: Kind, word: Ids, uid: u32) -> Result<Vec<IdMapping>> {
    match word {
        Ids::Range(line) => Ok(vec![line]),
        Ids::Subids => {
            let grants = subid::of(kind.grants_file(), uid)?;
            let line =
                |(first, size): &Grant| IdMapping { container_id: *first, host_id: *first, size: *size };
            Ok(grants.iter().map(line).collect())
        }
        // As they are called here: a map tells what they are further out.
        Ids::All => {
            let here = chain::userns::parse_map(&chain::proc::read(&format!("/proc/self/{}", kind.file()))?)?;
            let line = |m: &IdMapping| IdMapping { host_id: m.container_id, ..*m };
            Ok(here.iter().map(line).collect())
        }
    }
}

/// The caller's own line, the granted ranges laid around it from 0 on, and what was written out.
fn map(own: Option<(u32, u32)>, grants: &[Grant], written: &[IdMapping]) -> Vec<IdMapping> {
    let mut lines: Vec<IdMapping> = Vec::new();
    if let Some((inside, outside)) = own {
        lines.push(IdMapping { container_id: inside, host_id: outside, size: 1 });
        lines.extend(around(inside, grants));
    }
    lines.extend(written);
    lines
}

/// As many ids as were granted, from 0 up, with `own` left free: the last granted id has no place, as with unshare(1).
fn around(own: u32, grants: &[Grant]) -> Vec<IdMapping> {
    let total: u64 = grants.iter().map(|g| u64::from(g.1)).sum();
    let mut lines = Vec::new();
    let mut next: u64 = 0;
    for &(start, count) in grants {
        let (mut start, mut left) = (u64::from(start), u64::from(count));
        while left > 0 && next < total {
            if next == u64::from(own) {
                next += 1;
                continue;
            }
            let room = if next < u64::from(own) { u64::from(own) - next } else { u64::MAX };
            let size = left.min(room).min(total - next);
            lines.extend(line(next, start, size));
            (next, start, left) = (next + size, start + size, left - size);
        }
    }
    lines
}

/// None beyond 32 bits: such ids do not exist, whatever a file grants.
fn line(inside: u64, outside: u64, size: u64) -> Option<IdMapping> {
    let (container_id, host_id) = (u32::try_from(inside).ok()?, u32::try_from(outside).ok()?);
    Some(IdMapping { container_id, host_id, size: u32::try_from(size).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Range;

    fn table(own: u32, grants: &[Grant]) -> Vec<(u32, u32, u32)> {
        around(own, grants).iter().map(|m| (m.container_id, m.host_id, m.size)).collect()
    }

    #[test]
    fn granted_ids_lie_around_the_callers_own() {
        let one = [(100_000, 65_536)];
        assert_eq!(table(0, &one), [(1, 100_000, 65_535)]);
        assert_eq!(table(1001, &one), [(0, 100_000, 1001), (1002, 101_001, 64_534)]);
        assert_eq!(table(70_000, &one), [(0, 100_000, 65_536)]);
        assert_eq!(table(65_535, &one), [(0, 100_000, 65_535)]);
        let two = [(100, 10), (500, 10)];
        assert_eq!(table(0, &two), [(1, 100, 10), (11, 500, 9)]);
        assert_eq!(table(10, &two), [(0, 100, 10), (11, 500, 9)]);
        assert_eq!(table(12, &two), [(0, 100, 10), (10, 500, 2), (13, 502, 7)]);
        assert_eq!(table(0, &[]), []);
        assert_eq!(table(0, &[(5, 1)]), []);
    }

    #[test]
    fn written_ranges_follow_the_callers_own() {
        let Range(line) = "1:100000:65536".parse().unwrap();
        let map = map(Some((0, 1000)), &[], &[line]);
        assert_eq!(map.iter().map(|m| m.host_id).collect::<Vec<_>>(), [1000, 100_000]);
    }

    #[test]
    fn only_three_plain_numbers_are_a_range() {
        for bad in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "1:2:-3",
            "+1:2:3",
            "1:2:4294967296",
            "1:2:x",
            "1,2,3",
            "1: 2:3",
            "::",
        ] {
            assert!(bad.parse::<Range>().is_err(), "{bad:?}");
        }
        let Range(m) = "4294967295:0:1".parse().unwrap();
        assert_eq!((m.container_id, m.host_id, m.size), (u32::MAX, 0, 1));
    }
}
