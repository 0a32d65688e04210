//! OCI's words for a filter, read and checked: the names of calls stay names, all else becomes a value.

use crate::action::Action;
use crate::arch::{self, Arch};
use chain::bytes::Bytes;
use chain::oci::{Seccomp, SyscallArg, SyscallRule};
use chain::sys::seccomp::FLAG_WAIT_KILLABLE_RECV;
use chain::{Error, Result};
use std::fmt;

/// Compares one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Equal under a mask.
    Masked(u64),
    /// Not equal under a mask. OCI has no word for it.
    Unlike(u64),
    /// The lower halves alone, as an int has them. OCI has no word for these.
    Int(Order),
}

/// One argument before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Lt,
    Le,
    Gt,
    Ge,
}

/// The lower half of an argument: all that an int has.
pub(crate) const INT: u64 = 0xffff_ffff;

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Which, 0 to 5.
    pub(crate) index: u8,
    /// How.
    pub(crate) op: Op,
    /// With what.
    pub(crate) value: u64,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Test { index, op, value } = self;
        let (name, sign) = match op {
            Op::Masked(INT) => ("int", "=="),
            Op::Unlike(INT) => ("int", "!="),
            Op::Masked(mask) => return write!(f, "arg{index} & {mask:#x} == {value:#x}"),
            Op::Unlike(mask) => return write!(f, "arg{index} & {mask:#x} != {value:#x}"),
            Op::Eq => ("arg", "=="),
            Op::Ne => ("arg", "!="),
            Op::Lt => ("arg", "<"),
            Op::Le => ("arg", "<="),
            Op::Gt => ("arg", ">"),
            Op::Ge => ("arg", ">="),
            Op::Int(Order::Lt) => ("int", "<"),
            Op::Int(Order::Le) => ("int", "<="),
            Op::Int(Order::Gt) => ("int", ">"),
            Op::Int(Order::Ge) => ("int", ">="),
        };
        write!(f, "{name}{index} {sign} {value:#x}")
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its JSON path, for what is said of it later.
    pub(crate) at: String,
    /// Calls by name.
    pub(crate) names: Vec<String>,
    /// What becomes of them.
    pub(crate) action: Action,
    /// Alternatives, of each of which all tests must hold; none at all for a rule without conditions.
    pub(crate) when: Vec<Vec<Test>>,
    /// Stands on top of a profile, and tells nothing of how old that is.
    pub(crate) on_top: bool,
}

/// What holds for the whole filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// For calls that no rule names.
    pub(crate) default: Action,
    /// The native one first. Any other is killed.
    pub(crate) archs: Vec<&'static Arch>,
    /// seccomp(2)'s flags.
    pub(crate) flags: u64,
    /// Whoever wrote the rules knew all calls up to this one, whatever they name.
    pub(crate) newest: Option<u32>,
    /// The first rule that fits a call decides; else rules are put together as OCI has it.
    pub(crate) in_order: bool,
    /// Who is asked about calls that are notified.
    pub(crate) agent: Asked,
}

/// The agent of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its socket.
    pub(crate) path: Option<Bytes>,
    /// What it is told besides.
    pub(crate) metadata: Option<String>,
    /// The JSON path of its socket.
    pub(crate) at: String,
}

const DOING: &str = "read the filter";

/// All of `seccomp` but its rules. `at` is its JSON path, with a dot behind.
pub(crate) fn head(seccomp: &Seccomp, at: &str) -> Result<Head> {
    if seccomp.default_action.is_empty() {
        return Err(Error::usage(DOING, format_args!("{at}defaultAction: missing")));
    }
    let default =
        Action::of_oci(&seccomp.default_action, seccomp.default_errno_ret, &format!("{at}defaultAction"))?;
    let archs = arch::of_this_kernel(&seccomp.architectures).map_err(|name| {
        Error::usage(DOING, format_args!("{at}architectures: '{}' is not known", name.escape_debug()))
    })?;
    // The specification: a filter that asks nobody has no use for these two, and may have them.
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let agent = Asked {
        path: said(&seccomp.listener_path).map(|path| path.as_str().into()),
        metadata: said(&seccomp.listener_metadata),
        at: format!("{at}listenerPath"),
    };
    Ok(Head {
        default,
        archs,
        flags: flags(seccomp.flags.as_deref(), at)?,
        newest: None,
        in_order: false,
        agent,
    })
}

/// One of `syscalls`; `at` is its JSON path.
pub(crate) fn rule(rule: SyscallRule, at: String) -> Result<Rule> {
    let action = Action::of_oci(&rule.action, rule.errno_ret, &format!("{at}.action"))?;
    let when = alternatives(&rule.args, &at)?;
    if rule.names.is_empty() {
        return Err(Error::usage(DOING, format_args!("{at}.names: empty")));
    }
    Ok(Rule { at, names: rule.names, action, when, on_top: false })
}

/// Two conditions on one argument cannot be told to libseccomp in one rule, so the runtimes always took all conditions of
/// such a rule for alternatives, and profiles are written for that.
fn alternatives(args: &[SyscallArg], at: &str) -> Result<Vec<Vec<Test>>> {
    let mut tests = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        tests.push(test(arg, &format!("{at}.args[{i}]"))?);
    }
    let twice = tests.iter().enumerate().any(|(i, t)| tests[..i].iter().any(|o| o.index == t.index));
    Ok(match (tests.is_empty(), twice) {
        (true, _) => Vec::new(),
        (_, true) => tests.into_iter().map(|t| vec![t]).collect(),
        (_, false) => vec![tests],
    })
}

fn test(arg: &SyscallArg, at: &str) -> Result<Test> {
    let wrong = |member: &str, text: String| Error::usage(DOING, format_args!("{at}.{member}: {text}"));
    if arg.index > 5 {
        return Err(wrong("index", format!("{} is no argument (0 to 5)", arg.index)));
    }
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (Op::Eq, arg.value),
        "SCMP_CMP_NE" => (Op::Ne, arg.value),
        "SCMP_CMP_LT" => (Op::Lt, arg.value),
        "SCMP_CMP_LE" => (Op::Le, arg.value),
        "SCMP_CMP_GT" => (Op::Gt, arg.value),
        "SCMP_CMP_GE" => (Op::Ge, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Op::Masked(arg.value), arg.value_two & arg.value),
        other => return Err(wrong("op", format!("'{}' is not an operator", other.escape_debug()))),
    };
    Ok(Test { index: arg.index as u8, op, value })
}

/// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
pub(crate) const FLAG_LOG: u64 = 1 << 1;
pub(crate) const FLAG_SPEC_ALLOW: u64 = 1 << 2;

/// Without a word on them SPEC_ALLOW, as the runtimes do: the filter is no reason to switch speculation off, which makes
/// programs slow.
fn flags(names: Option<&[String]>, at: &str) -> Result<u64> {
    let Some(names) = names else { return Ok(FLAG_SPEC_ALLOW) };
    let mut flags = 0;
    for (i, name) in names.iter().enumerate() {
        flags |= match name.as_str() {
            // Every thread but one is gone at exec.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FLAG_WAIT_KILLABLE_RECV,
            other => {
                let detail = format!("{at}flags[{i}]: '{}' is not known", other.escape_debug());
                return Err(Error::usage(DOING, detail));
            }
        };
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(index: u32, op: &str) -> SyscallArg {
        SyscallArg { index, op: op.into(), value: 0xf0, value_two: 0x123 }
    }

    #[test]
    fn one_condition_each_must_all_hold_and_two_on_one_argument_are_alternatives() {
        let and = alternatives(&[arg(0, "SCMP_CMP_EQ"), arg(1, "SCMP_CMP_NE")], "x").unwrap();
        assert_eq!(and.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
        let or = alternatives(&[arg(0, "SCMP_CMP_EQ"), arg(1, "SCMP_CMP_NE"), arg(0, "SCMP_CMP_LT")], "x")
            .unwrap();
        assert_eq!(or.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        let masked = alternatives(&[arg(5, "SCMP_CMP_MASKED_EQ")], "x").unwrap();
        assert_eq!(masked, [[Test { index: 5, op: Op::Masked(0xf0), value: 0x20 }]]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let said = |index, op| {
            alternatives(&[arg(0, "SCMP_CMP_EQ"), arg(index, op)], "syscalls[3]").unwrap_err().to_string()
        };
        assert!(said(6, "SCMP_CMP_EQ").contains("syscalls[3].args[1].index: 6 is no argument"));
        for op in ["", "SCMP_CMP_EQUAL", "==", "scmp_cmp_eq"] {
            assert!(said(1, op).contains(&format!("syscalls[3].args[1].op: '{op}' is not an operator")));
        }
        let with = |change: fn(&mut Seccomp)| {
            let mut seccomp = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Seccomp::default() };
            change(&mut seccomp);
            head(&seccomp, "linux.seccomp.").unwrap_err()
        };
        let flag = with(|s| s.flags = Some(vec!["SECCOMP_FILTER_FLAG_LOGG".into()]));
        assert!(
            flag.to_string().contains("linux.seccomp.flags[0]: 'SECCOMP_FILTER_FLAG_LOGG' is not known"),
            "{flag}"
        );
        let arch = with(|s| s.architectures = vec!["SCMP_ARCH_X86_65".into()]);
        assert!(
            arch.to_string().contains("linux.seccomp.architectures: 'SCMP_ARCH_X86_65' is not known"),
            "{arch}"
        );
        assert!(
            with(|s| s.default_action.clear()).to_string().contains("linux.seccomp.defaultAction: missing")
        );
    }

    #[test]
    fn speculation_stays_on_unless_the_flags_say_otherwise() {
        let of = |names: Option<&[&str]>| {
            let names: Option<Vec<String>> = names.map(|n| n.iter().map(ToString::to_string).collect());
            flags(names.as_deref(), "").unwrap()
        };
        assert_eq!(of(None), FLAG_SPEC_ALLOW);
        assert_eq!(of(Some(&[])), 0);
        assert_eq!(of(Some(&["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])), FLAG_LOG);
    }
}
