//! Words of the command line that are numbers: strict, with every word that means "no limit".

use chain::oci::Rlimit;
use chain::size::{self, scaled};
use std::str::FromStr;

type Parsed<T> = std::result::Result<T, String>;

/// "No limit", in bytes and counts of OCI.
pub(crate) const NO_LIMIT: i64 = -1;

fn is_no_limit(word: &str) -> bool {
    matches!(word, "-1" | "max" | "infinity" | "unlimited")
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) i64);

impl FromStr for Size {
    type Err = String;

    fn from_str(word: &str) -> Parsed<Size> {
        if is_no_limit(word) {
            return Ok(Size(NO_LIMIT));
        }
        let wrong = || format!("'{}' is not a size: 512M, 1.5G, 65536, max", word.escape_debug());
        match i64::try_from(size::bytes(word).ok_or_else(wrong)?) {
            Ok(0) => Err("0 bytes would let nothing run".into()),
            Ok(n) => Ok(Size(n)),
            Err(_) => Err(format!("'{word}' is more than 2^63 bytes")),
        }
    }
}

/// A number of tasks or microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) i64);

impl FromStr for Count {
    type Err = String;

    fn from_str(word: &str) -> Parsed<Count> {
        if is_no_limit(word) {
            return Ok(Count(NO_LIMIT));
        }
        match word.parse::<i64>() {
            Ok(0) => Err("0 would let nothing run; no limit is 'max'".into()),
            Ok(n) if n > 0 && word.bytes().all(|b| b.is_ascii_digit()) => Ok(Count(n)),
            _ => Err(format!("'{}' is not a number of at least 1, or max", word.escape_debug())),
        }
    }
}

/// `--cpus`: run time per period of 0.1 s, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime(pub(crate) i64);

impl CpuTime {
    /// The period that the quota is for.
    pub(crate) const PERIOD: u64 = 100_000;
}

impl FromStr for CpuTime {
    type Err = String;

    fn from_str(word: &str) -> Parsed<CpuTime> {
        let wrong = || format!("'{}' is not a number of CPUs: 1.5, 0.25", word.escape_debug());
        let quota = scaled(word, u128::from(CpuTime::PERIOD)).ok_or_else(wrong)?;
        match i64::try_from(quota) {
            // The kernel's least quota is a millisecond.
            Ok(n) if n >= 1000 => Ok(CpuTime(n)),
            Ok(_) => Err("the least that the kernel can do is 0.01".into()),
            Err(_) => Err(wrong()),
        }
    }
}

/// A time in milliseconds: seconds, or with a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) u64);

impl FromStr for Time {
    type Err = String;

    fn from_str(word: &str) -> Parsed<Time> {
        let wrong = || format!("'{}' is not a time: 2, 1.5s, 500ms, 20m, 1h", word.escape_debug());
        let (number, unit) =
            word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len()));
        let millis = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        match u64::try_from(scaled(number, millis).ok_or_else(wrong)?) {
            Ok(0) => Err("a time of less than 1 ms would let nothing run".into()),
            Ok(n) => Ok(Time(n)),
            Err(_) => Err(wrong()),
        }
    }
}

/// `--rlimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitSpec(pub(crate) Rlimit);

impl FromStr for LimitSpec {
    type Err = String;

    fn from_str(word: &str) -> Parsed<LimitSpec> {
        let Some((name, values)) = word.split_once('=') else {
            return Err("not NAME=SOFT[:HARD], as nofile=1024:4096".into());
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let upper = name.to_ascii_uppercase();
        let kind = if upper.starts_with("RLIMIT_") { upper } else { format!("RLIMIT_{upper}") };
        crate::rlimits::number(&kind)?;
        Ok(LimitSpec(Rlimit { kind, soft: limit(soft)?, hard: limit(hard)? }))
    }
}

fn limit(word: &str) -> Parsed<u64> {
    if is_no_limit(word) {
        return Ok(u64::MAX);
    }
    match word.parse::<u64>() {
        Ok(n) if word.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
        _ => Err(format!("'{}' is not a number or 'unlimited'", word.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        for (word, millis) in [
            ("2", 2000),
            ("1.5", 1500),
            ("1.5s", 1500),
            ("500ms", 500),
            ("20m", 1_200_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(word.parse(), Ok(Time(millis)), "{word}");
        }
        for bad in ["", "s", "0", "0.0001", "-1", "1d", "1 s", "1.s", "1s2ms", "99999999999999999999"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let table = [
            ("1", 1),
            ("4096b", 4096),
            ("1K", 1024),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
            ("0.5kb", 512),
            ("max", -1),
            ("-1", -1),
            ("infinity", -1),
            ("unlimited", -1),
        ];
        for (word, bytes) in table {
            assert_eq!(word.parse::<Size>(), Ok(Size(bytes)), "{word}");
        }
        for bad in [
            "",
            "0",
            "0K",
            "-2",
            "+1",
            "1 M",
            " 1M",
            "M",
            "1.M",
            ".5M",
            "1.5.5M",
            "1e3",
            "1P",
            "0x10",
            "9999999999999T",
            "none",
            "1MM",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_and_cpus() {
        assert_eq!("100".parse(), Ok(Count(100)));
        assert_eq!("max".parse(), Ok(Count(-1)));
        for bad in ["", "0", "-2", "1.5", "1k", "+3"] {
            assert!(bad.parse::<Count>().is_err(), "{bad:?}");
        }
        for (word, quota) in [("1.5", 150_000), ("0.01", 1000), ("4", 400_000), ("0.333", 33_300)] {
            assert_eq!(word.parse(), Ok(CpuTime(quota)), "{word}");
        }
        for bad in ["0", "0.001", "-1", "max", "", "1,5"] {
            assert!(bad.parse::<CpuTime>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rlimits_in_prlimits_spelling() {
        let of = |kind: &str, soft, hard| Ok(LimitSpec(Rlimit { kind: kind.into(), soft, hard }));
        assert_eq!("nofile=1024:4096".parse(), of("RLIMIT_NOFILE", 1024, 4096));
        assert_eq!("RLIMIT_CORE=0".parse(), of("RLIMIT_CORE", 0, 0));
        assert_eq!("Cpu=unlimited".parse(), of("RLIMIT_CPU", u64::MAX, u64::MAX));
        for bad in
            ["nofile", "nofile=", "nofile=1:", "nofile=:1", "nofil=1", "nofile=-2", "=1", "nofile=1:2:3"]
        {
            assert!(bad.parse::<LimitSpec>().is_err(), "{bad:?}");
        }
    }
}
