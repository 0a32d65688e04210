//! Parsing with the JSON path in the error. serde_json alone gives a line and a column, which nobody can find in the
//! one-line files that engines write.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
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

#[cfg(test)]
mod tests {
    use super::*;

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
