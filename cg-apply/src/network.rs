//! `resources.network` and `resources.rdma` as writes: the class and the priorities of packets, which v1 alone has, and
//! the handles and objects of RDMA devices, in both versions the same.

use crate::limits::{Expect, Sheet};
use chain::{Error, Result, share};
use serde_json::{Map, Value};

/// The writes of both.
pub(crate) fn writes(network: Option<&Value>, rdma: Option<&Value>, sheet: &mut Sheet<'_>) -> Result<()> {
    if let Some(network) = network.filter(|value| !share::says_nothing(value)) {
        packets(&Fields::of("resources.network", network, &["classID", "priorities"])?, sheet)?;
    }
    let Some(rdma) = rdma.filter(|value| !value.is_null()) else { return Ok(()) };
    let devices = rdma.as_object().ok_or_else(|| wrong("resources.rdma", "not an object of devices"))?;
    for (device, limits) in devices {
        let field = format!("resources.rdma.{device}");
        if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong(&field.escape_debug().to_string(), "no name of a device"));
        }
        let fields = Fields::of(&field, limits, &["hcaHandles", "hcaObjects"])?;
        let mut line = device.clone();
        for (key, word) in [("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")] {
            if let Some(n) = fields.number(key)? {
                line += &format!(" {word}={n}");
            }
        }
        if line != *device {
            let setting = ("rdma.max", line, Expect::Words);
            sheet.put(field, "rdma", Some(setting.clone()), Some(setting))?;
        }
    }
    Ok(())
}

fn packets(fields: &Fields<'_>, sheet: &mut Sheet<'_>) -> Result<()> {
    if let Some(class) = fields.number("classID")?.filter(|class| *class != 0) {
        let setting = ("net_cls.classid", class.to_string(), Expect::Same);
        sheet.put("resources.network.classID", "net_cls", Some(setting), None)?;
    }
    let list = fields.map.get("priorities").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (at, one) in list.iter().enumerate() {
        let field = format!("resources.network.priorities[{at}]");
        let fields = Fields::of(&field, one, &["name", "priority"])?;
        let name = fields.map.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong(&field, "no name of an interface"));
        }
        let line = format!("{name} {}", fields.number("priority")?.unwrap_or(0));
        sheet.put(field, "net_prio", Some(("net_prio.ifpriomap", line, Expect::Words)), None)?;
    }
    Ok(())
}

fn wrong(field: &str, what: impl std::fmt::Display) -> Error {
    Error::usage("limit the cgroup", format_args!("{field}: {what}"))
}

/// An object whose members are known.
struct Fields<'a> {
    field: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(field: &'a str, value: &'a Value, known: &[&str]) -> Result<Fields<'a>> {
        let map = value.as_object().ok_or_else(|| wrong(field, "not an object"))?;
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(wrong(field, format_args!("unknown member '{}'", key.escape_debug()))),
            None => Ok(Fields { field, map }),
        }
    }

    /// The kernel has 32 bits for each of them.
    fn number(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        number
            .map(Some)
            .ok_or_else(|| wrong(self.field, format_args!("{key}: not a number from 0 to 4294967295")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Controllers, writes as all};
    use chain::cgroup::Version;
    use chain::oci::Resources;
    use serde_json::json;

    fn lines(resources: Value, v1: &[&str], v2: &[&str]) -> Result<Vec<(Version, String, String)>> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let host = Controllers { v1: own(v1), v2: Some(own(v2)) };
        let resources: Resources = serde_json::from_value(resources).expect("resources");
        let sheet = all(&resources, &host, &[])?;
        Ok(sheet.writes.into_iter().map(|w| (w.version, w.file.into_owned(), w.value)).collect())
    }

    #[test]
    fn devices_of_rdma_in_either_version() {
        let asked = json!({"rdma": {"hfi1_0": {"hcaObjects": 9}, "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "none": {}}});
        for (v1, v2, version) in [(&["rdma"][..], &[][..], Version::V1), (&[], &["rdma"], Version::V2)] {
            let line = |text: &str| (version, "rdma.max".to_string(), text.to_string());
            let expected = [line("hfi1_0 hca_object=9"), line("mlx5_1 hca_handle=3 hca_object=10000")];
            assert_eq!(lines(asked.clone(), v1, v2).expect("it is known"), expected);
        }
        let error = lines(asked, &[], &[]).expect_err("no controller").to_string();
        assert!(
            error.contains("resources.rdma.hfi1_0: this host has no cgroup controller 'rdma'"),
            "{error}"
        );
    }

    #[test]
    fn classes_and_priorities_of_packets_in_v1_alone() {
        let asked = json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}});
        let line = |file: &str, text: &str| (Version::V1, file.to_string(), text.to_string());
        let found = lines(asked.clone(), &["net_cls", "net_prio"], &[]).expect("it is known");
        assert_eq!(found, [line("net_cls.classid", "1048577"), line("net_prio.ifpriomap", "eth0 5")]);
        let error = lines(asked, &[], &["cpu"]).expect_err("v2").to_string();
        assert!(error.contains("resources.network.classID"), "{error}");
        assert_eq!(
            lines(json!({"network": {"classID": 0, "priorities": []}}), &[], &[]).expect("nothing"),
            []
        );
    }

    #[test]
    fn nonsense_is_named() {
        for (asked, part) in [
            (json!({"rdma": {"x": {"hcaHandle": 3}}}), "resources.rdma.x: unknown member 'hcaHandle'"),
            (json!({"rdma": {"x": {"hcaHandles": -1}}}), "resources.rdma.x: hcaHandles: not a number"),
            (json!({"rdma": {"a b": {"hcaHandles": 1}}}), "no name of a device"),
            (json!({"rdma": [1]}), "resources.rdma: not an object"),
            (json!({"network": {"classId": 3}}), "resources.network: unknown member 'classId'"),
            (json!({"network": {"classID": 1_u64 << 32}}), "classID: not a number"),
            (json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}), "priorities[0]: no name"),
        ] {
            let error = lines(asked, &["rdma", "net_cls", "net_prio"], &[]).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
