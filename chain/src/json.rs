//! Parsing with the JSON path in the error. serde_json alone gives a line and a column, which nobody can find in the
//! one-line files that engines write.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;

/// Parses `text`, naming where it went wrong as `linux.namespaces[1].type`.
pub fn parse<T: DeserializeOwned>(text: &[u8], doing: impl Display) -> Result<T> {
    // As text, so that not each word is looked at by itself for what is no UTF-8.
    let whole = std::str::from_utf8(text).map_err(|error| {
        let place = Some(path_at(text, error.valid_up_to())).filter(|path| !path.is_empty());
        Error::usage(&doing, format_args!("{}it is not UTF-8", place.map_or(String::new(), |p| p + ": ")))
    })?;
    serde_json::from_str(whole).map_err(|error| explain(text, &doing, &error))
}

fn explain(text: &[u8], doing: &dyn Display, error: &serde_json::Error) -> Error {
    let lines = text.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1));
    let end = lines.map(<[u8]>::len).sum::<usize>() + error.column();
    match path_at(text, end).as_str() {
        "" => Error::usage(doing, plain(error)),
        path => Error::usage(doing, format_args!("{path}: {}", plain(error))),
    }
}

/// Which value of the document the parser stood in, or had just left, when it had read `end` bytes of it.
///
/// Found from the text alone: a deserializer that keeps the path, as serde_path_to_error has, is compiled once more for
/// every type there is, 0.3 MiB in each binary.
fn path_at(text: &[u8], end: usize) -> String {
    enum In {
        Object { key: Option<String>, at_key: bool },
        Array(usize),
    }
    let (mut path, mut i) = (Vec::new(), 0);
    while i < end.min(text.len()) {
        let start = i;
        i += 1;
        match (text[start], path.last_mut()) {
            (b'{', _) => path.push(In::Object { key: None, at_key: true }),
            (b'[', _) => path.push(In::Array(0)),
            (b'}' | b']', _) => drop(path.pop()),
            (b',', Some(In::Array(n))) => *n += 1,
            (b',', Some(In::Object { key, at_key })) => (*key, *at_key) = (None, true),
            (b':', Some(In::Object { at_key, .. })) => *at_key = false,
            (b'"', top) => {
                while i < text.len() && text[i] != b'"' {
                    i += if text[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
                if let (Some(In::Object { key, at_key: true }), Some(word)) = (top, text.get(start..i)) {
                    *key = serde_json::from_slice(word).ok();
                }
            }
            _ => {}
        }
    }
    let step = |step: &In| match step {
        In::Object { key, .. } => key.as_ref().map_or(String::new(), |key| format!(".{key}")),
        In::Array(n) => format!("[{n}]"),
    };
    path.iter().map(step).collect::<String>().trim_start_matches('.').to_string()
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
    fn the_path_is_of_the_value_that_is_wrong() {
        let cases = [
            (r#"{"process":{"user":{"uid":-1,"gid":0}}}"#, "process.user.uid: "),
            (r#"{"process":{"user":{"uid":"0"}}}"#, "process.user.uid: "),
            (r#"{"process":{"user":{"gid":4294967295,"uid":1}}}"#, "process.user.gid: "),
            (r#"{"process":{"args":["a \" ] } b",{"no":1}]}}"#, "process.args[1]: "),
            (
                "{\n\"mounts\": [\n{\"destination\":\"/\"}, {\n\"destination\":{\"a\":1}}]}",
                "mounts[1].destination: ",
            ),
            (r#"{"linux":{"resources":{"memory":7}}}"#, "linux.resources.memory: "),
            (r#"{"mounts":"a"}"#, "mounts: "),
            (r#"{"hostname":"a","linux":{"sysctl":{"net.\u0061":7}}}"#, "linux.sysctl.net.a: "),
            (r#"[{"#, ""),
        ];
        for (text, path) in cases {
            let e = parse::<crate::oci::Config>(text.as_bytes(), "read it").unwrap_err().to_string();
            let rest = e.strip_prefix("cannot read it: ").unwrap_or_else(|| panic!("{e}"));
            assert!(rest.starts_with(path), "{text}: {e}");
        }
    }

    #[test]
    fn what_is_no_utf8_is_named_too() {
        for (text, path) in [
            (&b"{\"hostname\":\"a\xff\"}"[..], "hostname: it is not UTF-8"),
            (b"{\"process\":{\"env\":[\"A=1\",\"B=\xe4\"]}}", "process.env[1]: it is not UTF-8"),
            (b"\xfe", "cannot read it: it is not UTF-8"),
        ] {
            let e = parse::<crate::oci::Config>(text, "read it").unwrap_err().to_string();
            assert!(e.ends_with(path), "{e}");
        }
    }

    #[test]
    fn a_short_document_says_so() {
        let e = parse::<crate::oci::Config>(br#"{"ociVersion":"#, "read config.json").unwrap_err();
        assert!(e.to_string().contains("cut short at line 1"), "{e}");
    }
}
