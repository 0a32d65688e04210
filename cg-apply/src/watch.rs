//! What needs somebody who stays outside: limits of time, and the report at the end.

use crate::plan::Plan;
use chain::cgroup::{Ended, Group, Report};
use chain::spec::CgApply;
use chain::supervise::Supervised;
use chain::sys::process::pidfd_signal;
use chain::{Cannot, Class, Error, Result, report};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// timeout(1)'s.
const EXIT_OVER: u8 = 124;
/// So often the run time is looked at, at most.
const SHORTEST: Duration = Duration::from_millis(2);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    wall: Option<Duration>,
    cpu: Option<Duration>,
    report: Option<PathBuf>,
    file: Option<Rc<Report>>,
}

/// The watch that the layer asks for.
pub(crate) fn resolve(spec: &CgApply) -> Result<Option<Watch>> {
    let millis = |field: &str, time: Option<u64>| match time {
        Some(0) => Err(Error::usage("limit the time", format_args!("{field}: 0 would let nothing run"))),
        other => Ok(other.map(Duration::from_millis)),
    };
    let (wall, cpu) = (millis("wallTime", spec.wall_time)?, millis("cpuTime", spec.cpu_time)?);
    let report = spec.report.as_ref().map(|path| path.as_path().to_path_buf());
    if wall.is_none() && cpu.is_none() && report.is_none() {
        return Ok(None);
    }
    if spec.systemd.is_some() || spec.existing.is_some() {
        let detail = "wallTime, cpuTime and report are of a group that cg-apply makes";
        return Err(Error::usage("watch the command", detail)
            .why("whoever asks systemd for a scope is in it, and would end with it"));
    }
    Ok(Some(Watch { wall, cpu, report, file: None }))
}

impl Watch {
    /// Whether what is in the group may be killed.
    pub(crate) fn kills(&self) -> bool {
        self.wall.is_some() || self.cpu.is_some()
    }

    /// The report's file is there before anything else is.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.file = self.report.as_deref().map(Report::open).transpose()?.map(Rc::new);
        Ok(())
    }

    /// For `--print`.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let limit = |time: &Duration, what| {
            ("watch", format!("{} of {what}, then SIGKILL to all of it", words(*time)))
        };
        let times = self.wall.iter().map(|t| limit(t, "time"));
        let times = times.chain(self.cpu.iter().map(|t| limit(t, "run time")));
        times.chain(self.report.iter().map(|path| ("report", path.display().to_string()))).collect()
    }
}

fn words(time: Duration) -> String {
    format!("{} s", time.as_millis() as f64 / 1000.0)
}

/// What a group had before it was ours: one that was there may have a past.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    cpu: Duration,
    kills: u64,
}

impl Before {
    fn of(group: Option<&Group>) -> Result<Before> {
        match group.filter(|group| !group.dirs.iter().all(chain::cgroup::Dir::is_new)) {
            Some(group) => Ok(Before { cpu: run_time(group)?, kills: group.memory()?.oom_kills }),
            None => Ok(Before::default()),
        }
    }
}

fn run_time(group: &Group) -> Result<Duration> {
    Ok(group.cpu_time()?.map_or(Duration::ZERO, |time| time.total))
}

/// A limit that was met.
struct Over {
    field: &'static str,
    why: String,
}

/// Waits for the command; its status, or 124 if it was killed for the time. Says what it was killed by, and reports.
pub(crate) fn see_out(plan: &Plan, child: &mut Supervised) -> Result<u8> {
    let since = Instant::now();
    let group = plan.group.as_ref();
    let before = Before::of(group)?;
    let idle = Watch::default();
    let watch = plan.watch.as_ref().unwrap_or(&idle);
    let (mut status, mut over) = watch.wait(group, before, since, child)?;
    if over.is_none() {
        over = watch.over_at_last(group, before)?;
    }
    // Whatever else it ended by needs no second look.
    if over.is_none() && watch.file.is_none() && status != 128 + libc::SIGKILL as u8 {
        return Ok(status);
    }
    let mut ended = Ended::read(group, since, status, child.killed_by())?;
    ended.without(before.kills, before.cpu);
    if let Some(over) = over {
        (ended.exceeded, ended.why) = (Some(over.field), Some(over.why));
        status = EXIT_OVER;
    }
    if let Some(why) = &ended.why {
        report::error("cg-apply", &Error::new(Class::Denied, "run the command to its end", why));
    }
    watch.file.as_ref().map_or(Ok(()), |file| file.write(&ended))?;
    Ok(status)
}

impl Watch {
    fn wait(
        &self,
        group: Option<&Group>,
        before: Before,
        since: Instant,
        child: &mut Supervised,
    ) -> Result<(u8, Option<Over>)> {
        if !self.kills() {
            return child.wait().map(|status| (status, None));
        }
        let mut ended = child.has_ended()?;
        while ended.is_none() {
            let (over, left) = self.look(group, before, since)?;
            if over.is_some() {
                kill(group, child)?;
                return child.wait().map(|status| (status, over));
            }
            let mut fds = [PollFd::new(child.signal_fd(), PollFlags::POLLIN)];
            // Rounded up, or the last millisecond would be spent turning round.
            let left = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, left) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::call("wait for the command", "poll(signalfd)", e)),
            }
            ended = child.handle_signals(|_| {})?;
        }
        Ok((ended.unwrap_or(0), None))
    }

    /// Whether a limit is met, and else how long none can be.
    fn look(
        &self,
        group: Option<&Group>,
        before: Before,
        since: Instant,
    ) -> Result<(Option<Over>, Duration)> {
        let mut left = Duration::MAX;
        if let Some(wall) = self.wall {
            left = wall.saturating_sub(since.elapsed());
            if left.is_zero() {
                let why = format!("killed by its wall-time limit of {}", words(wall));
                return Ok((Some(Over { field: "wallTime", why }), left));
            }
        }
        if let (Some(cpu), Some(group)) = (self.cpu, group) {
            let used = run_time(group)?.saturating_sub(before.cpu);
            if used >= cpu {
                return Ok((Some(over_cpu("killed by", cpu, used)), Duration::ZERO));
            }
            // Faster than on all processors at once it cannot be used up.
            let soonest = (cpu - used) / processors();
            left = left.min(soonest.max(SHORTEST));
        }
        Ok((None, left))
    }

    /// Between two looks a command may use more than it had, and end.
    fn over_at_last(&self, group: Option<&Group>, before: Before) -> Result<Option<Over>> {
        let (Some(cpu), Some(group)) = (self.cpu, group) else { return Ok(None) };
        let used = run_time(group)?.saturating_sub(before.cpu);
        Ok((used >= cpu).then(|| over_cpu("it ended beyond", cpu, used)))
    }
}

fn over_cpu(how: &str, cpu: Duration, used: Duration) -> Over {
    let why = format!("{how} its CPU-time limit of {} ({} used)", words(cpu), words(used));
    Over { field: "cpuTime", why }
}

fn processors() -> u32 {
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    count.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1)
}

/// All that is in the group, which is ours alone, and the command, which may not be in it yet, or where there is none.
fn kill(group: Option<&Group>, child: &Supervised) -> Result<()> {
    group.map_or(Ok(()), Group::kill)?;
    match pidfd_signal(child.pidfd(), libc::SIGKILL) {
        Err(Errno::ESRCH) => Ok(()),
        other => other.cannot("end the command", "pidfd_send_signal(SIGKILL)"),
    }
}
