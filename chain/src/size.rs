//! Numbers of bytes as people write them: `512M`, `1.5G`, `65536`; units are powers of 1024.

/// The bytes of `word`; None when it is no size.
pub fn bytes(word: &str) -> Option<u128> {
    let lower = word.to_ascii_lowercase();
    let (number, unit) = lower.split_at(lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len()));
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return None,
    };
    scaled(number, 1 << shift)
}

/// `number` × `unit`, exactly, rounded down to a whole.
pub fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let (whole, part) = (whole.parse::<u128>().ok()?, fraction.parse::<u128>().ok()?);
    Some(whole * unit + part * unit / 10_u128.pow(fraction.len() as u32))
}

/// So many of them, for people: `1 thread`, `2 processes`.
pub fn count(n: u64, one: &str) -> String {
    match (n, one.ends_with('s')) {
        (1, _) => format!("1 {one}"),
        (_, true) => format!("{n} {one}es"),
        (_, false) => format!("{n} {one}s"),
    }
}

/// A number of bytes for people: `8 MiB`, `1.5 GiB`, `1000 bytes`.
pub fn words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let fits = |at: &usize| bytes >> (10 * (at + 1)) > 0;
    let Some(at) = (0..UNITS.len()).rev().find(fits) else { return count(bytes, "byte") };
    let number = format!("{:.1}", bytes as f64 / (1_u64 << (10 * (at + 1))) as f64);
    format!("{} {}", number.strip_suffix(".0").unwrap_or(&number), UNITS[at])
}

#[cfg(test)]
mod tests {
    use super::{count, words};

    #[test]
    fn sizes_for_people() {
        let table = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1000, "1000 bytes"),
            (4096, "4 KiB"),
            (8 << 20, "8 MiB"),
            ((8 << 20) - 4096, "8 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(words(bytes), text);
        }
    }

    #[test]
    fn one_is_no_plural() {
        let told = |one| [0, 1, 2].map(|n| count(n, one));
        assert_eq!(told("thread"), ["0 threads", "1 thread", "2 threads"]);
        assert_eq!(told("process"), ["0 processes", "1 process", "2 processes"]);
    }
}
