//! What a group uses, at intervals, and what the kernel tells of it, at once; one JSON line each, in runc's shape. Ends
//! with what is in the group.

use super::alarm::{Alarm, Level, News, Stall, duration};
use super::freeze::read_whole;
use super::{Group, Stats};
use crate::error::{Cannot, Result};
use crate::report;
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What is to be told.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// Time between two lines, as 5s, 500ms, 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub interval: Duration,
    /// One line, now
    #[arg(long)]
    pub stats: bool,
    /// Tell too when memory gets scarce: low, medium, critical (v2: 5 % of the time lost by some, 20 %, 20 % by all)
    #[arg(long, value_name = "LEVEL")]
    pub memory_pressure: Option<Level>,
    /// Tell too when so much time is lost for want of cpu, memory or io, in v2: memory:some:100ms:2s (repeatable)
    #[arg(long, value_name = "RESOURCE:some|full:TIME:WINDOW")]
    pub psi: Vec<Stall>,
}

/// What ends it.
pub enum End<'a> {
    /// The end of this process.
    Process(BorrowedFd<'a>),
    /// The end of the last process in the group.
    Group,
}

/// Tells until the end.
pub fn follow(id: &str, group: &Group, reader: &Stats, asked: &Asked, end: &End<'_>) -> Result<()> {
    if asked.stats {
        return stats(id, group, reader);
    }
    let mut alarms: Vec<Alarm> = Alarm::oom(group)?.into_iter().collect();
    if let Some(level) = asked.memory_pressure {
        alarms.push(Alarm::level(group, level)?);
    }
    for stall in &asked.psi {
        alarms.push(Alarm::stall(group, stall)?);
    }
    let end = Watched::of(group, end)?;
    let mut next = Instant::now() + asked.interval;
    loop {
        let ended = wait(id, &mut alarms, &end, group, next)?;
        if ended {
            return last(id, group);
        }
        if Instant::now() >= next {
            stats(id, group, reader)?;
            next += asked.interval;
        }
    }
}

/// One line of what it uses.
pub fn stats(id: &str, group: &Group, reader: &Stats) -> Result<()> {
    tell("stats", id, Some(&reader.of(group)?))
}

/// Members in runc's order, which shell scripts look for.
fn tell(kind: &str, id: &str, data: Option<&Value>) -> Result<()> {
    let (id, data) = (json!(id), data.map_or_else(String::new, |data| format!(",\"data\":{data}")));
    report::stdout(format!("{{\"type\":\"{kind}\",\"id\":{id}{data}}}\n").as_bytes())
}

/// Of a group that memory was out in: what was killed, in words and numbers. It may be gone by now.
fn last(id: &str, group: &Group) -> Result<()> {
    let memory = group.memory()?;
    let Some(why) = memory.killed() else { return Ok(()) };
    let data =
        json!({"message": why, "limit": memory.limit, "peak": memory.peak, "oomKills": memory.oom_kills});
    tell("oom-kill", id, Some(&data))
}

fn tell_news(id: &str, news: &News, times: u64) -> Result<()> {
    match news {
        News::Oom => (0..times).try_for_each(|_| tell("oom", id, None)),
        News::Level(level) if times > 0 => {
            tell("memory-pressure", id, Some(&json!({"level": level.as_str()})))
        }
        News::Stall(stall) if times > 0 => {
            let seconds = |time: Duration| json!(time.as_secs_f64());
            let (time, window) = (seconds(stall.time), seconds(stall.window));
            let data =
                json!({"resource": stall.resource, "kind": stall.kind, "time": time, "window": window});
            tell("pressure", id, Some(&data))
        }
        _ => Ok(()),
    }
}

/// How the end is seen.
enum Watched<'a> {
    Process(BorrowedFd<'a>),
    /// v2 tells that a group has become empty.
    Populated(OwnedFd),
    /// v1 does not.
    Looked,
}

impl Watched<'_> {
    fn of<'a>(group: &Group, end: &End<'a>) -> Result<Watched<'a>> {
        Ok(match (end, group.v2()) {
            (End::Process(fd), _) => Watched::Process(*fd),
            (End::Group, Some(dir)) => Watched::Populated(dir.open_file("cgroup.events")?),
            (End::Group, None) => Watched::Looked,
        })
    }

    fn poll_fd(&self) -> Option<PollFd<'_>> {
        match self {
            Watched::Process(fd) => Some(PollFd::new(*fd, PollFlags::POLLIN)),
            Watched::Populated(fd) => Some(PollFd::new(fd.as_fd(), PollFlags::POLLPRI)),
            Watched::Looked => None,
        }
    }

    fn is_over(&self, woken: bool, group: &Group) -> Result<bool> {
        match self {
            Watched::Process(_) => Ok(woken),
            Watched::Populated(fd) => match read_whole(fd.as_fd(), "cgroup.events") {
                Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(true),
                text => Ok(!text?.lines().any(|line| line == "populated 1")),
            },
            Watched::Looked => Ok(group.procs()?.is_empty()),
        }
    }

    /// How long nobody need look.
    fn patience(&self) -> Duration {
        if matches!(self, Watched::Looked) { Duration::from_millis(200) } else { Duration::MAX }
    }
}

/// Until something happens or it is time; says whether it is the end.
fn wait(id: &str, alarms: &mut Vec<Alarm>, end: &Watched<'_>, group: &Group, until: Instant) -> Result<bool> {
    // Rounded up, or the last millisecond would be spent turning round.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    let left = PollTimeout::try_from(left.min(end.patience())).unwrap_or(PollTimeout::MAX);
    let mut fds: Vec<PollFd<'_>> = alarms.iter().map(Alarm::poll_fd).chain(end.poll_fd()).collect();
    match poll(&mut fds, left) {
        Err(Errno::EINTR) => return Ok(false),
        other => other.cannot("wait for events", "poll")?,
    };
    let woken: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
    drop(fds);
    for (alarm, woken) in alarms.iter_mut().zip(&woken) {
        let times = alarm.happened(*woken)?;
        tell_news(id, alarm.news(), times)?;
    }
    let ended = woken.get(alarms.len()).is_some_and(|woken| !woken.is_empty());
    let mut woken = woken.into_iter();
    alarms.retain(|alarm| !woken.next().is_some_and(|woken| alarm.is_over(woken)));
    end.is_over(ended, group)
}
