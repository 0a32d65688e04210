//! What two processes made in the same way have in common: a [`Probe`] without pids, ids of mounts, times and sizes.

use crate::mountinfo::Mount;
use crate::probe::Probe;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields of /proc/PID/status that differ from run to run.
const VOLATILE: [&str; 14] = [
    "Pid",
    "Tgid",
    "Ngid",
    "PPid",
    "NSpid",
    "NStgid",
    "NSpgid",
    "NSsid",
    "SigQ",
    "FDSize",
    "TracerPid",
    "ctxt",
    "Vm",
    "Rss",
];

impl Probe {
    /// As a map from names (`status.CapEff`, `mounts[3]`) to values that are equal when the processes are alike.
    pub fn shape(&self) -> BTreeMap<String, Value> {
        let mut plain = self.clone();
        plain.status.retain(|k, _| {
            !VOLATILE
                .iter()
                .any(|v| k == v || k.starts_with("Vm") || k.starts_with("Rss") || k.contains("ctxt"))
        });
        if let Some(mounts) = &mut plain.mounts {
            number_anew(mounts);
        }
        for fd in plain.fds.values_mut() {
            fd.file = (0, 0);
            let kind = fd.target.take().unwrap_or_default();
            fd.target = Some(kind.split_once(":[").map_or(kind.clone(), |(kind, _)| kind.to_string()));
        }
        // Whether /dev/null was opened for reading or for both is all the same.
        if let Some(stdin) = plain.fds.get_mut(&0) {
            stdin.flags = 0;
        }
        let same = |kind: &String| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(format!("/proc/self/ns/{kind}")).map_or(0, |m| m.ino())
        };
        plain.ns.iter_mut().for_each(|(kind, inode)| *inode = u64::from(*inode == same(kind)));
        // In a pid namespace of its own pids count from 1, so they say something; outside they do not.
        if plain.ns.get("pid") == Some(&1) {
            (plain.pid, plain.ppid, plain.session, plain.pgid) = (0, 0, 0, 0);
        }
        plain.processes = None;
        plain.env.retain(|key, _| !["_", "PWD", "OLDPWD", "SHLVL"].contains(&key.as_str()));
        (plain.monotonic, plain.boottime, plain.session_keyring) = (0, 0, plain.session_keyring.map(|_| 0));
        plain.cgroup.iter_mut().for_each(|line| *line = without_numbers(line));
        flat(&json!(plain))
    }

    /// The processes are alike; the message lists every difference.
    #[track_caller]
    pub fn expect_like(&self, other: &Probe) -> &Probe {
        let (ours, theirs) = (self.shape(), other.shape());
        let all = ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>();
        let shown = |value: Option<&Value>| value.map_or("(absent)".into(), ToString::to_string);
        let differ = all.into_iter().filter(|k| ours.get(*k) != theirs.get(*k));
        let lines = differ.map(|k| format!("{k}: {} / {}", shown(ours.get(k)), shown(theirs.get(k))));
        let lines: Vec<String> = lines.collect();
        assert!(lines.is_empty(), "the processes differ:\n{}", lines.join("\n"));
        self
    }
}

/// Ids and anonymous devices by order of appearance.
fn number_anew(mounts: &mut [Mount]) {
    let mut ids = BTreeMap::new();
    let mut devs = BTreeMap::new();
    for mount in mounts {
        let next = ids.len() as u64 + 1;
        let parent = ids.get(&mount.parent).copied().unwrap_or(0);
        mount.id = *ids.entry(mount.id).or_insert(next);
        mount.parent = parent;
        if mount.dev.starts_with("0:") {
            let next = devs.len();
            mount.dev = format!("anonymous:{}", devs.entry(mount.dev.clone()).or_insert(next));
        }
        mount.propagation.iter_mut().for_each(|p| *p = p.split(':').next().unwrap_or_default().to_string());
        mount.root = without_numbers(&mount.root);
    }
}

/// A fresh cgroup is called `catena-PID-RANDOM`.
fn without_numbers(text: &str) -> String {
    let parts = text.split('/').map(|part| if part.starts_with("catena-") { "catena-#" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (key, value) in value.as_object().unwrap_or(&Map::new()) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.extend(map.iter().map(|(k, v)| (format!("{key}.{k}"), v.clone())));
            }
            Value::Array(list) if key == "mounts" => {
                out.extend(list.iter().enumerate().map(|(i, v)| (format!("{key}[{i}]"), v.clone())));
            }
            other => {
                out.insert(key.clone(), other.clone());
            }
        }
    }
    out
}
