//! events: what a container uses, at intervals, and that its memory was out, at once; one JSON line each, in runc's
//! shape. Ends with the container.

use crate::container::{StateRoot, Status};
use chain::cgroup::stream::{Asked, End, follow};
use chain::cgroup::{Hierarchies, Stats};
use chain::{Class, Error, Result};
use clap::Args as Options;
use std::os::fd::AsFd;

/// Options of events.
#[derive(Options, Debug)]
pub(crate) struct Events {
    /// The container
    id: String,
    #[command(flatten)]
    asked: Asked,
}

/// `runner events`.
pub(crate) fn events(root: &StateRoot, options: &Events) -> Result<u8> {
    let id = &options.id;
    let container = root.container(id)?;
    let doing = format!("tell what {id} uses");
    let pidfd = match container.status()? {
        Status::Stopped => None,
        _ => container.pidfd()?,
    };
    let Some(pidfd) = pidfd else { return Err(Error::new(Class::Conflict, doing, "container not running")) };
    let cgroups = &container.record.cgroups;
    if cgroups.is_empty() {
        return Err(crate::cgroup::none(doing));
    }
    // With what each hierarchy controls, so that no file is looked for where it cannot be.
    let group = Hierarchies::detect()?.group_at(cgroups);
    let reader = Stats::new().with_rdt(container.record.rdt.clone());
    follow(id, &group, &reader, &options.asked, &End::Process(pidfd.as_fd())).map(|()| 0)
}
