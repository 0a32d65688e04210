//! `--rm`: removes a group.

use crate::cli::Args;
use chain::cgroup::{Group, Hierarchies, list};
use chain::report::stdout;
use chain::{Class, Error, Result};

/// Removes the group `--rm` names, and those below it. What runs in it is killed only with `--kill`.
pub(crate) fn group(args: &Args) -> Result<u8> {
    let path = args.rm.clone().unwrap_or_default().into();
    let mut group = Hierarchies::detect()?.group(Some(&path), "")?;
    let doing = format_args!("remove the cgroup {path}");
    if !group.exists()? {
        return Err(Error::new(Class::Missing, doing, "there is no such group in any hierarchy"));
    }
    let procs = group.procs()?;
    if args.common.print {
        return print(&group, &procs, args.kill);
    }
    if procs.contains(&(std::process::id() as i32)) {
        return Err(Error::new(Class::Conflict, doing, "this process itself is in it"));
    }
    match (procs.is_empty(), args.kill) {
        (true, _) => {}
        (false, true) => group.kill()?,
        (false, false) => {
            let detail = format!("{} process(es) are in it: {}", procs.len(), list(&procs));
            return Err(
                Error::new(Class::Conflict, doing, detail).cure(format_args!("cg-apply --rm {path} --kill"))
            );
        }
    }
    group.remove()?;
    Ok(0)
}

fn print(group: &Group, procs: &[i32], kill: bool) -> Result<u8> {
    let mut text = String::new();
    match (procs.is_empty(), kill) {
        (true, _) => {}
        (false, true) => text += &format!("kill      {}\n", list(procs)),
        (false, false) => text += &format!("refuse    for these are in it: {}\n", list(procs)),
    }
    for dir in &group.dirs {
        if dir.open()?.is_some() {
            text += &format!("remove    {}\n", dir.path);
        }
    }
    stdout(text.as_bytes()).map(|()| 0)
}
