//! What a group of resctrl may have and what it uses, in the shape of runc's `events`: what a processor does not tell is
//! left out.

use super::{Rdt, root};
use serde_json::{Map, Value, json};
use std::path::Path;

impl Rdt {
    /// All of it; nothing where resctrl is gone.
    pub fn stats(&self) -> Value {
        let Ok(root) = root() else { return json!({}) };
        let mut found = Map::new();
        let group = self.path.as_path();
        let cache = numbers(&root.join("info/L3"), &["min_cbm_bits", "num_closids"], &["cbm_mask"]);
        share(
            &mut found,
            ["l3_cache_info", "l3_cache_schema_root", "l3_cache_schema"],
            cache,
            "L3",
            &root,
            group,
        );
        let names = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
        let bandwidth = numbers(&root.join("info/MB"), &names, &[]);
        share(
            &mut found,
            ["mem_bw_info", "mem_bw_schema_root", "mem_bw_schema"],
            bandwidth,
            "MB",
            &root,
            group,
        );
        // Of those that are counted apart, if some are.
        let counted = self.monitor.as_ref().map_or(group, |monitor| monitor.as_path());
        for (key, names) in
            [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
        {
            let nodes = nodes(&counted.join("mon_data"), names);
            if !nodes.is_empty() {
                found.insert(key.into(), nodes.into());
            }
        }
        Value::Object(found)
    }
}

/// What the processor can, and what the root and the group may have of it.
fn share(
    found: &mut Map<String, Value>,
    keys: [&str; 3],
    can: Map<String, Value>,
    kind: &str,
    root: &Path,
    group: &Path,
) {
    if can.is_empty() {
        return;
    }
    found.insert(keys[0].into(), can.into());
    for (key, folder) in [(keys[1], root), (keys[2], group)] {
        if let Some(line) = schema(folder, kind) {
            found.insert(key.into(), line.into());
        }
    }
}

fn text(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_string())
}

/// Files of a folder: of one number each, and of words.
fn numbers(folder: &Path, names: &[&str], words: &[&str]) -> Map<String, Value> {
    let number = |name: &&str| {
        let number = text(&folder.join(name))?.parse::<u64>().ok()?;
        Some(((*name).to_string(), number.into()))
    };
    let word = |name: &&str| Some(((*name).to_string(), text(&folder.join(name))?.into()));
    names.iter().filter_map(number).chain(words.iter().filter_map(word)).collect()
}

/// The group's line of this resource.
fn schema(folder: &Path, kind: &str) -> Option<String> {
    let all = text(&folder.join("schemata"))?;
    let of_kind = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == kind);
    all.lines().map(str::trim).find(of_kind).map(String::from)
}

/// A counter is `Unavailable` where nobody counts at the moment.
fn nodes(data: &Path, names: &[&str]) -> Vec<Value> {
    let entries = std::fs::read_dir(data).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<_> = entries
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("mon_L3_")))
        .collect();
    folders.sort();
    folders
        .iter()
        .map(|folder| numbers(folder, names, &[]))
        .filter(|node| !node.is_empty())
        .map(Value::from)
        .collect()
}
