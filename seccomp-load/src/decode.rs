//! Somebody else's filter: what it can say to a call, whatever the arguments. Its program is run with the arguments not
//! known; where a jump depends on them, both ways are gone.

use crate::action::Action;
use chain::sys::seccomp::Instruction;
use std::collections::BTreeSet;

/// Return values of the kernel that are possible; None is one that an argument makes, or more ways than are gone here.
pub(crate) type Outcomes = BTreeSet<Option<u32>>;

/// Instructions on all ways together.
const MOST: usize = 1 << 16;

/// A place in the program, and what is known there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Here {
    at: usize,
    accumulator: Option<u32>,
    index: Option<u32>,
    scratch: [Option<u32>; 16],
}

/// What all of them together can say, the newest first: the strictest action counts, of two alike the newer one.
pub(crate) fn outcomes(filters: &[Vec<Instruction>], number: u32, audit: u32) -> Outcomes {
    let mut all = BTreeSet::from([Some(Action::Allow.ret())]);
    for (nth, code) in filters.iter().enumerate() {
        let one = run(code, number, audit);
        if nth == 0 {
            all = one;
            continue;
        }
        all = all.iter().flat_map(|newer| one.iter().map(move |older| stricter(*newer, *older))).collect();
    }
    all
}

fn stricter(newer: Option<u32>, older: Option<u32>) -> Option<u32> {
    // SECCOMP_RET_ACTION_FULL of linux/seccomp.h; the kernel compares it as a signed number.
    let action = |ret: u32| (ret & 0xffff_0000) as i32;
    let (newer, older) = (newer?, older?);
    Some(if action(older) < action(newer) { older } else { newer })
}

/// What one can say.
fn run(code: &[Instruction], number: u32, audit: u32) -> Outcomes {
    let start = Here { at: 0, accumulator: Some(0), index: Some(0), scratch: [Some(0); 16] };
    let (mut left, mut seen, mut found, mut steps) = (vec![start], BTreeSet::new(), BTreeSet::new(), 0);
    while let Some(mut here) = left.pop() {
        loop {
            steps += 1;
            // The kernel takes no program that runs out of its end; what is not known here is no answer either.
            let Some(op) = code.get(here.at).filter(|_| steps <= MOST) else {
                found.insert(None);
                break;
            };
            here.at += 1;
            match op.code {
                0x06 => drop(found.insert(Some(op.k))),
                0x16 => drop(found.insert(here.accumulator)),
                0x05 => {
                    here.at += op.k as usize;
                    continue;
                }
                jump if jump & 7 == 5 => {
                    let (yes, no) = (usize::from(op.jt), usize::from(op.jf));
                    match here.holds(*op) {
                        Some(holds) => here.at += if holds { yes } else { no },
                        None => {
                            let other = Here { at: here.at + no, ..here.clone() };
                            here.at += yes;
                            if seen.insert(other.clone()) {
                                left.push(other);
                            }
                            if !seen.insert(here.clone()) {
                                break;
                            }
                        }
                    }
                    continue;
                }
                _ => {
                    here.step(*op, number, audit);
                    continue;
                }
            }
            break;
        }
    }
    found
}

impl Here {
    fn operand(&self, op: Instruction) -> Option<u32> {
        if op.code & 0x08 == 0 { Some(op.k) } else { self.index }
    }

    fn holds(&self, op: Instruction) -> Option<bool> {
        let (a, b) = (self.accumulator?, self.operand(op)?);
        match op.code & 0xf0 {
            0x10 => Some(a == b),
            0x20 => Some(a > b),
            0x30 => Some(a >= b),
            0x40 => Some(a & b != 0),
            _ => None,
        }
    }

    /// All that is no jump and no end. linux/filter.h, as far as seccomp takes it.
    fn step(&mut self, op: Instruction, number: u32, audit: u32) {
        let slot = op.k as usize % self.scratch.len();
        match op.code {
            0x20 => {
                self.accumulator = match op.k {
                    0 => Some(number),
                    4 => Some(audit),
                    _ => None,
                };
            }
            0x00 => self.accumulator = Some(op.k),
            0x01 => self.index = Some(op.k),
            0x60 => self.accumulator = self.scratch[slot],
            0x61 => self.index = self.scratch[slot],
            // The size of struct seccomp_data.
            0x80 => self.accumulator = Some(64),
            0x81 => self.index = Some(64),
            0x02 => self.scratch[slot] = self.accumulator,
            0x03 => self.scratch[slot] = self.index,
            0x07 => self.index = self.accumulator,
            0x87 => self.accumulator = self.index,
            code if code & 7 == 4 => self.accumulator = self.computed(op),
            _ => (self.accumulator, self.index) = (None, None),
        }
    }

    fn computed(&self, op: Instruction) -> Option<u32> {
        let a = self.accumulator?;
        if op.code & 0xf0 == 0x80 {
            return Some(a.wrapping_neg());
        }
        let b = self.operand(op)?;
        match op.code & 0xf0 {
            0x00 => Some(a.wrapping_add(b)),
            0x10 => Some(a.wrapping_sub(b)),
            0x20 => Some(a.wrapping_mul(b)),
            0x30 => a.checked_div(b),
            0x40 => Some(a | b),
            0x50 => Some(a & b),
            0x60 => Some(a.checked_shl(b).unwrap_or(0)),
            0x70 => Some(a.checked_shr(b).unwrap_or(0)),
            0x90 => a.checked_rem(b),
            0xa0 => Some(a ^ b),
            _ => None,
        }
    }
}

/// The actions, each once.
pub(crate) fn words(outcomes: &Outcomes) -> Vec<String> {
    let mut words: Vec<String> = outcomes
        .iter()
        .map(|ret| ret.map_or("unknown".into(), |ret| Action::of_ret(ret).to_string()))
        .collect();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::native;
    use crate::facts::Facts;
    use crate::plan::resolve;
    use crate::simulate;
    use chain::spec::{ProfileSource, SeccompLoad};

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;

    /// Of our own program it finds what really comes out, and more than one thing only where arguments decide.
    #[test]
    fn the_default_profile_as_it_is() {
        let profile = Some(ProfileSource::Own("@default".into()));
        let spec = SeccompLoad { profile, ..SeccompLoad::default() };
        let code =
            resolve(&spec, &Facts { kernel: (6, 1), ..Facts::default() }).unwrap().filter.unwrap().code;
        let mut several = Vec::new();
        for n in 0..=crate::number::NEWEST {
            let number = native().base + n;
            let found = outcomes(std::slice::from_ref(&code), number, native().audit);
            for args in [[0; 6], [u64::MAX; 6], [16; 6], [0x1000_0000; 6]] {
                let made = simulate::Made { number, audit: native().audit, args };
                assert!(found.contains(&Some(simulate::run(&code, made))), "{n}");
            }
            assert!(!found.is_empty() && !found.contains(&None));
            if found.len() > 1 {
                several.push(crate::number::name(number, native()).unwrap());
            }
        }
        several.sort();
        if cfg!(target_arch = "x86_64") {
            assert_eq!(several, ["clone", "personality", "socket"]);
        }
    }

    #[test]
    fn of_two_filters_the_stricter_and_of_two_alike_the_newer() {
        let ret = |k| vec![op(6, 0, 0, k)];
        let both = |newer, older| outcomes(&[ret(newer), ret(older)], 1, 1);
        assert_eq!(both(ALLOW, EPERM), Outcomes::from([Some(EPERM)]));
        assert_eq!(both(0x0005_0026, EPERM), Outcomes::from([Some(0x0005_0026)]));
        assert_eq!(both(EPERM, 0x8000_0000), Outcomes::from([Some(0x8000_0000)]));
        // A way that depends on an argument, beside one that does not.
        let way = vec![op(0x20, 0, 0, 16), op(0x15, 0, 1, 5), op(6, 0, 0, EPERM), op(6, 0, 0, ALLOW)];
        assert_eq!(words(&outcomes(&[way.clone(), ret(ALLOW)], 1, 1)), ["EPERM", "allow"]);
        assert_eq!(words(&outcomes(&[ret(0), way], 1, 1)), ["kill-thread"]);
    }

    /// What no filter of ours has, and what no kernel takes: an answer that is not known, and never a panic.
    #[test]
    fn foreign_programs() {
        let arithmetic = [
            op(0x20, 0, 0, 0),
            op(0x07, 0, 0, 0),
            op(0x0c, 0, 0, 0),
            op(0x24, 0, 0, 3),
            op(0x15, 0, 1, 42),
            op(6, 0, 0, EPERM),
            op(6, 0, 0, ALLOW),
        ];
        assert_eq!(words(&outcomes(&[arithmetic.to_vec()], 7, 0)), ["EPERM"]);
        assert_eq!(words(&outcomes(&[arithmetic.to_vec()], 8, 0)), ["allow"]);
        for code in [
            vec![],
            vec![op(5, 0, 0, u32::MAX)],
            vec![op(0x34, 0, 0, 0), op(0x16, 0, 0, 0)],
            vec![op(0xff, 255, 255, 9)],
        ] {
            assert_eq!(words(&outcomes(&[code], 1, 1)), ["unknown"]);
        }
        // A hundred questions about arguments are not 2^100 ways.
        let mut long: Vec<Instruction> =
            (0..100).flat_map(|k| [op(0x20, 0, 0, 16), op(0x15, 0, 0, k)]).collect();
        long.push(op(6, 0, 0, ALLOW));
        assert_eq!(words(&outcomes(&[long], 1, 1)), ["allow"]);
    }
}
