//! What tests expect of a process; each says what it found when it fails.

use crate::caps::{cap_bit, cap_names};
use crate::mountinfo::Mount;
use crate::probe::Probe;
use std::path::Path;

fn set_of(names: &[&str]) -> u64 {
    names.iter().fold(0, |set, name| set | cap_bit(name))
}

#[track_caller]
fn same_set(what: &str, found: u64, wanted: u64) {
    let (found, wanted) = (cap_names(found), cap_names(wanted));
    assert_eq!(found, wanted, "{what} capabilities");
}

impl Probe {
    /// Itself, for the machine it runs on now.
    pub fn here() -> Probe {
        crate::shell("exec \"$PROBE\"").run().probe()
    }

    /// All five sets are empty.
    #[track_caller]
    pub fn expect_caps_empty(&self) -> &Probe {
        self.expect_bounding(&[]).expect_caps(&[])
    }

    /// Effective and permitted are exactly these; inheritable and ambient are empty.
    #[track_caller]
    pub fn expect_caps(&self, names: &[&str]) -> &Probe {
        same_set("effective", self.caps.effective, set_of(names));
        same_set("permitted", self.caps.permitted, set_of(names));
        same_set("inheritable", self.caps.inheritable, 0);
        same_set("ambient", self.caps.ambient, 0);
        self
    }

    /// The bounding set is exactly these.
    #[track_caller]
    pub fn expect_bounding(&self, names: &[&str]) -> &Probe {
        same_set("bounding", self.caps.bounding, set_of(names));
        self
    }

    /// The effective set is exactly these.
    #[track_caller]
    pub fn expect_effective(&self, names: &[&str]) -> &Probe {
        same_set("effective", self.caps.effective, set_of(names));
        self
    }

    /// The permitted set is exactly these.
    #[track_caller]
    pub fn expect_permitted(&self, names: &[&str]) -> &Probe {
        same_set("permitted", self.caps.permitted, set_of(names));
        self
    }

    /// The inheritable set is exactly these.
    #[track_caller]
    pub fn expect_inheritable(&self, names: &[&str]) -> &Probe {
        same_set("inheritable", self.caps.inheritable, set_of(names));
        self
    }

    /// The ambient set is exactly these.
    #[track_caller]
    pub fn expect_ambient(&self, names: &[&str]) -> &Probe {
        same_set("ambient", self.caps.ambient, set_of(names));
        self
    }

    /// None of these is in any set.
    #[track_caller]
    pub fn expect_without_caps(&self, names: &[&str]) -> &Probe {
        let c = &self.caps;
        let held = (c.bounding | c.effective | c.permitted | c.inheritable | c.ambient) & set_of(names);
        same_set("unwanted", held, 0);
        self
    }

    /// no_new_privs is on, or off.
    #[track_caller]
    pub fn expect_no_new_privs(&self, on: bool) -> &Probe {
        assert_eq!(self.no_new_privs, on, "no_new_privs");
        self
    }

    /// This many seccomp filters are in force, besides those that hold for the tests themselves.
    #[track_caller]
    pub fn expect_filters(&self, count: u32) -> &Probe {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status can be read");
        let around = status.lines().find_map(|l| l.strip_prefix("Seccomp_filters:"));
        let count = count + around.map_or(0, |n| n.trim().parse().expect("a number"));
        assert_eq!(self.seccomp_filters, Some(count), "seccomp filters (mode {:?})", self.seccomp);
        assert_eq!(self.seccomp, Some(if count == 0 { 0 } else { 2 }), "seccomp mode");
        self
    }

    /// Real, effective and saved user and group.
    #[track_caller]
    pub fn expect_user(&self, uid: u32, gid: u32, groups: &[u32]) -> &Probe {
        let ids = |r: crate::Ids| [r.real, r.effective, r.saved];
        assert_eq!((ids(self.uids), ids(self.gids)), ([uid; 3], [gid; 3]), "uids and gids");
        assert_eq!(self.groups, groups, "supplementary groups");
        self
    }

    /// These namespaces are not the caller's.
    #[track_caller]
    pub fn expect_ns_differs(&self, kinds: &[&str]) -> &Probe {
        for kind in kinds {
            let (here, there) = self.both(kind);
            assert_ne!(here, there, "the {kind} namespace is the caller's");
        }
        self
    }

    /// These namespaces are the caller's; of a kind that this kernel does not have there is but one.
    #[track_caller]
    pub fn expect_ns_same(&self, kinds: &[&str]) -> &Probe {
        for kind in kinds.iter().filter(|kind| **kind != "time" || Path::new("/proc/self/ns/time").exists()) {
            let (here, there) = self.both(kind);
            assert_eq!(here, there, "the {kind} namespace is not the caller's");
        }
        self
    }

    #[track_caller]
    fn both(&self, kind: &str) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        let kind = if kind == "mount" {
            "mnt"
        } else if kind == "network" {
            "net"
        } else {
            kind
        };
        let here =
            std::fs::metadata(format!("/proc/self/ns/{kind}")).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let there = self.ns.get(kind).unwrap_or_else(|| panic!("{kind} is not in {:?}", self.ns));
        (here.ino(), *there)
    }

    /// Open are 0, 1 and 2, nothing else.
    #[track_caller]
    pub fn expect_only_std_fds(&self) -> &Probe {
        self.expect_fds(&[0, 1, 2])
    }

    /// Open are exactly these.
    #[track_caller]
    pub fn expect_fds(&self, numbers: &[i32]) -> &Probe {
        let found: Vec<i32> = self.fds.keys().copied().collect();
        assert_eq!(found, numbers, "open fds: {:#?}", self.fds);
        self
    }

    /// What fd `number` is, in the words of /proc/self/fd.
    #[track_caller]
    pub fn fd_target(&self, number: i32) -> &str {
        let fd = self.fds.get(&number).unwrap_or_else(|| panic!("fd {number} is not in {:#?}", self.fds));
        fd.target.as_deref().unwrap_or_default()
    }

    /// The mount on top at `point`.
    pub fn mount_at(&self, point: &str) -> Option<&Mount> {
        self.mounts.as_ref()?.iter().rev().find(|m| m.point == point)
    }

    /// A mount of this type is at `point`.
    #[track_caller]
    pub fn expect_mounted(&self, point: &str, fstype: &str) -> &Mount {
        let mount = self
            .mount_at(point)
            .unwrap_or_else(|| panic!("nothing is mounted at {point}: {}", self.points()));
        assert_eq!(mount.fstype, fstype, "the mount at {point}: {mount:?}");
        mount
    }

    /// A mount at `point` has all these options.
    #[track_caller]
    pub fn expect_mount_options(&self, point: &str, options: &[&str]) -> &Mount {
        let mount = self
            .mount_at(point)
            .unwrap_or_else(|| panic!("nothing is mounted at {point}: {}", self.points()));
        for option in options {
            assert!(mount.has(option), "{point} lacks {option}: {mount:?}");
        }
        mount
    }

    /// Nothing is mounted at `point`.
    #[track_caller]
    pub fn expect_not_mounted(&self, point: &str) -> &Probe {
        assert!(self.mount_at(point).is_none(), "{:?}", self.mount_at(point));
        self
    }

    /// `path` is masked: /dev/null or an empty read-only file system is mounted over it.
    #[track_caller]
    pub fn expect_hidden(&self, path: &str) -> &Probe {
        let mount = self.mount_at(path).unwrap_or_else(|| panic!("{path} is not masked: {}", self.points()));
        let null = mount.root == "/null";
        let empty = mount.fstype == "tmpfs" && mount.has("ro");
        assert!(null || empty, "{path} is not masked: {mount:?}");
        self
    }

    /// No mount of the host can be seen below the root: every mount point is one of these.
    #[track_caller]
    pub fn expect_mount_points(&self, points: &[&str]) -> &Probe {
        let mut found: Vec<&str> = self.mounts.iter().flatten().map(|m| m.point.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, points, "mount points");
        self
    }

    fn points(&self) -> String {
        let points: Vec<&str> = self.mounts.iter().flatten().map(|m| m.point.as_str()).collect();
        points.join(" ")
    }

    /// A limit, soft and hard.
    #[track_caller]
    pub fn expect_rlimit(&self, name: &str, soft: u64, hard: u64) -> &Probe {
        let found = self.rlimits.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", self.rlimits));
        assert_eq!((found.soft, found.hard), (Some(soft), Some(hard)), "rlimit {name}");
        self
    }

    /// The cgroup in a v1 hierarchy (`memory`), or of v2 (``).
    pub fn cgroup_in(&self, controller: &str) -> Option<&Path> {
        self.cgroup.iter().find_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            let names = words.next()?;
            let path = words.next()?;
            names.split(',').any(|n| n == controller).then_some(Path::new(path))
        })
    }

    /// No signal is blocked or ignored but what the caller ignores.
    #[track_caller]
    pub fn expect_plain_signals(&self) -> &Probe {
        assert_eq!(
            (self.signals.blocked.as_slice(), self.signals.ignored.as_slice()),
            (&[][..], &[][..]),
            "blocked, ignored"
        );
        self
    }
}
