//! Huge pages, RDMA, and what the controller misc counts.

use super::{Files, at, number, table};
use crate::cgroup::usage::counter;
use crate::error::Result;
use serde_json::{Value, json};

/// `mlx5_0 hca_handle=2 hca_object=max`, as runc has it: by what it counts, a list of devices.
pub(super) fn rdma(files: &Files<'_>) -> Result<Option<Value>> {
    let mut found = json!({});
    for (key, file) in [("RdmaCurrent", "rdma.current"), ("RdmaLimit", "rdma.max")] {
        let Some(text) = files.text(file)? else { return Ok(None) };
        found[key] = text.lines().filter_map(rdma_device).collect();
    }
    Ok(Some(found))
}

fn rdma_device(line: &str) -> Option<Value> {
    let (device, rest) = line.split_once(' ')?;
    let number = |key: &str| {
        let word = rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        if word == "max" { Some(u64::from(u32::MAX)) } else { word.parse().ok() }
    };
    Some(json!({"device": device, "hcaHandles": number("hca_handle")?, "hcaObjects": number("hca_object")?}))
}

/// `res_a 3` in one file, `res_a max 1` in the other.
pub(super) fn misc(files: &Files<'_>) -> Result<Option<Value>> {
    let Some(current) = files.text("misc.current")? else { return Ok(None) };
    let events = files.text("misc.events")?.unwrap_or_default();
    let one = |(name, usage): (String, Value)| {
        let events = counter(&events, &format!("{name}.max"));
        (name, json!({"usage": usage, "events": events}))
    };
    Ok(Some(Value::Object(table(&current).into_iter().map(one).collect())))
}

/// By the sizes of the group's own files: `hugetlb.2MB.…`.
pub(super) fn huge_pages(files: &Files<'_>, sizes: &[String]) -> Result<Value> {
    let mut found = json!({});
    for name in sizes {
        let file = |word: &str| format!("hugetlb.{name}.{word}");
        let entry = match (files.text(&file("current"))?, files.text(&file("usage_in_bytes"))?) {
            (Some(now), _) => (number(&now), 0, at(&files.table(&file("events"))?, "max")),
            (None, None) => continue,
            (None, Some(now)) => {
                let usage = number(&now);
                let number = |word: &str| files.number(&file(word));
                (usage, number("max_usage_in_bytes")?, number("failcnt")?)
            }
        };
        found[name] = json!({"failcnt": entry.2});
        for (key, n) in [("usage", entry.0), ("max", entry.1)].into_iter().filter(|(_, n)| *n != 0) {
            found[name][key] = json!(n);
        }
    }
    Ok(found)
}

/// Of huge pages on this kernel, as its files are called: sysfs has `hugepages-2048kB` of them.
pub(super) fn sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let size = |name: std::ffi::OsString| {
        Some(match name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()? {
            k if k >= 1 << 20 => format!("{}GB", k >> 20),
            k if k >= 1 << 10 => format!("{}MB", k >> 10),
            k => format!("{k}KB"),
        })
    };
    entries.filter_map(|entry| size(entry.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_rdma() {
        let shown = rdma_device("mlx5_0 hca_handle=2 hca_object=max");
        assert_eq!(shown, Some(json!({"device": "mlx5_0", "hcaHandles": 2, "hcaObjects": u32::MAX})));
        assert_eq!(rdma_device("mlx5_0 hca_handle=x"), None);
    }
}
