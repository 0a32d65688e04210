//! `--learn FILE`: lets every call take place, and remembers it.

use crate::action::Action;
use crate::arch::{self, Arch, X32_BIT};
use crate::keep::Target;
use crate::learned::{Learned, Told};
use crate::plan::{Filter, Plan};
use crate::rule::{Asked, FLAG_SPEC_ALLOW, Head, Rule};
use crate::table::{self, Unknown};
use crate::{number, program, watch};
use chain::bytes::Bytes;
use chain::spec::SeccompLoad;
use chain::sys::notify::Notified;
use chain::{Error, Result, report, size};
use serde_json::json;
use std::collections::BTreeSet;

/// Never asked about: a process that cannot end, or come back from a signal, would stand in a loop if the one who
/// answers is gone. Every profile has them.
pub(crate) const ALWAYS: [&str; 4] = ["exit", "exit_group", "restart_syscall", "rt_sigreturn"];
/// i386 has another one besides.
pub(crate) const ALWAYS_32: &str = "sigreturn";

/// Calls that do many things, by the argument that says which (index, and its bits that do). What another argument is,
/// or what lies in memory, as the flags of clone3, is not remembered.
pub(crate) const MATTERS: [(&str, u8, u64); 11] = [
    ("bpf", 0, INT),
    // CLONE_NEW*: the rest is how to fork.
    ("clone", 0, 0x7e02_0000),
    ("ioctl", 1, INT),
    ("keyctl", 0, INT),
    ("personality", 0, INT),
    ("prctl", 0, INT),
    ("ptrace", 0, INT),
    ("setns", 1, INT),
    ("socket", 0, INT),
    ("socketpair", 0, INT),
    ("unshare", 0, INT),
];
/// An int, which a program hands over with any upper half.
pub(crate) const INT: u64 = u32::MAX as u64;

/// Calls without a name are told up to so many.
const MOST: usize = 20;

/// A filter that asks about every call of every kind of program.
pub(crate) fn plan(spec: &SeccompLoad, no_new_privs: bool) -> Result<Plan> {
    let alone = SeccompLoad {
        learn: spec.learn.clone(),
        allow_new_privileges: spec.allow_new_privileges,
        unknown_syscalls_warn: spec.unknown_syscalls_warn,
        ..SeccompLoad::default()
    };
    if *spec != alone {
        let detail = "--learn looks at what the command does, and refuses nothing";
        return Err(Error::usage("learn a profile", detail).cure("leave out the profile and the rules"));
    }
    let head = Head {
        default: Action::Notify,
        archs: arch::all_of_this_kernel(),
        flags: FLAG_SPEC_ALLOW | watch::flags()?,
        newest: None,
        in_order: false,
        agent: Asked::default(),
    };
    let names = ALWAYS.into_iter().chain([ALWAYS_32]).map(String::from).collect();
    let rule = Rule { at: "learn".into(), names, action: Action::Allow, when: Vec::new(), on_top: true };
    let table = table::build(&head, &[(rule, Unknown::Refuse)])?;
    let code = program::compile(&table)?;
    Ok(Plan { filter: Some(Filter { table, code }), program: None, agent: None, no_new_privs })
}

/// What was seen.
pub(crate) struct Learn {
    target: Target,
    learned: Learned,
    /// Calls that have nothing new to tell: AUDIT_ARCH and number.
    known: BTreeSet<(u32, u32)>,
    nameless: BTreeSet<(&'static str, u32)>,
}

impl Learn {
    /// Finds out whether `path` can be written, and is a profile to add to, if it is there.
    pub(crate) fn open(path: &Bytes) -> Result<Learn> {
        let target = Target::open(path.as_path())?;
        target.read()?.map(|text| Learned::parse(&text, &target)).transpose()?;
        Ok(Learn { target, learned: Learned::default(), known: BTreeSet::new(), nameless: BTreeSet::new() })
    }

    /// Every call takes place.
    pub(crate) fn asked(&mut self, call: &Notified) {
        let number = call.number as u32;
        if self.known.contains(&(call.arch, number)) {
            return;
        }
        let Some(arch) = arch_of(call) else { return };
        let Some(name) = number::name(number, arch) else {
            if self.nameless.len() < MOST {
                self.nameless.insert((arch.name, number));
            }
            return;
        };
        let matters = MATTERS.iter().find(|(n, ..)| *n == name);
        self.learned.add(arch, &name, matters.map(|(_, index, mask)| (*index, *mask, call.args)));
        if matters.is_none() {
            self.known.insert((call.arch, number));
        }
    }

    /// Adds to what the file holds by now: another run may have written it meanwhile.
    pub(crate) fn end(mut self) -> Result<()> {
        let lock = self.target.lock()?;
        let before = self.target.read()?.map(|text| Learned::parse(&text, &self.target)).transpose()?;
        let told = self.learned.merge(before.unwrap_or_default());
        self.target.write(std::mem::take(&mut self.learned).text()?.as_bytes())?;
        drop(lock);
        self.tell(&told);
        Ok(())
    }

    fn tell(&self, told: &Told) {
        let Told { calls, new, others } = told;
        let file = self.target.shown();
        let nameless: Vec<String> = self.nameless.iter().map(|(arch, n)| format!("{n} of {arch}")).collect();
        report::status(
            &json!({"tool": "seccomp-load", "event": "learned", "file": file, "calls": calls, "new": new,
            "architectures": others, "nameless": nameless}),
        );
        let mut text = format!(
            "seccomp-load: learned {new} new of {} in {file}, observed only: ",
            size::count(*calls as u64, "call")
        );
        text += "what no run did is not in there\n";
        if !others.is_empty() {
            text += &format!("seccomp-load: it made calls of {}, too\n", others.join(", "));
        }
        if !nameless.is_empty() {
            let list = nameless.join(", ");
            text += &format!("seccomp-load: left out, for this build has no name for it: call {list}\n");
        }
        report::stderr(&text);
    }
}

/// x32's calls arrive as x86_64's, with a bit.
pub(crate) fn arch_of(call: &Notified) -> Option<&'static Arch> {
    let base = call.number as u32 & X32_BIT;
    let here = arch::all_of_this_kernel();
    here.into_iter()
        .find(|arch| arch.audit == call.arch && (arch.base == base || arch.base == 0 && base == 0))
}
