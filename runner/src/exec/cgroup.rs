//! `--cgroup [CONTROLLER,…:]PATH`: one path for every hierarchy, or one for each v1 controller.

use chain::bytes::Bytes;
use chain::{Error, Result};
use std::collections::BTreeMap;

/// Paths by controller; under the empty name, for all.
pub(super) fn parse(words: &[String]) -> Result<BTreeMap<String, Bytes>> {
    let mut below = BTreeMap::new();
    for word in words {
        let wrong =
            |what: &str| Err(Error::usage(format_args!("use --cgroup '{}'", word.escape_debug()), what));
        let Some((controllers, path)) = word.split_once(':') else {
            if words.len() > 1 {
                return wrong("without CONTROLLER: it is for all, and must stand alone");
            }
            below.insert(String::new(), checked(word)?);
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return wrong("a controller without a name");
            }
            if below.insert(controller.to_string(), checked(path)?).is_some() {
                return wrong(&format!("controller {controller} is there twice"));
            }
        }
    }
    Ok(below)
}

/// Refused before anything is started.
fn checked(path: &str) -> Result<Bytes> {
    let path = Bytes::from(path);
    chain::cgroup::sub_group(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Ok(parse(&words)?.iter().map(|(name, path)| format!("{name}={path};")).collect())
    }

    #[test]
    fn one_path_for_all_or_one_for_each_controller() {
        assert_eq!(of(&[]).unwrap(), "");
        assert_eq!(of(&["a/b"]).unwrap(), "=a/b;");
        assert_eq!(of(&["cpu,cpuacct:c", "memory:/m"]).unwrap(), "cpu=c;cpuacct=c;memory=/m;");
        for bad in
            [&["a", "b"][..], &["cpu:a", "b"], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"], &["cpu,cpu:a"]]
        {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        for out in ["..", "../x", "../name-suffix", "a/../..", "cpu:../x"] {
            assert!(of(&[out]).unwrap_err().to_string().contains("bad sub cgroup path"), "{out}");
        }
    }
}
