//! pause and resume: the freezer of the container's cgroup, waited for.

use crate::cgroup;
use crate::container::{Container, StateRoot, Status};
use chain::{Class, Error, Result};

/// `runner pause`.
pub(crate) fn pause(root: &StateRoot, id: &str) -> Result<u8> {
    let container = locked(root, id)?;
    let doing = format!("pause {id}");
    match container.status()? {
        Status::Created | Status::Running => {
            cgroup::freeze(&container.record.cgroups, true, doing).map(|()| 0)
        }
        Status::Paused => {
            Err(Error::new(Class::Conflict, doing, "container not running: it is paused already"))
        }
        Status::Stopped => Err(Error::new(Class::Conflict, doing, "container not running")),
    }
}

/// `runner resume`.
pub(crate) fn resume(root: &StateRoot, id: &str) -> Result<u8> {
    let container = locked(root, id)?;
    let doing = format!("resume {id}");
    match container.status()? {
        Status::Paused => cgroup::freeze(&container.record.cgroups, false, doing).map(|()| 0),
        status => {
            let detail = format!("container not paused: it is {}", status.as_str());
            Err(Error::new(Class::Conflict, doing, detail))
        }
    }
}

fn locked(root: &StateRoot, id: &str) -> Result<Container> {
    let container = root.container(id)?;
    container.lock()?;
    Ok(container)
}
