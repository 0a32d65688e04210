//! Which tool owns which field of an OCI config (DESIGN §5): each tool's share, as its layer. Used by `--oci` of each
//! tool and by `runner`, so both cut the same way.
//!
//! A field that nothing carries out yet is an error that names it; empty and zero values, which engines write for
//! "not set", are none.

use crate::bytes::Bytes;
use crate::error::{Class, Error, Result};
use crate::oci::{Config, DeviceRule, IntelRdt, IoPriority, Linux, Mount, NamespaceKind, Process, Scheduler};
use crate::spec::{CapDrop, CgApply, Idmap, NsEnter, RootfsPrep, SeccompLoad, UserSpec};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// An error that names a field by its JSON path.
pub fn not_carried_out(field: &str) -> Error {
    Error::new(Class::Unsupported, "carry out config.json", format_args!("{field}: not carried out yet"))
}

/// Refuses `value` if it says anything.
pub fn refuse(field: &str, value: Option<&Value>) -> Result<()> {
    match value {
        Some(value) if !says_nothing(value) => Err(not_carried_out(field)),
        _ => Ok(()),
    }
}

/// null, false, 0, "", [], {} and what consists of nothing else.
pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

/// Borrowed, for a filter in it is longer than all the rest.
fn linux(config: &Config) -> &Linux {
    static NONE: LazyLock<Linux> = LazyLock::new(Linux::default);
    config.linux.as_ref().unwrap_or(&NONE)
}

fn process(config: &Config) -> &Process {
    static NONE: LazyLock<Process> = LazyLock::new(Process::default);
    config.process.as_ref().unwrap_or(&NONE)
}

/// A word that says something.
fn said(word: &Option<String>) -> Option<String> {
    word.clone().filter(|word| !word.is_empty())
}

/// cgroupsPath, resources, rlimits, oomScoreAdj, scheduler, ioPriority, memoryPolicy, intelRdt. execCPUAffinity is for
/// who joins later, and only looked at.
pub fn cg_apply(config: &Config, _bundle: &Path) -> Result<CgApply> {
    let (linux, process) = (linux(config), process(config));
    if let Some(affinity) = &process.exec_cpu_affinity {
        for (name, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                crate::sched::cpu_mask(&format!("process.execCPUAffinity.{name}"), list)?;
            }
        }
    }
    let mut resources = linux.resources.clone().unwrap_or_default();
    resources.devices.extend(default_device_rules());
    Ok(CgApply {
        cgroups_path: linux.cgroups_path.clone().filter(|p| !p.0.is_empty()),
        resources: Some(resources),
        rlimits: process.rlimits.clone(),
        oom_score_adj: process.oom_score_adj,
        scheduler: process.scheduler.clone().filter(|s| *s != Scheduler::default()),
        io_priority: process.io_priority.clone().filter(|p| *p != IoPriority::default()),
        memory_policy: linux.memory_policy.clone(),
        intel_rdt: linux.intel_rdt.clone().filter(|r| *r != IntelRdt::default()),
        ..CgApply::default()
    })
}

/// What every container may do to devices whatever its config says, behind the config's own rules, as runc has it: make
/// any node, and use the default devices, terminals, and tun. What no rule allows is denied.
fn default_device_rules() -> impl Iterator<Item = DeviceRule> {
    const NODES: [(&str, Option<i64>, Option<i64>, &str); 11] = [
        ("b", None, None, "m"),
        ("c", None, None, "m"),
        ("c", Some(1), Some(3), "rwm"),    // null
        ("c", Some(1), Some(5), "rwm"),    // zero
        ("c", Some(1), Some(7), "rwm"),    // full
        ("c", Some(1), Some(8), "rwm"),    // random
        ("c", Some(1), Some(9), "rwm"),    // urandom
        ("c", Some(5), Some(0), "rwm"),    // tty
        ("c", Some(5), Some(2), "rwm"),    // ptmx
        ("c", Some(10), Some(200), "rwm"), // net/tun
        ("c", Some(136), None, "rwm"),     // pts
    ];
    let rule = |(kind, major, minor, access): (&str, _, _, &str)| DeviceRule {
        allow: true,
        kind: Some(kind.into()),
        major,
        minor,
        access: Some(access.into()),
    };
    NODES.into_iter().map(rule)
}

/// uidMappings and gidMappings of a new user namespace.
pub fn idmap(config: &Config, _bundle: &Path) -> Result<Idmap> {
    let linux = linux(config);
    let new = linux.namespaces.iter().any(|ns| ns.kind == NamespaceKind::User && ns.path.is_none());
    if !new {
        return Ok(Idmap::default());
    }
    for (field, lines) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)] {
        if lines.is_empty() {
            let detail = format!("linux.{field}: missing, and linux.namespaces has a new user namespace");
            return Err(Error::usage("carry out config.json", detail));
        }
    }
    let (uid_mappings, gid_mappings) = (linux.uid_mappings.clone(), linux.gid_mappings.clone());
    Ok(Idmap { uid_mappings, gid_mappings, ..Idmap::default() })
}

/// namespaces, timeOffsets, hostname, domainname, sysctl, personality, netDevices.
pub fn ns_enter(config: &Config, _bundle: &Path) -> Result<NsEnter> {
    let linux = linux(config);
    let mut namespaces = linux.namespaces.clone();
    for (i, ns) in namespaces.iter_mut().enumerate() {
        ns.path = ns.path.take().filter(|path| !path.0.is_empty());
        if ns.path.as_ref().is_some_and(|path| !path.0.starts_with(b"/")) {
            let detail = format!("linux.namespaces[{i}].path: not an absolute path");
            return Err(Error::usage("carry out config.json", detail));
        }
    }
    Ok(NsEnter {
        namespaces,
        time_offsets: linux.time_offsets.clone(),
        hostname: said(&config.hostname),
        domainname: said(&config.domainname),
        sysctl: linux.sysctl.clone(),
        personality: linux.personality.clone(),
        net_devices: linux.net_devices.clone(),
        ..NsEnter::default()
    })
}

/// root, mounts, devices, masked and read-only paths, propagation, label, cwd, terminal. Relative paths are the
/// bundle's.
pub fn rootfs_prep(config: &Config, bundle: &Path) -> Result<RootfsPrep> {
    rootfs_prep_of(config, config.mounts.clone(), bundle)
}

/// The same, of a config that nobody else needs: its mounts, which may be hundreds, are taken out of it.
pub fn rootfs_prep_taken(config: &mut Config, bundle: &Path) -> Result<RootfsPrep> {
    let mounts = std::mem::take(&mut config.mounts);
    rootfs_prep_of(config, mounts, bundle)
}

fn rootfs_prep_of(config: &Config, mut mounts: Vec<Mount>, bundle: &Path) -> Result<RootfsPrep> {
    let (linux, process) = (linux(config), process(config));
    let Some(mut root) = config.root.clone() else {
        return Err(Error::usage("carry out config.json", "root: missing"));
    };
    if root.path.0.is_empty() {
        return Err(Error::usage("carry out config.json", "root.path: missing"));
    }
    root.path = in_bundle(bundle, &root.path);
    let own_mounts = linux.namespaces.iter().any(|ns| ns.kind == NamespaceKind::Mount);
    for mount in &mut mounts {
        // As runc has it: the path that it has on the host, too.
        if let Some(inside) = below(&root.path, &mount.destination) {
            mount.destination = inside;
        }
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount.source.as_mut().filter(|source| bind && !source.0.starts_with(b"/")) {
            *source = in_bundle(bundle, source);
        }
    }
    Ok(RootfsPrep {
        root: Some(root),
        mounts,
        devices: linux.devices.clone(),
        default_devices: true,
        masked_paths: linux.masked_paths.clone(),
        readonly_paths: linux.readonly_paths.clone(),
        rootfs_propagation: said(&linux.rootfs_propagation).or_else(|| own_mounts.then(|| "rslave".into())),
        no_mount_namespace: !own_mounts,
        mount_label: said(&linux.mount_label),
        cwd: Some(process.cwd.clone()).filter(|c| !c.0.is_empty()),
        terminal: process.terminal,
        console_size: process.console_size.as_ref().map(|s| (s.height, s.width)),
        ..RootfsPrep::default()
    })
}

fn in_bundle(bundle: &Path, path: &Bytes) -> Bytes {
    Bytes::from(bundle.join(path.as_path()).as_path())
}

/// What `path` is from `root` on, if it lies below it by name.
fn below(root: &Bytes, path: &Bytes) -> Option<Bytes> {
    // Nearly always it does not, and its first letter says so; one that stands for nothing, as of `//` and `/./`, does not.
    if let (Some(b'/'), Some(own), [b'/', first, ..]) = (root.0.first(), root.0.get(1), path.0.as_slice())
        && own != first
        && ![own, first].iter().any(|b| matches!(b, b'/' | b'.'))
    {
        return None;
    }
    let rest = path.as_path().strip_prefix(root.as_path()).ok().filter(|_| root.0.starts_with(b"/"))?;
    let whole = root.as_path().parent().is_some() && rest.components().next().is_some();
    whole.then(|| Bytes::from(Path::new("/").join(rest).as_path()))
}

/// user, capabilities, noNewPrivileges, apparmorProfile, selinuxLabel.
pub fn cap_drop(config: &Config, _bundle: &Path) -> Result<CapDrop> {
    let process = process(config);
    let user = &process.user;
    Ok(CapDrop {
        user: Some(UserSpec {
            uid: Some(user.uid),
            gid: Some(user.gid),
            additional_gids: Some(user.additional_gids.clone()),
            umask: Some(user.umask.unwrap_or(0o022)),
            ..UserSpec::default()
        }),
        capabilities: Some(process.capabilities.clone().unwrap_or_default()),
        no_new_privileges: process.no_new_privileges,
        apparmor_profile: said(&process.apparmor_profile),
        selinux_label: said(&process.selinux_label),
        unknown_capabilities_warn: true,
        ..CapDrop::default()
    })
}

/// seccomp.
pub fn seccomp_load(config: &Config, _bundle: &Path) -> Result<SeccompLoad> {
    Ok(SeccompLoad {
        seccomp: linux(config).seccomp.clone(),
        unknown_syscalls_warn: true,
        allow_new_privileges: !process(config).no_new_privileges,
        ..SeccompLoad::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_carried_out_is_named_and_zeros_are_not() {
        let parse = |text: &str| serde_json::from_str::<Config>(text).unwrap();
        let set = serde_json::json!({"classID": 1});
        let error = refuse("resources.network", Some(&set)).unwrap_err();
        assert!(error.to_string().contains("resources.network: not carried out yet"), "{error}");
        // An empty object behind a device's name says to move it under the name it has.
        let moved = parse(r#"{"ociVersion":"1.0","linux":{"netDevices":{"eth0":{}}}}"#);
        assert!(ns_enter(&moved, Path::new("/b")).unwrap().net_devices.contains_key("eth0"));
        let zero = parse(r#"{"ociVersion":"1.0","process":{"ioPriority":{"class":"","priority":0}}}"#);
        assert_eq!(cg_apply(&zero, Path::new("/b")).unwrap().io_priority, None);
        let exec =
            parse(r#"{"ociVersion":"1.0","process":{"execCPUAffinity":{"initial":"","final":"0-x"}}}"#);
        let error = cg_apply(&exec, Path::new("/b")).unwrap_err();
        assert!(error.to_string().contains("process.execCPUAffinity.final: '0-x'"), "{error}");
    }

    #[test]
    fn a_destination_may_have_the_path_of_the_host() {
        for (root, path, inside) in [
            ("/b/rootfs", "/b/rootfs/mnt/x", Some("/mnt/x")),
            ("/b/rootfs", "/b/rootfs//mnt/", Some("/mnt")),
            ("/b/rootfs", "/b/rootfs2/mnt", None),
            ("/b/rootfs", "/b/rootfs", None),
            ("/b/rootfs", "/mnt", None),
            ("/", "/mnt", None),
            ("b", "b/mnt", None),
        ] {
            assert_eq!(below(&root.into(), &path.into()), inside.map(Bytes::from), "{root} {path}");
        }
    }

    #[test]
    fn relative_sources_are_the_bundles_only_for_binds() {
        let text = r#"{"ociVersion":"1.0","root":{"path":"rootfs"},"mounts":[
            {"destination":"/a","source":"vol","options":["rbind"]},{"destination":"/p","type":"proc","source":"proc"}]}"#;
        let layer = rootfs_prep(&serde_json::from_str(text).unwrap(), Path::new("/b")).unwrap();
        assert_eq!(layer.root.unwrap().path, "/b/rootfs".into());
        assert_eq!(layer.mounts[0].source, Some("/b/vol".into()));
        assert_eq!(layer.mounts[1].source, Some("proc".into()));
        assert!(layer.no_mount_namespace && layer.rootfs_propagation.is_none());
    }
}
