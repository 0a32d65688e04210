//! All rules by the names of their calls, each with what fits first: the shape from which filters are written down.

use crate::action::Action;
use crate::arch;
use crate::number::{self, Entry};
use crate::plan::Written;
use crate::policy::NOTHING_NEWER;
use crate::rule::{Head, Rule, Test};

/// What becomes of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The first that holds decides.
    pub(crate) when: Vec<(Vec<Test>, Action)>,
    /// Else this; the default where there is none.
    pub(crate) always: Option<Action>,
}

/// A filter by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flat {
    pub(crate) head: Head,
    /// Calls that fare alike, in the order in which rules name them.
    pub(crate) groups: Vec<(Vec<String>, Decision)>,
    /// The newest call that its writer knew.
    pub(crate) newest: Option<String>,
}

/// The number of a call here, for calls that have one.
fn number(name: &str) -> Option<u32> {
    match number::entries(name, arch::native())? {
        [Some(Entry::Direct(number)), _] if number - arch::native().base < 512 => Some(number),
        _ => None,
    }
}

/// The newest of these calls, by its number here.
fn newest<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<(u32, String)> {
    let names = rules.flat_map(|rule| &rule.names);
    names.filter_map(|name| Some((number(name)?, name.clone()))).max()
}

/// Puts the rules of each call together, as the table does.
pub(crate) fn of((head, rules): Written) -> Flat {
    let known = newest(rules.iter().map(|(rule, _)| rule).filter(|rule| !rule.on_top));
    let known = known.or_else(|| {
        head.newest.and_then(|n| Some((n, number::name(arch::native().base + n, arch::native())?)))
    });
    let mut calls: Vec<(String, Decision)> = Vec::new();
    for (rule, _) in &rules {
        for name in &rule.names {
            let at = calls.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
                calls.push((name.clone(), Decision::default()));
                calls.len() - 1
            });
            calls[at].1.add(rule, &head);
        }
    }
    // A rule on top makes the profile no newer: what lies between is answered as what is newer than that.
    if !head.default.lets_through()
        && head.newest != Some(number::LAST)
        && let (Some((known, _)), Some((top, _))) = (&known, newest(rules.iter().map(|(rule, _)| rule)))
    {
        let between = (known + 1..top).filter_map(|n| number::name(n, arch::native()));
        for name in between.filter(|name| !calls.iter().any(|(n, _)| n == name)).collect::<Vec<_>>() {
            calls.push((name, Decision { when: Vec::new(), always: Some(crate::table::ENOSYS) }));
        }
    }
    let mut groups: Vec<(Vec<String>, Decision)> = Vec::new();
    for (name, mut decision) in calls {
        decision.settle(&head);
        if decision == Decision::default() {
            continue;
        }
        match groups.iter_mut().find(|(_, other)| *other == decision) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], decision)),
        }
    }
    let known = match head.newest {
        Some(number::LAST) => Some(NOTHING_NEWER.to_string()),
        _ => known.map(|(_, name)| name),
    };
    let newest = known.filter(|_| !head.default.lets_through());
    Flat { head, groups, newest }
}

impl Decision {
    fn add(&mut self, rule: &Rule, head: &Head) {
        if self.always.is_some() || !head.in_order && rule.action == head.default {
            return;
        }
        match rule.when.is_empty() {
            true => {
                self.always = Some(rule.action);
                // As OCI has it, that settles the call; in order, what stands before it stays.
                if !head.in_order {
                    self.when.clear();
                }
            }
            false => self.when.extend(rule.when.iter().map(|tests| (tests.clone(), rule.action))),
        }
    }

    /// All rules are there.
    fn settle(&mut self, head: &Head) {
        if !head.in_order {
            self.when.sort_by_key(|(_, action)| *action);
        }
        self.always = self.always.filter(|action| *action != head.default);
        let otherwise = self.always.unwrap_or(head.default);
        while self.when.last().is_some_and(|(_, action)| *action == otherwise) {
            self.when.pop();
        }
    }
}
