//! What of a container comes from outside of it: mounts whose file system is not all there inside, and namespaces that it
//! shares. criu is told their keys at dump, and at restore what is to be there instead.

use crate::known::{Bind, Known};
use crate::rpc::CgroupRoot;
use chain::bytes::Bytes;
use chain::cgroup::{Hierarchies, Version};
use chain::error::{Cannot, Class, Error, Result};
use chain::proc::{self, MountInfo, parse_mountinfo};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `mnt[ID]:VALUE`: at dump a mount point and its key, at restore a key and the source.
pub(crate) fn mount(id: &Bytes, value: &Bytes) -> Vec<u8> {
    [b"mnt[", id.0.as_slice(), b"]:", &value.0].concat()
}

/// A dump's external mounts, by the container's own list of mounts.
/// `stays`: the tree goes on after the dump.
pub(crate) fn mounts(pid: i32, known: &Known, stays: bool) -> Result<Vec<Vec<u8>>> {
    // Of a tree that nobody describes, a mount from outside is for whoever dumps it to name.
    if *known == Known::default() {
        return Ok(Vec::new());
    }
    let doing = format_args!("find the mounts of process {pid}");
    let all = parse_mountinfo(&proc::read(&format!("/proc/{pid}/mountinfo"))?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = format!("/proc/{pid}/root");
    let root =
        openat(CWD, path.as_str(), flags, Mode::empty()).cannot(doing, format_args!("open({path})"))?;
    let (mut named, mut shown) = (Vec::new(), Vec::new());
    for bind in &known.binds {
        if let Some(id) = mount_at(root.as_fd(), &bind.inside)? {
            named.push((id, bind.inside.clone()));
            shown.push((id, shown_on_the_host(&bind.source)?));
        }
    }
    if let (false, Some((one, other))) = (stays, followers(&all, &shown)) {
        let detail = format!(
            "{one} and {other} follow mounts of the host that show different parts of one file system, and CRIU could \
             not restore them"
        );
        return Err(Error::new(Class::Unsupported, format!("dump process {pid}"), detail)
            .cure("the mount option rprivate for both, or --leave-running"));
    }
    Ok(external(&all, &named, &known.made).into_iter().map(|(at, key)| mount(&at, &key)).collect())
}

/// Two of the binds that follow one peer group of the host, neither of whose sources is on a mount that shows both: criu
/// takes one of their sources to make all of them follow it, and MOVE_MOUNT_SET_GROUP wants them to be below that. `binds`
/// are mounts, and what the mount of the host shows that their source is on.
fn followers<'a>(all: &'a [MountInfo], binds: &[(u64, Option<Bytes>)]) -> Option<(&'a Bytes, &'a Bytes)> {
    let master =
        |m: &MountInfo| m.propagation.iter().find_map(|p| p.strip_prefix("master:").map(String::from));
    let shown = |m: &MountInfo| binds.iter().find(|(id, _)| *id == m.id).map(|(_, shown)| shown);
    let binds: Vec<(&MountInfo, String, &Option<Bytes>)> = all
        .iter()
        .filter(|m| m.target.0 != b"/")
        .filter_map(|m| Some((m, master(m)?, shown(m)?)))
        // Not from one that came along.
        .filter(|(_, master, _)| !all.iter().any(|m| m.propagation.contains(&format!("shared:{master}"))))
        .collect();
    let wide = |shown: &Option<Bytes>, m: &MountInfo| shown.as_ref().is_some_and(|s| contains(s, &m.root));
    binds.iter().enumerate().find_map(|(n, (one, master, shown))| {
        let apart = |(m, other, theirs): &&(&MountInfo, String, &Option<Bytes>)| {
            other == master && m.root != one.root && !(wide(shown, m) && wide(theirs, one))
        };
        binds[n + 1..].iter().find(apart).map(|(other, ..)| (&one.target, &other.target))
    })
}

/// What part of its file system the mount shows that a path of the host is on.
fn shown_on_the_host(path: &Bytes) -> Result<Option<Bytes>> {
    let Ok(fd) = openat(CWD, path.as_path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return Ok(None);
    };
    let id = mount_of(&fd)?;
    Ok(proc::mounts()?.into_iter().find(|mount| Some(mount.id) == id).map(|mount| mount.root))
}

/// The mount that a path in the container leads to.
fn mount_at(root: BorrowedFd<'_>, path: &Bytes) -> Result<Option<u64>> {
    in_root(root, path.as_path()).map_or(Ok(None), |fd| mount_of(&fd))
}

fn mount_of(fd: &OwnedFd) -> Result<Option<u64>> {
    let info = proc::read(&format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    Ok(proc::status_field(&info, "mnt_id").and_then(|id| id.trim().parse().ok()))
}

/// A path below a root that may be hostile; nothing if it is not there.
pub(crate) fn in_root(root: BorrowedFd<'_>, path: &Path) -> Option<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
}

/// Mount points and keys of what is not the container's own: what was `named` a bind (by mount and by the name that it
/// has in the config), cgroup file systems, and every mount whose file system is nowhere mounted wider in there.
fn external(all: &[MountInfo], named: &[(u64, Bytes)], made: &[Bytes]) -> Vec<(Bytes, Bytes)> {
    let slash = Bytes::from("/");
    let mut found = Vec::new();
    for mount in all.iter().filter(|mount| mount.target != slash) {
        if let Some((_, key)) = named.iter().find(|(id, _)| *id == mount.id) {
            found.push((mount.target.clone(), key.clone()));
            continue;
        }
        let cgroups = matches!(mount.kind.as_str(), "cgroup" | "cgroup2");
        let below = !made.contains(&mount.target) && is_below_named(mount, all, named);
        if cgroups || below || !is_own(mount, all) {
            found.push((mount.target.clone(), mount.target.clone()));
        }
    }
    found
}

/// Whether criu can make it: all of its file system, or part of what is mounted elsewhere in there.
fn is_own(mount: &MountInfo, all: &[MountInfo]) -> bool {
    let slash = Bytes::from("/");
    mount.root == slash
        || all.iter().any(|other| {
            let whole = other.root == slash || other.target == slash;
            other.id != mount.id
                && whole
                && other.device == mount.device
                && contains(&other.root, &mount.root)
        })
}

fn contains(wide: &Bytes, narrow: &Bytes) -> bool {
    narrow.as_path().starts_with(wide.as_path())
}

/// What came along with a bind of a whole tree.
fn is_below_named(mount: &MountInfo, all: &[MountInfo], named: &[(u64, Bytes)]) -> bool {
    let mut parent = mount.parent;
    for _ in 0..all.len() {
        if named.iter().any(|(id, _)| *id == parent) {
            return true;
        }
        let Some(above) = all.iter().find(|m| m.id == parent && m.parent != parent) else { return false };
        parent = above.parent;
    }
    false
}

/// A restore's sources by their keys, besides those of the binds by the names they have: more than were dumped, for criu takes what it needs.
pub(crate) fn sources(known: &Known) -> Result<Vec<Vec<u8>>> {
    let mut list = Vec::new();
    for bind in &known.binds {
        if let Some(real) = known.root.as_ref().and_then(|root| real_path(root.as_path(), &bind.inside)) {
            list.push(mount(&real, &bind.source));
        }
    }
    for bind in known.binds.iter().filter(|bind| bind.tree) {
        list.extend(below(bind)?);
    }
    list.extend(known.devices.iter().map(|path| mount(path, path)));
    // For images of other runtimes, which cover files by the host's.
    list.extend(known.masked.iter().map(|path| mount(path, &"/dev/null".into())));
    list.extend(cgroups(known)?);
    Ok(list)
}

/// Where a name leads to in this root, if it leads anywhere else than it says.
fn real_path(root: &Path, name: &Bytes) -> Option<Bytes> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, root, flags, Mode::empty()).ok()?;
    let path = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let (top, found) = (path(&dir)?, path(&in_root(dir.as_fd(), name.as_path())?)?);
    let inside = Bytes::from(Path::new("/").join(found.strip_prefix(top).ok()?).as_path());
    Some(inside).filter(|inside| inside != name)
}

/// What is mounted below the source of a bind of a whole tree.
fn below(bind: &Bind) -> Result<Vec<Vec<u8>>> {
    let source = bind.source.as_path();
    let under = |m: &MountInfo| m.target.as_path().strip_prefix(source).ok().map(PathBuf::from);
    let all = proc::mounts()?;
    let parts = all.iter().filter_map(|m| Some((under(m).filter(|rest| rest != Path::new(""))?, &m.target)));
    Ok(parts.map(|(rest, at)| mount(&Bytes::from(bind.inside.as_path().join(rest).as_path()), at)).collect())
}

/// The cgroup file systems of a container are ours, seen from the group we are in: that which it is to be in.
fn cgroups(known: &Known) -> Result<Vec<Vec<u8>>> {
    let mut list = Vec::new();
    if known.cgroups.is_empty() {
        return Ok(list);
    }
    let hierarchies = Hierarchies::detect()?;
    let v1 = hierarchies.all.iter().any(|h| h.version == Version::V1);
    for at in &known.cgroups {
        for hierarchy in &hierarchies.all {
            let Some(own) = hierarchy.own_dir() else { continue };
            let name = Path::new(hierarchy.mount.as_os_str()).file_name().unwrap_or_default();
            match (v1, hierarchy.version) {
                (true, Version::V1) => {
                    list.push(mount(&Bytes::from(at.as_path().join(name).as_path()), &own.path))
                }
                (false, Version::V2) => list.push(mount(at, &own.path)),
                _ => {}
            }
        }
    }
    Ok(list)
}

/// The groups that we are in, where a tree's own are to be put.
pub(crate) fn cgroup_roots() -> Result<Vec<CgroupRoot>> {
    let text = proc::read("/proc/self/cgroup")?;
    let text = String::from_utf8_lossy(&text);
    let root = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let ctrl = (!controllers.is_empty()).then(|| controllers.to_string());
        Some(CgroupRoot { ctrl, path: path.as_bytes().to_vec() })
    };
    Ok(text.lines().filter_map(root).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
94 46 0:40 /b/rootfs / rw - tmpfs tmpfs rw
95 94 0:43 / /proc rw - proc proc rw
96 94 0:44 / /dev rw - tmpfs tmpfs rw
97 95 0:43 /sys /proc/sys ro - proc proc rw
98 95 0:44 /null /proc/keys rw - tmpfs tmpfs rw
99 94 0:40 /data /data rw - tmpfs tmpfs rw
100 99 0:50 / /data/t rw - tmpfs tmpfs rw
101 99 0:51 / /data/own rw - tmpfs tmpfs rw
102 94 0:40 /b/rootfs/etc /etc ro - tmpfs tmpfs rw
103 96 0:5 /null /dev/null rw - devtmpfs udev rw
104 94 0:36 /a /sys/fs/cgroup rw - cgroup2 cgroup rw
105 94 0:40 /b/rootfs2 /x rw - tmpfs tmpfs rw
106 94 0:60 / /whole rw - tmpfs tmpfs rw
";

    #[test]
    fn what_is_mounted_wider_inside_is_the_container_s_own() {
        let all = parse_mountinfo(MOUNTS);
        let named = [(99, "/link".into()), (106, "/whole".into())];
        let found = external(&all, &named, &["/data/own".into()]);
        let found: Vec<_> = found.iter().map(|(at, key)| (at.to_string(), key.to_string())).collect();
        let wanted = [
            ("/data", "/link"),
            ("/data/t", "/data/t"),
            ("/dev/null", "/dev/null"),
            ("/sys/fs/cgroup", "/sys/fs/cgroup"),
            ("/x", "/x"),
            ("/whole", "/whole"),
        ];
        assert_eq!(found, wanted.map(|(at, key)| (at.to_string(), key.to_string())));
    }

    #[test]
    fn two_parts_of_one_mount_of_the_host_are_found() {
        let mount = |id: u64, root: &str, target: &str, propagation: &str| MountInfo {
            id,
            root: root.into(),
            target: target.into(),
            propagation: propagation.split(' ').map(String::from).collect(),
            ..MountInfo::default()
        };
        let pair = |one: &str, other: &str, more: &str, shown: [&str; 2]| {
            let all = [
                mount(1, "/root", "/", "master:5"),
                mount(2, "/x", "/a", one),
                mount(3, "/y", "/b", other),
                mount(4, "/", "/c", more),
            ];
            let binds = [(2, Some(shown[0].into())), (3, Some(shown[1].into()))];
            followers(&all, &binds).map(|(one, other)| format!("{one} {other}"))
        };
        let narrow = ["/x", "/y"];
        assert_eq!(pair("master:5", "master:5", "", narrow).unwrap(), "/a /b");
        assert_eq!(pair("master:5", "master:5", "", ["/", "/y"]).unwrap(), "/a /b");
        assert_eq!(pair("master:5", "master:5", "", ["/", "/"]), None);
        assert_eq!(pair("master:5", "master:6", "", narrow), None);
        assert_eq!(pair("master:5", "", "", narrow), None);
        assert_eq!(pair("master:5", "master:5", "shared:5", narrow), None);
    }
}
