//! A profile in the text language: one rule a line, and the first rule that fits a call decides.
//!
//! The layer of a plan carries it in this language too, with all includes read and all sets spelt out.

mod calls;
mod condition;
mod expression;
mod kafel;
mod lines;
mod minijail;
mod params;
mod source;
mod tokens;
mod write;

pub(crate) use params::width;
pub(crate) use source::{Language, Origin, open, read};
pub(crate) use write::text;

use crate::action::Action;
use crate::flat;
use crate::rule::{self, Head, Rule};
use crate::table::Unknown;
use crate::value::Wrong;
use crate::{arch, number};
use chain::oci::Seccomp;
use chain::{Error, Result};
use std::collections::BTreeMap;

/// What is being read, for messages.
const DOING: &str = "read the filter";
/// Where the rule stands that names the newest call which the writer knew: it says what the default says.
pub(crate) const NEWEST: &str = "newest";
/// Instead of a call: what is newer meets the default as well.
pub(crate) const NOTHING_NEWER: &str = "none";
/// The most names of calls that all rules have together, each with every alternative of its conditions.
const MOST_NAMES: usize = 20_000;

/// A policy as far as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    default: Option<(Action, String)>,
    head: Seccomp,
    newest: Option<String>,
    rules: Vec<Rule>,
    /// Calls that nothing further on can fit.
    settled: BTreeMap<String, Settled>,
    names: usize,
    /// How many files the present line's is included through.
    depth: usize,
}

/// What decides a call whatever its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settled {
    action: Action,
    at: String,
    depth: usize,
}

/// An error of the line at `at`.
fn wrong(at: &str, wrong: Wrong) -> Error {
    wrong.error(DOING, format_args!("{at}: "))
}

impl Policy {
    fn set_default(&mut self, action: Action, at: &str) -> Result<()> {
        match &self.default {
            Some((before, first)) if *before != action => {
                let text = format!("the default stands twice, and {first} has {before}");
                Err(wrong(at, Wrong { text, cure: "one of them".into() }))
            }
            _ => {
                self.default = Some((action, at.into()));
                Ok(())
            }
        }
    }

    /// Adds a rule for `name`. One that can never fit is an error where it would say something else: always for a call
    /// named `by_itself`, for one in a set where the rule would have refused what goes through now. In a file that is
    /// included it is none: what stands before the include is there to overrule it.
    fn add(
        &mut self,
        name: &str,
        by_itself: bool,
        action: Action,
        when: Vec<Vec<rule::Test>>,
        at: &str,
    ) -> Result<()> {
        if let Some(Settled { action: before, at: first, depth }) = self.settled.get(name) {
            let loses = before.lets_through() && !action.lets_through();
            if *before == action || *depth < self.depth || !by_itself && !loses {
                return Ok(());
            }
            let text = format!("'{name}' never gets here: {first} says {before} to it");
            return Err(wrong(at, Wrong { text, cure: format!("this line in front of {first}") }));
        }
        self.push(name, action, when, at).map_err(|w| wrong(at, w))
    }

    /// Adds a rule for `name`, behind all others.
    fn push(
        &mut self,
        name: &str,
        action: Action,
        when: Vec<Vec<rule::Test>>,
        at: &str,
    ) -> std::result::Result<(), Wrong> {
        if self.settled.contains_key(name) {
            return Ok(());
        }
        self.names += when.len().max(1);
        if self.names > MOST_NAMES {
            let text = format!("more than {MOST_NAMES} names of calls and conditions in all rules");
            return Err(Wrong { text, cure: "fewer".into() });
        }
        if when.is_empty() {
            self.settled.insert(name.into(), Settled { action, at: at.into(), depth: self.depth });
        }
        match self.rules.last_mut().filter(|last| last.at == at && last.action == action && last.when == when)
        {
            Some(last) => last.names.push(name.into()),
            None => {
                self.rules.push(Rule { at: at.into(), names: vec![name.into()], action, when, on_top: false })
            }
        }
        Ok(())
    }

    /// Ready for the table. `name` is the file's.
    pub(crate) fn written(self, name: &str) -> Result<(Head, Vec<Rule>)> {
        let Some((default, _)) = self.default else {
            let error =
                Error::usage(DOING, format_args!("{name}: it does not say what becomes of other calls"));
            return Err(error.cure("default EPERM, or default allow"));
        };
        let (action, errno) = default.oci();
        let mut head = rule::head(
            &Seccomp { default_action: action.into(), default_errno_ret: errno, ..self.head },
            "",
        )?;
        head.in_order = true;
        let mut rules = self.rules;
        if self.newest.as_deref() == Some(NOTHING_NEWER) {
            head.newest = Some(number::LAST);
            return Ok((head, rules));
        }
        // Whoever wrote it without a word knew what this build knows.
        let newest =
            self.newest.or_else(|| number::name(arch::native().base + number::NEWEST, arch::native()));
        let names = newest.into_iter().collect();
        rules.push(Rule { at: NEWEST.into(), names, action: default, when: Vec::new(), on_top: false });
        Ok((head, rules))
    }

    /// As a plan carries it: in the text language, with nothing left to be read.
    pub(crate) fn carried(self, name: &str) -> Result<String> {
        let (head, rules) = self.written(name)?;
        Ok(text(&flat::of((head, rules.into_iter().map(|rule| (rule, Unknown::Refuse)).collect()))))
    }
}

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod tests;
