//! `resources.blockIO` as writes. v1 has a file for each kind of limit and a line in it for each disk, v2 one file with a
//! line for each disk. Which file holds weights depends on the I/O scheduler that the kernel was built with.

use crate::limits::{Expect, Setting, Sheet};
use chain::oci::{BlockIo, ThrottleDevice};
use chain::{Error, Result};

/// The writes.
pub(crate) fn writes(block: &BlockIo, sheet: &mut Sheet<'_>) -> Result<()> {
    let controller = if sheet.version_of("blkio").is_some() { "blkio" } else { "io" };
    let some = |weight: Option<u16>| weight.filter(|w| *w != 0);
    if let Some(weight) = some(block.weight) {
        let field = "resources.blockIO.weight";
        weights(field.into(), controller, weight, None, sheet)?;
    }
    let leaf = |weight, device: Option<&str>| leaf_weight(controller, weight, device);
    if let Some(weight) = some(block.leaf_weight) {
        sheet.put("resources.blockIO.leafWeight", controller, leaf(weight, None), None)?;
    }
    for (at, one) in block.weight_device.iter().enumerate() {
        let (field, device) = (format!("resources.blockIO.weightDevice[{at}]"), name(one.major, one.minor));
        if block.weight_device[at + 1..].iter().any(|later| name(later.major, later.minor) == device) {
            continue;
        }
        if let Some(weight) = some(one.weight) {
            weights(field.clone(), controller, weight, Some(&device), sheet)?;
        }
        if let Some(weight) = some(one.leaf_weight) {
            sheet.put(format!("{field}.leafWeight"), controller, leaf(weight, Some(&device)), None)?;
        }
    }
    let rates = [
        ("ReadBps", "blkio.throttle.read_bps_device", "rbps", &block.throttle_read_bps_device),
        ("WriteBps", "blkio.throttle.write_bps_device", "wbps", &block.throttle_write_bps_device),
        ("ReadIOPS", "blkio.throttle.read_iops_device", "riops", &block.throttle_read_iops_device),
        ("WriteIOPS", "blkio.throttle.write_iops_device", "wiops", &block.throttle_write_iops_device),
    ];
    for (kind, file, key, list) in rates {
        for (at, one) in last_of_each(list) {
            let field = format!("resources.blockIO.throttle{kind}Device[{at}]");
            let (v1, v2) = match controller {
                "blkio" => (Some(throttle_v1(one, file)), None),
                _ => (None, Some(throttle_v2(one, key))),
            };
            sheet.put(field, controller, v1, v2)?;
        }
    }
    Ok(())
}

/// As the kernel names a disk.
fn name(major: u32, minor: u32) -> String {
    format!("{major}:{minor}")
}

/// Of two rates for one disk the last counts.
fn last_of_each(list: &[ThrottleDevice]) -> impl Iterator<Item = (usize, &ThrottleDevice)> {
    let same = |a: &ThrottleDevice, b: &ThrottleDevice| (a.major, a.minor) == (b.major, b.minor);
    list.iter().enumerate().filter(move |(at, one)| !list[at + 1..].iter().any(|later| same(one, later)))
}

/// A weight, for one disk or for all. The file of BFQ, where there is one, takes it as it stands.
fn weights(
    field: String,
    controller: &'static str,
    weight: u16,
    device: Option<&str>,
    sheet: &mut Sheet<'_>,
) -> Result<()> {
    if !(10..=1000).contains(&weight) {
        let detail = format!("{field}: {weight} is not from 10 to 1000");
        return Err(Error::usage("limit the cgroup", detail));
    }
    let line = |weight: u64| device.map_or(weight.to_string(), |device| format!("{device} {weight}"));
    let before = sheet.writes.len();
    let (own, wide) = (line(weight.into()), line(spread(weight)));
    let (first, second) = match device {
        None => ("blkio.weight", "blkio.bfq.weight"),
        Some(_) => ("blkio.weight_device", "blkio.bfq.weight_device"),
    };
    let v1 = (first, own.clone(), Expect::Words);
    sheet.put(field, controller, Some(v1), Some(("io.bfq.weight", own.clone(), Expect::Words)))?;
    for write in &mut sheet.writes[before..] {
        let v1 = controller == "blkio";
        write.instead = Some(if v1 { (second, own.clone()) } else { ("io.weight", wide.clone()) });
    }
    Ok(())
}

/// 10 to 1000 spread over v2's 1 to 10000, as runc has it.
fn spread(weight: u16) -> u64 {
    1 + (u64::from(weight).max(10) - 10) * 9999 / 990
}

fn leaf_weight(controller: &str, weight: u16, device: Option<&str>) -> Option<Setting> {
    (controller == "blkio").then(|| match device {
        None => ("blkio.leaf_weight", weight.to_string(), Expect::Same),
        Some(device) => ("blkio.leaf_weight_device", format!("{device} {weight}"), Expect::Words),
    })
}

/// No limit is no line, and one that was there goes.
fn throttle_v1(one: &ThrottleDevice, file: &'static str) -> Setting {
    let expect = if one.rate == 0 { Expect::Anything } else { Expect::Words };
    (file, format!("{}:{} {}", one.major, one.minor, one.rate), expect)
}

/// A line for each disk, and in it `max` for no limit.
fn throttle_v2(one: &ThrottleDevice, key: &str) -> Setting {
    let (major, minor) = (one.major, one.minor);
    match one.rate {
        0 => ("io.max", format!("{major}:{minor} {key}=max"), Expect::Anything),
        rate => ("io.max", format!("{major}:{minor} {key}={rate}"), Expect::Words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Controllers;

    fn of(json: serde_json::Value, v2: bool) -> Result<Vec<String>> {
        let controllers = match v2 {
            true => Controllers { v1: Vec::new(), v2: Some(vec!["io".into()]) },
            false => Controllers { v1: vec!["blkio".into()], v2: None },
        };
        let resources = serde_json::from_value(serde_json::json!({"blockIO": json})).unwrap();
        let sheet = crate::limits::writes(&resources, &controllers, &[])?;
        let line = |w: &crate::limits::Write| match &w.instead {
            Some((file, value)) => format!("{} {} or {file} {value}", w.file, w.value),
            None => format!("{} {}", w.file, w.value),
        };
        Ok(sheet.writes.iter().map(line).collect())
    }

    #[test]
    fn a_line_for_each_disk_in_either_version() {
        let disk = |rate: u64| serde_json::json!({"major": 8, "minor": 0, "rate": rate});
        let json = serde_json::json!({
            "weight": 500, "weightDevice": [{"major": 8, "minor": 16, "weight": 10}],
            "throttleReadBpsDevice": [disk(1), disk(2)], "throttleWriteIOPSDevice": [disk(0)],
        });
        let v1 = [
            "blkio.weight 500 or blkio.bfq.weight 500",
            "blkio.weight_device 8:16 10 or blkio.bfq.weight_device 8:16 10",
            "blkio.throttle.read_bps_device 8:0 2",
            "blkio.throttle.write_iops_device 8:0 0",
        ];
        assert_eq!(of(json.clone(), false).unwrap(), v1);
        let v2 = [
            "io.bfq.weight 500 or io.weight 4950",
            "io.bfq.weight 8:16 10 or io.weight 8:16 1",
            "io.max 8:0 rbps=2",
            "io.max 8:0 wiops=max",
        ];
        assert_eq!(of(json, true).unwrap(), v2);
    }

    #[test]
    fn a_weight_out_of_range_and_one_that_a_version_does_not_know() {
        for weight in [9, 1001] {
            let error = of(serde_json::json!({"weight": weight}), true).unwrap_err();
            assert!(error.to_string().contains("not from 10 to 1000"), "{error}");
        }
        assert!(of(serde_json::json!({"weight": 0, "weightDevice": []}), true).unwrap().is_empty());
        let error = of(serde_json::json!({"leafWeight": 10}), true).unwrap_err();
        assert!(error.to_string().contains("leafWeight"), "{error}");
        assert_eq!(spread(1000), 10000);
    }
}
