//! A program that somebody else made: `struct sock_filter[]`, as `--print --raw` and other compilers write it.
//!
//! It is loaded as it stands, once it has passed what the kernel's checker asks of a seccomp filter: net/core/filter.c
//! and kernel/seccomp.c. What it does not know is which calls it names, so nothing can be put on top of it.

use crate::action::Action;
use crate::cli::Args;
use crate::rule::{FLAG_LOG, FLAG_SPEC_ALLOW};
use crate::{decide, program, simulate};
use chain::report::stdout;
use chain::spec::{ProfileSource, SeccompLoad};
use chain::sys::seccomp::Instruction;
use chain::{Error, Result};
use serde_json::{Value, json};

/// BPF_MAXINSNS of linux/bpf_common.h.
const MAX: usize = 4096;
/// How a plan carries a program: `bpf:N,CODE JT JF K,…`, the text that tcpdump(1) and bpf_asm write.
const PREFIX: &str = "bpf:";

const DOING: &str = "read the filter";

/// A program, and seccomp(2)'s flags: it can say none of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) code: Vec<Instruction>,
    pub(crate) flags: u64,
}

/// The program of a layer, if it has one. Nothing can be put on top of it: it does not say which calls it knows.
pub(crate) fn program(spec: &SeccompLoad) -> Result<Option<Program>> {
    let Some(ProfileSource::Own(text)) = &spec.profile else { return Ok(None) };
    if !text.starts_with(PREFIX) {
        return Ok(None);
    }
    if !spec.rules.is_empty() || spec.default.is_some() || spec.notify.is_some() {
        let error =
            Error::usage("filter the command", "a program takes no rules, no default and no agent besides");
        return Err(error
            .cure("a filter of its own: seccomp-load PROGRAM -- sh -c 'exec seccomp-load -N RULES -- …'"));
    }
    let log = if spec.log { FLAG_LOG } else { 0 };
    Ok(Some(Program { code: of_text(text)?, flags: FLAG_SPEC_ALLOW | log }))
}

/// From the kernel's own form. `name` is the file's.
pub(crate) fn of_bytes(bytes: &[u8], name: &str) -> Result<Vec<Instruction>> {
    if !bytes.len().is_multiple_of(8) {
        let detail = format!("{name}: {} bytes, and a program has 8 for each instruction", bytes.len());
        return Err(Error::usage(DOING, detail));
    }
    let of = |b: &[u8]| Instruction {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    let code: Vec<Instruction> = bytes.chunks_exact(8).map(of).collect();
    check(&code, name)?;
    Ok(code)
}

/// As a plan carries it.
pub(crate) fn carried(code: &[Instruction]) -> String {
    let lines = code.iter().map(|i| format!(",{} {} {} {}", i.code, i.jt, i.jf, i.k));
    format!("{PREFIX}{}{}", code.len(), lines.collect::<String>())
}

/// From a plan.
fn of_text(text: &str) -> Result<Vec<Instruction>> {
    let wrong = || Error::usage(DOING, "profile: it is no program as bpf:1,6 0 0 2147418112");
    let mut parts = text.strip_prefix(PREFIX).ok_or_else(wrong)?.split(',');
    let len: usize = parts.next().and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    let mut code = Vec::new();
    for part in parts {
        let words: Vec<&str> = part.split(' ').collect();
        let [op, jt, jf, k] = words[..] else { return Err(wrong()) };
        let read = || {
            Some(Instruction {
                code: op.parse().ok()?,
                jt: jt.parse().ok()?,
                jf: jf.parse().ok()?,
                k: k.parse().ok()?,
            })
        };
        code.push(read().ok_or_else(wrong)?);
    }
    if code.len() != len {
        return Err(wrong());
    }
    check(&code, "profile")?;
    Ok(code)
}

/// What the kernel takes of a seccomp filter: operations of the list, jumps that stay inside, scratch memory that was
/// written before it is read, a return at the end.
fn check(code: &[Instruction], name: &str) -> Result<()> {
    let wrong = |text: String| Error::usage(DOING, format_args!("{name}: {text}"));
    if code.is_empty() || code.len() > MAX {
        return Err(wrong(format!("{} instructions, and the kernel takes 1 to {MAX}", code.len())));
    }
    if !matches!(code[code.len() - 1].code, 0x06 | 0x16) {
        return Err(wrong("its last instruction does not return".into()));
    }
    // What of the scratch memory is written on every way to an instruction.
    let mut written = vec![0xffff_u16; code.len()];
    written[0] = 0;
    for (at, i) in code.iter().enumerate() {
        let here = written[at];
        let bad = |what: &str| Err(wrong(format!("instruction {at}: {what}")));
        let last = code.len() - 1 - at;
        let mut next = vec![0];
        let mut after = here;
        match i.code {
            // BPF_LD|BPF_W|BPF_ABS: of struct seccomp_data, word by word.
            0x20 if i.k % 4 == 0 && i.k < 64 => {}
            0x20 => return bad("it loads from outside of what is known of a call"),
            // LD and LDX of the length, of a number; TAX, TXA; NEG; ADD, SUB, MUL, AND, OR, XOR, and by X the same, DIV,
            // LSH, RSH.
            0x80 | 0x81 | 0x00 | 0x01 | 0x07 | 0x87 | 0x84 => {}
            0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0xa4 | 0x0c | 0x1c | 0x2c | 0x3c | 0x4c | 0x5c | 0x6c
            | 0x7c | 0xac => {}
            0x34 if i.k != 0 => {}
            0x34 => return bad("it divides by zero"),
            0x64 | 0x74 if i.k < 32 => {}
            0x64 | 0x74 => return bad("it shifts by more than 31"),
            // ST, STX, and LD, LDX of scratch memory.
            0x02 | 0x03 if i.k < 16 => after |= 1 << i.k,
            0x60 | 0x61 if i.k < 16 && here & (1 << i.k) != 0 => {}
            0x60 | 0x61 if i.k < 16 => return bad("it reads scratch memory that may not be written"),
            0x02 | 0x03 | 0x60 | 0x61 => return bad("there are 16 words of scratch memory"),
            // JA; JEQ, JGT, JGE, JSET.
            0x05 => next = vec![i.k as usize],
            0x15 | 0x25 | 0x35 | 0x45 | 0x1d | 0x2d | 0x3d | 0x4d => next = vec![i.jt.into(), i.jf.into()],
            // RET.
            0x06 | 0x16 => continue,
            other => return bad(&format!("operation {other:#x} is none of a seccomp filter")),
        }
        for step in next {
            if step >= last {
                return bad("it goes on behind the end");
            }
            written[at + 1 + step] &= after;
        }
    }
    Ok(())
}

/// A program is not of the shape that rules have.
pub(crate) fn no_names(option: &str) -> Error {
    Error::usage("look into a program", format_args!("{option}: it does not say which calls it knows"))
        .cure("--test CALL, or --print")
}

/// `--print` and what goes with it.
pub(crate) fn answer(code: &[Instruction], args: &Args, document: &Value) -> Result<u8> {
    let dump = args.dump.as_deref();
    if args.lint || args.diff.is_some() || dump.is_some_and(|format| format != "bpf") {
        let options = [("--lint", args.lint), ("--diff", args.diff.is_some()), ("--dump", true)];
        return Err(no_names(options.iter().find(|(_, asked)| *asked).map_or("", |(name, _)| name)));
    }
    if args.raw || dump.is_some() {
        return stdout(&program::bytes(code)).map(|()| 0);
    }
    if args.test.is_empty() {
        let text = if args.common.json { format!("{document}\n") } else { lines(code) };
        return stdout(text.as_bytes()).map(|()| 0);
    }
    let (mut text, mut all) = (String::new(), true);
    for word in &args.test {
        let action = Action::of_ret(simulate::run(code, decide::made(word)?));
        all &= action.lets_through();
        text += &match args.common.json {
            true => json!({"call": word, "action": action.to_string(), "because": "the program says so"})
                .to_string(),
            false => format!("{word}: {action}: the program says so"),
        };
        text += "\n";
    }
    stdout(text.as_bytes()).map(|()| u8::from(!all))
}

/// In lines, for people.
fn lines(code: &[Instruction]) -> String {
    let mut text = format!("a program of {} instructions, loaded as it stands\n", code.len());
    for (at, i) in code.iter().enumerate() {
        let line = match i.code {
            0x20 => format!("load {}", word(i.k)),
            0x05 => format!("goto {}", at + 1 + i.k as usize),
            0x15 | 0x25 | 0x35 | 0x45 => {
                let sign = match i.code {
                    0x15 => "==",
                    0x25 => ">",
                    0x35 => ">=",
                    _ => "&",
                };
                format!(
                    "if {sign} {:#x} goto {} else {}",
                    i.k,
                    at + 1 + usize::from(i.jt),
                    at + 1 + usize::from(i.jf)
                )
            }
            0x54 => format!("and {:#x}", i.k),
            0x06 => format!("return {}", Action::of_ret(i.k)),
            _ => format!("{:#06x} {} {} {:#x}", i.code, i.jt, i.jf, i.k),
        };
        text += &format!("  {at:>4}: {line}\n");
    }
    text
}

/// A word of struct seccomp_data.
fn word(at: u32) -> String {
    let half = if (at % 8 == 4) == cfg!(target_endian = "little") { "high" } else { "low" };
    match at {
        0 => "number".into(),
        4 => "arch".into(),
        8 | 12 => format!("{half} half of the instruction pointer"),
        _ => format!("{half} half of arg{}", (at - 16) / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    const RET: Instruction = Instruction { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 };

    #[test]
    fn what_the_kernel_would_not_take_is_refused() {
        for (code, said) in [
            (vec![], "0 instructions"),
            (vec![RET; 4097], "4097 instructions"),
            (vec![op(0x20, 0, 0, 0)], "does not return"),
            (vec![op(0x20, 0, 0, 2), RET], "instruction 0: it loads from outside"),
            (vec![op(0x20, 0, 0, 64), RET], "instruction 0: it loads from outside"),
            (vec![op(0x28, 0, 0, 0), RET], "operation 0x28"),
            (vec![op(0x94, 0, 0, 3), RET], "operation 0x94"),
            (vec![op(0x05, 0, 0, 1), RET], "goes on behind the end"),
            (vec![op(0x05, 0, 0, u32::MAX), RET], "goes on behind the end"),
            (vec![op(0x15, 1, 0, 0), RET], "goes on behind the end"),
            (vec![op(0x15, 0, 255, 0), RET], "goes on behind the end"),
            (vec![op(0x34, 0, 0, 0), RET], "divides by zero"),
            (vec![op(0x64, 0, 0, 32), RET], "shifts by more than 31"),
            (vec![op(0x02, 0, 0, 16), RET], "16 words"),
            (vec![op(0x60, 0, 0, 3), RET], "may not be written"),
            // Written on one way only.
            (
                vec![op(0x15, 1, 0, 0), op(0x02, 0, 0, 3), op(0x60, 0, 0, 3), RET],
                "instruction 2: it reads scratch",
            ),
        ] {
            let error = check(&code, "p").unwrap_err().to_string();
            assert!(error.contains(said), "{error}\nnot: {said}");
        }
        check(&[op(0x02, 0, 0, 3), op(0x15, 0, 0, 1), op(0x60, 0, 0, 3), RET], "p").unwrap();
        assert!(of_bytes(&[6, 0, 0, 0, 0, 0, 0xff], "p").unwrap_err().to_string().contains("7 bytes"));
    }

    #[test]
    fn a_plan_carries_it_as_it_is() {
        let code = vec![op(0x20, 0, 0, 0), op(0x15, 0, 1, 39), op(6, 0, 0, 0x5_0012), RET];
        let text = carried(&code);
        assert_eq!(text, "bpf:4,32 0 0 0,21 0 1 39,6 0 0 327698,6 0 0 2147418112");
        assert_eq!(of_text(&text).unwrap(), code);
        assert_eq!(of_bytes(&crate::program::bytes(&code), "p").unwrap(), code);
        for bad in [
            "bpf:",
            "bpf:1",
            "bpf:2,6 0 0 0",
            "bpf:1,6 0 0",
            "bpf:1,6 0 0 0 0",
            "bpf:1,6 0 0 -1",
            "bpf:1,6 256 0 0",
            "bpf:1,32 0 0 0",
        ] {
            assert!(of_text(bad).is_err(), "{bad}");
        }
        assert!(
            lines(&code).contains("1: if == 0x27 goto 2 else 3\n")
                && lines(&code).contains("2: return EXDEV\n")
        );
    }
}
