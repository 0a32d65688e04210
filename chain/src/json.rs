//! Parsing with the JSON path in the error. serde_json alone gives a line and a column, which nobody can find in the
//! one-line files that engines write.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;

/// Parses `text`, naming where it went wrong as `linux.namespaces[1].type`.
pub fn parse<T: DeserializeOwned>(text: &[u8], doing: impl Display) -> Result<T> {
    match serde_json::from_slice(text) {
        Ok(value) => Ok(value),
        Err(error) => Err(explain::<T>(text, &doing, &error)),
    }
}

/// Parses a second time, slower, to learn the path.
fn explain<T: DeserializeOwned>(text: &[u8], doing: &dyn Display, first: &serde_json::Error) -> Error {
    let mut de = serde_json::Deserializer::from_slice(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut de) else {
        return Error::usage(doing, plain(first));
    };
    let path = error.path().to_string();
    let reason = plain(error.inner());
    match path.as_str() {
        "." | "" => Error::usage(doing, reason),
        path => Error::usage(doing, format_args!("{path}: {reason}")),
    }
}

fn plain(e: &serde_json::Error) -> String {
    if e.is_eof() {
        return format!("cut short at line {} column {}", e.line(), e.column());
    }
    e.to_string()
}

/// The path of the first member of `text` that a `T` has no place for, if there is one. The OCI types pass over what
/// they do not know, as the specification demands of config.json; a plan must not ask for something and not get it.
pub fn unknown_member<T: DeserializeOwned + Serialize>(text: &str) -> Option<String> {
    let written: Value = serde_json::from_str(text).ok()?;
    let kept = serde_json::to_value(serde_json::from_str::<T>(text).ok()?).ok()?;
    lost(&written, &kept)
}

fn lost(written: &Value, kept: &Value) -> Option<String> {
    let below = |name: String, value: &Value, kept: Option<&Value>| match kept {
        Some(kept) => lost(value, kept).map(|rest| format!("{name}.{rest}")),
        // Nulls, zeros and empty lists say nothing, so nothing is lost with them.
        None => (!crate::share::says_nothing(value)).then_some(name),
    };
    match (written, kept) {
        (Value::Object(map), _) => map.iter().find_map(|(k, v)| below(k.clone(), v, kept.get(k))),
        // A path may be written as an array of bytes and kept as text.
        (Value::Array(list), Value::Array(kept)) => {
            list.iter().enumerate().find_map(|(i, v)| below(format!("[{i}]"), v, kept.get(i)))
        }
        _ => None,
    }
    .map(|path| path.replace(".[", "["))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_would_be_passed_over_is_found_at_any_depth() {
        let find = unknown_member::<crate::spec::CgApply>;
        assert_eq!(
            find(r#"{"resources":{"memory":{"limit":1,"swapp":2}}}"#).unwrap(),
            "resources.memory.swapp"
        );
        let rule = r#"{"resources":{"devices":[{"allow":true},{"alow":true}]}}"#;
        assert_eq!(find(rule).unwrap(), "resources.devices[1].alow");
        for good in [
            r#"{"cgroupsPath":[47,97],"resources":{"memory":{"limit":0,"old":0},"unified":{"a.b":"1"}},"keep":false}"#,
            r#"{"resources":{"cpu":null,"hugepageLimits":[{"pageSize":"2MB","limit":1}]}}"#,
            "{}",
        ] {
            assert_eq!(find(good), None, "{good}");
        }
    }

    #[test]
    fn a_wrong_type_names_its_json_path() {
        let text = br#"{"ociVersion":"1.0","linux":{"namespaces":[{"type":"pid"},{"type":"pidd"}]}}"#;
        let e = parse::<crate::oci::Config>(text, "read config.json").unwrap_err();
        assert!(e.to_string().contains("linux.namespaces[1].type"), "{e}");
        assert!(e.to_string().contains("pidd"), "{e}");
    }

    #[test]
    fn a_short_document_says_so() {
        let e = parse::<crate::oci::Config>(br#"{"ociVersion":"#, "read config.json").unwrap_err();
        assert!(e.to_string().contains("cut short at line 1"), "{e}");
    }
}
