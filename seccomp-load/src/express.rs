//! Rules that stand in order, said with OCI's: there the stricter rule wins, no rule says what the default says, and of two
//! conditions on one argument in a rule either will do. What cannot be said exactly is refused.

use crate::action::Action;
use crate::flat::Decision;
use crate::rule::{INT, Op, Order, Test};

/// The most rules that one call may become.
const MOST: usize = 512;

type All = Vec<Test>;

/// Rules for a call, no two of which hold at once with different actions; None where they cannot be said.
pub(crate) fn rules(decision: &Decision, default: Action) -> Option<Vec<(All, Action)>> {
    let mut found = Vec::new();
    let last = decision.always.filter(|action| *action != default).map(|action| (Vec::new(), action));
    if decision.when.len() > MOST {
        return None;
    }
    for (i, (tests, action)) in decision.when.iter().chain(&last).enumerate() {
        if *action == default {
            continue;
        }
        // What stands before it and says something else is taken out.
        let mut rest: Vec<All> = vec![tests.clone()];
        for (before, _) in decision.when.iter().take(i).filter(|(_, other)| other != action) {
            rest = without(&rest, before)?;
        }
        for all in &rest {
            found.extend(plain(all)?.into_iter().map(|all| (all, *action)));
        }
        if found.len() > MOST {
            return None;
        }
    }
    Some(found)
}

/// What is left where `tests` do not all hold.
fn without(rest: &[All], tests: &[Test]) -> Option<Vec<All>> {
    let mut left = Vec::new();
    for before in rest {
        for test in tests {
            let all = [before.as_slice(), &[not(test)]].concat();
            // What holds for nothing is dropped.
            if plain(&all).is_none_or(|alternatives| !alternatives.is_empty()) {
                left.push(all);
            }
        }
    }
    (left.len() <= MOST).then_some(left)
}

/// What holds where the test does not.
pub(crate) fn not(test: &Test) -> Test {
    let op = match test.op {
        Op::Eq => Op::Ne,
        Op::Ne => Op::Eq,
        Op::Lt => Op::Ge,
        Op::Ge => Op::Lt,
        Op::Le => Op::Gt,
        Op::Gt => Op::Le,
        Op::Masked(mask) => Op::Unlike(mask),
        Op::Unlike(mask) => Op::Masked(mask),
        Op::Int(Order::Lt) => Op::Int(Order::Ge),
        Op::Int(Order::Ge) => Op::Int(Order::Lt),
        Op::Int(Order::Le) => Op::Int(Order::Gt),
        Op::Int(Order::Gt) => Op::Int(Order::Le),
    };
    Test { op, ..*test }
}

/// Alternatives with one test of OCI's for each argument, which say the same as all of `tests` together.
fn plain(tests: &[Test]) -> Option<Vec<All>> {
    let mut found: Vec<All> = vec![Vec::new()];
    for index in 0..6 {
        let here: Vec<Test> = tests.iter().filter(|test| test.index == index).copied().collect();
        if here.is_empty() {
            continue;
        }
        let alternatives = argument(&here)?;
        let with = |all: &All| {
            alternatives.iter().map(|test| [all.as_slice(), test.as_slice()].concat()).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(with).collect();
        if found.len() > MOST {
            return None;
        }
    }
    Some(found)
}

/// The same for the tests of one argument.
fn argument(tests: &[Test]) -> Option<Vec<Option<Test>>> {
    if let [Test { op: Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Masked(_), .. }] = tests {
        return Some(vec![Some(tests[0])]);
    }
    let index = tests[0].index;
    let test = |(mask, value): (u64, u64)| match mask {
        0 => None,
        u64::MAX => Some(Test { index, op: Op::Eq, value }),
        mask => Some(Test { index, op: Op::Masked(mask), value }),
    };
    let (orders, bits): (Vec<&Test>, Vec<&Test>) =
        tests.iter().partition(|test| !matches!(test.op, Op::Eq | Op::Masked(_) | Op::Unlike(_)));
    // Numbers that are known bit for bit, the rest by their place in a row.
    let int = |test: &&Test| matches!(test.op, Op::Int(_) | Op::Masked(INT) | Op::Unlike(INT));
    let mut cubes = vec![(0, 0)];
    if !orders.is_empty() {
        let whole = |test: &&Test| !matches!(test.op, Op::Int(_) | Op::Masked(_) | Op::Unlike(_));
        let width = match () {
            () if tests.iter().all(|test| whole(&test)) => u64::MAX,
            () if tests.iter().all(|test| int(&test)) => INT,
            () if orders.iter().all(whole) && orders.iter().all(|test| test.op == Op::Ne) => {
                return bitwise(tests, &test);
            }
            () => return None,
        };
        if let Some(one) = one_sided(tests, width) {
            return Some(vec![Some(one)]);
        }
        cubes = blocks(&row(tests, width), width);
        return Some(cubes.into_iter().map(test).collect());
    }
    for one in bits {
        cubes = narrow(&cubes, one)?;
    }
    Some(cubes.into_iter().map(test).collect())
}

fn bitwise(tests: &[Test], test: &dyn Fn((u64, u64)) -> Option<Test>) -> Option<Vec<Option<Test>>> {
    let mut cubes = vec![(0, 0)];
    for one in tests {
        cubes = narrow(&cubes, one)?;
    }
    Some(cubes.into_iter().map(test).collect())
}

/// Values whose bits under a mask are known, as far as `test` holds for them.
fn narrow(cubes: &[(u64, u64)], test: &Test) -> Option<Vec<(u64, u64)>> {
    let (mask, equal) = match test.op {
        Op::Eq => (u64::MAX, true),
        Op::Ne => (u64::MAX, false),
        Op::Masked(mask) => (mask, true),
        Op::Unlike(mask) => (mask, false),
        _ => return None,
    };
    let mut found = Vec::new();
    for (known, value) in cubes {
        let clash = known & mask & (value ^ test.value) != 0;
        match equal {
            true if clash => {}
            true => found.push((known | mask, value | test.value)),
            false if clash => found.push((*known, *value)),
            false => {
                // Any bit that is not known yet may be the one that differs: each alternative has one more of them equal.
                let (open, mut known, mut value) = (mask & !known, *known, *value);
                for bit in (0..64).map(|n| 1_u64 << n).filter(|bit| open & bit != 0) {
                    found.push((known | bit, value | !test.value & bit));
                    (known, value) = (known | bit, value | test.value & bit);
                    if found.len() > MOST {
                        return None;
                    }
                }
            }
        }
    }
    Some(found)
}

/// Ranges, both ends in them, for which all tests hold.
fn row(tests: &[Test], width: u64) -> Vec<(u64, u64)> {
    let mut ranges = vec![(0, width)];
    for test in tests {
        let v = test.value;
        let below = v.checked_sub(1).map(|end| (0, end));
        let above = (v < width).then(|| (v + 1, width));
        let holds: Vec<(u64, u64)> = match test.op {
            Op::Eq | Op::Masked(_) => vec![(v, v)],
            Op::Ne | Op::Unlike(_) => below.into_iter().chain(above).collect(),
            Op::Lt | Op::Int(Order::Lt) => below.into_iter().collect(),
            Op::Le | Op::Int(Order::Le) => vec![(0, v)],
            Op::Gt | Op::Int(Order::Gt) => above.into_iter().collect(),
            Op::Ge | Op::Int(Order::Ge) => vec![(v, width)],
        };
        let meet = |(from, to): &(u64, u64)| {
            holds.iter().map(|(a, b)| (*from.max(a), *to.min(b))).collect::<Vec<_>>()
        };
        ranges = ranges.iter().flat_map(meet).filter(|(from, to)| from <= to).collect();
    }
    ranges
}

/// One test of OCI's for the whole row, if it has one.
fn one_sided(tests: &[Test], width: u64) -> Option<Test> {
    let index = tests[0].index;
    if width != u64::MAX {
        return None;
    }
    match row(tests, width).as_slice() {
        [(0, to)] if *to != width => Some(Test { index, op: Op::Le, value: *to }),
        [(from, to)] if *to == width && *from != 0 => Some(Test { index, op: Op::Ge, value: *from }),
        [(0, a), (b, to)] if *to == width && b - a == 2 => Some(Test { index, op: Op::Ne, value: a + 1 }),
        _ => None,
    }
}

/// The ranges as values whose upper bits are known.
fn blocks(ranges: &[(u64, u64)], width: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for (from, to) in ranges {
        let (mut from, to) = (u128::from(*from), u128::from(*to));
        while from <= to {
            let fits = |n: &u32| from % (1_u128 << n) == 0 && from + (1_u128 << n) - 1 <= to;
            let n = (0..=64).rev().find(fits).unwrap_or(0);
            let inside = ((1_u128 << n) - 1) as u64;
            found.push((width & !inside, from as u64));
            from += 1 << n;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Head;
    use crate::simulate::native;
    use crate::table::{self, Unknown};
    use crate::{arch, program};

    const DENY: Action = Action::Errno(1);
    const OTHER: Action = Action::Errno(7);

    fn test(op: Op, value: u64) -> Test {
        Test { index: 0, op, value }
    }

    fn code(
        rules: &[(All, Action)],
        always: Option<Action>,
        default: Action,
        in_order: bool,
    ) -> Vec<chain::sys::seccomp::Instruction> {
        let rule = |(tests, action): &(All, Action)| crate::rule::Rule {
            at: String::new(),
            names: vec!["lseek".into()],
            action: *action,
            when: if tests.is_empty() { Vec::new() } else { vec![tests.clone()] },
            on_top: false,
        };
        let last = always.map(|action| (Vec::new(), action));
        let rules: Vec<_> = rules.iter().chain(&last).map(|r| (rule(r), Unknown::Refuse)).collect();
        let archs = arch::of_this_kernel(&[]).unwrap();
        let head = Head { default, archs, flags: 0, newest: None, in_order, agent: Default::default() };
        program::compile(&table::build(&head, &rules).unwrap()).unwrap()
    }

    /// Every pair of tests on one argument, in both orders, with every default: what is said in OCI's words decides the same.
    #[test]
    fn what_is_said_in_oci_words_decides_the_same() {
        let orders = [Order::Lt, Order::Le, Order::Gt, Order::Ge];
        let plain = [
            Op::Eq,
            Op::Ne,
            Op::Lt,
            Op::Le,
            Op::Gt,
            Op::Ge,
            Op::Masked(INT),
            Op::Unlike(INT),
            Op::Masked(0xf0),
            Op::Unlike(0xf0),
        ];
        let ops: Vec<Op> = plain.into_iter().chain(orders.map(Op::Int)).collect();
        let values = [0, 1, 0x20, 0x21, 0x60, u64::from(u32::MAX)];
        let seen: Vec<u64> = values
            .iter()
            .flat_map(|v| [*v, v.wrapping_sub(1), v + 1, v | 1 << 32, v ^ 0x10, v << 1])
            .chain([u64::MAX, 1 << 63])
            .collect();
        let (mut said, mut refused) = (0, 0);
        for (i, one) in ops.iter().enumerate() {
            for (j, other) in ops.iter().enumerate() {
                let fit = |op: &Op, v: u64| {
                    test(
                        *op,
                        match op {
                            Op::Masked(mask) | Op::Unlike(mask) => v & mask,
                            _ => v,
                        },
                    )
                };
                let (one, other) = (fit(one, values[i % 6]), fit(other, values[(i + j) % 6]));
                for (when, always) in [
                    (vec![(vec![one, other], DENY)], None),
                    (vec![(vec![one], DENY), (vec![other], OTHER)], None),
                    (vec![(vec![one], Action::Allow), (vec![other], OTHER)], Some(DENY)),
                    (vec![(vec![one], OTHER), (vec![other], Action::Allow)], Some(DENY)),
                ] {
                    for default in [Action::Allow, DENY] {
                        let decision = Decision { when: when.clone(), always };
                        let Some(oci) = rules(&decision, default) else {
                            refused += 1;
                            continue;
                        };
                        said += 1;
                        let ordered = code(&when, always, default, true);
                        let plain = code(&oci, None, default, false);
                        for value in &seen {
                            let args = [*value, 0, 0, 0, 0, 0];
                            let (a, b) = (
                                native(&ordered, libc::SYS_lseek, args),
                                native(&plain, libc::SYS_lseek, args),
                            );
                            assert_eq!(
                                a, b,
                                "{decision:?} default {default}: {value:#x}: in order {a:#x}, {oci:?} {b:#x}"
                            );
                        }
                    }
                }
            }
        }
        assert!(said > refused, "{said} said, {refused} refused");
    }

    #[test]
    fn a_rule_as_it_is_stays_as_it_is() {
        let one = vec![(vec![test(Op::Lt, 5)], Action::Allow), (vec![test(Op::Masked(3), 1)], Action::Allow)];
        assert_eq!(rules(&Decision { when: one.clone(), always: None }, DENY), Some(one));
        let range =
            Decision { when: vec![(vec![test(Op::Ge, 4), test(Op::Le, 7)], Action::Allow)], always: None };
        assert_eq!(rules(&range, DENY), Some(vec![(vec![test(Op::Masked(!3), 4)], Action::Allow)]));
    }
}
