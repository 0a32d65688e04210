//! From a table to a program of the kernel's filter machine: linux/filter.h, linux/seccomp.h.
//!
//! Calls that stand side by side and fare alike are one range; a binary search finds the range. The kernel runs the
//! program at every system call, so its depth is what counts: seven or eight comparisons for a profile of 400 calls.

use crate::action::Action;
use crate::arch::X32_BIT;
use crate::rule::{Op, Order, Test};
use crate::table::{Call, Calls, FOREIGN, Table};
use chain::sys::seccomp::Instruction;
use chain::{Error, Result};

/// BPF_MAXINSNS of linux/bpf_common.h.
const MAX: usize = 4096;

// BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_JMP|… |BPF_K, BPF_RET|BPF_K.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
pub(crate) const RET: u16 = 0x06;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

type Code = Vec<Instruction>;

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// One range of call numbers, from its first up to the next range.
struct Range<'a> {
    first: u32,
    leaf: Leaf<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Leaf<'a> {
    Always(Action),
    /// The call's conditions, and whether its arguments are compared whole.
    When(&'a Call, bool),
}

/// The program.
pub(crate) fn compile(table: &Table) -> Result<Code> {
    let mut code = vec![op(LOAD, ARCH)];
    let mut done: Vec<u32> = Vec::new();
    for calls in &table.archs {
        let audit = calls.arch.audit;
        if done.contains(&audit) {
            continue;
        }
        done.push(audit);
        let section = section(table, audit);
        code.push(jump(JEQ, audit, 1, 0));
        code.push(op(JA, section.len() as u32));
        code.extend(section);
    }
    code.push(op(RET, FOREIGN.ret()));
    if code.len() > MAX {
        let detail = format!("it takes {} instructions, and the kernel takes {MAX}", code.len());
        return Err(Error::usage("make the filter", detail));
    }
    Ok(code)
}

/// All calls that arrive with this AUDIT_ARCH number: x86_64 and x32 share one.
fn section(table: &Table, audit: u32) -> Code {
    let mut ranges = Vec::new();
    let mut here: Vec<&Calls> = table.archs.iter().filter(|c| c.arch.audit == audit).collect();
    here.sort_by_key(|calls| calls.arch.base);
    for calls in &here {
        // Between the end of one and the start of the other there is nothing that the kernel has.
        push(&mut ranges, calls.arch.base, Leaf::Always(table.default));
        of_calls(table, calls, &mut ranges);
    }
    let x86_64 = here.iter().any(|calls| calls.arch.name == "SCMP_ARCH_X86_64");
    if x86_64 && here.len() == 1 {
        push(&mut ranges, X32_BIT, Leaf::Always(FOREIGN));
    }
    // -1 is what a tracer sets to skip a call. The kernel runs nothing for it, and the tracer's result must stay.
    push(&mut ranges, u32::MAX, Leaf::Always(Action::Allow));
    let mut code = Vec::with_capacity(ranges.len() * 2 + 64);
    code.push(op(LOAD, NUMBER));
    search(&ranges, table.default, &mut code);
    code
}

fn of_calls<'a>(table: &Table, calls: &'a Calls, ranges: &mut Vec<Range<'a>>) {
    let gap = |number| if calls.is_unheard(number) { table.unheard } else { table.default };
    let mut unheard = calls.newest.map(|newest| newest + 1);
    for (number, call) in &calls.calls {
        if let Some(first) = unheard.take_if(|first| *first <= *number) {
            push(ranges, first, Leaf::Always(table.unheard));
        }
        let leaf = match call.always {
            Some(action) if call.when.is_empty() => Leaf::Always(action),
            _ => Leaf::When(call, calls.arch.wide),
        };
        push(ranges, *number, leaf);
        push(ranges, number + 1, Leaf::Always(gap(number + 1)));
    }
    if let Some(first) = unheard {
        push(ranges, first, Leaf::Always(table.unheard));
    }
}

/// Appends a range; one that starts where the last one starts replaces it, one that fares alike extends it.
fn push<'a>(ranges: &mut Vec<Range<'a>>, first: u32, leaf: Leaf<'a>) {
    if ranges.last().is_some_and(|last| last.first == first) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|last| last.leaf != leaf) {
        ranges.push(Range { first, leaf });
    }
}

/// Finds the range of the number in the accumulator.
fn search(ranges: &[Range<'_>], default: Action, code: &mut Code) {
    if let [range] = ranges {
        match range.leaf {
            Leaf::Always(action) => code.push(op(RET, action.ret())),
            Leaf::When(call, wide) => code.extend(conditions(call, wide, default)),
        }
        return;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let at = code.len();
    code.push(jump(JGE, high[0].first, 0, 0));
    search(low, default, code);
    let below = code.len() - at - 1;
    match u8::try_from(below) {
        Ok(skip) => code[at].jt = skip,
        // A conditional jump reaches 255 instructions.
        Err(_) => {
            code[at].jf = 1;
            code.insert(at + 1, op(JA, below as u32));
        }
    }
    search(high, default, code);
}

/// The rules of one call, one after the other.
fn conditions(call: &Call, wide: bool, default: Action) -> Code {
    let mut code = Vec::new();
    for (tests, action) in &call.when {
        let mut rule = vec![op(RET, action.ret())];
        let mut impossible = false;
        for test in tests.iter().rev() {
            match check(test, wide, rule.len()) {
                Check::Code(check) => rule.splice(0..0, check).for_each(drop),
                Check::Always => {}
                Check::Never => impossible = true,
            }
        }
        if !impossible {
            code.extend(rule);
        }
    }
    code.push(op(RET, call.always.unwrap_or(default).ret()));
    code
}

/// The most tests that one rule can have.
pub(crate) const MOST: usize = 32;

enum Check {
    Code(Code),
    Always,
    Never,
}

/// Falls through where the test holds, and jumps over the `rest` of its rule where it does not.
fn check(test: &Test, wide: bool, rest: usize) -> Check {
    if !wide && test.value > u32::MAX.into() {
        // No argument of a 32-bit call comes up to it.
        return match test.op {
            Op::Ne | Op::Lt | Op::Le | Op::Unlike(_) => Check::Always,
            Op::Int(Order::Lt | Order::Le) => Check::Always,
            Op::Eq | Op::Gt | Op::Ge | Op::Masked(_) | Op::Int(_) => Check::Never,
        };
    }
    let (high, low) = ((test.value >> 32) as u32, test.value as u32);
    let at = ARGS + 8 * u32::from(test.index);
    let (at_low, at_high) = if cfg!(target_endian = "little") { (at, at + 4) } else { (at + 4, at) };
    // A rule has at most MOST tests of at most six instructions, so every jump reaches.
    let no = rest as u8;
    let last = match test.op {
        Op::Eq | Op::Masked(_) => jump(JEQ, low, 0, no),
        Op::Ne | Op::Unlike(_) => jump(JEQ, low, no, 0),
        Op::Gt | Op::Int(Order::Gt) => jump(JGT, low, 0, no),
        Op::Ge | Op::Int(Order::Ge) => jump(JGE, low, 0, no),
        Op::Lt | Op::Int(Order::Lt) => jump(JGE, low, no, 0),
        Op::Le | Op::Int(Order::Le) => jump(JGT, low, no, 0),
    };
    let mask = match test.op {
        Op::Masked(mask) | Op::Unlike(mask) => mask,
        _ => u64::MAX,
    };
    let mut lower = vec![op(LOAD, at_low)];
    if mask as u32 != u32::MAX {
        lower.push(op(AND, mask as u32));
    }
    lower.push(last);
    if !wide || matches!(test.op, Op::Int(_)) || mask >> 32 == 0 {
        return Check::Code(lower);
    }
    // The upper half decides, unless it is equal.
    let end = lower.len() as u8;
    let mut code = vec![op(LOAD, at_high)];
    match test.op {
        Op::Eq => code.push(jump(JEQ, high, 0, end + no)),
        Op::Masked(_) => code.extend([op(AND, (mask >> 32) as u32), jump(JEQ, high, 0, end + no)]),
        Op::Ne => code.push(jump(JEQ, high, 0, end)),
        Op::Unlike(_) => code.extend([op(AND, (mask >> 32) as u32), jump(JEQ, high, 0, end)]),
        Op::Int(_) => {}
        Op::Gt | Op::Ge => code.extend([jump(JGT, high, end + 1, 0), jump(JEQ, high, 0, end + no)]),
        Op::Lt | Op::Le => code.extend([jump(JGT, high, end + no + 1, 0), jump(JEQ, high, 0, end)]),
    }
    code.extend(lower);
    Check::Code(code)
}

/// As the kernel reads it, and as `--print --raw` writes it.
pub(crate) fn bytes(code: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for i in code {
        bytes.extend(i.code.to_ne_bytes());
        bytes.extend([i.jt, i.jf]);
        bytes.extend(i.k.to_ne_bytes());
    }
    bytes
}
