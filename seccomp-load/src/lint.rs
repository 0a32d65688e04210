//! What `--print` says of a filter that refuses one of several calls that do the same: chmod(1) makes fchmodat.

use crate::action::Action;
use crate::table::{ENOSYS, Table};
use crate::{arch, number};

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

/// One line for each refused call whose kin goes through. A call that is answered with ENOSYS is none: there the kernel
/// plays an older one, and its programs are meant to go the other way.
pub(crate) fn lines(table: &Table) -> Vec<String> {
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
    use chain::oci::SyscallRule;
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
