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
    refuse_taken(unit)?;
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

/// A group that somebody made where the scope's will be: systemd would put this process into it as it is, and in a frozen
/// one it would never come back from there.
fn refuse_taken(unit: &Unit) -> Result<()> {
    let hierarchies = Hierarchies::detect()?;
    let Some((mount, (manager, slice))) = hierarchies.v2().map(|v2| &v2.mount).zip(manager()?) else {
        return Ok(());
    };
    let mut path = mount.clone();
    path.0.extend_from_slice(manager.as_bytes());
    path.0.extend_from_slice(unit.place(slice).as_bytes());
    Group::at(&[path.clone()])?.refuse_if_in_use()?;
    while let Some(slash) = path.0.iter().rposition(|byte| *byte == b'/').filter(|at| *at > mount.0.len()) {
        path.0.truncate(slash);
        if Group::at(&[path.clone()])?.is_frozen()? {
            let doing = format!("start {} by systemd", unit.name);
            return Err(Error::new(Class::Conflict, doing, "container's cgroup unexpectedly frozen")
                .why(format_args!("{path}, which it would be in, is frozen")));
        }
    }
    Ok(())
}

/// Hands down what the limits need and systemd does not know. Where that may fail, it is told.
pub(crate) fn hand_down(group: &Group, plan: &mut Plan) -> Result<()> {
    let mut controllers: Vec<String> = plan.writes.iter().map(|write| write.controller.to_string()).collect();
    controllers.retain(|controller| controller != "cgroup");
    controllers.sort();
    controllers.dedup();
    for controller in controllers {
        match group.give(&[&controller]) {
            Err(error) if !plan.needed.contains(&controller) => {
                plan.degraded.push(format!("{controller}: {error}"))
            }
            other => other?,
        }
    }
    Ok(())
}

/// The group of our systemd, and the slice that it puts a scope into by itself.
fn manager() -> Result<Option<(String, &'static str)>> {
    let root = is_ours_the_systems();
    let text = chain::proc::read(if root { "/proc/1/cgroup" } else { "/proc/self/cgroup" })?;
    let text = String::from_utf8_lossy(&text);
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return Ok(None) };
    if root {
        return Ok(path.strip_suffix("/init.scope").map(|path| (path.into(), "system.slice")));
    }
    // Beside it is the session of a login. Its user is not the one we are, in a user namespace.
    let mut parts = path.split('/');
    let user = |name: &str| name.strip_prefix("user-")?.strip_suffix(".slice").map(String::from);
    let Some((name, user)) = parts.find_map(|name| Some((name, user(name)?))) else { return Ok(None) };
    let above = path.split_once(name).map_or("", |(above, _)| above);
    Ok(Some((format!("{above}{name}/user@{user}.service"), "app.slice")))
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

/// Root of a user namespace has the systemd of the user.
fn is_ours_the_systems() -> bool {
    rustix::process::geteuid().is_root() && !chain::proc::in_user_namespace()
}

fn connect(doing: &str) -> Result<Bus> {
    Bus::connect(is_ours_the_systems()).map_err(|error| Error { doing: doing.into(), ..error })
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
    hand_down(&group, plan)?;
    crate::apply::limit(&group, plan)?;
    // It writes some of the same files, and may do so once more.
    plan.writes.iter_mut().for_each(|write| write.found = None);
    plan.group = Some(group);
    Ok(())
}
