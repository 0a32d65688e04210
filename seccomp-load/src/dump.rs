//! The filter as the object `linux.seccomp` of OCI, with the rules that hold here: `@default`, Docker's file and the rules
//! of a command line for whoever reads config.json alone.

use crate::facts::Facts;
use crate::plan;
use crate::rule::{FLAG_LOG, FLAG_SPEC_ALLOW, Head, Op, Test};
use chain::oci::{Seccomp, SyscallArg, SyscallRule};
use chain::spec::SeccompLoad;
use chain::sys::seccomp::FLAG_WAIT_KILLABLE_RECV;
use chain::{Class, Error, Result};

/// The object, in lines.
pub(crate) fn text(spec: &SeccompLoad, facts: &Facts) -> Result<String> {
    let doing = "write the filter down";
    let none = || Error::new(Class::Internal, doing, "there is none");
    let (head, rules) = plan::written(spec, facts)?.ok_or_else(none)?;
    let mut seccomp = of_head(&head);
    for (rule, _) in rules.into_iter().filter(|(rule, _)| !rule.names.is_empty()) {
        let (action, errno_ret) = rule.action.oci();
        // A rule of several alternatives becomes a rule for each.
        let alternatives = if rule.when.is_empty() { vec![Vec::new()] } else { rule.when };
        seccomp.syscalls.extend(alternatives.iter().map(|tests| SyscallRule {
            names: rule.names.clone(),
            action: action.into(),
            errno_ret,
            args: tests.iter().map(arg).collect(),
        }));
    }
    let text = serde_json::to_string_pretty(&seccomp).map_err(|e| Error::new(Class::Internal, doing, e))?;
    Ok(text + "\n")
}

fn of_head(head: &Head) -> Seccomp {
    let (default_action, default_errno_ret) = head.default.oci();
    let flags = [
        (FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"),
        (FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
    ];
    let flags = flags.iter().filter(|(flag, _)| head.flags & flag != 0).map(|(_, name)| name.to_string());
    Seccomp {
        default_action: default_action.into(),
        default_errno_ret,
        architectures: head.archs.iter().map(|arch| arch.name.to_string()).collect(),
        flags: Some(flags.collect()),
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
            let seccomp: Seccomp = serde_json::from_str(&text(&spec, &facts).unwrap()).unwrap();
            let again =
                SeccompLoad { seccomp: Some(seccomp), unknown_syscalls_warn: true, ..SeccompLoad::default() };
            let code = |spec| plan::resolve(spec, &facts).unwrap().filter.unwrap().code;
            assert_eq!(code(&spec), code(&again));
        }
    }
}
