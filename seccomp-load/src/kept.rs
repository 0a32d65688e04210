//! Filters that were made before: `--cache DIR` here, and a runner that wants to keep what we make.

use crate::facts::Facts;
use crate::plan::{self, Plan};
use crate::program;
use chain::filters::{self, About, Kept, Made};
use chain::plan::Layer;
use chain::report::warn;
use chain::spec::SeccompLoad;
use chain::state::{Receipt, State, sealed, write_all};
use chain::{Cannot, Result, sys};
use nix::fcntl::AT_FDCWD;
use std::os::fd::IntoRawFd;

const US: &str = "seccomp-load";
/// Of this compiler of filters.
const SOURCES: &str = env!("SECCOMP_LOAD_SOURCES");

/// Where this filter is kept, if it is to be. What is to be told of each call needs more than the program.
pub(crate) fn place(spec: &SeccompLoad, facts: &Facts, state: &State) -> Result<Option<Kept>> {
    let Some(path) = spec.cache.as_ref().filter(|_| !spec.explain) else { return Ok(None) };
    let (caps, (major, minor)) = (facts.caps, facts.kernel);
    let key = filters::key(&Layer::of(spec)?, &format!("{SOURCES} {caps:x} {major}.{minor}"));
    // The first link opened it, if this is another one.
    let opened = state.fds.files.iter().find(|(name, _)| name == path);
    let kept = match opened {
        None => Kept::below(AT_FDCWD, path.as_path(), key),
        Some((_, fd)) => {
            let doing = format_args!("keep filters in {path}");
            let fd = sys::fd::borrow(*fd).cannot(doing, format_args!("fcntl({fd})"))?;
            let folder = fd.try_clone_to_owned().cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
            Kept::at(folder, path, key)
        }
    };
    // Refused now, and not when the filter is made.
    kept.and_then(Kept::make).map(Some)
}

/// The filter, if it is there; one that is not to be trusted is told of, and made anew.
pub(crate) fn find(kept: &Kept) -> Option<Made> {
    kept.find().unwrap_or_else(|error| {
        warn(US, format_args!("{error}; it is made anew"));
        None
    })
}

/// Hands it to the landing, as [`crate::apply`] does with one that was just made.
pub(crate) fn take(made: Made, spec: &SeccompLoad, facts: &Facts, state: &mut State) -> Result<Receipt> {
    plan::may_load(!spec.allow_new_privileges, facts)?;
    made.about.warnings.iter().for_each(|text| warn(US, text));
    state.landing.no_new_privs |= made.about.no_new_privs;
    state.landing.filter_flags = Some(made.about.flags);
    let fd = sealed(c"catena-filter", &made.program)
        .cannot("keep the filter for the landing", "memfd_create(catena-filter)")?;
    state.fds.filter = Some(fd.into_raw_fd());
    Ok(made.about.receipt)
}

/// Keeps what was made, and tells a runner that asked for it. Not a filter that asks an agent, who is looked for each time.
/// That it cannot be kept is no reason not to use it.
pub(crate) fn keep(kept: Option<Kept>, plan: &Plan, state: &State) -> Result<()> {
    let (Some(filter), None) = (&plan.filter, &plan.agent) else { return Ok(()) };
    if kept.is_none() && state.fds.compiled.is_none() {
        return Ok(());
    }
    let warnings = plan.notes().iter().filter(|note| note.lets_more_through).map(|note| note.text.clone());
    let about = About {
        flags: filter.table.flags,
        no_new_privs: plan.no_new_privs,
        warnings: warnings.collect(),
        receipt: plan.receipt(),
    };
    let made = Made { about, program: program::bytes(&filter.code) };
    if let Some(Err(error)) = kept.map(|kept| kept.keep(&made)) {
        warn(US, error);
    }
    let Some(fd) = state.fds.compiled else { return Ok(()) };
    let doing = "tell the runner of the filter";
    let fd = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    write_all(fd, &made.to_bytes()?).cannot(doing, "write")
}
