//! Ids as newtypes, parsed strictly: `-1`, `1x`, `4294967295`, the empty string and an overflow are all refused
//! (4294967295 is the kernel's "no change" in the set*id calls, so accepting it would silently keep root).

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                match s.parse::<u32>() {
                    Ok(n) if digits && n != u32::MAX => Ok($name(n)),
                    _ => Err(format!("'{}' is not a {} (0 to 4294967294)", s.escape_debug(), $what)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_u32(Number($what)).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Refuses where the number stands, so that the error has its JSON path.
struct Number(&'static str);

impl Visitor<'_> for Number {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} (0 to 4294967294)", self.0)
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<u32, E> {
        let id = u32::try_from(n).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(n), &self))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<u32, E> {
        Err(E::invalid_value(Unexpected::Signed(n), &self))
    }
}

id!(
    /// A user id.
    Uid,
    "user id"
);
id!(
    /// A group id.
    Gid,
    "group id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_below_the_no_change_value() {
        for bad in ["", "-1", "+1", "1x", " 1", "1 ", "4294967295", "99999999999", "0x1", "root"] {
            assert!(bad.parse::<Uid>().is_err(), "{bad:?}");
            assert!(bad.parse::<Gid>().is_err(), "{bad:?}");
        }
        assert_eq!("4294967294".parse(), Ok(Uid(4294967294)));
        assert_eq!("0".parse(), Ok(Gid(0)));
        assert!(serde_json::from_str::<Uid>("4294967295").is_err());
        assert!(serde_json::from_str::<Uid>("-1").is_err());
    }
}
