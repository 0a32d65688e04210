//! A statement of minijail's policies: `ioctl: arg1 == TCGETS || arg1 == TIOCGWINSZ; return ENOTTY`.
//!
//! Where minijail0 and its compiler of later years read one thing differently, it is refused.

use super::lines::Line;
use super::tokens::{DEEPEST, Tokens, number, wrong as said};
use super::{Policy, wrong};
use crate::action::{self, Action};
use crate::program::MOST;
use crate::rule::{Op, Test};
use crate::value::Wrong;
use crate::{arch, number as numbers};
use chain::Result;

type Read<T> = std::result::Result<T, Wrong>;
/// Alternatives, of each of which all tests must hold.
type Expression = Vec<Vec<Test>>;

/// What a call meets, in order; none but the last without conditions.
type Filters = Vec<(Expression, Action)>;

/// Carries out one line. `at` is its file and number.
pub(super) fn carry_out<'a>(policy: &mut Policy, line: &'a str, at: &str) -> Result<Line<'a>> {
    let line = line.split('#').next().unwrap_or("").trim();
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match first {
        "" => Ok(Line::Done),
        "@include" if rest.trim().starts_with(['/', '.']) => Ok(Line::Include(rest.trim())),
        // In which order calls are looked for, and nothing of what becomes of them.
        "@frequency" if rest.trim().starts_with(['/', '.']) => Ok(Line::Done),
        "@denylist" if rest.is_empty() => policy.set_default(Action::Allow, at).map(|()| Line::Done),
        "@default" => {
            let action = default(rest.trim()).map_err(|w| wrong(at, w))?;
            policy.set_default(action, at).map(|()| Line::Done)
        }
        _ if first.starts_with('@') => {
            let text = format!("'{}' is no directive", line.escape_debug());
            Err(wrong(at, said(text, "@include ./FILE, @default ACTION, @frequency ./FILE, @denylist")))
        }
        _ => statement(policy, line, at).map_err(|w| wrong(at, w)).map(|()| Line::Done),
    }
}

fn default(word: &str) -> Read<Action> {
    match plain(word) {
        Some(action) if !matches!(action, Action::Allow | Action::Log | Action::Trace(_)) => Ok(action),
        _ => Err(said(
            format!("'{}' is no default", word.escape_debug()),
            "kill-process, kill-thread, trap, user-notify",
        )),
    }
}

/// `kill` kills the process, as minijail0 does where the kernel can.
fn plain(word: &str) -> Option<Action> {
    Some(match word {
        "allow" | "1" => Action::Allow,
        "kill" | "kill-process" => Action::KillProcess,
        "kill-thread" => Action::KillThread,
        "trap" => Action::Trap,
        "trace" => Action::Trace(0),
        "log" => Action::Log,
        "user-notify" => Action::Notify,
        _ => return None,
    })
}

fn statement(policy: &mut Policy, line: &str, at: &str) -> Read<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@');
    let mut tokens = Tokens::of(line, word, |_| 0).map_err(|(wrong, _)| wrong)?;
    let names = calls(&mut tokens)?;
    tokens.expect(":")?;
    let filters = filters(&mut tokens)?;
    if let Some(rest) = tokens.peek() {
        return Err(said(
            format!("'{}' behind the end of the statement", rest.escape_debug()),
            "a line of its own",
        ));
    }
    let denylist = matches!(policy.default, Some((Action::Allow, _)));
    if denylist && filters.iter().any(|(_, action)| !matches!(action, Action::Errno(_))) {
        return Err(said("under @denylist a call is refused by return alone", "return EPERM"));
    }
    for name in names {
        if policy.rules.iter().any(|rule| rule.at != at && rule.names.contains(&name)) {
            return Err(said(
                format!("'{name}' stands twice, and who reads it makes of that one thing or another"),
                "one line",
            ));
        }
        for (when, action) in &filters {
            policy.push(&name, *action, when.clone(), at)?;
        }
    }
    Ok(())
}

/// `read`, `{read, write}`, each with `[arch=x86_64,arm64]`.
fn calls(tokens: &mut Tokens<'_>) -> Read<Vec<String>> {
    let mut found = Vec::new();
    let several = tokens.accept("{");
    loop {
        let word = tokens.take("a system call")?;
        let here = !tokens.accept("[") || metadata(tokens)?;
        let name = call(word)?;
        if here && !found.contains(&name) {
            found.push(name);
        }
        if !several {
            return Ok(found);
        }
        if !tokens.accept(",") {
            return tokens.expect("}").map(|()| found);
        }
    }
}

fn call(word: &str) -> Read<String> {
    let native = arch::native();
    let by_number = word.parse::<u32>().ok().and_then(|n| numbers::name(native.base + n, native));
    if let Some(name) = by_number {
        return Ok(name);
    }
    if word.contains('@') {
        return Err(said(
            format!("'{}' is a group of one build of minijail", word.escape_debug()),
            "its calls",
        ));
    }
    super::calls::known(word)
}

/// Whether the call is there on this architecture.
fn metadata(tokens: &mut Tokens<'_>) -> Read<bool> {
    let key = tokens.take("arch")?;
    if key != "arch" {
        return Err(said(format!("'{}' is nothing that can be said of a call", key.escape_debug()), "arch"));
    }
    tokens.expect("=")?;
    let mut here = false;
    loop {
        let name = tokens.take("an architecture")?;
        here |= name == arch::native().word() || name == "arm64" && arch::native().go == "arm64";
        if !tokens.accept(",") {
            return tokens.expect("]").map(|()| here);
        }
    }
}

fn filters(tokens: &mut Tokens<'_>) -> Read<Filters> {
    if tokens.accept("{") {
        let mut found = Vec::new();
        loop {
            if found.last().is_some_and(|(when, _): &(Expression, Action)| when.is_empty()) {
                return Err(said("nothing behind an action without a condition is ever reached", "it last"));
            }
            found.push(match condition(tokens)? {
                None => (Vec::new(), action(tokens)?),
                Some(when) if tokens.accept(";") => (when, action(tokens)?),
                Some(when) => (when, Action::Allow),
            });
            if !tokens.accept(",") {
                return tokens.expect("}").map(|()| found);
            }
        }
    }
    let Some(when) = condition(tokens)? else { return Ok(vec![(Vec::new(), action(tokens)?)]) };
    if !tokens.accept(";") {
        return Ok(vec![(when, Action::Allow)]);
    }
    // minijail0: allowed where it holds, else this errno.
    match tokens.peek() {
        Some("return") => Ok(vec![(when, Action::Allow), (Vec::new(), action(tokens)?)]),
        other => {
            let text =
                format!("'{}' behind a condition is read in two ways", other.unwrap_or("").escape_debug());
            Err(said(text, "{ arg0 == 1; ACTION, ACTION }"))
        }
    }
}

fn action(tokens: &mut Tokens<'_>) -> Read<Action> {
    let word = tokens.take("an action")?;
    if word != "return" {
        return plain(word).ok_or_else(|| {
            let text = format!("'{}' is no action", word.escape_debug());
            said(
                text,
                "allow, 1, kill, kill-process, kill-thread, trap, trace, log, user-notify, return ERRNO",
            )
        });
    }
    let errno = tokens.take("an errno")?;
    let number = action::errno(errno).map_or_else(|| number(errno), |n| Ok(n.into()));
    match number.map(u16::try_from) {
        Ok(Ok(number @ 0..=4095)) => Ok(Action::Errno(number)),
        _ => Err(said(format!("'{}' is no errno", errno.escape_debug()), "return EPERM")),
    }
}

/// `arg0 == 1 && arg1 in O_RDONLY|O_CLOEXEC || …`; None where an action stands.
fn condition(tokens: &mut Tokens<'_>) -> Read<Option<Expression>> {
    let is_arg = |word: &str| {
        word.strip_prefix("arg").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if !tokens.peek().is_some_and(is_arg) {
        return Ok(None);
    }
    let mut all: Expression = vec![Vec::new()];
    loop {
        let test = atom(tokens)?;
        let group = all.last_mut().map_or(0, |group| {
            group.push(test);
            group.len()
        });
        if group > MOST {
            return Err(said(format!("more than {MOST} conditions that must all hold"), "fewer"));
        }
        if tokens.accept("||") {
            all.push(Vec::new());
        } else if !tokens.accept("&&") {
            return Ok(Some(all));
        }
    }
}

fn atom(tokens: &mut Tokens<'_>) -> Read<Test> {
    let word = tokens.take("an argument")?;
    let index = match word.strip_prefix("arg") {
        Some(digit @ ("0" | "1" | "2" | "3" | "4" | "5")) => digit.as_bytes()[0] - b'0',
        _ => return Err(said(format!("'{}' is no argument", word.escape_debug()), "arg0 to arg5")),
    };
    let sign = tokens.take("an operator")?;
    let value = value(tokens, 0)?;
    let (op, value) = match sign {
        "==" => (Op::Eq, value),
        "!=" => (Op::Ne, value),
        "<" => (Op::Lt, value),
        "<=" => (Op::Le, value),
        ">" => (Op::Gt, value),
        ">=" => (Op::Ge, value),
        // Any of these bits; none but these.
        "&" => (Op::Unlike(value), 0),
        "in" => (Op::Masked(!value), 0),
        _ => return Err(said(format!("'{}' is no operator", sign.escape_debug()), "== != < <= > >= & in")),
    };
    Ok(Test { index, op, value })
}

/// `A | ~(B | C)`.
fn value(tokens: &mut Tokens<'_>, depth: usize) -> Read<u64> {
    if depth > DEEPEST {
        return Err(said(format!("more than {DEEPEST} parentheses in each other"), "fewer"));
    }
    let mut sum = 0;
    loop {
        let inverted = tokens.accept("~");
        let one = match tokens.accept("(") {
            true => {
                let inner = value(tokens, depth + 1)?;
                tokens.expect(")")?;
                inner
            }
            false => number(tokens.take("a number or a constant")?)?,
        };
        sum |= if inverted { !one } else { one };
        if !tokens.accept("|") {
            return Ok(sum);
        }
    }
}
