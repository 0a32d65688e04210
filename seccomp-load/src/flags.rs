//! From the command line to a layer.

use crate::cli::Args;
use crate::{action, arch, load, number, sets};
use chain::files::Files;
use chain::oci::SyscallRule;
use chain::spec::SeccompLoad;
use chain::{Error, Result, near};
use std::collections::BTreeMap;

/// What `--try` can be said of.
const TRY: &str = "syscalls";
const DOING: &str = "read the command line";

/// Flags on top of a share of config.json, or of nothing.
pub(crate) fn from_flags(args: &Args, base: SeccompLoad, files: &Files<'_>) -> Result<SeccompLoad> {
    let mut spec = base;
    if let Some(word) = args.attempt.iter().find(|w| *w != TRY) {
        let detail = format!("--try: '{}' is not something that can be left out", word.escape_debug());
        return Err(Error::usage(DOING, detail).cure(format_args!("--try {TRY}")));
    }
    let lenient = !args.attempt.is_empty();
    spec.unknown_syscalls_warn |= lenient;
    if let Some(path) = &args.profile {
        spec.seccomp = None;
        spec.profile = Some(load::profile(path, args.format.as_deref(), lenient, files)?);
    }
    spec.rules.extend(rules(args, lenient)?);
    if let Some(word) = &args.default {
        let (action, errno_ret) = action::of_word(word)?;
        spec.default = Some(SyscallRule { action, errno_ret, ..SyscallRule::default() });
    }
    if let Some(path) = &args.notify {
        spec.notify = Some(path.as_path().into());
    }
    if let Some(path) = &args.learn {
        spec.learn = Some(path.as_path().into());
    }
    if let Some(path) = &args.cache {
        spec.cache = Some(path.as_path().into());
    }
    spec.explain |= args.explain;
    spec.log |= args.log;
    spec.allow_new_privileges |= args.allow_new_privs;
    let asks =
        spec.learn.is_some() || spec.profile.is_some() || !spec.rules.is_empty() || spec.default.is_some();
    if !asks
        && args.common.oci.is_none()
        && args.common.show.is_none()
        && !args.common.check
        && args.list.is_none()
    {
        return Err(
            Error::usage("filter anything", "no profile and no rule").cure("seccomp-load @default -- …")
        );
    }
    Ok(spec)
}

/// The same with another profile, to be held against it.
pub(crate) fn other(spec: &SeccompLoad, args: &Args) -> Result<SeccompLoad> {
    let Some(path) = &args.diff else { return Ok(spec.clone()) };
    let profile = Some(load::profile(path, None, !args.attempt.is_empty(), &Files::default())?);
    let (allow_new_privileges, unknown_syscalls_warn) =
        (spec.allow_new_privileges, spec.unknown_syscalls_warn);
    let notify = spec.notify.clone();
    Ok(SeccompLoad { profile, notify, allow_new_privileges, unknown_syscalls_warn, ..SeccompLoad::default() })
}

/// `-s`, `--deny`, `--allow`, one rule for each action.
fn rules(args: &Args, lenient: bool) -> Result<Vec<SyscallRule>> {
    let mut rules: Vec<SyscallRule> = Vec::new();
    let mut seen = BTreeMap::new();
    let pairs = args.rules.iter().map(|word| {
        word.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            let detail = format!("-s: '{}' is not CALL:ACTION", word.escape_debug());
            Error::usage(DOING, detail).cure("-s mount:EPERM")
        })
    });
    let denied = args.deny.iter().map(|name| Ok((name.as_str(), "EPERM")));
    let allowed = args.allow.iter().map(|name| Ok((name.as_str(), "allow")));
    for pair in pairs.chain(denied).chain(allowed) {
        let (word, action) = pair?;
        let (action, errno_ret) = action::of_word(action)?;
        for name in calls(word, lenient)? {
            match seen.insert(name.clone(), (action.clone(), errno_ret)) {
                None => add(&mut rules, &name, &action, errno_ret),
                // In two sets.
                Some(before) if before == (action.clone(), errno_ret) && name != word => {}
                Some(_) => {
                    return Err(Error::usage(DOING, format_args!("'{}' stands twice", name.escape_debug())));
                }
            }
        }
    }
    Ok(rules)
}

fn add(rules: &mut Vec<SyscallRule>, name: &str, action: &str, errno_ret: Option<u32>) {
    match rules.iter_mut().find(|r| r.action == action && r.errno_ret == errno_ret) {
        Some(rule) => rule.names.push(name.into()),
        None => rules.push(SyscallRule {
            names: vec![name.into()],
            action: action.into(),
            errno_ret,
            args: Vec::new(),
        }),
    }
}

/// One call, or those of a set.
fn calls(word: &str, lenient: bool) -> Result<Vec<String>> {
    if !word.starts_with('@') {
        if !lenient {
            known(word)?;
        }
        return Ok(vec![word.to_string()]);
    }
    sets::calls(word).ok_or_else(|| {
        let all: Vec<&str> = sets::names().collect();
        let error = Error::usage(DOING, format_args!("there is no set '{}'", word.escape_debug()));
        match near::nearest(word, sets::names()) {
            Some(near) => error.cure(format_args!("{near}?")),
            None => error.cure(all.join(" ")),
        }
    })
}

/// A misspelt name would make a rule that does nothing.
fn known(name: &str) -> Result<()> {
    let native = arch::native();
    if number::entries(name, native).is_some() {
        return Ok(());
    }
    let error = Error::usage(DOING, format_args!("'{}' is not a system call", name.escape_debug()));
    Err(match number::nearest(name, native) {
        Some(near) => error.cure(format_args!("{near}?")),
        None => error.cure(format_args!("--try {TRY}, to leave out what this build does not know")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use chain::spec::ProfileSource;

    fn of(line: &str) -> Result<SeccompLoad> {
        from_flags(&cli::parse(line)?, SeccompLoad::default(), &Files::default())
    }

    #[test]
    fn one_rule_for_each_action() {
        let spec = of("-s mkdir:EPERM,mkdirat:1 -s unlink:kill --deny mount --allow read").unwrap();
        let rules: Vec<(String, &str, Option<u32>)> =
            spec.rules.iter().map(|r| (r.names.join(" "), r.action.as_str(), r.errno_ret)).collect();
        assert_eq!(
            rules,
            [
                ("mkdir mkdirat mount".into(), "SCMP_ACT_ERRNO", Some(1)),
                ("unlink".into(), "SCMP_ACT_KILL_PROCESS", None),
                ("read".into(), "SCMP_ACT_ALLOW", None)
            ]
        );
        assert!(!spec.unknown_syscalls_warn && !spec.allow_new_privileges);
    }

    #[test]
    fn sets_are_spelt_out_and_may_overlap() {
        let spec = of("--deny @privileged,@mount -s @keyring:ENOSYS").unwrap();
        assert_eq!(spec.rules.len(), 2);
        assert_eq!(spec.rules[0].names, ["add_key", "keyctl", "request_key"]);
        let denied = &spec.rules[1].names;
        for name in ["chroot", "mount", "kexec_load", "setuid"] {
            assert_eq!(denied.iter().filter(|n| *n == name).count(), 1, "{name}");
        }
        assert_eq!(of("--deny @mounts").unwrap_err().cure.as_deref(), Some("@mount?"));
        assert_eq!(of("@mount").unwrap_err().cure.as_deref(), Some("--deny @mount"));
    }

    #[test]
    fn the_examples_of_the_help() {
        assert!(of("--deny @mount,@module,@keyring").is_ok());
        assert_eq!(of("@default").unwrap().profile, Some(ProfileSource::Own("@default".into())));
        assert!(of("-s openat2:ENOSYS,clone3:ENOSYS").is_ok());
        let pure = of("--default kill --allow read,write,exit_group,execve").unwrap();
        assert_eq!(pure.default.unwrap().action, "SCMP_ACT_KILL_PROCESS");
        let notify = of("-s mount:notify --notify /run/agent.sock").unwrap();
        assert_eq!(notify.notify, Some("/run/agent.sock".into()));
        assert!(cli::parse("@default --print --raw").unwrap().raw);
        assert!(of("-N --allow-new-privileges -s openat2:ENOSYS").unwrap().allow_new_privileges);
    }

    #[test]
    fn what_would_do_nothing_or_something_else_is_refused() {
        for (line, said) in [
            ("", "no profile and no rule"),
            ("-s mount", "'mount' is not CALL:ACTION"),
            ("-s :EPERM", "':EPERM' is not CALL:ACTION"),
            ("-s mount:", "'' is not an action"),
            ("-s mount:eperm", "'eperm' is not an action"),
            ("-s mkdri:EPERM", "'mkdri' is not a system call"),
            ("--deny mount,", "'' is not a system call"),
            ("--deny MOUNT", "'MOUNT' is not a system call"),
            ("--default deny -s mount:EPERM", "'deny' is not an action"),
            ("-s mount:EPERM --allow mount", "'mount' stands twice"),
            ("@defalt", "there is no profile '@defalt'"),
            ("@", "there is no profile '@'"),
            ("@mount", "there is no profile '@mount'"),
            ("--deny @mounts", "there is no set '@mounts'"),
            ("--deny @", "there is no set '@'"),
            ("--deny @mount --allow mount", "'mount' stands twice"),
            ("@default --try everything", "'everything' is not something that can be left out"),
            ("--raw @default", "--print"),
            ("@default profile.json", "profile.json"),
            ("/nonexistent/profile.json", "No such file or directory (ENOENT)"),
        ] {
            let error = of(line).expect_err(line).to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert_eq!(of("-s mkdri:EPERM").unwrap_err().cure.as_deref(), Some("mkdir?"));
        assert!(of("-s mkdri:EPERM --try syscalls").unwrap().unknown_syscalls_warn);
    }
}
