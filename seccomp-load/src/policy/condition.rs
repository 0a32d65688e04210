//! Conditions of the text language: `int1 == TIOCSTI or flags has O_CREAT and arg3 < 0x100`.

use super::params;
use crate::program::MOST;
use crate::rule::{INT, Op, Order, Test};
use crate::value::{self, Value, Wrong};

/// An argument as a condition names it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Arg {
    /// All 64 bits of it: `arg1`.
    Whole(u8),
    /// The lower 32, which are all that the kernel takes of an int: `int1`.
    Int(u8),
    /// By the name that the kernel's manual has for it, with its width.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Eq,
    Ne,
    Order(Order),
}

/// One comparison, before it is known of which call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    arg: Arg,
    mask: Option<Value>,
    /// The mask is what must not be set.
    inverted: bool,
    sign: Sign,
    value: Value,
}

/// Alternatives, of each of which all comparisons must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition(Vec<Vec<Comparison>>);

fn wrong(text: impl Into<String>, cure: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), cure: cure.into() }
}

/// Reads what stands behind `if`.
pub(super) fn parse(text: &str) -> Result<Condition, Wrong> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    let mut all = vec![Vec::new()];
    loop {
        let group: &mut Vec<Comparison> = match all.last_mut() {
            Some(group) => group,
            None => return Err(wrong("no condition", "arg0 == 1")),
        };
        group.push(comparison(&mut rest)?);
        if group.len() > MOST {
            return Err(wrong(format!("more than {MOST} conditions that must all hold"), "fewer"));
        }
        match rest.split_first() {
            None => return Ok(Condition(all)),
            Some((&("and" | "&&"), behind)) => rest = behind,
            Some((&("or" | "||"), behind)) => {
                rest = behind;
                all.push(Vec::new());
            }
            Some((other, _)) => {
                let text = format!(
                    "'{}' where 'and', 'or' or the end of the line was expected",
                    other.escape_debug()
                );
                return Err(wrong(text, "one line for each alternative, there are no parentheses"));
            }
        }
    }
}

/// Words, numbers and signs.
fn tokens(text: &str) -> Result<Vec<&str>, Wrong> {
    const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "&", "|", "="];
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let word =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let len = match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => sign.len(),
            None if word > 0 => word,
            None => {
                let odd: String = rest.chars().take(1).collect();
                return Err(wrong(
                    format!("'{}' stands in no condition", odd.escape_debug()),
                    "arg0 & 0xf == 1",
                ));
            }
        };
        let (token, behind) = rest.split_at(len);
        found.push(token);
        rest = behind.trim_start();
    }
    Ok(found)
}

fn comparison(rest: &mut &[&str]) -> Result<Comparison, Wrong> {
    let arg = arg(next(rest, "an argument, as arg0, int0 or its name")?)?;
    let sign = next(rest, "an operator")?;
    let whole = |rest: &mut &[&str]| number(rest);
    let none = Value { bits: 0, negative: false };
    let masked = |inverted, mask, value| Comparison {
        arg: arg.clone(),
        mask: Some(mask),
        inverted,
        sign: Sign::Eq,
        value,
    };
    match sign {
        "has" => {
            let bits = whole(rest)?;
            Ok(masked(false, bits, Value { negative: false, ..bits }))
        }
        "lacks" => Ok(masked(false, whole(rest)?, none)),
        "only" => Ok(masked(true, whole(rest)?, none)),
        "&" => {
            let mask = whole(rest)?;
            let sign = match next(rest, "== or !=")? {
                "==" => Sign::Eq,
                "!=" => Sign::Ne,
                other => {
                    let text = format!("'{}' where == or != was expected", other.escape_debug());
                    return Err(wrong(text, "arg0 & 0xf == 1"));
                }
            };
            Ok(Comparison { arg, mask: Some(mask), inverted: false, sign, value: whole(rest)? })
        }
        word => Ok(Comparison { arg, mask: None, inverted: false, sign: plain(word)?, value: whole(rest)? }),
    }
}

fn plain(word: &str) -> Result<Sign, Wrong> {
    Ok(match word {
        "==" => Sign::Eq,
        "!=" => Sign::Ne,
        "<" => Sign::Order(Order::Lt),
        "<=" => Sign::Order(Order::Le),
        ">" => Sign::Order(Order::Gt),
        ">=" => Sign::Order(Order::Ge),
        other => {
            let cure = if other == "=" { "==" } else { "== != < <= > >= &, has, lacks or only" };
            return Err(wrong(format!("'{}' is no operator", other.escape_debug()), cure));
        }
    })
}

fn next<'a>(rest: &mut &[&'a str], expected: &str) -> Result<&'a str, Wrong> {
    match rest.split_first() {
        Some((first, behind)) => {
            *rest = behind;
            Ok(first)
        }
        None => Err(wrong(format!("the line ends where {expected} was expected"), "arg0 == 1")),
    }
}

/// `A|B`.
fn number(rest: &mut &[&str]) -> Result<Value, Wrong> {
    let mut word = next(rest, "a number or a constant")?.to_string();
    while let Some((&"|", behind)) = rest.split_first() {
        *rest = behind;
        word = word + "|" + next(rest, "a number or a constant")?;
    }
    value::of(&word)
}

fn arg(word: &str) -> Result<Arg, Wrong> {
    let digit = |prefix: &str| {
        word.strip_prefix(prefix).filter(|d| d.bytes().all(|b| b.is_ascii_digit()) && !d.is_empty())
    };
    let index = |digits: &str| match digits {
        "0" | "1" | "2" | "3" | "4" | "5" => Ok(digits.as_bytes()[0] - b'0'),
        _ => Err(wrong(format!("'{word}' is no argument (0 to 5)"), "arg0")),
    };
    if let Some(digits) = digit("arg") {
        return index(digits).map(Arg::Whole);
    }
    if let Some(digits) = digit("int") {
        return index(digits).map(Arg::Int);
    }
    let name = word.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains('-');
    match name {
        true => Ok(Arg::Named(word.into())),
        false => Err(wrong(format!("'{}' is no argument", word.escape_debug()), "arg0")),
    }
}

impl Condition {
    /// The same for one call.
    pub(super) fn of(&self, call: &str) -> Result<Vec<Vec<Test>>, Wrong> {
        self.0.iter().map(|group| group.iter().map(|comparison| comparison.of(call)).collect()).collect()
    }
}

impl Comparison {
    fn of(&self, call: &str) -> Result<Test, Wrong> {
        let (index, width) = match &self.arg {
            Arg::Whole(index) => (*index, u64::MAX),
            Arg::Int(index) => (*index, INT),
            Arg::Named(name) => params::find(call, name)?,
        };
        let bits = self.fit(self.value, index, width)?;
        let mask = self.mask.map(|mask| self.fit(mask, index, width)).transpose()?;
        let mask = mask.map(|mask| if self.inverted { !mask & width } else { mask });
        if let Some(mask) = mask.filter(|mask| bits & !mask != 0) {
            let text = format!("{bits:#x} has bits that the mask {mask:#x} takes away");
            return Err(wrong(text, "it would never hold"));
        }
        let op = match (self.sign, mask.or((width != u64::MAX).then_some(width))) {
            (Sign::Eq, Some(mask)) => Op::Masked(mask),
            (Sign::Ne, Some(mask)) => Op::Unlike(mask),
            (Sign::Order(order), Some(INT)) => Op::Int(order),
            (Sign::Order(_), Some(_)) => {
                return Err(wrong(
                    format!("the kernel takes 16 bits of arg{index}, which are not put in order"),
                    "==",
                ));
            }
            (Sign::Eq, None) => Op::Eq,
            (Sign::Ne, None) => Op::Ne,
            (Sign::Order(Order::Lt), None) => Op::Lt,
            (Sign::Order(Order::Le), None) => Op::Le,
            (Sign::Order(Order::Gt), None) => Op::Gt,
            (Sign::Order(Order::Ge), None) => Op::Ge,
        };
        Ok(Test { index, op, value: bits })
    }

    /// A number as an argument of this width has it.
    fn fit(&self, value: Value, index: u8, width: u64) -> Result<u64, Wrong> {
        let signed = value.bits as i64;
        if value.negative && matches!(self.sign, Sign::Order(_)) {
            return Err(wrong(
                format!("{signed} is below zero, and a filter compares without a sign"),
                "== or !=",
            ));
        }
        if value.negative && width == u64::MAX {
            let text =
                format!("{signed} is below zero, an int: its upper half in arg{index} may be anything");
            return Err(wrong(text, format!("int{index}")));
        }
        if value.negative && width == INT && signed >= i32::MIN.into() {
            return Ok(value.bits & INT);
        }
        match value.bits <= width {
            true => Ok(value.bits),
            false => {
                let text = format!(
                    "{:#x} is more than the {} bits that the argument has",
                    value.bits,
                    width.count_ones()
                );
                Err(wrong(text, format!("arg{index}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, call: &str) -> Result<Vec<Vec<Test>>, Wrong> {
        parse(text)?.of(call)
    }

    fn said(text: &str) -> String {
        let groups = of(text, "openat").unwrap();
        let group =
            |group: &Vec<Test>| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        groups.iter().map(group).collect::<Vec<_>>().join(" or ")
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        for (text, read) in [
            ("arg0 == 1", "arg0 == 0x1"),
            ("arg0!=1&&arg1<2||arg2>=0x10", "arg0 != 0x1 and arg1 < 0x2 or arg2 >= 0x10"),
            ("int0 == AT_FDCWD", "int0 == 0xffffff9c"),
            ("int0 != -1 and int1 <= 7", "int0 != 0xffffffff and int1 <= 0x7"),
            ("arg2 & O_CREAT|O_EXCL == O_CREAT", "arg2 & 0xc0 == 0x40"),
            ("arg2 & O_CREAT | O_EXCL != 0", "arg2 & 0xc0 != 0x0"),
            ("flags has O_CREAT", "arg2 & 0x40 == 0x40"),
            ("flags lacks O_CREAT|O_WRONLY", "arg2 & 0x41 == 0x0"),
            ("flags only O_CLOEXEC", "arg2 & 0xfff7ffff == 0x0"),
            ("arg2 only 1", "arg2 & 0xfffffffffffffffe == 0x0"),
            ("dfd == AT_FDCWD", "int0 == 0xffffff9c"),
            ("mode != 0o777", "arg3 & 0xffff != 0x1ff"),
            ("arg0 > 1 and arg0 < 5", "arg0 > 0x1 and arg0 < 0x5"),
        ] {
            assert_eq!(said(text), read, "{text}");
            assert_eq!(said(read), read);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, says, cure) in [
            ("", "the line ends where an argument", "arg0 == 1"),
            ("arg0", "the line ends where an operator", ""),
            ("arg0 ==", "the line ends where a number", ""),
            ("arg0 = 1", "'=' is no operator", "=="),
            ("arg0 is 1", "'is' is no operator", ""),
            ("arg6 == 1", "'arg6' is no argument", "arg0"),
            ("arg == 1", "'openat' has no argument 'arg'", ""),
            ("fllags has 1", "'openat' has no argument 'fllags'", "flags?"),
            ("arg0 == 1 arg1 == 2", "'arg1' where 'and', 'or'", ""),
            ("(arg0 == 1)", "'(' stands in no condition", ""),
            ("arg0 == 1 and", "the line ends where an argument", ""),
            ("arg0 & 1", "the line ends where == or !=", ""),
            ("arg0 & 1 < 2", "'<' where == or !=", ""),
            ("arg0 & 1 == 2", "0x2 has bits that the mask 0x1 takes away", ""),
            ("arg0 == AT_FDCWD", "-100 is below zero, an int", "int0"),
            ("int0 < -1", "compares without a sign", ""),
            ("int0 == 0x100000000", "more than the 32 bits", "arg0"),
            ("arg0 == 0644", "octal or not", "0o644"),
            ("arg0 == O_CRAET", "'O_CRAET' is no number", "O_CREAT?"),
            ("é == 1", "'é' stands in no condition", ""),
        ] {
            let error = of(text, "openat").expect_err(text);
            assert!(error.text.contains(says) && error.cure.contains(cure), "{text}: {error:?}");
        }
        let many = vec!["arg0 != 1"; MOST + 1].join(" and ");
        assert!(of(&many, "openat").unwrap_err().text.contains("more than 32"));
    }
}
