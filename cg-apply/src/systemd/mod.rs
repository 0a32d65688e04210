//! Groups that systemd makes: a transient scope with this process in it, which lives as long as something is in it.
//! Whoever has systemd has one owner of the cgroup tree, and it is not us.

mod bus;
mod gvariant;
pub(crate) mod unit;
mod wire;

pub(crate) use unit::Unit;

use crate::plan::Plan;
use bus::Bus;
use chain::cgroup::{Group, Hierarchies, Hierarchy};
use chain::{Class, Error, Result};
use wire::Value;

/// Starts the scope with this process in it, and finds its group: that of this process from then on. One call, and the
/// wait for its job; three calls where a bus is between.
pub(crate) fn start(unit: &Unit) -> Result<Group> {
    let doing = format!("start {} by systemd", unit.name);
    let mut bus = connect(&doing)?;
    let mut properties = unit.properties.clone();
    let pids = Value::Array("u".into(), vec![Value::U32(std::process::id())]);
    properties.push(("PIDs".into(), pids));
    let body = vec![
        Value::Str(unit.name.clone()),
        // A start job of the same unit that waits is in our way, and is no reason to wait for it.
        Value::Str("replace".into()),
        unit::pairs(&properties),
        Value::Array("(sa(sv))".into(), Vec::new()),
    ];
    let answer = match bus.call(&doing, "StartTransientUnit", body.clone()) {
        Err(error) if error.class == Class::Conflict => {
            // One that failed, of a systemd that does not collect it.
            bus.call(&doing, "ResetFailedUnit", vec![Value::Str(unit.name.clone())])
                .map_err(|_| taken(error))?;
            bus.call(&doing, "StartTransientUnit", body).map_err(taken)?
        }
        other => other?,
    };
    let job = answer.into_iter().next().unwrap_or_default();
    let result = bus.wait(&doing, &job)?;
    if result != "done" {
        return Err(Error::new(Class::Internal, doing, format_args!("the job ended with '{result}'"))
            .why(format_args!("systemctl status {}, journalctl -u {}", unit.name, unit.name)));
    }
    own_group(&doing, &unit.name)
}

/// A scope is there for as long as something is in it; the words are those that engines know.
fn taken(error: Error) -> Error {
    if error.class != Class::Conflict {
        return error;
    }
    error
        .why("container's cgroup is not empty: that is another container's scope, or a unit of the same name")
}

/// Gives a unit that is there the limits that systemd has names for.
pub(crate) fn change(name: &str, properties: &[(String, Value)]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let doing = format!("change the limits of {name} by systemd");
    let mut bus = connect(&doing)?;
    let body = vec![Value::Str(name.into()), Value::Bool(true), unit::pairs(properties)];
    bus.call(&doing, "SetUnitProperties", body).map(drop)
}

/// Ends a scope with all that is in it; one that is gone is none. When this comes back its name is free.
pub(crate) fn stop(name: &str) -> Result<()> {
    let doing = format!("stop {name} by systemd");
    let mut bus = connect(&doing)?;
    let body = vec![Value::Str(name.into()), Value::Str("replace".into())];
    match bus.call(&doing, "StopUnit", body) {
        Ok(answer) => bus.wait(&doing, &answer.into_iter().next().unwrap_or_default()).map(drop),
        Err(error) if error.class == Class::Missing => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(doing: &str) -> Result<Bus> {
    // Root of a user namespace has the systemd of the user.
    let is_root = rustix::process::geteuid().is_root() && !chain::proc::in_user_namespace();
    Bus::connect(is_root).map_err(|error| Error { doing: doing.into(), ..error })
}

/// The group that this process is in now, which has the unit's name.
fn own_group(doing: &str, unit: &str) -> Result<Group> {
    let hierarchies = Hierarchies::detect()?;
    let dir = hierarchies.v2().and_then(Hierarchy::own_dir);
    let mut dir = dir.filter(|dir| dir.path.0.ends_with(format!("/{unit}").as_bytes())).ok_or_else(|| {
        Error::new(Class::Internal, doing, "the job is done, and this process is not in the scope's group")
    })?;
    dir.hold()?;
    Ok(Group { dirs: vec![dir] })
}

/// Makes the plan's unit the plan's group.
pub(crate) fn make(plan: &mut Plan) -> Result<()> {
    let Some(unit) = plan.unit.take() else { return Ok(()) };
    let group = start(&unit)?;
    (plan.in_v2, plan.scope) = (true, Some(unit.name));
    crate::apply::limit(&group, plan)?;
    // It writes some of the same files, and may do so once more.
    plan.writes.iter_mut().for_each(|write| write.found = None);
    plan.group = Some(group);
    Ok(())
}
