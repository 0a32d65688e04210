//! `--explain`: a call that the filter refuses, or kills for, is told with its arguments as it is stopped. The filter in
//! force asks here where it would have said so itself, and is answered with what it would have said.

use crate::action::Action;
use crate::arch;
use crate::learn::{INT, MATTERS, arch_of};
use crate::plan::Plan;
use crate::{number, program, simulate, spell, watch};
use chain::spec::SeccompLoad;
use chain::sys::notify::{Notified, answer, is_waiting};
use chain::sys::process::{pidfd_of_thread, pidfd_open, pidfd_signal};
use chain::sys::seccomp::{FLAG_NEW_LISTENER, Instruction};
use chain::{Class, Error, Result, proc, report};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long one that was sent SIGSYS may take to die, on a busy machine, before it is sent SIGKILL.
const LAST_MOMENTS: u16 = 2000;
/// More different calls than this are counted, and not told one by one.
const MOST: usize = 500;

/// AUDIT_ARCH, number, action, and the argument that matters.
type Kind = (u32, u32, Action, Option<u64>);

/// See the module.
pub(crate) struct Stopped {
    /// What decides.
    code: Vec<Instruction>,
    /// What the profile names; None for a program, which does not say.
    archs: Option<Vec<u32>>,
    /// Calls that a rule of the command line stops: there `--allow` would be a second one.
    on_top: Vec<String>,
    seen: BTreeMap<Kind, (String, u64)>,
    /// Stopped ones beyond [`MOST`].
    more: u64,
    /// /proc is of the pid namespace that the pids are of.
    proc_is_ours: bool,
}

impl Stopped {
    /// Makes the plan's filter ask.
    pub(crate) fn prepare(spec: &SeccompLoad, plan: &mut Plan) -> Result<Stopped> {
        let doing = "explain what the filter stops";
        let archs = plan.filter.iter().flat_map(|filter| &filter.table.archs);
        let archs = plan.filter.as_ref().map(|_| archs.map(|calls| calls.arch.audit).collect());
        let (code, flags) = match (&mut plan.filter, &mut plan.program) {
            (Some(filter), _) => (&mut filter.code, &mut filter.table.flags),
            (None, Some(program)) => (&mut program.code, &mut program.flags),
            (None, None) => return Err(Error::usage(doing, "there is no filter")),
        };
        let asks = |op: &Instruction| op.code == program::RET && Action::of_ret(op.k) == Action::Notify;
        if *flags & FLAG_NEW_LISTENER != 0 || code.iter().any(asks) {
            let detail = "the filter has an agent, and there is one listener at most";
            return Err(Error::new(Class::Conflict, doing, detail));
        }
        *flags |= watch::flags()?;
        let decides = code.clone();
        code.iter_mut().filter(|op| stops(**op)).for_each(|op| op.k = Action::Notify.ret());
        let stopping = spec.rules.iter().filter(|rule| rule.action != "SCMP_ACT_ALLOW");
        Ok(Stopped {
            code: decides,
            archs,
            on_top: stopping.flat_map(|rule| rule.names.clone()).collect(),
            seen: BTreeMap::new(),
            more: 0,
            proc_is_ours: std::fs::read_link("/proc/self")
                .is_ok_and(|link| link.to_str() == Some(std::process::id().to_string().as_str())),
        })
    }

    /// Tells the call, and gives the errno that the filter has for it. Where the filter kills, nobody reads the errno.
    pub(crate) fn asked(&mut self, listener: BorrowedFd<'_>, call: &Notified) -> i32 {
        let made = simulate::Made { number: call.number as u32, audit: call.arch, args: call.args };
        let action = Action::of_ret(simulate::run(&self.code, made));
        self.tell(listener, call, action);
        match action {
            Action::Errno(errno) => errno.into(),
            Action::KillProcess | Action::KillThread => {
                self.kill(listener, call);
                libc::ENOSYS
            }
            // The program asks nowhere else.
            _ => libc::ENOSYS,
        }
    }

    fn tell(&mut self, listener: BorrowedFd<'_>, call: &Notified, action: Action) {
        let number = call.number as u32;
        let arch = arch_of(call);
        let name =
            arch.and_then(|arch| number::name(number, arch)).unwrap_or_else(|| format!("call {number}"));
        let matters = MATTERS.iter().find(|(n, ..)| *n == name);
        let value = matters.map(|(_, index, mask)| call.args[usize::from(*index)] & mask);
        let kind = (call.arch, number, action, value);
        if let Some((_, times)) = self.seen.get_mut(&kind) {
            *times += 1;
            return;
        }
        if self.seen.len() >= MOST {
            self.more += 1;
            return;
        }
        let said = spell::call(&name, call, || is_waiting(listener, call.id));
        let foreign = arch.filter(|arch| **arch != *arch::native());
        let of = foreign.map_or_else(String::new, |arch| format!(" of {}", arch.name));
        let who = self.who(listener, call);
        // As rules in lines have it.
        let alone = matters.zip(value).map(|((_, index, mask), value)| match *mask {
            INT => format!("allow {name} if int{index} == {value:#x}"),
            mask => format!("allow {name} if arg{index} & {mask:#x} == {value:#x}"),
        });
        let cure = self.cure(&name, call, arch.is_some_and(|_| !name.contains(' ')), alone);
        report::stderr(&format!("seccomp-load: stopped {said}{of}: {action}, by {who}; {cure}\n"));
        report::status(
            &json!({"tool": "seccomp-load", "event": "stopped", "call": said, "action": action.to_string(),
            "pid": call.pid, "try": cure}),
        );
        self.seen.insert(kind, (name, 1));
    }

    fn cure(&self, name: &str, call: &Notified, known: bool, alone: Option<String>) -> String {
        match () {
            () if self.archs.as_ref().is_some_and(|archs| !archs.contains(&call.arch)) => {
                "the profile names no such architecture, and nothing else lets it through".into()
            }
            () if !known => "this build has no name for it".into(),
            () if self.archs.is_none() => "nothing can be put on top of a program".into(),
            () if self.on_top.iter().any(|on_top| on_top == name) => {
                format!("the rule for {name} on the command line would have to go")
            }
            () => match alone {
                Some(line) => {
                    format!("--allow {name} would let it through, the line '{line}' this one alone")
                }
                None => format!("--allow {name} would let it through"),
            },
        }
    }

    /// `sh (pid 123)`, as far as it can be known.
    fn who(&self, listener: BorrowedFd<'_>, call: &Notified) -> String {
        let pid = call.pid;
        match self.proc(call, "comm").filter(|_| is_waiting(listener, call.id)) {
            Some(name) => {
                format!("{} (pid {pid})", String::from_utf8_lossy(name.trim_ascii_end()).escape_debug())
            }
            None => format!("pid {pid}"),
        }
    }

    /// As the filter does it: by SIGSYS, without the call. One that catches, ignores or holds back that signal, which the
    /// filter would not have asked, dies of SIGKILL; so do several threads where the kernel cannot signal one (Linux 6.9).
    fn kill(&self, listener: BorrowedFd<'_>, call: &Notified) {
        let status = self.proc(call, "status").unwrap_or_default();
        let Some(process) = process(&status, call) else { return };
        let alone = proc::status_field(&status, "Threads").is_some_and(|n| n == "1");
        // The others would run on while one of them takes the signal.
        let thread = if alone { None } else { pidfd_of_thread(call.pid as i32).ok() };
        if !is_waiting(listener, call.id) {
            return;
        }
        if let Some(target) = thread.as_ref().or(Some(&process).filter(|_| alone))
            && dies_of_sigsys(&status)
            && send(target, libc::SIGSYS)
            // It meets the signal on its way out of the call.
            && answer(listener, call.id, Some(libc::ENOSYS)).is_ok()
            && is_over(target)
        {
            return;
        }
        send(&process, libc::SIGKILL);
    }

    /// A file of /proc about the thread that made the call.
    fn proc(&self, call: &Notified, name: &str) -> Option<Vec<u8>> {
        Some(())
            .filter(|()| self.proc_is_ours)
            .and_then(|()| proc::read(&format!("/proc/{}/{name}", call.pid)).ok())
    }

    /// In a few words, what it was.
    pub(crate) fn end(self) {
        if self.seen.is_empty() {
            return report::stderr("seccomp-load: the filter stopped nothing\n");
        }
        let mut names: BTreeMap<String, (String, u64)> = BTreeMap::new();
        for ((_, _, action, _), (name, times)) in self.seen {
            let entry = names.entry(name).or_insert((action.to_string(), 0));
            entry.1 += times;
        }
        let list: Vec<String> = names
            .iter()
            .map(|(name, (action, times))| match times {
                1 => format!("{name} once ({action})"),
                times => format!("{name} {times} times ({action})"),
            })
            .collect();
        let more = if self.more == 0 { String::new() } else { format!(", and {} more", self.more) };
        report::stderr(&format!("seccomp-load: stopped in all: {}{more}\n", list.join(", ")));
    }
}

/// An instruction that ends with a refusal. SIGSYS for who handles it (trap) tells what only the kernel can tell.
fn stops(op: Instruction) -> bool {
    let refuses = |action| matches!(action, Action::Errno(_) | Action::KillProcess | Action::KillThread);
    op.code == program::RET && refuses(Action::of_ret(op.k))
}

/// The process of the thread that made the call.
fn process(status: &[u8], call: &Notified) -> Option<OwnedFd> {
    let leader = || proc::status_field(status, "Tgid")?.parse().ok();
    pidfd_open(call.pid as i32).ok().or_else(|| pidfd_open(leader()?).ok())
}

fn dies_of_sigsys(status: &[u8]) -> bool {
    let set = |name| {
        let mask = proc::status_field(status, name).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        mask.is_none_or(|mask| mask & 1 << (libc::SIGSYS - 1) != 0)
    };
    // The first process of a pid namespace dies of no signal from outside but SIGKILL.
    let first = proc::status_field(status, "NSpid").is_none_or(|pids| pids.ends_with("\t1"));
    !first && !["SigCgt", "SigIgn", "SigBlk"].into_iter().any(set)
}

fn send(process: &OwnedFd, signal: i32) -> bool {
    matches!(pidfd_signal(process.as_fd(), signal), Ok(()) | Err(Errno::ESRCH))
}

fn is_over(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(LAST_MOMENTS)).is_ok_and(|n| n > 0)
}
