//! What criu counted: `stats-dump` and `stats-restore`, as its images/stats.proto has them.

use crate::folder;
use chain::error::Result;
use chain::size;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::os::fd::BorrowedFd;

/// A few numbers.
const MOST: u64 = 1 << 16;

/// `stats_entry`.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    dump: Option<Dump>,
    #[prost(message, optional, tag = "2")]
    restore: Option<Restore>,
}

/// `dump_stats_entry`: times in microseconds.
#[derive(Clone, Copy, PartialEq, Message, Serialize)]
struct Dump {
    #[prost(uint32, tag = "1")]
    freezing_time: u32,
    #[prost(uint32, tag = "2")]
    frozen_time: u32,
    #[prost(uint32, tag = "3")]
    memdump_time: u32,
    #[prost(uint32, tag = "4")]
    memwrite_time: u32,
    #[prost(uint64, tag = "5")]
    pages_scanned: u64,
    #[prost(uint64, tag = "6")]
    pages_skipped_parent: u64,
    #[prost(uint64, tag = "7")]
    pages_written: u64,
    #[prost(uint64, tag = "9")]
    pages_lazy: u64,
}

/// `restore_stats_entry`.
#[derive(Clone, Copy, PartialEq, Message, Serialize)]
struct Restore {
    #[prost(uint64, tag = "1")]
    pages_compared: u64,
    #[prost(uint64, tag = "2")]
    pages_skipped_cow: u64,
    #[prost(uint32, tag = "3")]
    forking_time: u32,
    #[prost(uint32, tag = "4")]
    restore_time: u32,
    #[prost(uint64, tag = "5")]
    pages_restored: u64,
}

/// The numbers of a dump, or of a restore, in criu's words; nothing if there are none that can be read.
pub(crate) fn read(folder: BorrowedFd<'_>, name: &str, doing: &str) -> Result<Option<Value>> {
    let Some(text) = folder::read_regular(folder, name, MOST, doing)? else { return Ok(None) };
    Ok(parse(&text))
}

/// Two magic numbers, a length, the message.
fn parse(text: &[u8]) -> Option<Value> {
    let size = u32::from_le_bytes(text.get(8..12)?.try_into().ok()?) as usize;
    let entry = Entry::decode(text.get(12..12_usize.checked_add(size)?)?).ok()?;
    entry.dump.map(|dump| json!(dump)).or(entry.restore.map(|restore| json!(restore)))
}

/// In a line.
pub(crate) fn line(numbers: &Value) -> String {
    let number = |name: &str| numbers[name].as_u64().unwrap_or(0);
    let ms = |name: &str| number(name) as f64 / 1000.0;
    let mut line = String::new();
    let written = match numbers.get("restore_time") {
        Some(_) => {
            let pages = size::count(number("pages_restored"), "page");
            write!(line, "restored in {:.1} ms, {pages}", ms("restore_time"))
        }
        None => {
            let pages = size::count(number("pages_written"), "page");
            let skipped = number("pages_skipped_parent");
            write!(line, "frozen for {:.1} ms, {pages} written", ms("frozen_time")).and_then(|()| {
                match skipped {
                    0 => Ok(()),
                    skipped => write!(line, ", {skipped} as they were before"),
                }
            })
        }
    };
    written.map_or_else(|_| String::new(), |()| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_dump_are_read_and_what_was_cut_is_none() {
        let dump = Dump { frozen_time: 12_300, pages_written: 40, ..Dump::default() };
        let entry = Entry { dump: Some(dump), restore: None }.encode_to_vec();
        let text = [&[0; 8], &(entry.len() as u32).to_le_bytes()[..], &entry].concat();
        let numbers = parse(&text).unwrap();
        assert_eq!(line(&numbers), "frozen for 12.3 ms, 40 pages written");
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None);
        }
        let huge = [&[0; 8], &[255; 4][..]].concat();
        assert_eq!(parse(&huge), None);
    }
}
