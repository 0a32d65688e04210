//! What was read from disks and written to them.

use super::Files;
use crate::error::Result;
use serde_json::{Value, json};

pub(super) fn blkio(files: &Files<'_>) -> Result<Value> {
    let mut found = json!({});
    let (bytes, count) = match files.text("io.stat")? {
        Some(text) => {
            (io_stat(&text, ["rbytes", "wbytes", "dbytes"]), io_stat(&text, ["rios", "wios", "dios"]))
        }
        None => {
            let lines = |file: &str| files.text(&format!("blkio.throttle.{file}_recursive"));
            (
                io_v1(&lines("io_service_bytes")?.unwrap_or_default()),
                io_v1(&lines("io_serviced")?.unwrap_or_default()),
            )
        }
    };
    for (key, list) in [("ioServiceBytesRecursive", bytes), ("ioServicedRecursive", count)] {
        if !list.is_empty() {
            found[key] = json!(list);
        }
    }
    if let Some(pressure) = files.pressure("io.pressure")? {
        found["psi"] = pressure;
    }
    Ok(found)
}

fn io_entry(device: &str, op: &str, value: u64) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u64, u64) = (major.parse().ok()?, minor.parse().ok()?);
    Some(json!({"major": major, "minor": minor, "op": op, "value": value}))
}

/// `8:0 Read 4096`.
fn io_v1(text: &str) -> Vec<Value> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, op, value] = words.as_slice() else { return None };
        io_entry(device, op, value.parse().ok()?)
    };
    text.lines().filter_map(one).collect()
}

/// `8:0 rbytes=4096 wbytes=0 …`.
fn io_stat(text: &str, keys: [&str; 3]) -> Vec<Value> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ').unwrap_or((line, ""));
        let value = |key: &str| {
            rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        };
        let ops = keys.into_iter().zip(["Read", "Write", "Discard"]);
        ops.filter_map(|(key, op)| io_entry(device, op, value(key)?)).collect::<Vec<_>>()
    };
    text.lines().flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_both_versions_in_one_shape() {
        let v1 = io_v1("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n");
        let v2 = io_stat("8:0 rbytes=4096 wbytes=0\n7:1\n", ["rbytes", "wbytes", "dbytes"]);
        assert_eq!(v1, v2);
        assert_eq!(v1[0], json!({"major": 8, "minor": 0, "op": "Read", "value": 4096}));
    }
}
