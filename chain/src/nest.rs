//! A user namespace in which nobody can make another: a second one in the first. The first one may have one below it,
//! and that is this; who lives in the second has no power over the limit of the first. One without ids needs no second.

use crate::canary::{canary, listen, reap, tell};
use crate::error::{Cannot, Error, Result};
use crate::proc;
use crate::state::State;
use crate::sys::process::{Forked, exit_now, fork, prctl};
use crate::userns::{parse_map, settle};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt::Write;
use std::os::fd::BorrowedFd;

const DOING: &str = "make a user namespace that has none below it";
const LIMIT: &str = "sys/user/max_user_namespaces";
const MAPS: [&str; 2] = ["uid_map", "gid_map"];

/// From a user namespace of our own into one below it, as whom we are: the ids inside are mapped each to itself. `proc`
/// shows this process.
pub fn enter(proc: BorrowedFd<'_>, state: &mut State) -> Result<()> {
    let maps = [same(proc, MAPS[0])?, same(proc, MAPS[1])?];
    // Of the user namespace of whoever opens it.
    let limit = |n| proc::write_at(proc, LIMIT, n).map_err(|e| Error { doing: DOING.into(), ..e });
    // Only ids that are mapped may make one. Without any, the command holds no capability to raise the limit again.
    if maps.iter().all(String::is_empty) {
        limit(b"0")?;
        return prove();
    }
    limit(b"1")?;
    // A change of user made the files of this process root's, and whoever writes the maps is none out here.
    dumpable(true)?;
    mapped(proc, &maps)?;
    dumpable(false)?;
    for (file, asked) in MAPS.iter().zip(&maps) {
        let found = same(proc, file)?;
        if found != *asked {
            return Err(Error::readback(file, asked.trim_end(), found.trim_end()));
        }
    }
    settle(proc, state)?;
    prove()
}

fn deeper() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).cannot(DOING, "unshare(CLONE_NEWUSER)")
}

/// Who stays in the first one, where all the ids are, writes the maps. A denied setgroups is inherited.
fn mapped(proc: BorrowedFd<'_>, maps: &[String]) -> Result<()> {
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).cannot(DOING, "pipe2")?;
    let (told, tell_to) = pipe_with(PipeFlags::CLOEXEC).cannot(DOING, "pipe2")?;
    let target = std::process::id();
    let pid = match fork(0).cannot(DOING, "clone3")? {
        Forked::Child => {
            drop((go, told));
            // Its end without a word is the end of the process that wanted a namespace.
            if rustix::io::read(&wait, &mut [0_u8]) == Ok(1) {
                let one = |(file, map): (&&str, &String)| {
                    proc::write_at(proc, &format!("{target}/{file}"), map.as_bytes())
                };
                let mut written = MAPS.iter().zip(maps).filter(|(_, map)| !map.is_empty());
                tell(&tell_to, &written.try_for_each(one));
            }
            exit_now(0)
        }
        Forked::Parent(pid, _) => pid,
    };
    drop((wait, tell_to));
    let made = deeper();
    if made.is_ok() {
        rustix::io::write(&go, b"g").cannot(DOING, "write(pipe)")?;
    }
    drop(go);
    let told = made.and_then(|()| listen(told)?);
    reap(pid)?;
    told
}

/// The ids of a map's inside, each as itself.
fn same(proc: BorrowedFd<'_>, file: &str) -> Result<String> {
    let mut lines = parse_map(&proc::read_at(proc, &format!("self/{file}"))?)?;
    lines.sort_by_key(|m| m.container_id);
    Ok(lines.iter().fold(String::new(), |mut text, m| {
        writeln!(text, "{0} {0} {1}", m.container_id, m.size).unwrap_or(());
        text
    }))
}

fn dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(on), 0)
        .cannot("let the maps be written", format_args!("prctl(PR_SET_DUMPABLE, {})", u8::from(on)))
        .map(drop)
}

fn prove() -> Result<()> {
    match canary(deeper).err().and_then(|e| e.errno()) {
        Some(Errno::ENOSPC | Errno::EUSERS) => Ok(()),
        other => Err(Error::readback("a further user namespace", "refused", format_args!("{other:?}"))),
    }
}
