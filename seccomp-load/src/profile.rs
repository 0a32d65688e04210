//! A profile as Docker and podman keep it in a file: which of its rules hold here.

use crate::action;
use crate::arch;
use crate::facts::Facts;
use crate::rule::{self, Head, Rule};
use caps::Capability;
use chain::oci::{Condition, Profile, ProfileRule, Seccomp, SyscallRule};
use chain::{Error, Result};
use std::str::FromStr;

/// Its rules here. What does not hold here is read all the same: a profile that is wrong is wrong everywhere.
pub(crate) fn rules(profile: Profile, facts: &Facts) -> Result<(Head, Vec<Rule>)> {
    let head = rule::head(&head(&profile)?, "")?;
    let mut rules = Vec::with_capacity(profile.syscalls.len());
    for (i, written) in profile.syscalls.into_iter().enumerate() {
        let at = format!("syscalls[{i}]");
        let here = holds(&written, &at, facts)?;
        let rule = one(written, at)?;
        if here {
            rules.push(rule);
        }
    }
    Ok((head, rules))
}

fn wrong(at: &str, text: impl std::fmt::Display) -> Error {
    Error::usage("read the filter", format_args!("{at}: {text}"))
}

fn head(profile: &Profile) -> Result<Seccomp> {
    let native = arch::native().name;
    let mut architectures = profile.architectures.clone();
    if !profile.arch_map.is_empty() && !architectures.is_empty() {
        return Err(wrong("archMap", "architectures is there too, and only one of them can count"));
    }
    for (i, map) in profile.arch_map.iter().enumerate() {
        for name in map.sub_architectures.iter().chain([&map.architecture]) {
            if arch::by_name(name).is_none() {
                return Err(wrong(
                    &format!("archMap[{i}]"),
                    format_args!("'{}' is not known", name.escape_debug()),
                ));
            }
        }
        if map.architecture == native {
            architectures.extend(map.sub_architectures.iter().cloned());
        }
    }
    Ok(Seccomp {
        default_action: profile.default_action.clone(),
        default_errno_ret: errno(
            profile.default_errno_ret,
            profile.default_errno.as_deref(),
            "defaultErrno",
        )?,
        architectures,
        flags: profile.flags.clone(),
        listener_path: profile.listener_path.clone(),
        listener_metadata: profile.listener_metadata.clone(),
        syscalls: Vec::new(),
    })
}

/// By number, by name (podman's), or by both if they agree.
fn errno(number: Option<u32>, name: Option<&str>, at: &str) -> Result<Option<u32>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(number) };
    let named = action::errno(name)
        .ok_or_else(|| wrong(at, format_args!("'{}' is no errno", name.escape_debug())))?;
    match number {
        Some(number) if number != named => {
            Err(wrong(at, format_args!("{name} is {named}, and the number beside it is {number}")))
        }
        _ => Ok(Some(named)),
    }
}

fn one(written: ProfileRule, at: String) -> Result<Rule> {
    let mut names = written.names;
    if let Some(name) = written.name {
        if !names.is_empty() {
            return Err(wrong(&format!("{at}.name"), "names is there too, and only one of them can count"));
        }
        names.push(name);
    }
    let errno_ret = errno(written.errno_ret, written.errno.as_deref(), &format!("{at}.errno"))?;
    rule::rule(SyscallRule { names, action: written.action, errno_ret, args: written.args }, at)
}

/// Whether the rule is there: all of `includes`, none of `excludes`.
fn holds(rule: &ProfileRule, at: &str, facts: &Facts) -> Result<bool> {
    let mut here = true;
    if let Some(condition) = &rule.includes {
        let found = Found::of(condition, &format!("{at}.includes"), facts)?;
        here &= found.caps.iter().all(|held| *held);
        here &= found.arches.is_empty() || found.arches.contains(&true);
        here &= found.kernel != Some(false);
    }
    if let Some(condition) = &rule.excludes {
        let found = Found::of(condition, &format!("{at}.excludes"), facts)?;
        here &= !found.caps.contains(&true) && !found.arches.contains(&true) && found.kernel != Some(true);
    }
    Ok(here)
}

/// Each part of a condition, and whether it is so here.
struct Found {
    caps: Vec<bool>,
    arches: Vec<bool>,
    kernel: Option<bool>,
}

impl Found {
    fn of(condition: &Condition, at: &str, facts: &Facts) -> Result<Found> {
        let mut caps = Vec::new();
        for (i, name) in condition.caps.iter().enumerate() {
            let cap = Capability::from_str(name).map_err(|_| {
                wrong(&format!("{at}.caps[{i}]"), format_args!("'{}' is no capability", name.escape_debug()))
            })?;
            caps.push(facts.caps & cap.bitmask() != 0);
        }
        let arches = condition.arches.iter().map(|name| name == arch::native().go).collect();
        let kernel = condition.min_kernel.as_deref().filter(|text| !text.is_empty());
        let kernel = kernel.map(|text| match version(text) {
            Some(least) => Ok(facts.kernel >= least),
            None => {
                let detail = format!("'{}' is not a version as 4.8", text.escape_debug());
                Err(wrong(&format!("{at}.minKernel"), detail))
            }
        });
        Ok(Found { caps, arches, kernel: kernel.transpose()? })
    }
}

/// `4.8` of a profile: two numbers and nothing else.
fn version(text: &str) -> Option<(u32, u32)> {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
    let (major, minor) = text.split_once('.')?;
    Some((digits(major)?, digits(minor)?))
}
