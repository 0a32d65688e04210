//! The report at the end of a command: what a judge or a CI job wants to know, as one JSON document in a file.

use super::{CpuTime, Group, Memory};
use crate::error::{Cannot, Result};
use crate::state::write_all;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::time::TimeValLike;
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::{Value, json};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that is there, and empty, from before anything is made: what cannot be reported is not begun.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    fd: OwnedFd,
}

/// How a command ended, and what it had used.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// From start to end.
    pub wall: Duration,
    /// Its status, 128+n for signal n.
    pub status: u8,
    /// The signal that it died of.
    pub signal: Option<i32>,
    /// Memory of its group.
    pub memory: Memory,
    /// Run time of its group; without one, of the children that this process waited for.
    pub cpu: CpuTime,
    /// The most tasks at once.
    pub pids: Option<u64>,
    /// Why it was killed, if we know.
    pub why: Option<String>,
    /// Which limit that was.
    pub exceeded: Option<&'static str>,
}

impl Ended {
    /// Reads what the group has used, while it is there.
    pub fn read(group: Option<&Group>, since: Instant, status: u8, signal: Option<i32>) -> Result<Ended> {
        let wall = since.elapsed();
        let mut ended = Ended { wall, status, signal, ..Ended::default() };
        let mut cpu = None;
        if let Some(group) = group {
            (ended.memory, ended.pids) = (group.memory()?, group.pids_peak()?);
            cpu = group.cpu_time()?;
        }
        ended.cpu = cpu.map_or_else(of_children, Ok)?;
        ended.explain();
        Ok(ended)
    }

    fn explain(&mut self) {
        self.why = self.memory.killed().filter(|_| self.status == 128 + libc::SIGKILL as u8);
        self.exceeded = self.why.as_ref().map(|_| "memory");
    }

    /// Takes off what the group had before: oom kills and run time.
    pub fn without(&mut self, kills: u64, cpu: Duration) {
        self.memory.oom_kills = self.memory.oom_kills.saturating_sub(kills);
        self.cpu.total = self.cpu.total.saturating_sub(cpu);
        self.explain();
    }

    fn document(&self) -> Value {
        let seconds = |time: Duration| json!((time.as_secs_f64() * 1e6).round() / 1e6);
        let signal = self.signal.and_then(|n| Signal::try_from(n).ok());
        let exit = match (signal, self.signal) {
            (Some(signal), _) => json!({"signal": signal.as_str()}),
            // Of real time: they have numbers only.
            (None, Some(n)) => json!({"signal": n}),
            (None, None) => json!({"code": self.status}),
        };
        let cpu = json!({"total": seconds(self.cpu.total), "user": seconds(self.cpu.user), "system": seconds(self.cpu.system)});
        let memory =
            json!({"limit": self.memory.limit, "peak": self.memory.peak, "oomKills": self.memory.oom_kills});
        json!({"wall": seconds(self.wall), "cpu": cpu, "memory": memory, "pids": {"peak": self.pids}, "exit": exit,
            "exceeded": self.exceeded, "error": self.why})
    }
}

fn of_children() -> Result<CpuTime> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).cannot("read the run time", "getrusage")?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(value.num_microseconds()).unwrap_or(0))
    };
    let (user, system) = (time(usage.user_time()), time(usage.system_time()));
    Ok(CpuTime { total: user + system, user, system })
}

impl Report {
    /// Opens the file, and empties it.
    pub fn open(path: &Path) -> Result<Report> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = openat(CWD, path, flags, Mode::from_raw_mode(0o644))
            .cannot("write the report", format_args!("open({})", path.display()))?;
        Ok(Report { path: path.to_path_buf(), fd })
    }

    /// Writes it, in one write.
    pub fn write(&self, ended: &Ended) -> Result<()> {
        write_all(self.fd.as_fd(), format!("{}\n", ended.document()).as_bytes())
            .cannot("write the report", format_args!("write({})", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_seconds_and_one_way_to_end() {
        let ended = Ended {
            wall: Duration::from_micros(1_500_000),
            signal: Some(9),
            status: 137,
            pids: Some(3),
            ..Ended::default()
        };
        let shown = ended.document();
        assert_eq!(shown["wall"], json!(1.5));
        assert_eq!(shown["exit"], json!({"signal": "SIGKILL"}));
        assert_eq!((&shown["pids"]["peak"], &shown["memory"]["peak"]), (&json!(3), &Value::Null));
        let ended = Ended { status: 7, ..Ended::default() };
        assert_eq!(ended.document()["exit"], json!({"code": 7}));
    }
}
