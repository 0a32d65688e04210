//! The operations in order. Whatever can be refused was refused before; what fails here ends the link, and the mount
//! namespace with it.

use crate::facts::in_user_namespace;
use crate::place::Place;
use crate::plan::{NewRoot, Plan, Step};
use crate::root::Make;
use crate::{build, carried, data, devices, enter, hide, hooked, mount, terminal, verify};
use chain::bytes::Bytes;
use chain::name::ToolName;
use chain::state::{Receipt, State};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{FileType, Mode, fchmod, fstat, makedev};
use rustix::process::umask;
use serde_json::{Value, json};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Builds the root, enters it, and reads it back.
pub(crate) fn all(plan: &mut Plan, state: &mut State) -> Result<Receipt> {
    // Modes are what they are said to be.
    let mask = umask(Mode::empty());
    let hooks = matches!(plan.root, NewRoot::Folder { .. }) && hooked::wanted(state);
    let runner = runner(plan, state)?;
    let spaces = plan.spaces(runner.is_some())?;
    let home = plan.carried.then(carried::leave).transpose()?;
    let (old, mut place) = enter::prepare(plan, hooks)?;
    place.spaces = spaces;
    place.runner = runner;

    // In order: a later one may stand on an earlier one.
    for step in std::mem::take(&mut plan.steps) {
        match step {
            Step::Mount(step) => mount::carry_out(&mut place, *step)?,
            Step::Folder(path, mode) => make_folder(&place, &path, mode, "make the folder")?,
            Step::File { path, content, mode } => data::file(&place, &path, &content.0, mode)?,
            Step::Link { path, target } => devices::link(&place, &path, &target)?,
        }
    }

    // After the mounts, for they go into the new /dev.
    if plan.default_devices {
        devices::make_defaults(&mut place)?;
    }
    for node in &plan.devices {
        devices::make(&mut place, node)?;
    }
    if hooks {
        hooked::run(state, &place, mask)?;
        enter::cover(&old, &place)?;
    }
    if let Some(size) = plan.terminal {
        terminal::make(&mut place, size, &mut state.fds)?;
    }

    // Before the root is read-only. The landing goes there, after the change of user.
    if let Some(cwd) = &plan.cwd {
        make_folder(&place, cwd, None, "make the working directory")?;
    }
    mount::finish_readonly(&mut place)?;

    // Over everything, so that no mount of the plan uncovers what is to be hidden.
    hide::readonly(&mut place, &plan.readonly)?;
    hide::mask(&mut place, &plan.masked)?;

    // It holds a folder of the host.
    drop(std::mem::take(&mut place.sources));
    let lines = match home {
        None => {
            enter::enter(plan, old, &place)?;
            verify::all(&place)?
        }
        Some(home) => {
            let lines = verify::all(&place)?;
            home.carry(&mut place)?;
            verify::carried(&place)?;
            lines
        }
    };
    own_null(plan, &place)?;
    umask(mask);
    let lines: Value = lines.into();
    let mut receipt = Receipt::verified(ToolName::RootfsPrep, json!({ "mounts": lines }));
    receipt.degraded = [plan.degraded.clone(), place.degraded].concat();
    Ok(receipt)
}

/// The socket to whoever may map ids, where that is asked for and we may not.
fn runner(plan: &Plan, state: &State) -> Result<Option<OwnedFd>> {
    let asked = |step: &Step| matches!(step, Step::Mount(step) if step.map.is_some());
    let Some(socket) = state.fds.meet.filter(|_| plan.steps.iter().any(asked) && in_user_namespace()) else {
        return Ok(None);
    };
    let doing = "reach the runner";
    let socket = chain::sys::fd::borrow(socket).cannot(doing, "fcntl(meet)")?;
    rustix::io::fcntl_dupfd_cloexec(socket, 3).cannot(doing, "fcntl(F_DUPFD_CLOEXEC)").map(Some)
}

fn make_folder(place: &Place, path: &Bytes, mode: Option<u32>, what: &str) -> Result<()> {
    let doing = format_args!("{what} {path}");
    let (fd, was_there) =
        place.root.make(path, Make::Folder).cannot(doing, format_args!("mkdirat({path})"))?;
    let kind = FileType::from_raw_mode(fstat(&fd).cannot(doing, "fstat")?.st_mode);
    if kind != FileType::Directory {
        return Err(Error::new(Class::Conflict, doing, "it is there and is no folder"));
    }
    match mode {
        Some(mode) if !was_there => {
            let folder = build::readable(fd.as_fd()).cannot(doing, format_args!("openat({path})"))?;
            fchmod(&folder, Mode::from_raw_mode(mode)).cannot(doing, format_args!("fchmod({path})"))
        }
        _ => Ok(()),
    }
}

/// A standard fd on the host's /dev/null would be a way to the host's /dev: it becomes the container's own.
fn own_null(plan: &Plan, place: &Place) -> Result<()> {
    let doing = "give the command the container's /dev/null";
    let null = makedev(1, 3);
    let is_null = |fd: BorrowedFd<'_>| {
        let char = |mode| FileType::from_raw_mode(mode) == FileType::CharacterDevice;
        fstat(fd).is_ok_and(|s| s.st_rdev == null && char(s.st_mode))
    };
    if !plan.default_devices || plan.root == NewRoot::Present {
        return Ok(());
    }
    let (stdin, stdout, stderr) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    let theirs = [is_null(stdin), is_null(stdout), is_null(stderr)];
    if theirs == [false; 3] {
        return Ok(());
    }
    let own = devices::open_null(place)?;
    if theirs[0] {
        rustix::stdio::dup2_stdin(&own).cannot(doing, "dup2(0)")?;
    }
    if theirs[1] {
        rustix::stdio::dup2_stdout(&own).cannot(doing, "dup2(1)")?;
    }
    if theirs[2] {
        rustix::stdio::dup2_stderr(&own).cannot(doing, "dup2(2)")?;
    }
    Ok(())
}
