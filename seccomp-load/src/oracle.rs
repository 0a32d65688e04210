//! Our programs against libseccomp's, made of the same rules: they must say the same to every call. And what libseccomp
//! 2.5 cannot be asked for, which is why the programs are ours.

use crate::action::Action;
use crate::arch::by_name;
use crate::facts::Facts;
use crate::plan::resolve;
use crate::rule::{Op, Rule, Test};
use crate::simulate::{Made, read, run};
use crate::table::{self, Unknown};
use crate::{default, profile, program};
use chain::spec::{ProfileSource, SeccompLoad};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

const KERNEL: (u32, u32) = (6, 1);

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Log => ScmpAction::Log,
        other => panic!("{other}"),
    }
}

fn compare(test: &Test) -> ScmpArgCompare {
    let op = match test.op {
        Op::Eq => ScmpCompareOp::Equal,
        Op::Ne => ScmpCompareOp::NotEqual,
        Op::Lt => ScmpCompareOp::Less,
        Op::Le => ScmpCompareOp::LessOrEqual,
        Op::Gt => ScmpCompareOp::Greater,
        Op::Ge => ScmpCompareOp::GreaterEqual,
        Op::Masked(mask) => ScmpCompareOp::MaskedEqual(mask),
        Op::Unlike(_) | Op::Int(_) => panic!("{test}: libseccomp has no word for it"),
    };
    ScmpArgCompare::new(test.index.into(), op, test.value)
}

/// libseccomp's program, and how long it took.
fn theirs(
    default: Action,
    rules: &[Rule],
    archs: &[ScmpArch],
) -> (Vec<chain::sys::seccomp::Instruction>, Duration) {
    let start = Instant::now();
    let mut context = ScmpFilterContext::new(action(default)).unwrap();
    for arch in archs {
        context.add_arch(*arch).unwrap();
    }
    for rule in rules {
        for name in &rule.names {
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            if rule.action == default {
                continue;
            }
            if rule.when.is_empty() {
                context.add_rule(action(rule.action), call).unwrap();
            }
            for tests in &rule.when {
                let tests: Vec<ScmpArgCompare> = tests.iter().map(compare).collect();
                context.add_rule_conditional(action(rule.action), call, &tests).unwrap();
            }
        }
    }
    let name = format!("/tmp/catena-oracle-{}-{:?}", std::process::id(), std::thread::current().id());
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&name).unwrap();
    std::fs::remove_file(&name).unwrap();
    context.export_bpf(&mut file).unwrap();
    let took = start.elapsed();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (read(&bytes), took)
}

/// Values at which any comparison of ours changes its mind.
fn interesting(rules: &[Rule]) -> Vec<u64> {
    let tests = rules.iter().flat_map(|r| r.when.iter().flatten());
    let mut values: Vec<u64> = tests
        .flat_map(|t| {
            let mask = if let Op::Masked(mask) = t.op { mask } else { 0 };
            [
                t.value,
                t.value.wrapping_sub(1),
                t.value.wrapping_add(1),
                t.value | 1 << 32,
                mask,
                mask & mask.wrapping_neg(),
            ]
        })
        .collect();
    values.extend([0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32, 1 << 63]);
    values.sort_unstable();
    values.dedup();
    values
}

/// Every call of every architecture up to `newest`, with every interesting value in the first three arguments.
fn same(
    ours: &[chain::sys::seccomp::Instruction],
    theirs: &[chain::sys::seccomp::Instruction],
    archs: &[&str],
    values: &[u64],
    newest: u32,
) {
    for name in archs {
        let arch = by_name(name).unwrap();
        for n in (0..=newest).filter(|n| theirs_too(arch.base + n, arch.token)) {
            for (i, value) in values.iter().enumerate() {
                let other = values[(i * 7 + n as usize) % values.len()];
                // No argument of a 32-bit call has an upper half.
                let cut = |v: u64| if arch.wide { v } else { v & u64::from(u32::MAX) };
                let args = [cut(*value), cut(other), cut(*value), 0, 0, 0];
                let made = Made { number: arch.base + n, audit: arch.audit, args };
                let (a, b) = (run(ours, made), run(theirs, made));
                assert_eq!(a, b, "{name}: {made:x?}: ours {a:#x}, libseccomp's {b:#x}");
            }
        }
    }
}

/// Whether libseccomp has a name for it.
fn theirs_too(number: u32, arch: ScmpArch) -> bool {
    ScmpSyscall::from_raw_syscall(number as i32).get_name_by_arch(arch).is_ok()
}

/// With no capability, and with all.
fn same_for(profile: &chain::oci::Profile) {
    for caps in [0, u64::MAX] {
        let facts = Facts { caps, kernel: KERNEL, ..Facts::default() };
        let (head, rules) = profile::rules(profile.clone(), &facts).unwrap();
        let (theirs, took) = theirs(head.default, &rules, &[ScmpArch::X86, ScmpArch::X32]);
        let start = Instant::now();
        let pairs: Vec<_> = rules.iter().map(|r| (r.clone(), Unknown::Refuse)).collect();
        let ours = program::compile(&table::build(&head, &pairs).unwrap()).unwrap();
        let (n, m) = (theirs.len(), ours.len());
        eprintln!("libseccomp {took:?}, {n} instructions; ours {:?}, {m}", start.elapsed());
        // Up to the newest calls that libseccomp 2.5.4 has names for.
        same(
            &ours,
            &theirs,
            &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            &interesting(&rules),
            450,
        );
    }
}

#[test]
fn the_default_profile_is_what_libseccomp_makes_of_it() {
    if cfg!(target_arch = "x86_64") {
        same_for(&default::profile());
    }
}

/// Of Debian's containers-common: rules that settle each other, two conditions in one rule.
#[test]
fn podmans_profile_is_what_libseccomp_makes_of_it() {
    let Ok(text) = std::fs::read("/usr/share/containers/seccomp.json") else {
        eprintln!("SKIP: needs /usr/share/containers/seccomp.json of containers-common");
        return;
    };
    if cfg!(target_arch = "x86_64") {
        same_for(&serde_json::from_slice(&text).unwrap());
    }
}

/// A rule without conditions settles a call, the first one if there are several.
#[test]
fn rules_of_one_call_are_put_together_alike() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let (allow, errno) = (Action::Allow, Action::Errno(7));
    let five = || vec![vec![test(0, Op::Eq, 5)]];
    for (first, then) in [(allow, errno), (errno, allow), (allow, allow)] {
        for (one, two) in [(vec![], vec![]), (vec![], five()), (five(), vec![])] {
            let rules = [rule(&["read"], first, one), rule(&["read"], then, two)];
            let (theirs, _) = theirs(Action::Errno(1), &rules, &[]);
            let archs = crate::arch::of_this_kernel(&[]).unwrap();
            let head = crate::rule::Head {
                default: Action::Errno(1),
                archs,
                flags: 0,
                newest: None,
                in_order: false,
                agent: Default::default(),
            };
            let pairs = rules.map(|r| (r, Unknown::Refuse));
            let ours = program::compile(&table::build(&head, &pairs).unwrap()).unwrap();
            same(&ours, &theirs, &["SCMP_ARCH_X86_64"], &[4, 5, 6], 0);
        }
    }
}

fn rule(names: &[&str], action: Action, when: Vec<Vec<Test>>) -> Rule {
    Rule {
        at: "test".into(),
        names: names.iter().map(ToString::to_string).collect(),
        action,
        when,
        on_top: false,
    }
}

fn test(index: u8, op: Op, value: u64) -> Test {
    Test { index, op, value }
}

#[test]
fn every_operator_on_every_kind_of_argument() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let ops =
        [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Masked(0xff00), Op::Masked(0xff_0000_0000_ff00)];
    for value in [0, 7, 0x1200, 0x34_0000_1200, u64::MAX, 1 << 32] {
        for op in ops {
            let value = if let Op::Masked(mask) = op { value & mask } else { value };
            for default in [Action::Allow, Action::Errno(1)] {
                let then = if default == Action::Allow { Action::Errno(7) } else { Action::Allow };
                let rules = [
                    rule(&["lseek"], then, vec![vec![test(0, op, value)]]),
                    rule(&["dup2"], then, vec![vec![test(0, op, value), test(1, Op::Ne, 1)]]),
                    rule(&["fcntl"], then, vec![vec![test(0, op, value)], vec![test(1, Op::Eq, 3)]]),
                    rule(&["read", "mmap"], then, Vec::new()),
                ];
                let (theirs, _) = theirs(default, &rules, &[]);
                let archs = crate::arch::of_this_kernel(&[]).unwrap();
                let head = crate::rule::Head {
                    default,
                    archs,
                    flags: 0,
                    newest: None,
                    in_order: false,
                    agent: Default::default(),
                };
                let pairs: Vec<_> = rules.iter().map(|r| (r.clone(), Unknown::Refuse)).collect();
                let ours = program::compile(&table::build(&head, &pairs).unwrap()).unwrap();
                same(&ours, &theirs, &["SCMP_ARCH_X86_64"], &interesting(&rules), 72);
            }
        }
    }
}

/// The traps. Each of these is a reason to make the program here and to take no more than the tables from the library.
#[test]
fn what_libseccomp_cannot_be_asked_for() {
    let version = libseccomp::ScmpVersion::current().unwrap();
    if (version.major, version.minor) < (2, 6) {
        // Names newer than the library.
        // Debian 12's 2.5.4 has numbers up to 456.
        assert!(ScmpSyscall::from_name("mseal").is_err() && ScmpSyscall::from_name("uretprobe").is_err());
        assert!(ScmpSyscall::from_name("mseal").is_err());
    }
    // Two conditions on one argument in one rule.
    let mut context = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    let twice = [ScmpCompareOp::Greater, ScmpCompareOp::Less].map(|op| ScmpArgCompare::new(0, op, 5));
    let call = ScmpSyscall::from_name("socket").unwrap();
    assert!(context.add_rule_conditional(ScmpAction::Errno(1), call, &twice).is_err());
    // ENOSYS for what is newer than the rules: it answers with the default.
    let (theirs, _) = theirs(Action::Errno(1), &[rule(&["read"], Action::Allow, Vec::new())], &[]);
    let audit = crate::arch::native().audit;
    let newer = run(&theirs, Made { number: 9999, audit, args: [0; 6] });
    assert_eq!(newer, Action::Errno(1).ret());
}

/// Refusing socket(2) holds for socketcall(2) as well, whatever else is said of that.
#[test]
fn a_refused_call_is_refused_through_its_multiplexer() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for order in [["socket:EPERM", "socketcall:allow"], ["socketcall:allow", "socket:EPERM"]] {
        let rules = order.map(|word| {
            let (name, action) = word.split_once(':').unwrap();
            let (action, errno_ret) = crate::action::of_word(action).unwrap();
            chain::oci::SyscallRule { names: vec![name.into()], action, errno_ret, args: Vec::new() }
        });
        for profile in [None, Some(ProfileSource::Own("@default".into()))] {
            let spec = SeccompLoad { rules: rules.to_vec(), profile, ..SeccompLoad::default() };
            let plan = resolve(&spec, &Facts { kernel: KERNEL, ..Facts::default() }).unwrap();
            let code = plan.filter.unwrap().code;
            let audit = by_name("SCMP_ARCH_X86").unwrap().audit;
            let socketcall = |which| run(&code, Made { number: 102, audit, args: [which, 0, 0, 0, 0, 0] });
            assert_eq!(socketcall(1), Action::Errno(1).ret());
            assert_eq!(socketcall(2), Action::Allow.ret());
        }
    }
}

/// A condition on what lies in memory cannot be looked at: what it lets through stays refused there.
#[test]
fn a_condition_does_not_let_a_multiplexed_call_through() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let rules = [(rule(&["socket"], Action::Allow, vec![vec![test(0, Op::Eq, 1)]]), Unknown::Refuse)];
    let archs = crate::arch::of_this_kernel(&["SCMP_ARCH_X86".to_string()]).unwrap();
    let head = crate::rule::Head {
        default: Action::Errno(1),
        archs,
        flags: 0,
        newest: None,
        in_order: false,
        agent: Default::default(),
    };
    let code = program::compile(&table::build(&head, &rules).unwrap()).unwrap();
    let audit = by_name("SCMP_ARCH_X86").unwrap().audit;
    let made = |number, first| run(&code, Made { number, audit, args: [first, 0, 0, 0, 0, 0] });
    assert_eq!(
        [made(359, 1), made(359, 2), made(102, 1)],
        [Action::Allow, Action::Errno(1), Action::Errno(1)].map(Action::ret)
    );
}
