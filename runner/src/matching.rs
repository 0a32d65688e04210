//! `--regex`: one command for all containers whose id matches.

use crate::container::StateRoot;
use crate::log;
use chain::sys::regex::Regex;
use chain::{Class, Error, Result};
use std::ffi::CString;

/// Does `act` to the container `id`, or with `regex` to each whose id the POSIX extended regular expression `id` matches.
/// What fails for one is no reason to leave out the next; it is said at the end.
pub(crate) fn each(root: &StateRoot, id: &str, regex: bool, act: impl Fn(&str) -> Result<()>) -> Result<u8> {
    if !regex {
        return act(id).map(|()| 0);
    }
    let doing = format_args!("find the containers that '{}' matches", id.escape_debug());
    let wrong = |reason: String| Error::usage(doing, reason);
    let pattern = CString::new(id).map_err(|_| wrong("it holds a NUL byte".into()))?;
    let regex = Regex::new(&pattern).map_err(wrong)?;
    let matched = |id: &String| CString::new(id.as_str()).is_ok_and(|id| regex.matches(&id));
    let (mut count, mut failed) = (0, Vec::new());
    for id in root.ids()?.into_iter().filter(matched) {
        count += 1;
        match act(&id) {
            // Deleted by somebody else since we looked.
            Err(error) if error.class == Class::Missing => {}
            Err(error) => failed.push(error),
            Ok(()) => {}
        }
    }
    let failures = failed.len();
    let Some(last) = failed.pop() else { return Ok(0) };
    failed.iter().for_each(log::warn);
    let all = chain::size::count(count, "container");
    Err(Error { doing: format!("{} (and so for {failures} of {all})", last.doing), ..last })
}
