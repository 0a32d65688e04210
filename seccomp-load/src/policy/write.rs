//! A filter in the text language.

use super::lines::flag_word;
use crate::action::{Action, line_word};
use crate::dump::flags;
use crate::flat::Flat;
use crate::rule::{FLAG_SPEC_ALLOW, Test};

const WIDTH: usize = 110;

/// The whole of it.
pub(crate) fn text(flat: &Flat) -> String {
    let head = &flat.head;
    let mut text = format!("default {}\n", line_word(head.default));
    let beside: Vec<String> = head.archs.iter().skip(1).map(|arch| arch.word()).collect();
    if !beside.is_empty() {
        text += &format!("arch {}\n", beside.join(" "));
    }
    if head.flags != FLAG_SPEC_ALLOW {
        let words: Vec<&str> = flags(head.flags).iter().filter_map(|flag| flag_word(flag)).collect();
        let words = if words.is_empty() { "none".into() } else { words.join(" ") };
        text += &format!("flags {words}\n");
    }
    let path = head.agent.path.as_ref().map(ToString::to_string);
    for (word, value) in [("listener", &path), ("metadata", &head.agent.metadata)] {
        if let Some(value) = value {
            text += &format!("{word} {value}\n");
        }
    }
    for (names, decision) in &flat.groups {
        for (tests, action) in &decision.when {
            let tests: Vec<String> = tests.iter().map(Test::to_string).collect();
            lines(&mut text, *action, names, &format!(" if {}", tests.join(" and ")));
        }
        if let Some(action) = decision.always {
            lines(&mut text, action, names, "");
        }
    }
    if let Some(newest) = &flat.newest {
        text += &format!("newest {newest}\n");
    }
    text
}

/// As many lines as the names take.
fn lines(text: &mut String, action: Action, names: &[String], behind: &str) {
    let word = line_word(action);
    let mut line = String::new();
    for name in names {
        if !line.is_empty() && word.len() + line.len() + 1 + name.len() > WIDTH {
            *text += &format!("{word}{line}{behind}\n");
            line.clear();
        }
        line += " ";
        line += name;
    }
    *text += &format!("{word}{line}{behind}\n");
}
