//! What `--print` says of a filter that has a way around it: it refuses one of several calls that do the same (chmod(1)
//! makes fchmodat), or looks at more of an argument than the kernel does.

use crate::action::Action;
use crate::policy::width;
use crate::rule::{Op, Test};
use crate::table::{Call, ENOSYS, Table};
use crate::{arch, number};
use std::collections::BTreeSet;

/// Calls that get a program to the same place.
const KIN: [&str; 16] = [
    "accept accept4",
    "chmod fchmodat fchmodat2 fchmod",
    "chown lchown fchownat fchown",
    "clone clone3 fork vfork",
    "execve execveat",
    "kill tkill tgkill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo",
    "link linkat",
    "mkdir mkdirat",
    "mknod mknodat",
    "mount move_mount fsmount open_tree mount_setattr",
    "open openat openat2 creat",
    "ptrace process_vm_readv process_vm_writev pidfd_getfd",
    "rename renameat renameat2",
    "setxattr lsetxattr fsetxattr setxattrat",
    "symlink symlinkat",
    "unlink unlinkat",
];

/// What there is to say.
pub(crate) fn lines(table: &Table) -> Vec<String> {
    [kin(table), upper_halves(table)].concat()
}

/// A condition on an int that looks at all 64 bits: what a program sets in the upper half, the kernel drops. A line for
/// each by which a call goes through that the rules would have held back.
fn upper_halves(table: &Table) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for calls in &table.archs {
        // Others have no upper half.
        let calls_of = calls.calls.iter().filter(|_| calls.arch.wide);
        for (name, call) in calls_of.filter_map(|(n, call)| Some((number::name(*n, calls.arch)?, call))) {
            let around = call.when.iter().flat_map(|(tests, action)| {
                tests.iter().filter(|test| gets_around(&name, test, *action, call, table.default))
            });
            lines.extend(around.map(|test| {
                let index = test.index;
                format!(
                    "{name}: arg{index} is an int, of which the kernel drops the upper 32 bits, and with one of these set \
                     nothing is held back by '{test}': int{index} in lines, or SCMP_CMP_MASKED_EQ with 0xffffffff, looks at \
                     the int alone"
                )
            }));
        }
    }
    lines.into_iter().collect()
}

/// With a bit set in the upper half, what is equal or less no longer holds, and the rest does.
fn gets_around(name: &str, test: &Test, action: Action, call: &Call, default: Action) -> bool {
    let helps = match test.op {
        Op::Eq | Op::Lt | Op::Le => !action.lets_through() && call.always.unwrap_or(default).lets_through(),
        Op::Ne | Op::Gt | Op::Ge => action.lets_through() && !call.always.unwrap_or(default).lets_through(),
        Op::Masked(_) | Op::Unlike(_) | Op::Int(_) => false,
    };
    helps && width(name, test.index.into()).is_ok_and(|bits| bits <= u32::MAX.into())
}

/// One line for each refused call whose kin goes through. A call that is answered with ENOSYS is none: there the kernel
/// plays an older one, and its programs are meant to go the other way.
fn kin(table: &Table) -> Vec<String> {
    let action = |name: &str| match number::entries(name, arch::native())? {
        [Some(number::Entry::Direct(number)), _] => table.native(number.into()),
        _ => None,
    };
    let mut lines = Vec::new();
    for kin in KIN {
        let known = || kin.split_ascii_whitespace().filter_map(|name| Some((name, action(name)?)));
        let refused = |action: Action| !action.lets_through() && action != ENOSYS;
        let names = |wanted: &dyn Fn(Action) -> bool| -> Vec<&str> {
            known().filter(|(_, action)| wanted(*action)).map(|(name, _)| name).collect()
        };
        let (shut, open) = (names(&refused), names(&Action::lets_through));
        if !shut.is_empty() && !open.is_empty() {
            lines.push(format!(
                "{} refused, and the same goes through by {}",
                shut.join(", "),
                open.join(", ")
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use chain::oci::{SyscallArg, SyscallRule};
    use chain::spec::{ProfileSource, SeccompLoad};

    fn said(words: &[(&str, &str)]) -> Vec<String> {
        let rule = |(name, word): &(&str, &str)| {
            let (action, errno_ret) = crate::action::of_word(word).unwrap();
            SyscallRule { names: vec![name.to_string()], action, errno_ret, args: Vec::new() }
        };
        let spec = SeccompLoad { rules: words.iter().map(rule).collect(), ..SeccompLoad::default() };
        lines(&crate::plan::resolve(&spec, &Facts::default()).unwrap().filter.unwrap().table)
    }

    #[test]
    fn a_way_around_is_named() {
        if cfg!(target_arch = "x86_64") {
            let lines = said(&[("chmod", "EPERM")]);
            assert_eq!(lines, ["chmod refused, and the same goes through by fchmodat, fchmodat2, fchmod"]);
            assert!(said(&[("unlink", "kill"), ("unlinkat", "EPERM")]).is_empty());
        }
        assert!(said(&[("openat2", "ENOSYS"), ("read", "EPERM")]).is_empty());
    }

    #[test]
    fn a_condition_on_more_of_an_int_than_the_kernel_takes_is_named() {
        let of = |default: &str, action: &str, call: &str, op: &str| {
            let arg = SyscallArg { index: 0, op: format!("SCMP_CMP_{op}"), value: 40, value_two: 40 };
            let rule = SyscallRule {
                names: vec![call.into()],
                action: action.into(),
                args: vec![arg],
                ..SyscallRule::default()
            };
            let default = Some(SyscallRule { action: default.into(), ..SyscallRule::default() });
            let start = SyscallRule {
                names: vec!["execve".into()],
                action: "SCMP_ACT_ALLOW".into(),
                ..SyscallRule::default()
            };
            let spec = SeccompLoad { rules: vec![rule, start], default, ..SeccompLoad::default() };
            upper_halves(&crate::plan::resolve(&spec, &Facts::default()).unwrap().filter.unwrap().table)
        };
        let (allow, errno) = ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
        for op in ["EQ", "LT", "LE"] {
            assert!(of(allow, errno, "socket", op)[0].starts_with("socket: arg0 is an int"), "{op}");
            assert!(of(errno, allow, "socket", op).is_empty(), "{op}");
        }
        for op in ["NE", "GT", "GE"] {
            assert_eq!(of(errno, allow, "socket", op).len(), 1, "{op}");
            assert!(of(allow, errno, "socket", op).is_empty(), "{op}");
        }
        // All of it is looked at, or the int alone.
        assert!(of(allow, errno, "clone", "EQ").is_empty());
        assert!(of(allow, errno, "socket", "MASKED_EQ").is_empty());
    }

    #[test]
    fn the_default_profile_has_no_way_around() {
        let profile = Some(ProfileSource::Own("@default".into()));
        let spec = SeccompLoad { profile, ..SeccompLoad::default() };
        let plan = crate::plan::resolve(&spec, &Facts { kernel: (6, 1), ..Facts::default() }).unwrap();
        let lines = lines(&plan.filter.unwrap().table);
        // Docker lets tracing through, and not taking an fd out of the one that is traced.
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("pidfd_getfd refused"), "{lines:?}");
    }
}
