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

/// What the kernel is told. For programs of our own, and for those that passed the check of raw.rs: what that refuses
/// ends here as a kill.
pub(crate) fn run(code: &[Instruction], made: Made) -> u32 {
    let load = |at: u32| match at {
        0 => made.number,
        4 => made.audit,
        16..64 => {
            (made.args[(at as usize - 16) / 8]
                >> (if (at % 8 == 4) == cfg!(target_endian = "little") { 32 } else { 0 })) as u32
        }
        // The instruction pointer is nobody's to know here.
        _ => 0,
    };
    let (mut accumulator, mut index, mut at, mut scratch) = (0_u32, 0_u32, 0_usize, [0_u32; 16]);
    while let Some(Instruction { code: op, jt, jf, k }) = code.get(at).copied() {
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        let slot = k as usize % scratch.len();
        // BPF_X: with the index register instead of a number.
        let by = if op & 8 == 0 { k } else { index };
        match op {
            0x20 => accumulator = load(k),
            0x00 => accumulator = k,
            0x01 => index = k,
            // The length of struct seccomp_data.
            0x80 => accumulator = 64,
            0x81 => index = 64,
            0x60 => accumulator = scratch[slot],
            0x61 => index = scratch[slot],
            0x02 => scratch[slot] = accumulator,
            0x03 => scratch[slot] = index,
            0x07 => index = accumulator,
            0x87 => accumulator = index,
            0x04 | 0x0c => accumulator = accumulator.wrapping_add(by),
            0x14 | 0x1c => accumulator = accumulator.wrapping_sub(by),
            0x24 | 0x2c => accumulator = accumulator.wrapping_mul(by),
            // By zero the program ends with 0: kill the thread.
            0x34 | 0x3c => match accumulator.checked_div(by) {
                Some(quotient) => accumulator = quotient,
                None => return 0,
            },
            0x44 | 0x4c => accumulator |= by,
            0x54 | 0x5c => accumulator &= by,
            0x64 | 0x6c => accumulator <<= by & 31,
            0x74 | 0x7c => accumulator >>= by & 31,
            0xa4 | 0xac => accumulator ^= by,
            0x84 => accumulator = accumulator.wrapping_neg(),
            0x05 => at = at.saturating_add(k as usize),
            0x15 | 0x1d => jump(accumulator == by),
            0x25 | 0x2d => jump(accumulator > by),
            0x35 | 0x3d => jump(accumulator >= by),
            0x45 | 0x4d => jump(accumulator & by != 0),
            0x06 => return k,
            0x16 => return accumulator,
            _ => return 0,
        }
    }
    0
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
