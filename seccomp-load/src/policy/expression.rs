//! Expressions with `!` and parentheses, turned into alternatives.

use super::tokens::wrong;
use crate::program::MOST;
use crate::rule::{INT, Op, Order, Test};
use crate::value::Wrong;

/// The most alternatives of one expression.
const ALTERNATIVES: usize = 512;

/// What must hold.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Test(Test),
    Known(bool),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Number(u64),
    /// An argument, the bits that it has, and those that are looked at.
    Argument {
        index: u8,
        width: u64,
        mask: Option<u64>,
    },
}

impl Side {
    pub(super) fn argument(index: u8, width: u64) -> Side {
        // Of a half int the same is looked at as of an int.
        Side::Argument { index, width: if width == u64::MAX { width } else { INT }, mask: None }
    }

    pub(super) fn masked(self, other: Side) -> Result<Side, Wrong> {
        match (self, other) {
            (Side::Number(a), Side::Number(b)) => Ok(Side::Number(a & b)),
            (Side::Argument { index, width, mask: None }, Side::Number(mask))
            | (Side::Number(mask), Side::Argument { index, width, mask: None }) => {
                Ok(Side::Argument { index, width, mask: Some(mask & width) })
            }
            _ => Err(wrong("a filter has no mask out of an argument", "a number")),
        }
    }
}

/// `left SIGN right`, one of which is an argument.
pub(super) fn compare(left: Side, sign: &str, right: Side) -> Result<Expr, Wrong> {
    let (index, width, mask, value, sign) = match (left, right) {
        (Side::Number(a), Side::Number(b)) => return known(a, sign, b),
        (Side::Argument { index, width, mask }, Side::Number(value)) => (index, width, mask, value, sign),
        (Side::Number(value), Side::Argument { index, width, mask }) => {
            (index, width, mask, value, turned(sign))
        }
        _ => {
            return Err(wrong(
                "a filter compares an argument with a number, and with nothing else",
                "a number",
            ));
        }
    };
    // A number below zero is an int's, if the argument is one.
    let value = if width == INT && value as i64 >= i32::MIN.into() && (value as i64) < 0 {
        value & INT
    } else {
        value
    };
    if value > width {
        return Err(wrong(format!("{value:#x} is more than the argument has"), "32 bits"));
    }
    let op = match (sign, mask) {
        ("==" | "!=", Some(mask)) if value & !mask != 0 => return Ok(Expr::Known(sign == "!=")),
        ("==", mask) => mask.or((width == INT).then_some(INT)).map_or(Op::Eq, Op::Masked),
        ("!=", mask) => mask.or((width == INT).then_some(INT)).map_or(Op::Ne, Op::Unlike),
        (_, Some(_)) => return Err(wrong(format!("'{sign}' under a mask"), "== or !=")),
        (sign, None) => match (order(sign)?, width == INT) {
            (order, true) => Op::Int(order),
            (Order::Lt, false) => Op::Lt,
            (Order::Le, false) => Op::Le,
            (Order::Gt, false) => Op::Gt,
            (Order::Ge, false) => Op::Ge,
        },
    };
    Ok(Expr::Test(Test { index, op, value }))
}

fn order(sign: &str) -> Result<Order, Wrong> {
    Ok(match sign {
        "<" => Order::Lt,
        "<=" => Order::Le,
        ">" => Order::Gt,
        ">=" => Order::Ge,
        other => return Err(wrong(format!("'{}' is no operator", other.escape_debug()), "== != < <= > >=")),
    })
}

fn turned(sign: &str) -> &str {
    match sign {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

fn known(a: u64, sign: &str, b: u64) -> Result<Expr, Wrong> {
    Ok(Expr::Known(match sign {
        "==" => a == b,
        "!=" => a != b,
        sign => match order(sign)? {
            Order::Lt => a < b,
            Order::Le => a <= b,
            Order::Gt => a > b,
            Order::Ge => a >= b,
        },
    }))
}

/// Alternatives, of each of which all tests must hold. None at all: it never holds.
pub(super) fn alternatives(expr: &Expr) -> Result<Vec<Vec<Test>>, Wrong> {
    turn(expr, true)
}

fn turn(expr: &Expr, wanted: bool) -> Result<Vec<Vec<Test>>, Wrong> {
    let found = match (expr, wanted) {
        (Expr::Test(test), true) => vec![vec![*test]],
        (Expr::Test(test), false) => vec![vec![crate::express::not(test)]],
        (Expr::Known(known), wanted) => {
            if *known == wanted {
                vec![Vec::new()]
            } else {
                Vec::new()
            }
        }
        (Expr::Not(inner), wanted) => turn(inner, !wanted)?,
        (Expr::Any(list), true) | (Expr::All(list), false) => {
            let mut found = Vec::new();
            for one in list {
                found.extend(turn(one, wanted)?);
            }
            found
        }
        (Expr::All(list), true) | (Expr::Any(list), false) => {
            let mut found: Vec<Vec<Test>> = vec![Vec::new()];
            for one in list {
                let more = turn(one, wanted)?;
                if found.len() * more.len() > ALTERNATIVES {
                    return Err(wrong(
                        format!("more than {ALTERNATIVES} alternatives"),
                        "a simpler expression",
                    ));
                }
                found = found
                    .iter()
                    .flat_map(|all| {
                        more.iter().map(|test| [all.as_slice(), test].concat()).collect::<Vec<_>>()
                    })
                    .collect();
            }
            found
        }
    };
    if found.len() > ALTERNATIVES || found.iter().any(|all| all.len() > MOST) {
        return Err(wrong(
            format!("more than {ALTERNATIVES} alternatives, or {MOST} tests in one"),
            "a simpler expression",
        ));
    }
    Ok(found)
}
