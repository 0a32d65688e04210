//! process.scheduler, ioPriority and execCPUAffinity: what the kernel keeps of a task. All of it comes behind the join of
//! the cgroup, whose cpuset and real-time budget it is measured by, and while there are the caller's capabilities.

use chain::landing::Landing;
use chain::oci::{CpuAffinity, IoPriority, Scheduler};
use chain::sched::{Attr, CPUS, FLAGS, POLICIES, cpu_mask};
use chain::spec::CgApply;
use chain::sys::sched;
use chain::{Cannot, Class, Error, Result, near};
use nix::errno::Errno;
use serde_json::{Map, Value, json};

/// The classes of linux/ioprio.h, from 1.
const CLASSES: [&str; 3] = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
/// Where the class stands in the number.
const CLASS_SHIFT: i32 = 13;

/// All of it by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tuning {
    /// Scheduler.
    pub(crate) scheduler: Option<Attr>,
    /// ioprio_set(2)'s number.
    pub(crate) io_priority: Option<i32>,
    /// CPUs until the group is joined.
    initial: Option<Vec<u64>>,
    /// CPUs from then on.
    last: Option<Vec<u64>>,
    /// All CPUs from then on.
    reset: bool,
}

/// Everything that needs no kernel is refused here.
pub(crate) fn resolve(spec: &CgApply) -> Result<Tuning> {
    let affinity = spec.exec_cpu_affinity.clone().unwrap_or_default();
    let mask = |name: &str, list: &Option<String>| {
        let list = list.as_deref().filter(|list| !list.is_empty());
        list.map(|list| cpu_mask(&format!("execCPUAffinity.{name}"), list)).transpose()
    };
    Ok(Tuning {
        scheduler: spec.scheduler.as_ref().map(attr).transpose()?,
        io_priority: spec.io_priority.as_ref().map(io_priority).transpose()?,
        initial: mask("initial", &affinity.initial)?,
        last: mask("final", &affinity.last)?,
        // Who names CPUs before the join, and none after it, leaves them to the kernel.
        reset: spec.reset_cpu_affinity && affinity == CpuAffinity::default(),
    })
}

fn attr(asked: &Scheduler) -> Result<Attr> {
    let wrong = |what: String| Err(Error::usage("set the scheduler", format!("scheduler.{what}")));
    let Some(policy) = POLICIES.iter().position(|name| *name == asked.policy) else {
        let error: Result<Attr> = wrong(format!("policy: unknown policy '{}'", asked.policy.escape_debug()));
        return error.map_err(|e| match near::nearest(&asked.policy, POLICIES.into_iter()) {
            Some(meant) => e.cure(format_args!("{meant}?")),
            None => e,
        });
    };
    let mut flags = 0;
    for flag in &asked.flags {
        match FLAGS.iter().position(|name| name == flag) {
            Some(bit) => flags |= 1 << bit,
            None => return wrong(format!("flags: unknown flag '{}'", flag.escape_debug())),
        }
    }
    let real_time = matches!(asked.policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    let deadline = asked.policy == "SCHED_DEADLINE";
    if !(-20..=19).contains(&asked.nice) {
        return wrong(format!("nice: {} is not from -20 to 19", asked.nice));
    }
    if real_time && !(1..=99).contains(&asked.priority) {
        return wrong(format!("priority: {} is not from 1 to 99, for {}", asked.priority, asked.policy));
    }
    if !real_time && asked.priority != 0 {
        return wrong(format!("priority: it is of SCHED_FIFO and SCHED_RR, not of {}", asked.policy));
    }
    if !deadline && (asked.runtime, asked.deadline, asked.period) != (0, 0, 0) {
        return wrong(format!("runtime, deadline and period are of SCHED_DEADLINE, not of {}", asked.policy));
    }
    Ok(Attr {
        policy: policy as u32,
        flags,
        nice: asked.nice,
        priority: asked.priority as u32,
        runtime: asked.runtime,
        deadline: asked.deadline,
        period: asked.period,
    })
}

fn io_priority(asked: &IoPriority) -> Result<i32> {
    let wrong = |what: String| Err(Error::usage("set the I/O priority", format!("ioPriority.{what}")));
    let Some(class) = CLASSES.iter().position(|name| *name == asked.class) else {
        return wrong(format!("class: unknown class '{}'", asked.class.escape_debug()));
    };
    if !(0..=7).contains(&asked.priority) {
        return wrong(format!("priority: {} is not from 0 to 7", asked.priority));
    }
    Ok((class as i32 + 1) << CLASS_SHIFT | asked.priority)
}

/// In force for a process; None: as usual.
pub(crate) fn scheduler_of(pid: i32) -> Result<Option<Scheduler>> {
    let attr = Attr::of(pid).cannot("read the scheduler", format_args!("sched_getattr({pid})"))?;
    let flags = FLAGS.iter().enumerate().filter(|(bit, _)| attr.flags & 1 << bit != 0);
    let policy = POLICIES.get(attr.policy as usize).copied().unwrap_or_default();
    // Of an ordinary task Linux 6.12 tells its slice there.
    let times = Some((attr.runtime, attr.deadline, attr.period)).filter(|_| policy == "SCHED_DEADLINE");
    let (runtime, deadline, period) = times.unwrap_or_default();
    let found = Scheduler {
        policy: policy.into(),
        nice: attr.nice,
        priority: attr.priority as i32,
        flags: flags.map(|(_, name)| name.to_string()).collect(),
        runtime,
        deadline,
        period,
    };
    Ok(Some(found).filter(|_| attr.policy != 0 || attr.nice != 0 || attr.flags != 0))
}

/// In force for a process; None: that of its nice value.
pub(crate) fn io_priority_of(pid: i32) -> Option<IoPriority> {
    let value = sched::io_priority(pid).ok()?;
    let class = CLASSES.get(usize::try_from((value >> CLASS_SHIFT) - 1).ok()?)?;
    Some(IoPriority { class: (*class).into(), priority: value & 7 })
}

/// As config.json has it.
pub(crate) fn io_words(value: i32) -> String {
    let class = usize::try_from((value >> CLASS_SHIFT) - 1).ok().and_then(|class| CLASSES.get(class));
    format!("{} {}", class.unwrap_or(&"none"), value & ((1 << CLASS_SHIFT) - 1))
}

impl Tuning {
    /// The CPUs of this process until it joins its group.
    pub(crate) fn before(&self) -> Result<()> {
        self.initial.as_ref().map_or(Ok(()), |mask| bind("initial", mask))
    }

    /// The rest, in the group; what a fork would lose is left to the landing. Each is one of `fields`, with what is in
    /// force then.
    pub(crate) fn behind(
        &self,
        landing: &mut Landing,
        mut field: impl FnMut(&str, Result<Value>) -> Result<()>,
    ) -> Result<()> {
        if let Some(mask) = &self.last {
            field("execCPUAffinity", bind("final", mask).map(|()| self.cpus()))?;
        } else if self.initial.is_some() {
            field("execCPUAffinity", Ok(self.cpus()))?;
        }
        if let Some(value) = self.io_priority {
            field("ioPriority", set_io_priority(value).map(|()| json!(io_words(value))))?;
        }
        match self.scheduler {
            Some(attr) if attr.survives_a_fork() => {
                field("scheduler", attr.set().map(|()| json!(attr.to_string())))
            }
            Some(attr) => {
                landing.scheduler = Some(attr);
                field("scheduler", Ok(json!(format!("{attr}, at landing"))))
            }
            None => Ok(()),
        }
    }

    /// Nobody asked for it by a word, so it is no reason to refuse.
    pub(crate) fn unbind(&self) -> Option<String> {
        let all = || vec![u64::MAX; CPUS / 64];
        let unbound = if self.reset { sched::set_affinity(&all()) } else { Ok(()) };
        unbound
            .err()
            .map(|errno| format!("resetCPUAffinity: sched_setaffinity(all): {} ({errno:?})", errno.desc()))
    }

    fn cpus(&self) -> Value {
        let masks = [("initial", &self.initial), ("final", &self.last)];
        let named =
            masks.into_iter().filter_map(|(name, mask)| Some((name.into(), json!(hex(mask.as_ref()?)))));
        Value::Object(named.collect::<Map<String, Value>>())
    }

    /// For `--print`.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut cpus = |what: &str, mask: &Option<Vec<u64>>| {
            lines.extend(
                mask.as_ref().map(|mask| ("cpus", format!("{} {what} the group is joined", hex(mask)))),
            );
        };
        cpus("before", &self.initial);
        cpus("when", &self.last);
        lines.extend(self.io_priority.map(|value| ("disks", io_words(value))));
        let when =
            |attr: &Attr| if attr.survives_a_fork() { "" } else { " (at landing, for a fork would lose it)" };
        lines.extend(self.scheduler.map(|attr| ("schedule", format!("{attr}{}", when(&attr)))));
        lines
    }
}

/// The highest word first, as the kernel writes masks.
fn hex(mask: &[u64]) -> String {
    let words = mask.iter().rposition(|word| *word != 0).map_or(1, |last| last + 1);
    let mut text = format!("{:#x}", mask[words - 1]);
    mask[..words - 1].iter().rev().for_each(|word| text += &format!("{word:016x}"));
    text
}

/// The kernel leaves out what is not there or not in the cpuset: less than was asked is no success.
fn bind(name: &str, mask: &[u64]) -> Result<()> {
    let (doing, shown) = (format!("set the {name} CPU affinity"), hex(mask));
    let why = "none of these CPUs is there, or in the cpuset (resources.cpu.cpus)";
    sched::set_affinity(mask)
        .cannot(&doing, format_args!("sched_setaffinity({shown})"))
        .map_err(|e| if e.errno() == Some(Errno::EINVAL) { e.class(Class::Usage).why(why) } else { e })?;
    let mut found = vec![0; CPUS / 64];
    sched::affinity(0, &mut found).cannot(&doing, "sched_getaffinity")?;
    if found == mask {
        return Ok(());
    }
    let error = Error::readback(format_args!("the {name} CPU affinity"), shown, hex(&found));
    Err(error.why("the others are not there, or not in the cpuset (resources.cpu.cpus)"))
}

fn set_io_priority(value: i32) -> Result<()> {
    let words = io_words(value);
    sched::set_io_priority(value)
        .cannot("set the I/O priority", format_args!("ioprio_set({words})"))
        .map_err(|e| match e.errno() {
            Some(Errno::EPERM) => {
                e.why("the class IOPRIO_CLASS_RT needs the host's CAP_SYS_NICE or CAP_SYS_ADMIN")
            }
            Some(Errno::ENOSYS) => e.why("this kernel has no block devices (CONFIG_BLOCK)"),
            _ => e,
        })?;
    let found = sched::io_priority(0).cannot("prove the I/O priority", "ioprio_get")?;
    if found == value { Ok(()) } else { Err(Error::readback("the I/O priority", words, io_words(found))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policy: &str) -> Scheduler {
        Scheduler { policy: policy.into(), ..Scheduler::default() }
    }

    #[test]
    fn what_a_policy_does_not_have_is_refused_by_its_member() {
        let table = [
            (of("FIFO"), "scheduler.policy: unknown policy 'FIFO'"),
            (of(""), "scheduler.policy: unknown policy ''"),
            (Scheduler { nice: 20, ..of("SCHED_OTHER") }, "scheduler.nice: 20 is not"),
            (of("SCHED_FIFO"), "scheduler.priority: 0 is not from 1 to 99"),
            (Scheduler { priority: 100, ..of("SCHED_RR") }, "scheduler.priority: 100 is not from 1 to 99"),
            (Scheduler { priority: 1, ..of("SCHED_BATCH") }, "scheduler.priority: it is of SCHED_FIFO"),
            (Scheduler { runtime: 1, ..of("SCHED_IDLE") }, "scheduler.runtime, deadline and period are of"),
            (Scheduler { flags: vec!["X".into()], ..of("SCHED_OTHER") }, "scheduler.flags: unknown flag 'X'"),
        ];
        for (asked, part) in table {
            let error = attr(&asked).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn priorities_of_disks_as_numbers() {
        let of = |class: &str, priority| io_priority(&IoPriority { class: class.into(), priority });
        assert_eq!(of("IOPRIO_CLASS_BE", 4).unwrap(), 2 << 13 | 4);
        assert_eq!(io_words(2 << 13 | 4), "IOPRIO_CLASS_BE 4");
        assert!(
            of("IOPRIO_CLASS_BE", 8).is_err() && of("IOPRIO_CLASS_BE", -1).is_err() && of("BE", 0).is_err()
        );
    }

    #[test]
    fn a_mask_as_one_number() {
        assert_eq!(
            (hex(&[5, 0]), hex(&[1, 2]), hex(&[0])),
            ("0x5".into(), "0x20000000000000001".into(), "0x0".into())
        );
    }
}
