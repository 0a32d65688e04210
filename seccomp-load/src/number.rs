//! System calls by name: libseccomp's tables, and the calls that are newer than the library that is linked in.

use crate::arch::Arch;
use chain::near;
use libseccomp::ScmpSyscall;

/// Calls added since Linux 6.5 have one number everywhere. Kept up to `file_setattr`, Linux 6.17.
const NEWER: [(&str, u32); 19] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// The newest of all that are known here.
pub(crate) const NEWEST: u32 = NEWER[NEWER.len() - 1].1;

/// No kernel has a call behind this one, short of x32's bit.
pub(crate) const LAST: u32 = 0x3fff_ffff;

/// Calls that one architecture has.
const OWN: [(&str, &str, u32); 3] = [
    ("uretprobe", "SCMP_ARCH_X86_64", 335),
    ("uprobe", "SCMP_ARCH_X86_64", 336),
    ("riscv_hwprobe", "SCMP_ARCH_RISCV64", 258),
];

/// How an architecture makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// By this number.
    Direct(u32),
    /// Through another call, whose first argument (as far as the mask) says which: socketcall(2), ipc(2).
    Through {
        /// Number of the other call.
        number: u32,
        /// Value of its first argument.
        which: u32,
        /// Bits of the argument that say so: ipc(2) has a version in the upper half.
        mask: u32,
    },
}

/// i386 got calls of their own for these later, most in Linux 4.3 and 5.1; libseccomp's tables have only the old way.
const X86_SOCKETS: [(&str, u32); 17] = [
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
];

const X86_IPC: [(&str, u32); 10] = [
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

const X86_SOCKETCALL: u32 = 102;
const X86_IPC_CALL: u32 = 117;

/// Ways to make one call.
pub(crate) type Entries = [Option<Entry>; 2];

/// Ways to make the call `name` on `arch`; none where it has no such call. None when no architecture has it.
pub(crate) fn entries(name: &str, arch: &Arch) -> Option<Entries> {
    let Ok(call) = ScmpSyscall::from_name_by_arch(name, arch.token) else { return newer(name, arch) };
    let number = call.as_raw_syscall();
    if let Ok(number) = u32::try_from(number) {
        return Some([Some(Entry::Direct(number)), None]);
    }
    // libseccomp's numbers below zero: -100-n is socketcall n, -200-n is ipc n, the rest is not of this architecture.
    let (through, mask, which) = match number {
        -120..=-101 => (X86_SOCKETCALL, u32::MAX, -number - 100),
        -224..=-201 => (X86_IPC_CALL, 0xffff, -number - 200),
        _ => return Some([None; 2]),
    };
    if arch.name != "SCMP_ARCH_X86" {
        return Some([None; 2]);
    }
    let direct = X86_SOCKETS.iter().chain(&X86_IPC).find(|(n, _)| *n == name).map(|(_, n)| Entry::Direct(*n));
    Some([direct, Some(Entry::Through { number: through, which: which as u32, mask })])
}

fn newer(name: &str, arch: &Arch) -> Option<Entries> {
    if let Some((_, number)) = NEWER.iter().find(|(n, _)| *n == name) {
        return Some([Some(Entry::Direct(arch.base + number)), None]);
    }
    let (_, owner, number) = OWN.iter().find(|(n, ..)| *n == name)?;
    Some([(arch.name == *owner).then_some(Entry::Direct(*number)), None])
}

/// The name of a call of `arch`.
pub(crate) fn name(number: u32, arch: &Arch) -> Option<String> {
    let plain = number - arch.base;
    let newer = NEWER.iter().find(|(_, n)| *n == plain).map(|(name, _)| *name);
    let own = OWN.iter().find(|(_, owner, n)| *n == plain && arch.name == *owner).map(|(name, ..)| *name);
    let call = ScmpSyscall::from_raw_syscall(i32::try_from(number).ok()?);
    call.get_name_by_arch(arch.token).ok().or(newer.or(own).map(String::from))
}

/// The known name nearest to one that is not known.
pub(crate) fn nearest(word: &str, arch: &Arch) -> Option<String> {
    let tables = (0..480).filter_map(|n| name(arch.base + n, arch)).collect::<Vec<_>>();
    near::nearest(word, tables.iter().map(String::as_str)).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::by_name;

    fn of(name: &str, arch: &str) -> Option<Vec<Entry>> {
        entries(name, by_name(arch).unwrap()).map(|e| e.into_iter().flatten().collect())
    }

    #[test]
    fn numbers_of_each_architecture() {
        assert_eq!(of("read", "SCMP_ARCH_X86_64"), Some(vec![Entry::Direct(0)]));
        assert_eq!(of("read", "SCMP_ARCH_X32"), Some(vec![Entry::Direct(0x4000_0000)]));
        assert_eq!(of("read", "SCMP_ARCH_X86"), Some(vec![Entry::Direct(3)]));
        assert_eq!(of("mseal", "SCMP_ARCH_X32"), Some(vec![Entry::Direct(0x4000_01ce)]));
        assert_eq!(of("_llseek", "SCMP_ARCH_X86_64"), Some(vec![]));
        assert_eq!(of("uretprobe", "SCMP_ARCH_X86"), Some(vec![]));
        assert_eq!(of("nosuchcall", "SCMP_ARCH_X86"), None);
        assert_eq!(of("", "SCMP_ARCH_X86"), None);
        assert_eq!(of("a\0b", "SCMP_ARCH_X86"), None);
    }

    #[test]
    fn what_i386_makes_in_two_ways() {
        let through = |number, which, mask| Entry::Through { number, which, mask };
        assert_eq!(of("socket", "SCMP_ARCH_X86").unwrap(), [Entry::Direct(359), through(102, 1, u32::MAX)]);
        assert_eq!(of("accept", "SCMP_ARCH_X86").unwrap(), [through(102, 5, u32::MAX)]);
        assert_eq!(of("shmat", "SCMP_ARCH_X86").unwrap(), [Entry::Direct(397), through(117, 21, 0xffff)]);
    }

    #[test]
    fn names_and_near_names() {
        let native = by_name("SCMP_ARCH_X86_64").unwrap();
        assert_eq!(name(165, native).as_deref(), Some("mount"));
        assert_eq!(name(462, native).as_deref(), Some("mseal"));
        assert_eq!(name(9999, native), None);
        assert_eq!(nearest("mkdri", native).as_deref(), Some("mkdir"));
        assert_eq!(nearest("statmont", native).as_deref(), Some("statmount"));
    }

    #[test]
    fn the_own_table_agrees_with_the_library_where_both_know() {
        for (call, number) in NEWER {
            if let Ok(known) =
                ScmpSyscall::from_name_by_arch(call, by_name("SCMP_ARCH_X86_64").unwrap().token)
            {
                assert_eq!(known.as_raw_syscall(), number as i32, "{call}");
            }
        }
    }
}
