use super::*;

fn rule(text: &str) -> DeviceRule {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |w: &str| if w == "*" { None } else { Some(w.parse().unwrap()) };
    let (major, minor) = words[2].split_once(':').unwrap();
    DeviceRule {
        allow: words[0] == "allow",
        kind: Some(words[1].into()),
        major: number(major),
        minor: number(minor),
        access: Some(words[3].into()),
    }
}

fn rules(lines: &[&str]) -> Vec<Rule> {
    parse(&lines.iter().map(|l| rule(l)).collect::<Vec<_>>()).unwrap()
}

fn exceptions(lines: &[&str]) -> Vec<String> {
    Exceptions::of(&rules(lines)).unwrap().lines().collect()
}

/// A BPF machine for the operations that are used here.
fn run(program: &[Instruction], kind: u64, major: u64, minor: u64, access: u64) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let (mut registers, mut at) = ([0_u64; 7], 0_usize);
    loop {
        let i = program[at];
        at += 1;
        let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let k = i.immediate as i64 as u64;
        match i.code {
            op::LDX_W => registers[dst] = context[i.offset as usize / 4],
            op::LD_IMM64 => {
                registers[dst] =
                    u64::from(program[at].immediate as u32) << 32 | u64::from(i.immediate as u32);
                at += 1;
            }
            op::MOV64_X => registers[dst] = registers[src],
            op::OR64_X => registers[dst] |= registers[src],
            op::LSH64_K => registers[dst] <<= k,
            op::MOV64_K => registers[dst] = k,
            op::AND64_K => registers[dst] &= k,
            op::RSH64_K => registers[dst] >>= k,
            op::JEQ_K if registers[dst] == k => at += i.offset as usize,
            op::JNE_K if registers[dst] != k => at += i.offset as usize,
            op::JNE_X if registers[dst] != registers[src] => at += i.offset as usize,
            op::JEQ_K | op::JNE_K | op::JNE_X => {}
            op::EXIT => return registers[0],
            other => panic!("operation {other:#x}"),
        }
    }
}

/// What the rules mean, bit by bit: the last rule that matches decides.
fn meant(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let matches = |r: &&Rule, bit: u8| {
        r.kind.is_none_or(|k| k == kind)
            && r.major.is_none_or(|n| n == major)
            && r.minor.is_none_or(|n| n == minor)
            && r.access & bit != 0
    };
    let granted = |bit: u8| rules.iter().rev().find(|r| matches(r, bit)).is_some_and(|r| r.allow);
    [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(granted)
}

const SETS: &[&[&str]] = &[
    &[],
    &["deny a *:* rwm"],
    &["allow a *:* rwm"],
    &["deny a *:* rwm", "allow c 1:3 rwm", "allow c 1:5 r", "allow b *:* m"],
    &["allow a *:* rwm", "deny c 1:3 w", "deny b 8:* rwm"],
    &["deny a *:* rwm", "allow c 1:* rwm", "deny c 1:5 w"],
    &["allow c 1:3 rwm", "deny a *:* rwm", "allow c 1:5 rw"],
    &["deny a *:* rwm", "allow a 1:3 rw", "deny c 1:3 r"],
    &["allow c *:5 rw", "deny c 1:* w", "allow c 1:5 w"],
    &["allow c 5:1 rwm", "allow b 3:1 rwm", "deny c *:3 m"],
    &["allow b *:* rwm", "deny b 8:5 r", "allow c *:* m"],
];

#[test]
fn more_rules_than_a_jump_reaches_over_are_refused() {
    let many = vec!["allow c 1:3 r"; 6000];
    assert!(program(&rules(&many)).is_err());
}

#[test]
fn the_program_decides_as_the_rules_mean() {
    for set in SETS {
        let rules = rules(set);
        let program = program(&rules).unwrap();
        for kind in [Kind::Block, Kind::Char] {
            for (major, minor) in [(1, 3), (1, 5), (8, 0), (8, 5), (200, 5)] {
                for access in 1..=ALL {
                    let asked = (kind as u64, u64::from(major), u64::from(minor), u64::from(access));
                    let verdict = run(&program, asked.0, asked.1, asked.2, asked.3);
                    let allowed = meant(&rules, kind, major, minor, access);
                    // Never more than meant; less only where two rules would have to be put together.
                    assert!(verdict == 0 || allowed, "{set:?} grants {asked:?}");
                    if access.count_ones() == 1 {
                        assert_eq!(verdict == 1, allowed, "{set:?} {asked:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_v1_is_told() {
    let table: [(&[&str], &[&str]); 6] = [
        (&["deny a *:* rwm", "allow c 1:3 rw", "allow c 1:3 m", "allow b *:* m"], &["b *:* m", "c 1:3 rwm"]),
        (&["deny a *:* rwm", "allow c 1:5 rwm", "deny c *:* w"], &["c 1:5 rm"]),
        (&["allow c 1:5 rwm", "deny c 1:5 rwm"], &[]),
        (&["allow c 1:5 rwm", "deny a *:* rwm"], &[]),
        (&["deny a *:* rwm", "allow a 1:5 r"], &["b 1:5 r", "c 1:5 r"]),
        (&["allow a *:* rwm", "deny b 8:* w"], &["b 8:* w"]),
    ];
    for (set, lines) in table {
        assert_eq!(exceptions(set), lines, "{set:?}");
    }
    assert!(Exceptions::of(&rules(&["allow a *:* rwm"])).unwrap().default_allow);
}

#[test]
fn a_hole_in_a_wide_exception_is_refused_not_dropped() {
    for set in [
        &["allow c *:* rwm", "deny c 1:5 w"][..],
        &["allow c 1:* r", "deny c *:5 r"],
        &["allow a *:* rwm", "deny b *:* w", "allow b 8:0 w"],
    ] {
        let error = Exceptions::of(&rules(set)).unwrap_err();
        assert_eq!(error.class, chain::Class::Unsupported, "{set:?}");
    }
}

#[test]
fn wrong_rules_are_named() {
    let good = rule("allow c 1:3 rwm");
    let table = [
        (DeviceRule { kind: Some("x".into()), ..good.clone() }, "resources.devices[1].type"),
        (DeviceRule { access: Some("xyz".into()), ..good.clone() }, "resources.devices[1].access"),
        (DeviceRule { access: Some(String::new()), ..good.clone() }, "resources.devices[1].access"),
        (DeviceRule { access: None, ..good.clone() }, "resources.devices[1].access"),
        (DeviceRule { major: Some(-2), ..good.clone() }, "resources.devices[1].major"),
        (DeviceRule { minor: Some(1 << 40), ..good.clone() }, "resources.devices[1].minor"),
    ];
    for (bad, path) in table {
        let error = parse(&[good.clone(), bad]).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
}
