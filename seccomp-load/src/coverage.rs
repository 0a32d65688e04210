//! `@default` against what Docker documents of its default profile, by asking the compiled program.

use crate::action::Action;
use crate::arch::{self, by_name};
use crate::facts::Facts;
use crate::number::{self, Entry};
use crate::plan::{Plan, resolve};
use crate::simulate::{Made, allowed, native, run};
use caps::Capability;
use chain::spec::{ProfileSource, SeccompLoad};

/// Refused to who holds no capability, of all that x86_64 has; each for the reason that Docker's page on seccomp gives,
/// or because it is gone from the kernel.
const REFUSED: &str = "
    acct add_key afs_syscall bpf chroot clock_settime clone3 create_module delete_module fanotify_init finit_module
    fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module io_uring_enter io_uring_register
    io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise putpmsg query_module quotactl
    quotactl_fd reboot request_key security set_mempolicy set_mempolicy_home_node setdomainname sethostname setns
    settimeofday swapoff swapon sysfs syslog _sysctl tuxcall umount2 unshare uselib userfaultfd ustat vhangup vserver";

/// What each capability adds to it.
const GIVEN: [(Capability, &str); 14] = [
    (Capability::CAP_BPF, "bpf"),
    (Capability::CAP_DAC_READ_SEARCH, "open_by_handle_at"),
    (Capability::CAP_PERFMON, "perf_event_open"),
    (
        Capability::CAP_SYS_ADMIN,
        "bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
         sethostname setns syslog umount2 unshare",
    ),
    (Capability::CAP_SYS_BOOT, "reboot"),
    (Capability::CAP_SYS_CHROOT, "chroot"),
    (Capability::CAP_SYS_MODULE, "delete_module finit_module init_module"),
    (Capability::CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::CAP_SYS_PACCT, "acct"),
    (Capability::CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise"),
    (Capability::CAP_SYS_RAWIO, "ioperm iopl"),
    (Capability::CAP_SYS_TIME, "clock_settime settimeofday"),
    (Capability::CAP_SYS_TTY_CONFIG, "vhangup"),
    (Capability::CAP_SYSLOG, "syslog"),
];

const NEWEST: i64 = 466;

fn filter(caps: u64, kernel: (u32, u32)) -> Plan {
    let spec = SeccompLoad { profile: Some(ProfileSource::Own("@default".into())), ..SeccompLoad::default() };
    resolve(&spec, &Facts { caps, kernel, ..Facts::default() }).unwrap()
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

fn number(name: &str) -> i64 {
    match number::entries(name, arch::native()).unwrap_or_else(|| panic!("{name}")) {
        [Some(Entry::Direct(number)), None] => number.into(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Calls that go through whatever their arguments, as far as these show it. AF_UNIX, PER_LINUX, no CLONE_ flag are zero.
fn refused(plan: &Plan) -> Vec<String> {
    let code = &plan.filter.as_ref().unwrap().code;
    let mut names = Vec::new();
    for n in 0..=NEWEST {
        let Some(name) = number::name(n as u32, arch::native()) else { continue };
        if !allowed(native(code, n, [0; 6])) {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[test]
fn without_a_capability_exactly_what_docker_refuses() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let mut wanted = words(REFUSED);
    wanted.sort_unstable();
    // uprobe is younger than Docker's list.
    let found = refused(&filter(0, (6, 1)));
    assert_eq!(found.iter().filter(|n| *n != "uprobe").collect::<Vec<_>>(), wanted);
}

#[test]
fn each_capability_gives_its_own_calls_and_no_other() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let none = refused(&filter(0, (6, 1)));
    for cap in caps::all() {
        let with = refused(&filter(cap.bitmask(), (6, 1)));
        let given: Vec<&String> = none.iter().filter(|name| !with.contains(name)).collect();
        let mut wanted = GIVEN.iter().find(|(c, _)| *c == cap).map_or(Vec::new(), |(_, names)| words(names));
        wanted.sort_unstable();
        assert_eq!(given, wanted, "{cap}");
    }
}

#[test]
fn refusals_are_eperm_and_what_is_newer_is_enosys() {
    let plan = filter(0, (6, 1));
    let code = &plan.filter.as_ref().unwrap().code;
    let errno = |errno: i32| Action::Errno(errno as u16).ret();
    assert_eq!(native(code, libc::SYS_mount, [0; 6]), errno(libc::EPERM));
    assert_eq!(native(code, libc::SYS_clone3, [0; 6]), errno(libc::ENOSYS));
    for n in [NEWEST + 1, 500, 999, 0x3fff_ffff] {
        assert_eq!(native(code, n, [0; 6]), errno(libc::ENOSYS), "{n}");
    }
}

#[test]
fn conditions_on_arguments() {
    let plan = filter(0, (6, 1));
    let code = &plan.filter.as_ref().unwrap().code;
    let ok = |n, first: u64| allowed(native(code, n, [first, 0, 0, 0, 0, 0]));
    for family in 0..50 {
        assert_eq!(
            ok(libc::SYS_socket, family),
            family < 46 && family != 38 && family != 40,
            "socket({family})"
        );
        // The kernel drops the upper half.
        let here = family | 1 << 32;
        assert!(!ok(libc::SYS_socket, here), "socket({here:#x})");
    }
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert!(ok(libc::SYS_personality, persona), "personality({persona:#x})");
    }
    // ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, and all ones in 64 bits.
    for persona in [1, 0x4_0000, 0x40_0000, u64::MAX, 0x1_0000_0000] {
        assert!(!ok(libc::SYS_personality, persona), "personality({persona:#x})");
    }
    assert!(ok(libc::SYS_clone, 0x3d_0f00), "a thread");
    for new in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert!(!ok(libc::SYS_clone, new), "clone({new:#x})");
        assert!(!ok(libc::SYS_clone, new | 0x3d_0f00), "clone({new:#x}|…)");
    }
    let admin = filter(Capability::CAP_SYS_ADMIN.bitmask(), (6, 1));
    assert!(allowed(native(&admin.filter.unwrap().code, libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0])));
}

#[test]
fn tracing_goes_by_the_kernel_or_the_capability() {
    let ok = |caps, kernel| {
        let plan = filter(caps, kernel);
        allowed(native(&plan.filter.unwrap().code, libc::SYS_ptrace, [0; 6]))
    };
    assert!(ok(0, (4, 8)) && ok(0, (5, 0)));
    assert!(!ok(0, (4, 7)) && !ok(0, (3, 10)));
    assert!(ok(Capability::CAP_SYS_PTRACE.bitmask(), (4, 7)));
}

#[test]
fn thirty_two_bit_programs_go_through_the_same_profile_and_strangers_are_killed() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let plan = filter(0, (6, 1));
    let code = &plan.filter.as_ref().unwrap().code;
    for (arch, mount, read) in [("SCMP_ARCH_X86", 21, 3), ("SCMP_ARCH_X32", 0x4000_00a5, 0x4000_0000)] {
        let audit = by_name(arch).unwrap().audit;
        let ret = |number| run(code, Made { number, audit, args: [0; 6] });
        assert_eq!(ret(mount), Action::Errno(1).ret(), "{arch}");
        assert!(allowed(ret(read)), "{arch}");
    }
    let stranger = by_name("SCMP_ARCH_AARCH64").unwrap().audit;
    let ret = run(code, Made { number: 0, audit: stranger, args: [0; 6] });
    assert_eq!(ret, Action::KillProcess.ret());
}

#[test]
fn every_name_in_it_is_known() {
    for arch in arch::all_of_this_kernel() {
        for rule in crate::default::profile().syscalls {
            for name in rule.names {
                assert!(number::entries(&name, arch).is_some(), "{name} on {}", arch.name);
            }
        }
    }
}

/// Debian's containers-common has podman's own profile: where it lets a call through, so do we, but for what Docker holds
/// to be nobody's business without a capability.
#[test]
fn podmans_profile_is_read_whole() {
    let Ok(text) = std::fs::read("/usr/share/containers/seccomp.json") else {
        eprintln!("SKIP: needs /usr/share/containers/seccomp.json of containers-common");
        return;
    };
    let profile = ProfileSource::Document(serde_json::from_slice(&text).unwrap());
    let spec = SeccompLoad { profile: Some(profile), ..SeccompLoad::default() };
    let plan = resolve(&spec, &Facts { kernel: (6, 1), ..Facts::default() }).unwrap();
    let code = &plan.filter.as_ref().unwrap().code;
    assert!(allowed(native(code, libc::SYS_read, [0; 6])));
    assert_eq!(native(code, libc::SYS_chroot, [0; 6]), Action::Errno(1).ret());
    assert_eq!(native(code, libc::SYS_io_uring_setup, [0; 6]), Action::Errno(libc::ENOSYS as u16).ret());
    // AF_NETLINK and NETLINK_AUDIT both: EINVAL; either alone goes through.
    assert_eq!(native(code, libc::SYS_socket, [16, 3, 9, 0, 0, 0]), Action::Errno(libc::EINVAL as u16).ret());
    assert!(allowed(native(code, libc::SYS_socket, [16, 3, 0, 0, 0, 0])));
    assert!(allowed(native(code, libc::SYS_socket, [2, 3, 9, 0, 0, 0])));
    assert!(number("mount") == libc::SYS_mount);
}
