//! `resources.devices`: rules in order, of which the last that matches decides; what no rule matches is denied, as runc
//! has it. v1 takes a list of exceptions, v2 a program.

use crate::limits::unsupported;
use chain::oci::DeviceRule;
use chain::sys::bpf::Instruction;
use chain::{Error, Result, report};
use std::fmt::{self, Write as _};

/// BPF_DEVCG_ACC_* of linux/bpf.h.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// Which kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// BPF_DEVCG_DEV_BLOCK.
    Block = 1,
    /// BPF_DEVCG_DEV_CHAR.
    Char = 2,
}

/// A rule; None is "all of them".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    allow: bool,
    kind: Option<Kind>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// Parses `resources.devices`.
pub(crate) fn parse(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    rules.iter().enumerate().map(|(at, rule)| parse_one(at, rule)).collect()
}

fn parse_one(at: usize, rule: &DeviceRule) -> Result<Rule> {
    let wrong = |member: &str, what: &dyn fmt::Display| {
        Err(Error::usage("limit devices", format_args!("resources.devices[{at}].{member}: {what}")))
    };
    let kind = match rule.kind.as_deref() {
        None | Some("" | "a") => None,
        Some("c" | "u") => Some(Kind::Char),
        Some("b") => Some(Kind::Block),
        Some(other) => return wrong("type", &format_args!("'{}' is not a, b or c", other.escape_debug())),
    };
    let access = rule.access.as_deref().unwrap_or("");
    if access.is_empty() {
        return wrong("access", &"missing");
    }
    let bits = access.chars().map(bit).fold(0, |bits, bit| bits | bit);
    let stray = access.chars().any(|letter| bit(letter) == 0);
    let said = || format!("'{}' is not of r, w, m", access.escape_debug());
    // runc passes over what it does not know, and there are configs that rely on it.
    match bits {
        0 => return wrong("access", &said()),
        _ if stray => report::warn("cg-apply", format_args!("resources.devices[{at}].access: {}", said())),
        _ => {}
    }
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).ok().filter(|n| *n <= i32::MAX as u32).map(Some).ok_or(n),
    };
    match (number(rule.major), number(rule.minor)) {
        (Ok(major), Ok(minor)) => Ok(Rule { allow: rule.allow, kind, major, minor, access: bits }),
        (Err(n), _) => wrong("major", &format_args!("{n} is no device number")),
        (_, Err(n)) => wrong("minor", &format_args!("{n} is no device number")),
    }
}

fn bit(letter: char) -> u8 {
    match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MKNOD,
        _ => 0,
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Kind::Block) => 'b',
            Some(Kind::Char) => 'c',
        };
        write!(f, "{} {kind} ", if self.allow { "allow" } else { "deny" })?;
        write_numbers(f, self.major, self.minor, self.access)
    }
}

/// What v1 is told: everything denied or allowed, and exceptions from that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    /// Everything is allowed but the exceptions.
    pub(crate) default_allow: bool,
    list: Vec<Exception>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

impl Exceptions {
    /// Plays the rules through.
    pub(crate) fn of(rules: &[Rule]) -> Result<Exceptions> {
        let mut state = Exceptions::default();
        for rule in rules {
            if *rule == (Rule { allow: rule.allow, kind: None, major: None, minor: None, access: ALL }) {
                state = Exceptions { default_allow: rule.allow, list: Vec::new() };
                continue;
            }
            for kind in [Kind::Block, Kind::Char].into_iter().filter(|k| rule.kind.is_none_or(|r| r == *k)) {
                let new = Exception { kind, major: rule.major, minor: rule.minor, access: rule.access };
                if rule.allow == state.default_allow { state.take_back(&new)? } else { state.add(new) }
            }
        }
        state.list.sort_by_key(|e| (e.kind, e.major, e.minor));
        Ok(state)
    }

    /// The lines for devices.allow (or devices.deny), and what devices.list shows of them.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(ToString::to_string)
    }

    fn add(&mut self, new: Exception) {
        let same = |e: &&mut Exception| (e.kind, e.major, e.minor) == (new.kind, new.major, new.minor);
        match self.list.iter_mut().find(same) {
            Some(there) => there.access |= new.access,
            None => self.list.push(new),
        }
    }

    /// v1 cannot cut a hole into a wider exception: it would take the order, answer nothing, and go on granting.
    fn take_back(&mut self, rule: &Exception) -> Result<()> {
        let within = |a: Option<u32>, b: Option<u32>| b.is_none() || a == b;
        let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        for there in self.list.iter_mut().filter(|e| e.kind == rule.kind) {
            if within(there.major, rule.major) && within(there.minor, rule.minor) {
                there.access &= !rule.access;
            } else if meets(there.major, rule.major)
                && meets(there.minor, rule.minor)
                && there.access & rule.access != 0
            {
                let why = format_args!("cgroup v1 cannot except '{rule}' from '{there}'").to_string();
                return Err(unsupported("resources.devices", why));
            }
        }
        self.list.retain(|e| e.access != 0);
        Ok(())
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind == Kind::Char { "c " } else { "b " })?;
        write_numbers(f, self.major, self.minor, self.access)
    }
}

fn write_numbers(
    f: &mut fmt::Formatter<'_>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
) -> fmt::Result {
    for (number, behind) in [(major, ':'), (minor, ' ')] {
        match number {
            Some(number) => fmt::Display::fmt(&number, f)?,
            None => f.write_char('*')?,
        }
        f.write_char(behind)?;
    }
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    letters.into_iter().filter(|(bit, _)| access & bit != 0).try_for_each(|(_, letter)| f.write_char(letter))
}

/// Operations of linux/bpf.h and linux/bpf_common.h, named as the kernel's own macros do.
mod op {
    pub(super) const LDX_W: u8 = 0x61;
    pub(super) const LD_IMM64: u8 = 0x18;
    pub(super) const MOV64_X: u8 = 0xbf;
    pub(super) const MOV64_K: u8 = 0xb7;
    pub(super) const AND64_K: u8 = 0x57;
    pub(super) const OR64_X: u8 = 0x4f;
    pub(super) const LSH64_K: u8 = 0x67;
    pub(super) const RSH64_K: u8 = 0x77;
    pub(super) const JEQ_K: u8 = 0x15;
    pub(super) const JNE_K: u8 = 0x55;
    pub(super) const JNE_X: u8 = 0x5d;
    pub(super) const EXIT: u8 = 0x95;
}

const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, immediate }
}

/// Registers: the verdict, the context (later scratch), type, access, major, minor, and both numbers in one.
const VERDICT: u8 = 0;
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const NODE: u8 = 6;

/// The rules as a program: from the last to the first, the first that matches decides; none, and it is denied. A rule
/// that allows matches when it grants all that is asked, one that denies when it forbids any of it.
///
/// The kernel's verifier follows both ways of each jump, and most of what a container's device rules cost is that. So
/// the type is looked at once, and both numbers of a node at a time.
pub(crate) fn program(rules: &[Rule]) -> Result<Vec<Instruction>> {
    // struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor.
    let mut program = vec![
        insn(op::LDX_W, ACCESS, SCRATCH, 0, 0),
        insn(op::MOV64_X, TYPE, ACCESS, 0, 0),
        insn(op::AND64_K, TYPE, 0, 0, 0xffff),
        insn(op::RSH64_K, ACCESS, 0, 0, 16),
        insn(op::LDX_W, MAJOR, SCRATCH, 4, 0),
        insn(op::LDX_W, MINOR, SCRATCH, 8, 0),
        insn(op::MOV64_X, NODE, MAJOR, 0, 0),
        insn(op::LSH64_K, NODE, 0, 0, 32),
        insn(op::OR64_X, NODE, MINOR, 0, 0),
    ];
    let (char, block) = (section(rules, Kind::Char), section(rules, Kind::Block));
    if char != block {
        let over = i16::try_from(char.len()).map_err(|_| {
            Error::usage("limit devices", "resources.devices: more rules than a program holds")
        })?;
        program.push(insn(op::JNE_K, TYPE, 0, over, Kind::Char as i32));
        program.extend(char);
    }
    program.extend(block);
    Ok(program)
}

/// What decides about one type of devices.
fn section(rules: &[Rule], kind: Kind) -> Vec<Instruction> {
    let rules: Vec<&Rule> = rules.iter().filter(|r| r.kind.is_none_or(|k| k == kind)).collect();
    let everything = |r: &&Rule| r.major.is_none() && r.minor.is_none() && r.access == ALL;
    // Rules before one that matches everything never come to their turn, and the verifier refuses unreachable code.
    let first = rules.iter().rposition(everything);
    let mut section = Vec::new();
    for rule in rules[first.map_or(0, |at| at + 1)..].iter().rev() {
        rule.compile(&mut section);
    }
    let verdict = first.is_some_and(|at| rules[at].allow);
    section.extend([insn(op::MOV64_K, VERDICT, 0, 0, verdict.into()), insn(op::EXIT, 0, 0, 0, 0)]);
    section
}

impl Rule {
    fn compile(&self, program: &mut Vec<Instruction>) {
        let mut block = Vec::with_capacity(8);
        match (self.major, self.minor) {
            (Some(major), Some(minor)) => {
                block.push(insn(op::LD_IMM64, SCRATCH, 0, 0, minor as i32));
                block.push(insn(0, 0, 0, 0, major as i32));
                block.push(insn(op::JNE_X, NODE, SCRATCH, 0, 0));
            }
            (Some(major), None) => block.push(insn(op::JNE_K, MAJOR, 0, 0, major as i32)),
            (None, Some(minor)) => block.push(insn(op::JNE_K, MINOR, 0, 0, minor as i32)),
            (None, None) => {}
        }
        if self.access != ALL {
            let (mask, leave) =
                if self.allow { (!self.access & ALL, op::JNE_K) } else { (self.access, op::JEQ_K) };
            block.push(insn(op::MOV64_X, SCRATCH, ACCESS, 0, 0));
            block.push(insn(op::AND64_K, SCRATCH, 0, 0, mask.into()));
            block.push(insn(leave, SCRATCH, 0, 0, 0));
        }
        block.push(insn(op::MOV64_K, VERDICT, 0, 0, self.allow.into()));
        block.push(insn(op::EXIT, 0, 0, 0, 0));
        // Each jump leads behind this rule; distances count from the instruction after the jump.
        let end = block.len();
        for (at, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, op::JNE_K | op::JNE_X | op::JEQ_K) {
                instruction.offset = (end - at - 1) as i16;
            }
        }
        program.append(&mut block);
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
