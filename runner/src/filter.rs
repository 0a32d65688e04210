//! Filters that were made before are taken from the state folder: the chain has a link less then, which would be executed,
//! read the filter and make the same program again.

use crate::log;
use chain::filters::{self, Kept, Made};
use chain::name::ToolName;
use chain::state::{State, sealed};
use chain::{Cannot, Error, Result, next};
use rustix::fs::{MemfdFlags, Stat, memfd_create, stat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// In the folder of all states; no id of a container has such a name, and no draft.
const FOLDER: &str = "@filters";

/// What is held while the chain runs.
#[derive(Default)]
pub(crate) struct Filter {
    /// The program, where the state names it.
    _program: Option<OwnedFd>,
    /// Where the program is to be kept that the chain makes, and where the chain writes it.
    wanted: Option<(Kept, OwnedFd)>,
}

/// Whether a program that is not there yet is kept when the chain has made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    /// The chain runs among processes that it did not start.
    No,
}

/// Takes the filter's layer off the end of `state` if its program is in `root`, or asks the chain for the program. Where
/// every step is to be told, there is one more to tell.
pub(crate) fn look(root: BorrowedFd<'_>, state: &mut State, keep: Keep) -> Result<Filter> {
    let told = log::is_debug() || state.fds.status.is_some();
    let layer = state.layers.last().filter(|layer| layer.tool == ToolName::SeccompLoad && !told);
    let (Some(layer), Some(maker)) = (layer, next::find_tool(ToolName::SeccompLoad)) else {
        return Ok(Filter::default());
    };
    let kept = match Kept::below(root, Path::new(FOLDER), filters::key(layer, &which(&maker)?)) {
        Ok(kept) => kept,
        Err(error) => return Ok(unused(&error)),
    };
    let found = kept.find().unwrap_or_else(|error| {
        log::warn(format_args!("{error}; it is made anew"));
        None
    });
    match found {
        Some(made) => take(&made, state),
        None if keep == Keep::Yes => want(kept, state),
        None => Ok(Filter::default()),
    }
}

/// The file that would make it: of another one, nothing is taken.
fn which(maker: &Path) -> Result<String> {
    let Stat { st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec, .. } =
        stat(maker).cannot("tell which filter it is", format_args!("stat({})", maker.display()))?;
    Ok(format!("{st_dev} {st_ino} {st_size} {st_mtime}.{st_mtime_nsec} {st_ctime}.{st_ctime_nsec}"))
}

/// As if there were none: the filter is made, and that is all that counts.
fn unused(error: &Error) -> Filter {
    log::warn(error);
    Filter::default()
}

fn take(made: &Made, state: &mut State) -> Result<Filter> {
    let program = sealed(c"catena-filter", &made.program)
        .cannot("keep the filter for the landing", "memfd_create(catena-filter)")?;
    for text in &made.about.warnings {
        log::warn(format_args!("{text} ({})", ToolName::SeccompLoad));
    }
    state.layers.pop();
    state.landing.no_new_privs |= made.about.no_new_privs;
    state.landing.filter_flags = Some(made.about.flags);
    state.fds.filter = Some(program.as_raw_fd());
    Ok(Filter { _program: Some(program), wanted: None })
}

fn want(kept: Kept, state: &mut State) -> Result<Filter> {
    let made = memfd_create(c"catena-compiled", MemfdFlags::CLOEXEC)
        .cannot("ask for the filter's program", "memfd_create(catena-compiled)")?;
    state.fds.compiled = Some(made.as_raw_fd());
    Ok(Filter { _program: None, wanted: Some((kept, made)) })
}

impl Filter {
    /// The chain is ready: what it made is kept. Nothing is there of a filter that is not to be.
    pub(crate) fn keep(self) {
        let Some((kept, fd)) = self.wanted else { return };
        if let Err(error) = read(fd.as_fd()).and_then(|made| made.map_or(Ok(()), |made| kept.keep(&made))) {
            log::warn(error);
        }
    }
}

fn read(fd: BorrowedFd<'_>) -> Result<Option<Made>> {
    let doing = "take the filter's program";
    let size = rustix::fs::fstat(fd).cannot(doing, "fstat")?.st_size as usize;
    let mut text = vec![0; size];
    let length = rustix::io::pread(fd, &mut text[..], 0).cannot(doing, "pread")?;
    Ok(Made::of_bytes(&text[..length]))
}
