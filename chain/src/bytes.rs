//! Words that are bytes: paths, arguments, environment. In JSON a string where they are UTF-8, else an array of
//! byte values, so that nothing is lost or guessed.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// A path, an argument or an environment entry.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// As a path.
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_os_str())
    }

    /// As the OS's string.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// For the kernel; a NUL inside cuts it, as it would for the kernel.
    pub fn to_cstring(&self) -> CString {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        CString::new(&self.0[..end]).unwrap_or_default()
    }
}

impl From<&str> for Bytes {
    fn from(s: &str) -> Bytes {
        Bytes(s.as_bytes().to_vec())
    }
}

impl From<String> for Bytes {
    fn from(s: String) -> Bytes {
        Bytes(s.into_bytes())
    }
}

impl From<OsString> for Bytes {
    fn from(s: OsString) -> Bytes {
        Bytes(s.into_vec())
    }
}

impl From<&OsStr> for Bytes {
    fn from(s: &OsStr) -> Bytes {
        Bytes(s.as_bytes().to_vec())
    }
}

impl From<&Path> for Bytes {
    fn from(p: &Path) -> Bytes {
        Bytes::from(p.as_os_str())
    }
}

impl AsRef<Path> for Bytes {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'\\' | b'"' | b'\'');
        match std::str::from_utf8(&self.0) {
            Ok(text) if self.0.iter().all(plain) => f.write_str(text),
            _ => write!(f, "{}", String::from_utf8_lossy(&self.0).escape_debug()),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => self.0.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        d.deserialize_any(Form)
    }
}

/// By hand, for a word is the most frequent thing in a config, and an untagged enum would copy each first.
struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an array of byte values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes::from(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Bytes, E> {
        Ok(Bytes::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_survive_json() {
        for raw in [&b"plain"[..], b"sp ace\n", b"\xff\xfe/x", b""] {
            let json = serde_json::to_string(&Bytes(raw.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, raw);
        }
    }
}
