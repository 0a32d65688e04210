//! What becomes of each call of each architecture: the filter before it is a program.
//!
//! OCI's rules of one call are put together as libseccomp does it, which every OCI runtime goes by: a rule that says what
//! the default says is none; an unconditional rule settles the call, the first one if there are several. Where conditional
//! rules of one call overlap, the stricter action wins, as between two filters in the kernel. Of rules that stand in order
//! the first one that fits decides: ordered.rs.

mod ordered;

use crate::action::Action;
use crate::arch::{self, Arch};
use crate::number::{self, Entry};
use crate::rule::{Head, Op, Rule, Test};
use chain::{Error, Result};
use std::collections::BTreeMap;

/// What becomes of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whatever its arguments, as far as nothing in `when` holds.
    pub(crate) always: Option<Action>,
    /// Where all tests of a rule hold, the strictest first; else what holds always, or the default.
    pub(crate) when: Vec<(Vec<Test>, Action)>,
    /// Rules for other calls that are made through this one.
    through: Vec<Through>,
}

/// A rule for another call, made through this one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Through {
    /// The argument that says which.
    test: Test,
    /// What becomes of it.
    action: Action,
    /// The rule has conditions, which cannot be looked at.
    blind: bool,
}

/// The calls of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Which.
    pub(crate) arch: &'static Arch,
    /// By number.
    pub(crate) calls: BTreeMap<u32, Call>,
    /// The newest call that any rule names: what is above it did not exist for whoever wrote the profile.
    pub(crate) newest: Option<u32>,
}

/// The whole filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// For calls that no rule names.
    pub(crate) default: Action,
    /// For calls newer than the profile: ENOSYS, so that programs fall back to what they did before, where the default
    /// would be a refusal; the default where it is none.
    pub(crate) unheard: Action,
    /// Architectures, the native one first. Any other is killed.
    pub(crate) archs: Vec<Calls>,
    /// seccomp(2)'s flags.
    pub(crate) flags: u64,
    /// Names that are not known, left out, and rules that can never apply.
    pub(crate) notes: Vec<Note>,
}

/// Something about the rules that their writer may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// In words.
    pub(crate) text: String,
    /// Calls go through that the rule would have held back.
    pub(crate) lets_more_through: bool,
}

/// An architecture that nobody named.
pub(crate) const FOREIGN: Action = Action::KillProcess;
/// There is no such call.
pub(crate) const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);

/// What to do with a rule that names a call which nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// An error: the rule was written by hand, so the name is misspelt.
    Refuse,
    /// The call is left out where that refuses no less: it meets the default, as any call that no rule names. An error in
    /// a rule that holds back what the default lets through.
    LeaveOutIfStrict,
    /// The call is left out.
    LeaveOut,
}

/// Builds the table of `rules`.
pub(crate) fn build(head: &Head, rules: &[(Rule, Unknown)]) -> Result<Table> {
    let empty = |arch: &&'static Arch| Calls {
        arch,
        calls: BTreeMap::new(),
        newest: head.newest.map(|n| arch.base + n),
    };
    let mut table = Table {
        default: head.default,
        unheard: if head.default.lets_through() { head.default } else { ENOSYS },
        archs: head.archs.iter().map(empty).collect(),
        flags: head.flags,
        notes: Vec::new(),
    };
    for (rule, unknown) in rules {
        for name in &rule.names {
            table.add(name, rule, *unknown, head.in_order)?;
        }
    }
    for calls in &mut table.archs {
        for call in calls.calls.values_mut() {
            match head.in_order {
                true => call.settle_in_order(head.default),
                false => call.settle(head.default),
            }
        }
        // Nothing was said but what the default says.
        calls.calls.retain(|_, call| call.always.is_some() || !call.when.is_empty());
    }
    Ok(table)
}

impl Table {
    fn add(&mut self, name: &str, rule: &Rule, unknown: Unknown, in_order: bool) -> Result<()> {
        let mut shadowed = false;
        for calls in &mut self.archs {
            let Some(entries) = number::entries(name, calls.arch) else {
                return self.unknown(name, rule, unknown);
            };
            for entry in entries.into_iter().flatten() {
                match entry {
                    Entry::Direct(number) => {
                        if !rule.on_top {
                            calls.heard(number);
                        }
                        if in_order {
                            calls.calls.entry(number).or_default().append(rule);
                        } else if rule.action != self.default {
                            shadowed |= calls.calls.entry(number).or_default().add(rule);
                        }
                    }
                    // Such a call has its arguments in memory, where no filter can look.
                    Entry::Through { number, which, mask } => {
                        let op = if mask == u32::MAX { Op::Eq } else { Op::Masked(mask.into()) };
                        let test = Test { index: 0, op, value: which.into() };
                        let through = Through { test, action: rule.action, blind: !rule.when.is_empty() };
                        calls.calls.entry(number).or_default().through.push(through);
                    }
                }
            }
        }
        if shadowed {
            let at = &rule.at;
            let text = format!(
                "{at}: {name}: another rule settles it whatever its arguments, so this one never applies"
            );
            self.notes.push(Note { text, lets_more_through: false });
        }
        Ok(())
    }

    fn unknown(&mut self, name: &str, rule: &Rule, unknown: Unknown) -> Result<()> {
        let text = format!("{}.names: '{}' is not known", rule.at, name.escape_debug());
        let lets_more_through = self.default.lets_through() && !rule.action.lets_through();
        if unknown == Unknown::LeaveOut || unknown == Unknown::LeaveOutIfStrict && !lets_more_through {
            self.notes.push(Note { text: text + ", left out", lets_more_through });
            return Ok(());
        }
        let error = Error::usage("read the filter", text);
        Err(match number::nearest(name, arch::native()) {
            Some(near) => error.cure(format_args!("{near}?")),
            None => error.cure("--try syscalls, to leave out what this build does not know"),
        })
    }

    /// What becomes of call `number` of the native architecture, if its arguments do not matter.
    pub(crate) fn native(&self, number: i64) -> Option<Action> {
        let native = self.archs.first()?;
        let number = u32::try_from(number).ok()?;
        match native.calls.get(&number) {
            Some(call) => call.always.filter(|_| call.when.is_empty()),
            None if native.is_unheard(number) => Some(self.unheard),
            None => Some(self.default),
        }
    }
}

impl Calls {
    /// x32's doubles of calls with pointers, from 512, and ARM's own, from 0xf0000, are no newer than the rest.
    fn heard(&mut self, number: u32) {
        if number - self.arch.base < 512 {
            self.newest = self.newest.max(Some(number));
        }
    }

    /// Whether a call without a rule is newer than all that the rules name.
    pub(crate) fn is_unheard(&self, number: u32) -> bool {
        self.newest.is_some_and(|newest| number > newest)
    }
}

impl Call {
    /// Adds a rule; true if another one keeps it from ever applying and says something else.
    fn add(&mut self, rule: &Rule) -> bool {
        match self.always {
            Some(settled) => settled != rule.action,
            None if rule.when.is_empty() => {
                self.always = Some(rule.action);
                let before = std::mem::take(&mut self.when);
                before.iter().any(|(_, other)| *other != rule.action)
            }
            None => {
                self.when.extend(rule.when.iter().map(|tests| (tests.clone(), rule.action)));
                false
            }
        }
    }

    /// All rules are there. Who refuses socket(2) refuses it through socketcall(2) too, even where that is allowed. A
    /// rule with conditions that cannot be looked at lets nothing through, and refuses all unless socketcall itself has
    /// a rule: whoever allows it knows that.
    fn settle(&mut self, default: Action) {
        for Through { test, action, blind } in std::mem::take(&mut self.through) {
            let adds = match self.always {
                Some(settled) => !blind && !action.lets_through() && action < settled,
                None => action != default && !(blind && action.lets_through()),
            };
            let new = (vec![test], action);
            if adds && !self.when.contains(&new) {
                self.when.push(new);
            }
        }
        self.when.sort_by_key(|(_, action)| *action);
    }
}
