//! /proc/PID/mountinfo, unescaped.

use serde::{Deserialize, Serialize};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its id.
    pub id: u64,
    /// The id of the mount it stands on.
    pub parent: u64,
    /// `major:minor` of its file system.
    pub dev: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`; empty is private.
    pub propagation: Vec<String>,
    /// Type of the file system.
    pub fstype: String,
    /// What is mounted, as the one who mounted it called it.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// All the mounts of a mountinfo file.
    pub fn parse_all(text: &str) -> Vec<Mount> {
        text.lines().filter_map(Mount::parse).collect()
    }

    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.splitn(3, ' ').collect();
        let list = |s: &str| s.split(',').map(unescape).collect();
        Some(Mount {
            id: left.first()?.parse().ok()?,
            parent: left.get(1)?.parse().ok()?,
            dev: left.get(2)?.to_string(),
            root: unescape(left.get(3)?),
            point: unescape(left.get(4)?),
            options: list(left.get(5)?),
            propagation: left[6..].iter().map(ToString::to_string).collect(),
            fstype: unescape(right.first()?),
            source: unescape(right.get(1)?),
            super_options: list(right.get(2).copied().unwrap_or_default()),
        })
    }

    /// Is the option set on the mount or on its file system?
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.super_options).any(|o| o == option)
    }
}

/// `\040` and its like.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match octal.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_spaces_and_propagation() {
        let line =
            r"36 35 98:0 /m\0401 /mnt\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.root.as_str(), mount.point.as_str()), ("/m 1", "/mnt 2"));
        assert_eq!(mount.propagation, ["master:1", "shared:7"]);
        assert!(mount.has("noatime") && mount.has("errors=continue") && !mount.has("ro"));
    }
}
