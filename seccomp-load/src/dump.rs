//! The filter written down, with the rules that hold here: as the object `linux.seccomp` of OCI, for whoever reads
//! config.json alone, or in the text language.

use crate::action::Action;
use crate::cli::Args;
use crate::facts::Facts;
use crate::flat::{self, Flat};
use crate::plan::{self, Filter, Written};
use crate::rule::{FLAG_LOG, FLAG_SPEC_ALLOW, Head, Op, Test};
use crate::table::ENOSYS;
use crate::{arch, express, facts, number, pfc, policy, program};
use chain::landing::Landing;
use chain::oci::{Seccomp, SyscallArg, SyscallRule};
use chain::report::stdout;
use chain::spec::SeccompLoad;
use chain::sys::seccomp::FLAG_WAIT_KILLABLE_RECV;
use chain::{Class, Error, Result};

/// What `--dump` can write.
const FORMATS: &str = "json, text, bpf, pfc";

/// `--dump`.
pub(crate) fn answer(filter: &Filter, spec: &SeccompLoad, landing: &Landing, args: &Args) -> Result<u8> {
    let facts = facts::gather(spec, landing)?;
    match args.dump.as_deref() {
        Some("bpf") => stdout(&program::bytes(&filter.code))?,
        Some("pfc") => stdout(pfc::text(&filter.table).as_bytes())?,
        Some("text") => stdout(text(spec, &facts)?.as_bytes())?,
        Some("json") | None => stdout(json(spec, &facts)?.as_bytes())?,
        Some(other) => {
            let detail = format!("--dump: '{}' is nothing that is written", other.escape_debug());
            return Err(Error::usage("read the command line", detail).cure(FORMATS));
        }
    }
    Ok(0)
}

/// The object, in lines.
pub(crate) fn json(spec: &SeccompLoad, facts: &Facts) -> Result<String> {
    let written = written(spec, facts)?;
    let in_order = written.0.in_order;
    let flat = flat::of(written.clone());
    let mut seccomp = of_head(&flat.head);
    match in_order {
        true => seccomp.syscalls = expressed(&flat)?,
        false => {
            for (rule, _) in written.1.into_iter().filter(|(rule, _)| !rule.names.is_empty()) {
                // A rule of several alternatives becomes a rule for each.
                let alternatives = if rule.when.is_empty() { vec![Vec::new()] } else { rule.when };
                seccomp
                    .syscalls
                    .extend(alternatives.iter().map(|tests| of_rule(&rule.names, tests, rule.action)));
            }
        }
    }
    // Names tell a reader how new the profile is; the newest is there, and between it and rules on top nothing is.
    let named = |name: &String| seccomp.syscalls.iter().any(|rule| rule.names.contains(name));
    let enosys = |decision: &flat::Decision| decision.when.is_empty() && decision.always == Some(ENOSYS);
    let between = flat.groups.iter().filter(|(_, decision)| enosys(decision)).flat_map(|(names, _)| names);
    let between: Vec<String> = between.filter(|name| !named(name)).cloned().collect();
    let newest = flat.newest.clone().map(|name| match name.as_str() {
        // OCI has no word for that: the newest that is known here.
        policy::NOTHING_NEWER => {
            number::name(arch::native().base + number::NEWEST, arch::native()).unwrap_or(name)
        }
        _ => name,
    });
    let newest: Vec<String> = newest.into_iter().filter(|name| !named(name)).collect();
    for (names, action) in [(between, ENOSYS), (newest, flat.head.default)] {
        if !names.is_empty() {
            seccomp.syscalls.push(of_rule(&names, &[], action));
        }
    }
    let text = serde_json::to_string_pretty(&seccomp).map_err(|e| Error::new(Class::Internal, DOING, e))?;
    Ok(text + "\n")
}

/// The text language.
pub(crate) fn text(spec: &SeccompLoad, facts: &Facts) -> Result<String> {
    Ok(policy::text(&flat::of(written(spec, facts)?)))
}

const DOING: &str = "write the filter down";

fn written(spec: &SeccompLoad, facts: &Facts) -> Result<Written> {
    plan::written(spec, facts)?.ok_or_else(|| Error::new(Class::Internal, DOING, "there is none"))
}

/// Rules that stand in order, as OCI's.
fn expressed(flat: &Flat) -> Result<Vec<SyscallRule>> {
    let mut rules = Vec::new();
    for (names, decision) in &flat.groups {
        let Some(expressed) = express::rules(decision, flat.head.default) else {
            let name = names.first().map_or("", String::as_str);
            let detail = format!("{name}: its conditions cannot be said exactly in OCI's words");
            return Err(Error::new(Class::Unsupported, DOING, detail).cure("--dump=text"));
        };
        rules.extend(expressed.iter().map(|(tests, action)| of_rule(names, tests, *action)));
    }
    Ok(rules)
}

fn of_rule(names: &[String], tests: &[Test], action: Action) -> SyscallRule {
    let (action, errno_ret) = action.oci();
    SyscallRule {
        names: names.to_vec(),
        action: action.into(),
        errno_ret,
        args: tests.iter().map(arg).collect(),
    }
}

/// OCI's names of these.
pub(crate) fn flags(flags: u64) -> Vec<&'static str> {
    const FLAGS: [(u64, &str); 3] = [
        (FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"),
        (FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
    ];
    FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect()
}

fn of_head(head: &Head) -> Seccomp {
    let (default_action, default_errno_ret) = head.default.oci();
    Seccomp {
        default_action: default_action.into(),
        default_errno_ret,
        architectures: head.archs.iter().map(|arch| arch.name.to_string()).collect(),
        flags: Some(flags(head.flags).iter().map(ToString::to_string).collect()),
        listener_path: head.agent.path.as_ref().map(ToString::to_string),
        listener_metadata: head.agent.metadata.clone(),
        syscalls: Vec::new(),
    }
}

fn arg(test: &Test) -> SyscallArg {
    let (op, value, value_two) = match test.op {
        Op::Eq => ("SCMP_CMP_EQ", test.value, 0),
        Op::Ne => ("SCMP_CMP_NE", test.value, 0),
        Op::Lt => ("SCMP_CMP_LT", test.value, 0),
        Op::Le => ("SCMP_CMP_LE", test.value, 0),
        Op::Gt => ("SCMP_CMP_GT", test.value, 0),
        Op::Ge => ("SCMP_CMP_GE", test.value, 0),
        Op::Masked(mask) => ("SCMP_CMP_MASKED_EQ", mask, test.value),
        // None of these comes here: express.rs.
        Op::Unlike(_) | Op::Int(_) => ("", test.value, 0),
    };
    SyscallArg { index: test.index.into(), value, value_two, op: op.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::spec::ProfileSource;

    #[test]
    fn what_was_written_down_is_the_same_program() {
        let profile = Some(ProfileSource::Own("@default".into()));
        for facts in [Facts::default(), Facts { caps: u64::MAX, kernel: (6, 1), ..Facts::default() }] {
            let spec = SeccompLoad { profile: profile.clone(), ..SeccompLoad::default() };
            let seccomp: Seccomp = serde_json::from_str(&json(&spec, &facts).unwrap()).unwrap();
            let again =
                SeccompLoad { seccomp: Some(seccomp), unknown_syscalls_warn: true, ..SeccompLoad::default() };
            let code = |spec| plan::resolve(spec, &facts).unwrap().filter.unwrap().code;
            assert_eq!(code(&spec), code(&again));
        }
    }
}
