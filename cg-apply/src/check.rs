//! `--check`: all of it for real, on a group that is gone afterwards.

use crate::plan::{self, Plan};
use crate::{apply, rlimits, steward};
use chain::bytes::Bytes;
use chain::canary::canary;
use chain::cgroup::{Group, list};
use chain::spec::CgApply;
use chain::state::State;
use chain::{Cannot, Class, Error, Result};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// Tries the layer; gives what was done less of. A group that is there already keeps its limits: they are tried on a new
/// one beside it.
pub(crate) fn check(spec: &CgApply) -> Result<Vec<String>> {
    let facts = plan::facts(spec)?;
    let asked = plan::resolve(spec, &facts)?;
    let mut spec = CgApply { keep: false, exclusive: false, ..spec.clone() };
    let present = asked.group.as_ref().map(Group::exists).transpose()?.unwrap_or(false);
    if let Some(group) = asked.group.as_ref().filter(|_| present) {
        refuse_present(group, &asked)?;
        spec.cgroups_path = spec.cgroups_path.map(|path| beside(&path, facts.fresh()));
    }
    let mut trial = plan::resolve(&spec, &facts)?;
    trial.fresh = true;
    // Its time and its report are the real one's.
    trial.watch = None;
    trial.trial = true;
    let group = trial.group.clone();
    let doing = "hear what was done";
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
    canary(|| try_out(trial, write.try_clone().cannot(doing, "dup")?))?;
    drop(write);
    let mut told = Vec::new();
    std::fs::File::from(read).read_to_end(&mut told).cannot(doing, "read(pipe)")?;
    if let Some(group) = group.filter(|g| g.exists().unwrap_or(true)) {
        let detail = format!("it is still there, and holds {}", list(&group.procs()?));
        return Err(Error::new(Class::Conflict, "remove the cgroup that was tried out", detail));
    }
    serde_json::from_slice(&told).map_err(|e| Error::new(Class::Internal, doing, e))
}

/// What would be refused of this group itself, by looking at it.
fn refuse_present(group: &Group, asked: &Plan) -> Result<()> {
    let doing = "take the cgroup for a new container";
    if asked.exclusive && group.is_frozen()? {
        return Err(Error::new(Class::Conflict, doing, "container's cgroup unexpectedly frozen"));
    }
    let procs = group.procs()?;
    if asked.exclusive && !procs.is_empty() {
        return Err(Error::new(
            Class::Conflict,
            doing,
            format_args!("container's cgroup is not empty: {} process(es)", procs.len()),
        ));
    }
    asked.check_usage.map_or(Ok(()), |limits| limits.refuse_below_use(group))
}

/// The path of a neighbour.
fn beside(path: &Bytes, name: &str) -> Bytes {
    let mut parts: Vec<&[u8]> =
        path.0.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.pop();
    parts.push(name.as_bytes());
    let start = if path.0.starts_with(b"/") { &b"/"[..] } else { b"" };
    Bytes([start, &parts.join(&b'/')].concat())
}

/// The whole way of the link, with the landing's share of it. With a group this comes back twice: in the child that went
/// into it, which is heard first, and in its supervisor.
fn try_out(mut plan: Plan, told: OwnedFd) -> Result<()> {
    let mut state = State::default();
    steward::hold(&mut plan)?;
    apply::make(&mut plan)?;
    match steward::stay(&mut plan, &mut state)? {
        Some(0) => return Ok(()),
        Some(status) => return Err(ended(status)),
        None => {}
    }
    let receipt = apply::enter(&mut plan, &mut state)?;
    chain::landing::enter_groups(&state)?;
    let text = serde_json::to_vec(&receipt.degraded).unwrap_or_default();
    std::fs::File::from(told).write_all(&text).cannot("tell what was done", "write(pipe)")?;
    state.landing.scheduler.map_or(Ok(()), |scheduler| scheduler.set())?;
    // Last, as at landing: under a low one there may be nothing left that could be done.
    rlimits::set(&state.landing.rlimits)
}

fn ended(status: u8) -> Error {
    let error = Error::new(
        Class::Conflict,
        "run a process in the cgroup",
        format_args!("it ended with status {status}"),
    );
    if status == 137 { error.why("it was killed, perhaps by the memory limit") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_has_the_same_parent() {
        for (path, expected) in
            [("/a/b", "/a/n"), ("/a//b/./", "/a/n"), ("/a", "/n"), ("a/b", "a/n"), ("a", "n"), ("./a/", "n")]
        {
            assert_eq!(beside(&path.into(), "n"), expected.into(), "{path}");
        }
    }
}
