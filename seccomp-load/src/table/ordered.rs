//! Rules that stand in order: the first one that fits a call decides.

use super::{Call, Through};
use crate::action::Action;
use crate::rule::Rule;

impl Call {
    /// Adds a rule behind all others. Nothing behind an unconditional one can fit.
    pub(super) fn append(&mut self, rule: &Rule) {
        match self.always {
            Some(_) => {}
            None if rule.when.is_empty() => self.always = Some(rule.action),
            None => self.when.extend(rule.when.iter().map(|tests| (tests.clone(), rule.action))),
        }
    }

    /// All rules are there. What is refused through a multiplexer comes before its own rules, what is let through behind
    /// them.
    pub(super) fn settle_in_order(&mut self, default: Action) {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        let through = std::mem::take(&mut self.through);
        for (i, first) in through.iter().enumerate() {
            if through[..i].iter().any(|other| other.test == first.test) {
                continue;
            }
            let same: Vec<&Through> = through[i..].iter().filter(|other| other.test == first.test).collect();
            let Some(action) = self.through_this(&same, default) else { continue };
            let rule = (vec![first.test], action);
            if action.lets_through() { behind.push(rule) } else { before.push(rule) }
        }
        self.when.splice(0..0, before);
        self.when.extend(behind);
        // What is decided the same way without them is no condition.
        let otherwise = self.always.unwrap_or(default);
        while self.when.last().is_some_and(|(_, action)| *action == otherwise) {
            self.when.pop();
        }
    }

    /// What becomes of another call that is made through this one. Its conditions cannot be looked at: a refusal among its
    /// rules holds for all of it, and where some of it is left to the default, that holds as well. Whoever settles the
    /// multiplexer itself knows of the conditions.
    fn through_this(&self, rules: &[&Through], default: Action) -> Option<Action> {
        let settled = rules.iter().position(|rule| !rule.blind);
        let seen = &rules[..settled.map_or(rules.len(), |n| n + 1)];
        if let Some(own) = self.always {
            return match seen {
                [only] if !only.blind && !only.action.lets_through() && only.action < own => {
                    Some(only.action)
                }
                _ => None,
            };
        }
        let refused = seen.iter().map(|rule| rule.action).filter(|action| !action.lets_through()).min();
        let action = match refused {
            Some(refused) => refused,
            None if settled.is_none() && !default.lets_through() => default,
            None => seen.iter().map(|rule| rule.action).min()?,
        };
        (action != default).then_some(action)
    }
}
