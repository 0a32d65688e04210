//! What is in a folder of images, without criu. Everything in it is hostile: only files, never through a link, never more
//! than they may be.

use crate::log::clean;
use crate::{folder, stats, stdio};
use chain::error::{Class, Error, Result};
use chain::{report, size};
use prost::Message;
use serde_json::{Value, json};
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// A tree of a million processes has no more.
const MOST: u64 = 64 << 20;

/// `pstree_entry`.
#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(uint32, tag = "2")]
    ppid: u32,
    #[prost(uint32, tag = "4")]
    sid: u32,
    #[prost(uint32, repeated, tag = "5")]
    threads: Vec<u32>,
}

/// Of `core_entry` what is told here.
#[derive(Clone, PartialEq, Message)]
struct Core {
    #[prost(message, optional, tag = "3")]
    tc: Option<Task>,
}

/// Of `task_core_entry` what is told here.
#[derive(Clone, PartialEq, Message)]
struct Task {
    #[prost(bytes = "vec", tag = "6")]
    comm: Vec<u8>,
}

/// `criu-ctl show DIR`.
pub(crate) fn run(path: &Path, as_json: bool) -> Result<u8> {
    let doing = format!("show {}", path.display());
    let dir = folder::open(path, &doing)?;
    let dir = dir.as_fd();
    let whole = folder::expect_whole(dir, &doing);
    let processes = processes(dir, &doing)?;
    let streams = stdio::names(dir, &doing)?;
    let numbers = stats::read(dir, "stats-dump", &doing)?;
    let unfinished = whole.as_ref().err().map(ToString::to_string);
    if as_json {
        let document = json!({"images": path.display().to_string(), "whole": whole.is_ok(), "why": unfinished,
            "processes": processes, "descriptors": streams, "dump": numbers});
        return report::stdout(format!("{document}\n").as_bytes()).map(|()| 0);
    }
    let mut text = String::new();
    tell(&mut text, unfinished.as_deref(), &processes, &streams, numbers.as_ref())
        .map_err(|e| Error::new(Class::Internal, &doing, e))?;
    report::stdout(text.as_bytes()).map(|()| 0)
}

fn tell(
    text: &mut String,
    unfinished: Option<&str>,
    processes: &[Value],
    streams: &[String],
    numbers: Option<&Value>,
) -> std::fmt::Result {
    match unfinished {
        Some(why) => writeln!(text, "not whole: {why}")?,
        None => writeln!(text, "a whole dump")?,
    }
    for process in processes {
        let comm = process["comm"].as_str().unwrap_or("?");
        writeln!(
            text,
            "process {} of {}, {}: {comm}",
            process["pid"],
            process["ppid"],
            size::count(process["threads"].as_u64().unwrap_or(0), "thread")
        )?;
    }
    for (n, name) in streams.iter().enumerate() {
        writeln!(text, "fd {n} was {}", clean(name))?;
    }
    numbers.map_or(Ok(()), |numbers| writeln!(text, "{}", stats::line(numbers)))
}

/// The pids of the tree.
pub(crate) fn pids(dir: BorrowedFd<'_>, doing: &str) -> Result<Vec<i32>> {
    let pid = |process: &Value| process["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    Ok(processes(dir, doing)?.iter().filter_map(pid).collect())
}

/// The tree, with the name of each.
fn processes(dir: BorrowedFd<'_>, doing: &str) -> Result<Vec<Value>> {
    let Some(text) = folder::read_regular(dir, "pstree.img", MOST, doing)? else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    for entry in entries(&text) {
        let process = Process::decode(entry)
            .map_err(|e| Error::new(Class::Conflict, doing, format_args!("pstree.img: {e}")))?;
        let name = format!("core-{}.img", process.pid);
        let core = folder::read_regular(dir, &name, MOST, doing)?.unwrap_or_default();
        let core = entries(&core).next().and_then(|entry| Core::decode(entry).ok());
        let comm = core.and_then(|core| core.tc).map(|task| clean(&String::from_utf8_lossy(&task.comm)));
        list.push(json!({"pid": process.pid, "ppid": process.ppid, "sid": process.sid,
            "threads": process.threads.len(), "comm": comm}));
    }
    Ok(list)
}

/// Two magic numbers, or one in older images; then each message behind its length.
pub(crate) fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let size = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let end = 4_usize.checked_add(size)?;
        let entry = rest.get(4..end)?;
        rest = rest.get(end..)?;
        Some(entry)
    })
}
