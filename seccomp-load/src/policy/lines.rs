//! One line of the text language.

use super::{NOTHING_NEWER, Policy, calls, condition, wrong};
use crate::action::{self, Action};
use crate::arch;
use crate::value::Wrong;
use chain::{Result, near};

/// What a line can begin with, besides an action.
const WORDS: [&str; 7] = ["default", "arch", "flags", "newest", "listener", "metadata", "include"];
/// Words for seccomp(2)'s flags.
const FLAGS: [(&str, &str); 4] = [
    ("log", "SECCOMP_FILTER_FLAG_LOG"),
    ("spec-allow", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    ("tsync", "SECCOMP_FILTER_FLAG_TSYNC"),
    ("wait-killable", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
];

/// The word for a flag of OCI's.
pub(super) fn flag_word(name: &str) -> Option<&'static str> {
    FLAGS.iter().find(|(_, flag)| *flag == name).map(|(word, _)| *word)
}

/// What is left to be done about a line.
pub(super) enum Line<'a> {
    Done,
    /// Read this file here.
    Include(&'a str),
}

/// Carries out one line. `at` is its file and number.
pub(super) fn carry_out<'a>(policy: &mut Policy, line: &'a str, at: &str, lenient: bool) -> Result<Line<'a>> {
    let line = without_comment(line).trim();
    if line.is_empty() {
        return Ok(Line::Done);
    }
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    if WORDS.contains(&first) && rest.is_empty() {
        let text = format!("nothing stands behind '{first}'");
        return Err(wrong(at, Wrong { text, cure: example(first).into() }));
    }
    match first {
        "default" => policy.set_default(action(rest).map_err(|w| wrong(at, w))?, at)?,
        "arch" => archs(policy, rest).map_err(|w| wrong(at, w))?,
        "flags" => flags(policy, rest).map_err(|w| wrong(at, w))?,
        "newest" if rest == NOTHING_NEWER => policy.newest = Some(rest.into()),
        "newest" => policy.newest = Some(calls::known(rest).map_err(|w| wrong(at, w))?),
        "listener" => once(&mut policy.head.listener_path, first, rest).map_err(|w| wrong(at, w))?,
        "metadata" => once(&mut policy.head.listener_metadata, first, rest).map_err(|w| wrong(at, w))?,
        "include" => return Ok(Line::Include(rest)),
        _ => rule(policy, first, rest, at, lenient)?,
    }
    Ok(Line::Done)
}

fn example(word: &str) -> &'static str {
    match word {
        "default" => "default EPERM",
        "arch" => "arch x86 x32",
        "flags" => "flags log",
        "newest" => "newest removexattrat",
        "listener" => "listener /run/agent.sock",
        "metadata" => "metadata WORDS",
        _ => "include FILE",
    }
}

/// A # begins a comment at the start of a line or behind a space.
fn without_comment(line: &str) -> &str {
    let ends = line.char_indices().find(|(i, c)| *c == '#' && (*i == 0 || line[..*i].ends_with([' ', '\t'])));
    ends.map_or(line, |(i, _)| &line[..i])
}

fn once(place: &mut Option<String>, word: &str, rest: &str) -> std::result::Result<(), Wrong> {
    match place.replace(rest.into()).filter(|before| before != rest) {
        Some(_) => Err(Wrong { text: format!("{word} stands twice"), cure: "one of them".into() }),
        None => Ok(()),
    }
}

fn archs(policy: &mut Policy, rest: &str) -> std::result::Result<(), Wrong> {
    for word in rest.split_ascii_whitespace() {
        if word == "all" {
            policy
                .head
                .architectures
                .extend(arch::all_of_this_kernel().iter().map(|arch| arch.name.to_string()));
            continue;
        }
        let name = format!("SCMP_ARCH_{}", word.to_ascii_uppercase());
        match arch::by_name(&name) {
            Some(arch) => policy.head.architectures.push(arch.name.into()),
            None => {
                let text = format!("'{}' is no architecture", word.escape_debug());
                let known: Vec<String> = arch::all_of_this_kernel().iter().map(|arch| arch.word()).collect();
                return Err(Wrong { text, cure: format!("all, {}", known.join(", ")) });
            }
        }
    }
    Ok(())
}

fn flags(policy: &mut Policy, rest: &str) -> std::result::Result<(), Wrong> {
    let flags = policy.head.flags.get_or_insert_default();
    for word in rest.split_ascii_whitespace().filter(|word| *word != "none") {
        match FLAGS.iter().find(|(known, _)| *known == word) {
            Some((_, flag)) => flags.push(flag.to_string()),
            None => {
                let words: Vec<&str> = FLAGS.iter().map(|(word, _)| *word).collect();
                let text = format!("'{}' is no flag", word.escape_debug());
                return Err(Wrong { text, cure: format!("none, {}", words.join(", ")) });
            }
        }
    }
    Ok(())
}

fn action(word: &str) -> std::result::Result<Action, Wrong> {
    action::of_line(word).ok_or_else(|| {
        let words = || action::words().chain(WORDS);
        let cure =
            match near::nearest(word, words()).map(String::from).or_else(|| action::nearest_errno(word)) {
                Some(near) => format!("{near}?"),
                None => format!("an errno as EPERM, {}", words().collect::<Vec<_>>().join(", ")),
            };
        Wrong { text: format!("'{}' is no action", word.escape_debug()), cure }
    })
}

/// `ACTION CALLS [if CONDITION]`.
fn rule(policy: &mut Policy, first: &str, rest: &str, at: &str, lenient: bool) -> Result<()> {
    let action = action(first).map_err(|w| wrong(at, w))?;
    let words = || rest.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let named = calls::of(words().take_while(|word| *word != "if"), lenient).map_err(|w| wrong(at, w))?;
    let condition = match words().any(|word| word == "if") {
        false => None,
        true => {
            // The first word "if", and nothing that merely ends so.
            let behind = rest.match_indices("if").find(|(i, _)| {
                let space = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c == ',');
                space(rest[..*i].chars().next_back()) && space(rest[i + 2..].chars().next())
            });
            let text = behind.map_or("", |(i, _)| &rest[i + 2..]);
            Some(condition::parse(text).map_err(|w| wrong(at, w))?)
        }
    };
    for (name, by_itself) in named {
        let when = match &condition {
            Some(condition) => condition.of(&name).map_err(|w| wrong(at, w))?,
            None => Vec::new(),
        };
        policy.add(&name, by_itself, action, when, at)?;
    }
    Ok(())
}
