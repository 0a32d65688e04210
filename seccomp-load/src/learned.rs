//! A learned profile: OCI's object, which Docker and podman take as a file too, with a comment that says what it is.

use crate::arch::{self, Arch};
use crate::keep::Target;
use crate::learn::{ALWAYS, ALWAYS_32};
use chain::oci::{Profile, ProfileRule, SyscallArg};
use chain::{Class, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// How the comment begins, and how a file is known that may be added to.
const MARK: &str = "Observed only";
/// A call that was made with more values than this is let through with any.
const MOST: usize = 32;

/// Argument index, its bits that count, what they were.
type Value = (u8, u64, u64);

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    runs: u32,
    /// What else stood in the file.
    rest: Profile,
    archs: BTreeSet<&'static str>,
    /// By name; the empty list is any argument.
    calls: BTreeMap<String, BTreeSet<Value>>,
}

/// What a run added.
pub(crate) struct Told {
    /// Calls in the file.
    pub(crate) calls: usize,
    /// Those that were not in it before, or not with this argument.
    pub(crate) new: usize,
    /// Architectures besides the native one.
    pub(crate) others: Vec<&'static str>,
}

impl Learned {
    /// A call was made. `matters`: index and bits of the argument that counts, and all arguments.
    pub(crate) fn add(&mut self, arch: &Arch, name: &str, matters: Option<(u8, u64, [u64; 6])>) {
        self.archs.insert(arch.name);
        let Some((index, mask, args)) = matters else {
            self.calls.insert(name.into(), BTreeSet::new());
            return;
        };
        let value = (index, mask, args[usize::from(index)] & mask);
        match self.calls.get_mut(name) {
            Some(any) if any.is_empty() => {}
            Some(values) if values.len() == MOST => values.clear(),
            Some(values) => {
                values.insert(value);
            }
            None => {
                self.calls.insert(name.into(), BTreeSet::from([value]));
            }
        }
    }

    /// This run's calls into those of the runs before.
    pub(crate) fn merge(&mut self, before: Learned) -> Told {
        let now = std::mem::replace(self, before);
        let native = arch::native().name;
        self.runs += 1;
        self.archs.extend(now.archs.iter().chain([&native]));
        let always_32 = now.archs.contains("SCMP_ARCH_X86").then_some(ALWAYS_32);
        let always = ALWAYS.into_iter().chain(always_32).map(|name| (name.to_string(), BTreeSet::new()));
        let mut new = 0;
        for (name, values) in now.calls.into_iter().chain(always) {
            let known = self
                .calls
                .get(&name)
                .is_some_and(|k| k.is_empty() || !values.is_empty() && values.is_subset(k));
            if known {
                continue;
            }
            new += 1;
            let kept = self.calls.entry(name).or_insert_with(|| values.clone());
            kept.extend(&values);
            if values.is_empty() || kept.len() > MOST {
                kept.clear();
            }
        }
        let others = now.archs.into_iter().filter(|name| *name != native).collect();
        Told { calls: self.calls.len(), new, others }
    }

    /// The file.
    pub(crate) fn text(self) -> Result<String> {
        let plural = if self.runs == 1 { "run" } else { "runs" };
        let comment = format!(
            "{MARK}: what {} {plural} of seccomp-load --learn did. What none of them came to is refused.",
            self.runs
        );
        let (any, some): (Vec<_>, Vec<_>) = self.calls.into_iter().partition(|(_, values)| values.is_empty());
        let any = any.into_iter().map(|(name, _)| name).collect();
        let conditional =
            some.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        let conditional = conditional.map(|(name, value)| allow(vec![name.clone()], vec![arg(*value)]));
        let mut profile = Profile { comment: Some(comment), ..self.rest };
        if profile.default_action.is_empty() {
            profile.default_action = "SCMP_ACT_ERRNO".into();
            profile.default_errno_ret = Some(libc::EPERM as u32);
        }
        profile.architectures.extend(self.archs.into_iter().map(String::from));
        // What somebody wrote by hand goes first: of two rules for a call without conditions the first one holds.
        profile.syscalls.push(allow(any, Vec::new()));
        profile.syscalls.extend(conditional);
        let text = serde_json::to_string_pretty(&profile);
        Ok(text.map_err(|e| Error::new(Class::Internal, "write the profile", e))? + "\n")
    }

    /// A file that a run before wrote, and that may have been changed by hand since.
    pub(crate) fn parse(text: &[u8], target: &Target) -> Result<Learned> {
        let doing = format_args!("add to {}", target.shown());
        let mut rest: Profile = chain::json::parse(text, doing)?;
        let marked = rest.comment.take().filter(|comment| comment.starts_with(MARK));
        let comment = marked
            .ok_or_else(|| Error::usage(doing, "it was not written by --learn").cure("another file"))?;
        let mut numbers = comment.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let mut learned = Learned { runs: numbers.next().unwrap_or(1), ..Learned::default() };
        for name in std::mem::take(&mut rest.architectures) {
            match arch::by_name(&name) {
                Some(arch) => learned.archs.insert(arch.name),
                None => {
                    let detail = format!("architectures: '{}' is not known", name.escape_debug());
                    return Err(Error::usage(doing, detail));
                }
            };
        }
        rest.syscalls.retain(|rule| !learned.take(rule));
        learned.rest = rest;
        Ok(learned)
    }

    /// Takes a rule in, if it has the shape of one that this program wrote.
    fn take(&mut self, rule: &ProfileRule) -> bool {
        let plain = allow(rule.names.clone(), rule.args.clone());
        if *rule != plain || rule.names.is_empty() {
            return false;
        }
        let value = match rule.args.as_slice() {
            [] => None,
            [one] if one.op == "SCMP_CMP_MASKED_EQ" && one.index < 6 => {
                Some((one.index as u8, one.value, one.value_two))
            }
            _ => return false,
        };
        for name in &rule.names {
            let values = self.calls.get_mut(name);
            match (value, values) {
                (None, _) => drop(self.calls.insert(name.clone(), BTreeSet::new())),
                (Some(_), Some(any)) if any.is_empty() => {}
                (Some(value), Some(values)) => drop(values.insert(value)),
                (Some(value), None) => drop(self.calls.insert(name.clone(), BTreeSet::from([value]))),
            }
        }
        true
    }
}

fn allow(names: Vec<String>, args: Vec<SyscallArg>) -> ProfileRule {
    ProfileRule { names, action: "SCMP_ACT_ALLOW".into(), args, ..ProfileRule::default() }
}

fn arg((index, mask, value): Value) -> SyscallArg {
    SyscallArg { index: index.into(), value: mask, value_two: value, op: "SCMP_CMP_MASKED_EQ".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(requests: std::ops::Range<u64>) -> Learned {
        let mut learned = Learned::default();
        for request in requests {
            learned.add(arch::native(), "ioctl", Some((1, 0xffff_ffff, [0, request | 7 << 32, 0, 0, 0, 0])));
        }
        learned
    }

    #[test]
    fn one_value_too_many_is_any_value_in_one_run_or_several() {
        assert_eq!(with(0..32).calls["ioctl"].len(), 32);
        assert!(with(0..32).calls["ioctl"].contains(&(1, 0xffff_ffff, 5)));
        assert!(with(0..33).calls["ioctl"].is_empty());
        assert!(with(0..99).calls["ioctl"].is_empty());
        let mut both = with(20..40);
        assert_eq!(both.merge(with(0..20)).new, 1 + ALWAYS.len());
        assert!(both.calls["ioctl"].is_empty());
        // And stays so.
        let mut again = with(50..51);
        assert_eq!((again.merge(both).new, again.calls["ioctl"].len()), (0, 0));
    }

    #[test]
    fn what_was_known_is_not_told_as_new() {
        let mut first = with(0..3);
        first.merge(Learned::default());
        let mut second = with(1..3);
        let told = second.merge(first);
        assert_eq!((told.new, told.calls, second.runs), (0, 1 + ALWAYS.len(), 2));
        assert!(told.others.is_empty() && second.calls["ioctl"].len() == 3);
    }
}
