//! Kafel's policies: `POLICY p { ALLOW { read, write { fd == 1 } } } USE p DEFAULT KILL`.

use super::expression::{Expr, alternatives};
use super::tokens::{DEEPEST, Tokens, number, wrong as said};
use super::{MOST_NAMES, Policy, params, wrong};
use crate::action::{self, Action};
use crate::arch;
use crate::rule::Test;
use crate::value::Wrong;
use chain::Result;
use std::collections::BTreeMap;

type Read<T> = std::result::Result<T, Wrong>;

/// A rule for one call; without alternatives it always fits.
#[derive(Clone, Debug)]
struct Entry {
    action: Action,
    call: String,
    when: Option<Vec<Vec<Test>>>,
    line: usize,
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    constants: BTreeMap<&'a str, u64>,
    policies: BTreeMap<&'a str, Vec<Entry>>,
    default: Option<Action>,
    weight: usize,
}

impl Entry {
    fn weight(&self) -> usize {
        self.when.as_ref().map_or(1, Vec::len)
    }
}

/// Reads all of `text`, which is of the file `name`.
pub(super) fn read(policy: &mut Policy, text: &str, name: &str) -> Result<()> {
    let at = |line: usize| format!("{name}:{}", line + 1);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tokens = Tokens::of(text, word, comment).map_err(|(w, line)| wrong(&at(line), w))?;
    let mut reader =
        Reader { tokens, constants: BTreeMap::new(), policies: BTreeMap::new(), default: None, weight: 0 };
    let entries = reader.file().map_err(|w| wrong(&at(reader.tokens.last_line()), w))?;
    policy.set_default(reader.default.unwrap_or(Action::KillThread), &at(0))?;
    for entry in entries {
        let at = at(entry.line);
        policy
            .push(&entry.call, entry.action, entry.when.unwrap_or_default(), &at)
            .map_err(|w| wrong(&at, w))?;
    }
    Ok(())
}

/// `// …` and `/* … */`; one without an end is none.
fn comment(text: &str) -> usize {
    match text.as_bytes() {
        [b'/', b'/', ..] => text.find('\n').unwrap_or(text.len()),
        [b'/', b'*', ..] => text[2..].find("*/").map_or(0, |end| end + 4),
        _ => 0,
    }
}

impl<'a> Reader<'a> {
    fn file(&mut self) -> Read<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(token) = self.tokens.peek() {
            match token {
                "#" => self.directive()?,
                "POLICY" => self.policy()?,
                "," | ";" => {
                    self.tokens.take("")?;
                }
                _ => self.statement(&mut entries)?,
            }
        }
        Ok(entries)
    }

    fn directive(&mut self) -> Read<()> {
        self.tokens.expect("#")?;
        match self.tokens.take("define")? {
            "define" => {
                let name = self.tokens.take("a name")?;
                let value = number(self.tokens.take("a number")?)?;
                match self.constants.insert(name, value) {
                    Some(_) => Err(said(format!("'{name}' is defined twice"), "once")),
                    None => Ok(()),
                }
            }
            "include" => {
                Err(said("where Kafel looks for what it includes is said by who calls it", "its text here"))
            }
            other => Err(said(format!("'#{}' is no directive", other.escape_debug()), "#define")),
        }
    }

    fn policy(&mut self) -> Read<()> {
        self.tokens.expect("POLICY")?;
        let name = self.tokens.take("a name")?;
        self.tokens.expect("{")?;
        let mut entries = Vec::new();
        while !self.tokens.accept("}") {
            if !self.tokens.accept(",") {
                self.statement(&mut entries)?;
            }
        }
        match self.policies.insert(name, entries) {
            Some(_) => Err(said(format!("the policy '{}' is defined twice", name.escape_debug()), "once")),
            None => Ok(()),
        }
    }

    /// `USE name`, `DEFAULT action`, `ACTION { calls }`.
    fn statement(&mut self, entries: &mut Vec<Entry>) -> Read<()> {
        if self.tokens.accept("USE") {
            let name = self.tokens.take("a policy")?;
            let used = self.policies.get(name).ok_or_else(|| {
                said(
                    format!("no policy '{}' stands before", name.escape_debug()),
                    "POLICY NAME { … } in front",
                )
            })?;
            let weight = used.iter().map(Entry::weight).sum();
            entries.extend(used.iter().cloned());
            self.many(weight)?;
        } else if self.tokens.accept("DEFAULT") {
            let action = self.action()?;
            if self.default.replace(action).is_some() {
                return Err(said("DEFAULT stands twice", "once"));
            }
        } else {
            let action = self.action()?;
            self.tokens.expect("{")?;
            while !self.tokens.accept("}") {
                if !self.tokens.accept(",") {
                    self.call(action, entries)?;
                }
            }
        }
        self.many(0)
    }

    /// Counts rules: policies that use each other double what they hold.
    fn many(&mut self, more: usize) -> Read<()> {
        self.weight += more;
        match self.weight > MOST_NAMES {
            true => Err(said(format!("more than {MOST_NAMES} rules"), "fewer")),
            false => Ok(()),
        }
    }

    fn action(&mut self) -> Read<Action> {
        let word = self.tokens.take("an action")?;
        Ok(match word {
            "ALLOW" => Action::Allow,
            "LOG" => Action::Log,
            "KILL" | "KILL_THREAD" | "DENY" => Action::KillThread,
            "KILL_PROCESS" => Action::KillProcess,
            "USER_NOTIF" => Action::Notify,
            "ERRNO" | "TRAP" | "TRACE" => {
                self.tokens.expect("(")?;
                let data = self.number()?;
                self.tokens.expect(")")?;
                match (word, u16::try_from(data)) {
                    ("ERRNO", Ok(errno @ 0..=4095)) => Action::Errno(errno),
                    ("TRACE", Ok(data)) => Action::Trace(data),
                    ("TRAP", Ok(0)) => Action::Trap,
                    _ => {
                        return Err(said(
                            format!("{word}({data}) has no place in a filter here"),
                            "ERRNO(1), TRAP(0), TRACE(0)",
                        ));
                    }
                }
            }
            other => {
                let text = format!("'{}' is no action", other.escape_debug());
                return Err(said(
                    text,
                    "ALLOW, LOG, KILL, KILL_PROCESS, ERRNO(N), TRAP(0), TRACE(N), USER_NOTIF, USE, DEFAULT",
                ));
            }
        })
    }

    fn number(&mut self) -> Read<u64> {
        let word = self.tokens.take("a number")?;
        match self.constants.get(word) {
            Some(value) => Ok(*value),
            None => action::errno(word).map_or_else(|| number(word), |errno| Ok(errno.into())),
        }
    }

    /// `mmap(a, b, c) { c == 0 } ON x86_64`.
    fn call(&mut self, action: Action, entries: &mut Vec<Entry>) -> Read<()> {
        let line = self.tokens.line();
        let word = self.tokens.take("a system call")?;
        if word == "SYSCALL" || self.constants.contains_key(word) {
            return Err(said(format!("'{word}': a call by its number alone"), "its name"));
        }
        let call = name(word)?;
        let names = if self.tokens.accept("(") { Some(self.names()?) } else { None };
        let expr = match self.tokens.accept("{") {
            true if self.tokens.accept("}") => None,
            true => Some(self.expressions(&call, names.as_deref())?),
            false => None,
        };
        let here = !self.tokens.accept("ON") || self.archs()?;
        let when = expr.map(|expr| alternatives(&expr)).transpose()?;
        // One that holds for nothing is no rule.
        if here && when.as_ref().is_none_or(|when| !when.is_empty()) {
            // One with an alternative without tests always holds.
            let when = when.filter(|when| !when.iter().any(Vec::is_empty));
            let entry = Entry { action, call, when, line };
            let weight = entry.weight();
            entries.push(entry);
            self.many(weight)?;
        }
        Ok(())
    }

    fn names(&mut self) -> Read<Vec<&'a str>> {
        let mut names = Vec::new();
        while !self.tokens.accept(")") {
            if self.tokens.accept(",") {
                continue;
            }
            let name = self.tokens.take("the name of an argument")?;
            if names.contains(&name) || names.len() == 6 {
                return Err(said(format!("'{}' is one argument too many", name.escape_debug()), "six names"));
            }
            names.push(name);
        }
        Ok(names)
    }

    fn archs(&mut self) -> Read<bool> {
        let several = self.tokens.accept("{");
        let mut here = false;
        loop {
            here |= self.tokens.take("an architecture")? == arch::native().word();
            if !several {
                return Ok(here);
            }
            if !self.tokens.accept(",") {
                return self.tokens.expect("}").map(|()| here);
            }
        }
    }

    /// Up to the brace at the end; a comma is an or that binds least.
    fn expressions(&mut self, call: &str, names: Option<&[&str]>) -> Read<Expr> {
        let mut all = vec![self.or(call, names, 0)?];
        while self.tokens.accept(",") {
            all.push(self.or(call, names, 0)?);
        }
        self.tokens.expect("}").map(|()| Expr::Any(all))
    }

    fn or(&mut self, call: &str, names: Option<&[&str]>, depth: usize) -> Read<Expr> {
        if depth > DEEPEST {
            return Err(said(format!("more than {DEEPEST} parentheses in each other"), "fewer"));
        }
        let mut any = Vec::new();
        loop {
            let mut all = vec![self.primary(call, names, depth)?];
            while self.tokens.accept("&&") {
                all.push(self.primary(call, names, depth)?);
            }
            any.push(Expr::All(all));
            if !self.tokens.accept("||") {
                return Ok(Expr::Any(any));
            }
        }
    }

    fn primary(&mut self, call: &str, names: Option<&[&str]>, depth: usize) -> Read<Expr> {
        if self.tokens.accept("!") {
            if depth > DEEPEST {
                return Err(said(format!("more than {DEEPEST} of ! in each other"), "fewer"));
            }
            return Ok(Expr::Not(Box::new(self.primary(call, names, depth + 1)?)));
        }
        // A parenthesis begins an expression, or the masked side of a comparison.
        let before = self.tokens.mark();
        if self.tokens.accept("(") {
            if let Ok(inner) = self.or(call, names, depth + 1)
                && self.tokens.accept(")")
            {
                return Ok(inner);
            }
            self.tokens.back_to(before);
        }
        let left = self.side(call, names)?;
        let sign = self.tokens.take("an operator")?;
        let right = self.side(call, names)?;
        super::expression::compare(left, sign, right)
    }

    /// `fd`, `42`, `(prot & PROT_EXEC)`.
    fn side(&mut self, call: &str, names: Option<&[&str]>) -> Read<super::expression::Side> {
        let inside = self.tokens.accept("(");
        let mut side = self.operand(call, names)?;
        if self.tokens.accept("&") {
            side = side.masked(self.operand(call, names)?)?;
        }
        if inside {
            self.tokens.expect(")")?;
        }
        Ok(side)
    }

    /// A number, `A|B` of them, or an argument.
    fn operand(&mut self, call: &str, names: Option<&[&str]>) -> Read<super::expression::Side> {
        use super::expression::Side;
        let word = self.tokens.take("an argument or a number")?;
        let by_position = names.and_then(|names| names.iter().position(|name| *name == word));
        let argument = match (by_position, names) {
            (Some(index), _) => Some((index as u8, params::width(call, index)?)),
            (None, None) if !self.constants.contains_key(word) => params::find(call, word).ok(),
            _ => None,
        };
        if let Some((index, width)) = argument {
            return Ok(Side::argument(index, width));
        }
        let mut value = self.value(word, call)?;
        while self.tokens.accept("|") {
            let next = self.tokens.take("a number")?;
            value |= self.value(next, call)?;
        }
        Ok(Side::Number(value))
    }

    fn value(&self, word: &str, call: &str) -> Read<u64> {
        match self.constants.get(word) {
            Some(value) => Ok(*value),
            // What is neither is more likely a wrong name of an argument.
            None => number(word).map_err(|wrong| params::find(call, word).err().unwrap_or(wrong)),
        }
    }
}

/// Kafel goes by the names of functions in the kernel.
fn name(word: &str) -> Read<String> {
    let name = match word {
        "newstat" => "stat",
        "newfstat" => "fstat",
        "newlstat" => "lstat",
        "newuname" => "uname",
        word => word,
    };
    super::calls::known(name)
}
