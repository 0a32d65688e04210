//! run: create without a gate; then either leave, or look after the container until its command ends.

use crate::cli::{Args, Run};
use crate::container::{StateRoot, Status};
use crate::create::{Gate, Launched, launch};
use crate::notify::Notify;
use crate::{agent, delete, ended, hooks};
use chain::cgroup::Report;
use chain::proxy::{self, Between};
use chain::supervise::Supervised;
use chain::sys::process::prctl;
use chain::{Cannot, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// `runner run`: the command's status, 128+n for signal n.
pub(crate) fn run(root: &StateRoot, args: &Args, options: &Run) -> Result<u8> {
    if !options.detach && !options.no_subreaper {
        // What the container's processes leave behind comes to us and not to init, without a pid namespace too.
        prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)
            .cannot("adopt what the container leaves", "prctl(SUBREAPER)")?;
    }
    let report = options.report.as_deref().map(Report::open).transpose()?;
    let Some(launched) = launch(root, args, &options.create, Gate::Open, options.detach)? else {
        return Ok(0);
    };
    if let Err(error) = started(root, &launched).and_then(|()| hooks::poststart(&launched.record)) {
        delete::destroy(root, &launched.record.id)?;
        return Err(error);
    }
    let Launched { record, pidfd, child, terminal, notify, .. } = launched;
    let Some(mut child) = child else {
        let waited = notify.map(|notify| notify.wait(record.pid, pidfd.as_fd()));
        return waited.unwrap_or(Ok(())).map(|()| 0);
    };
    let since = Instant::now();
    let status = look_after(&mut child, terminal, notify);
    let told = status.as_ref().map_or(Ok(()), |status| {
        let doing = format!("run {} to its end", record.id);
        match &report {
            Some(file) => ended::report(file, since, *status, child.killed_by(), &record.cgroups, &doing),
            None => ended::tell(*status, &record.cgroups, 0, &doing),
        }
    });
    if !options.keep {
        delete::destroy(root, &record.id)?;
    }
    told.and(status)
}

fn started(root: &StateRoot, launched: &Launched) -> Result<()> {
    agent::until_exec(launched.meet.as_fd(), "start the command", &|| {
        let container = root.container(&launched.record.id)?;
        agent::of(&container, launched.record.pid, Status::Created)
    })
}

/// Until the command has ended: its status.
pub(crate) fn look_after(
    child: &mut Supervised,
    terminal: Option<OwnedFd>,
    notify: Option<Notify>,
) -> Result<u8> {
    match (terminal, notify) {
        (Some(master), notify) => {
            let beside = notify.as_ref().map(|notify| notify as &dyn proxy::Beside);
            proxy::run(&master, child, &Between { beside, terminals: false })
        }
        (None, Some(notify)) => wait_with(child, &notify),
        (None, None) => child.wait(),
    }
}

/// As without a service manager; and once the command is ready, the manager is told, which goes on to look at us.
fn wait_with(child: &mut Supervised, notify: &Notify) -> Result<u8> {
    let mut ended = child.has_ended()?;
    while ended.is_none() {
        let mut fds = [child.signal_fd(), notify.fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Error::call("wait for the command", "poll", e)),
        }
        notify.pass_on(std::process::id() as i32)?;
        ended = child.handle_signals(|_| {})?;
    }
    Ok(ended.unwrap_or(0))
}
