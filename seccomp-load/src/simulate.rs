//! The kernel's filter machine, as far as a seccomp filter can use it: what a program says to a call, without the kernel.

#[cfg(test)]
use crate::action::Action;
use chain::sys::seccomp::Instruction;

/// struct seccomp_data of linux/seccomp.h, without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) number: u32,
    pub(crate) audit: u32,
    pub(crate) args: [u64; 6],
}

/// What the kernel is told. For programs of our own alone: panics at what the kernel's checker refuses, and at what none
/// of them needs.
pub(crate) fn run(code: &[Instruction], made: Made) -> u32 {
    let load = |at: u32| match at {
        0 => made.number,
        4 => made.audit,
        16..64 => (made.args[(at as usize - 16) / 8] >> (if at % 8 == 4 { 32 } else { 0 })) as u32,
        other => panic!("a load from {other}"),
    };
    let (mut accumulator, mut index, mut at, mut scratch) = (0_u32, 0_u32, 0, [0_u32; 16]);
    loop {
        let Instruction { code: op, jt, jf, k } = code[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match op {
            0x20 => accumulator = load(k),
            0x00 => accumulator = k,
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x45 => jump(accumulator & k != 0),
            0x02 => scratch[k as usize] = accumulator,
            0x60 => accumulator = scratch[k as usize],
            0x07 => index = accumulator,
            0x87 => accumulator = index,
            0x06 => return k,
            other => panic!("operation {other:#x}"),
        }
    }
}

/// As [`run`], for a call of this architecture by number.
#[cfg(test)]
pub(crate) fn native(code: &[Instruction], number: i64, args: [u64; 6]) -> u32 {
    let native = crate::arch::native();
    run(code, Made { number: native.base + number as u32, audit: native.audit, args })
}

/// Whether the call takes place.
#[cfg(test)]
pub(crate) fn allowed(ret: u32) -> bool {
    ret == Action::Allow.ret()
}

/// From bytes, as libseccomp exports them.
#[cfg(test)]
pub(crate) fn read(bytes: &[u8]) -> Vec<Instruction> {
    assert_eq!(bytes.len() % 8, 0);
    let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    let half = |b: &[u8]| u16::from_ne_bytes([b[0], b[1]]);
    bytes.chunks(8).map(|b| Instruction { code: half(b), jt: b[2], jf: b[3], k: word(&b[4..]) }).collect()
}
