//! Two processes that must be the same, field by field.

use catena_tests::{Mount, Probe};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A mount without what differs from one start to the next: ids and device numbers.
fn plain(mount: &Mount) -> String {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list.join(",")
    };
    let propagation: Vec<&str> = mount.propagation.iter().map(|p| p.split(':').next().unwrap()).collect();
    let (options, supers) = (sorted(&mount.options), sorted(&mount.super_options));
    let Mount { point, fstype, source, .. } = mount;
    let root = if fstype == "cgroup" || fstype == "cgroup2" { "-" } else { &mount.root };
    // The folder of the root is the bundle's, the same for both.
    format!("{point} {fstype} {source} {root} {options} {propagation:?} {supers}")
}

fn mounts(probe: &Probe) -> Vec<String> {
    let mut mounts: Vec<String> = probe.mounts.as_ref().unwrap().iter().map(plain).collect();
    mounts.sort();
    mounts
}

/// Everything of a probe that must be equal, by name.
fn world(probe: &Probe) -> BTreeMap<String, Value> {
    let mut world = BTreeMap::new();
    let Value::Object(all) = serde_json::to_value(probe).unwrap() else { panic!("a probe is an object") };
    let differs =
        ["ns", "mounts", "fds", "monotonic", "boottime", "session_keyring", "cgroup", "status", "root"];
    for (key, value) in all.into_iter().filter(|(key, _)| !differs.contains(&key.as_str())) {
        world.insert(key, value);
    }
    let here = Probe::here();
    let new: Vec<&String> =
        probe.ns.iter().filter(|(k, v)| here.ns.get(*k) != Some(v)).map(|(k, _)| k).collect();
    world.insert("new namespaces".into(), json!(new));
    world.insert("mounts".into(), json!(mounts(probe)));
    world.insert("fds".into(), json!(probe.fds.keys().collect::<Vec<_>>()));
    let id = |line: &String| line.replace("-runner", "").replace("-runc", "");
    world.insert("cgroup".into(), json!(probe.cgroup.iter().map(id).collect::<Vec<_>>()));
    for field in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "Seccomp",
        "NoNewPrivs",
        "Umask",
        "Groups",
        "NStgid",
    ] {
        world.insert(format!("status {field}"), json!(probe.status.get(field)));
    }
    world
}

/// Every field is the same, or is one that differs from one start to the next.
#[track_caller]
pub fn same_world(ours: &Probe, theirs: &Probe) {
    let (ours, theirs) = (world(ours), world(theirs));
    let mut differences = String::new();
    for key in ours.keys().chain(theirs.keys().filter(|k| !ours.contains_key(*k))) {
        let (a, b) = (ours.get(key), theirs.get(key));
        if a != b {
            differences.push_str(&difference(key, a, b));
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

fn difference(key: &str, ours: Option<&Value>, theirs: Option<&Value>) -> String {
    if let (Some(Value::Array(ours)), Some(Value::Array(theirs))) = (ours, theirs) {
        let only = |a: &[Value], b: &[Value]| {
            a.iter().filter(|v| !b.contains(v)).map(|v| format!("    {v}\n")).collect::<String>()
        };
        return format!("{key}:\n  ours only:\n{}  runc only:\n{}", only(ours, theirs), only(theirs, ours));
    }
    let show = |v: Option<&Value>| v.map_or("nothing".to_string(), Value::to_string);
    format!("{key}:\n  ours {}\n  runc {}\n", show(ours), show(theirs))
}
