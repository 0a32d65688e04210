//! The order of the chain. What can be said from the names alone is said before anything is touched; each tool checks
//! its precondition against the kernel besides.

use crate::error::{Class, Error, Result};
use crate::name::ToolName;
use std::ffi::OsString;

/// One link as the user wrote it, for the message.
pub struct Written {
    /// Which.
    pub tool: ToolName,
    /// Its words, its own name first.
    pub words: Vec<OsString>,
}

/// Refuses links out of order, or one link twice, and prints the chain that is right.
pub fn check(links: &[Written], command: &[OsString]) -> Result<()> {
    let Some(pair) = links.windows(2).find(|pair| pair[0].tool >= pair[1].tool) else { return Ok(()) };
    let (before, after) = (pair[0].tool, pair[1].tool);
    let detail = if before == after {
        format!("{after} stands twice in one chain")
    } else {
        format!("{after} must stand before {before}: {}", reason(after, before))
    };
    Err(Error::new(Class::Order, "run the chain", detail).cure(right_chain(links, command)))
}

fn reason(first: ToolName, then: ToolName) -> &'static str {
    match (first, then) {
        (ToolName::CgApply, _) => {
            "a cgroup namespace takes its root from the cgroup, and joining one wants privilege"
        }
        (ToolName::Idmap, _) => {
            "the map must be written before other namespaces are owned and before no_new_privs"
        }
        (ToolName::NsEnter, _) => "the namespaces must be there before what is made in them",
        (ToolName::RootfsPrep, _) => "mounting wants capabilities that are gone afterwards",
        _ => "the filter is last, for it filters all that follows",
    }
}

fn right_chain(links: &[Written], command: &[OsString]) -> String {
    let mut sorted: Vec<&Written> = links.iter().collect();
    sorted.sort_by_key(|l| l.tool);
    sorted.dedup_by_key(|l| l.tool);
    let mut text = String::new();
    for link in sorted {
        for word in &link.words {
            text.push_str(&quote(word));
            text.push(' ');
        }
        text.push_str("-- ");
    }
    let command: Vec<String> = command.iter().map(quote).collect();
    text + &command.join(" ")
}

/// A word as a shell reads it.
pub fn quote(word: &OsString) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=@:,+%…".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(line: &str) -> Written {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Written { tool: ToolName::of_program(&words[0]).unwrap(), words }
    }

    #[test]
    fn every_pair_out_of_order_is_refused_with_the_right_chain() {
        for (i, first) in ToolName::ALL.iter().enumerate() {
            for (j, then) in ToolName::ALL.iter().enumerate() {
                let result = check(&[link(first.as_str()), link(then.as_str())], &["sh".into()]);
                if i < j {
                    result.unwrap();
                    continue;
                }
                let error = result.unwrap_err();
                assert_eq!(error.class, Class::Order);
                let cure = error.cure.unwrap();
                assert!(i == j || cure == format!("{then} -- {first} -- sh"), "{cure}");
            }
        }
    }
}
