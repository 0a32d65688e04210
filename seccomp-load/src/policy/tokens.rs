//! Words, numbers and signs of the two foreign languages.

use crate::value::{self, Wrong};

/// How deep parentheses may stand in each other.
pub(super) const DEEPEST: usize = 32;

pub(super) fn wrong(text: impl Into<String>, cure: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), cure: cure.into() }
}

/// What is left to be read of a text.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    /// Each with its line.
    all: Vec<(&'a str, usize)>,
    next: usize,
}

impl<'a> Tokens<'a> {
    /// `word` says which characters make a word, `comment` how much at the start of a text is one.
    pub(super) fn of(
        text: &'a str,
        word: fn(char) -> bool,
        comment: fn(&str) -> usize,
    ) -> Result<Tokens<'a>, (Wrong, usize)> {
        const SIGNS: [&str; 6] = ["==", "!=", "<=", ">=", "&&", "||"];
        let (mut all, mut rest, mut line) = (Vec::new(), text, 0);
        while let Some(first) = rest.chars().next() {
            let passed = comment(rest);
            let signed =
                rest.strip_prefix('-').is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
            let len = match () {
                () if passed > 0 => passed,
                () if first.is_whitespace() => first.len_utf8(),
                () if word(first) || signed => 1 + rest[1..].find(|c| !word(c)).unwrap_or(rest.len() - 1),
                () if SIGNS.iter().any(|sign| rest.starts_with(sign)) => 2,
                () if first.is_ascii_punctuation() => 1,
                () => {
                    return Err((
                        wrong(format!("'{}' stands in no policy", first.escape_debug()), "ASCII"),
                        line,
                    ));
                }
            };
            let (token, behind) = rest.split_at(len);
            if passed == 0 && !first.is_whitespace() {
                all.push((token, line));
            }
            line += token.matches('\n').count();
            rest = behind;
        }
        Ok(Tokens { all, next: 0 })
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.all.get(self.next).map(|(token, _)| *token)
    }

    /// The line of what comes next, or of the end.
    pub(super) fn line(&self) -> usize {
        self.all.get(self.next).or(self.all.last()).map_or(0, |(_, line)| *line)
    }

    /// The line of what was taken last.
    pub(super) fn last_line(&self) -> usize {
        self.all.get(self.next.saturating_sub(1)).map_or(0, |(_, line)| *line)
    }

    /// Where it stands, to come back to.
    pub(super) fn mark(&self) -> usize {
        self.next
    }

    pub(super) fn back_to(&mut self, mark: usize) {
        self.next = mark;
    }

    pub(super) fn take(&mut self, expected: &str) -> Result<&'a str, Wrong> {
        let token =
            self.peek().ok_or_else(|| wrong(format!("it ends where {expected} was expected"), expected))?;
        self.next += 1;
        Ok(token)
    }

    /// Whether this token comes next; if so, it is taken.
    pub(super) fn accept(&mut self, token: &str) -> bool {
        let here = self.peek() == Some(token);
        self.next += usize::from(here);
        here
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), Wrong> {
        match self.take(token)? {
            found if found == token => Ok(()),
            found => Err(wrong(format!("'{}' where {token} was expected", found.escape_debug()), token)),
        }
    }
}

/// A number as C writes it: octal behind a zero. Or the name of a constant.
pub(super) fn number(word: &str) -> Result<u64, Wrong> {
    let (minus, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    match octal {
        false => value::of(word).map(|value| value.bits),
        true => match u64::from_str_radix(digits, 8) {
            Ok(number) => Ok(if minus { number.wrapping_neg() } else { number }),
            Err(_) => Err(wrong(format!("'{word}' is no number in octal"), "its number")),
        },
    }
}
