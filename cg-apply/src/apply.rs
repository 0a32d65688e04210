//! The operations, in order: make the group and limit it while nobody is in it, then enter it.

use crate::device_limits;
use crate::existing;
use crate::limits::{Write, may_fail};
use crate::memory_policy;
use crate::plan::{Devices, Plan};
use crate::proof::{self, read_back};
use crate::{owner, rlimits, systemd};
use chain::cgroup::{Dir, Group, Purpose, Version};
use chain::rdt::Rdt;
use chain::state::{Receipt, State};
use chain::{Class, Error, Result, ToolName, proc, report};
use nix::errno::Errno;
use serde_json::{Map, Value, json};
use std::os::fd::{AsFd, IntoRawFd};

/// Makes the group with its limits. On failure nothing of it stays.
pub(crate) fn make(plan: &mut Plan) -> Result<()> {
    make_group(plan)?;
    let Some(wanted) = &plan.rdt else { return Ok(()) };
    match wanted.make() {
        Ok(made) => plan.rdt_made = Some(made),
        Err(error) if may_fail(&plan.attempt, "intelRdt") => plan.degraded.push(format!("intelRdt: {error}")),
        Err(error) => {
            plan.group.as_mut().filter(|_| plan.scope.is_none()).map_or(Ok(()), Group::undo)?;
            return Err(error);
        }
    }
    Ok(())
}

fn make_group(plan: &mut Plan) -> Result<()> {
    if plan.joins.is_some() {
        return existing::hold(plan);
    }
    if plan.unit.is_some() {
        return systemd::make(plan);
    }
    let Some(mut group) = plan.group.take() else { return Ok(()) };
    if let Err(error) = group.create(&purpose(plan, plan.exclusive)) {
        return go_without(plan, error);
    }
    let limited = limit(&group, plan);
    if let Err(error) = limited {
        group.undo()?;
        return Err(error);
    }
    plan.group = Some(group);
    Ok(())
}

/// Sets the limits of a group that is there, and reads them back. What was set before one is refused is put back.
/// To one of systemd's only what it needs is handed down.
pub(crate) fn change(plan: &mut Plan, is_scope: bool) -> Result<Map<String, Value>> {
    let Some(mut group) = plan.group.take() else { return Ok(Map::new()) };
    if is_scope {
        for dir in &mut group.dirs {
            dir.hold()?;
        }
        systemd::hand_down(&group, plan)?;
    } else {
        group.create(&purpose(plan, false))?;
    }
    limit(&group, plan)?;
    read_back(&group, &plan.writes, &plan.degraded, true)
}

/// A value that may be left out is not one to count on.
fn purpose(plan: &Plan, exclusive: bool) -> Purpose<'_> {
    let needed = plan.needed.iter().map(String::as_str).collect();
    let in_cpuset = |w: &&Write| w.version == Version::V1 && w.controller == "cpuset";
    let certain = |w: &&Write| in_cpuset(w) && !may_fail(&plan.attempt, &w.field);
    Purpose { exclusive, needed, cpuset: plan.writes.iter().filter(certain).map(|w| &*w.file).collect() }
}

/// Where `--try cgroupsPath` says so, a group that is refused is left out with all that it was to hold, unless it was to
/// hold a limit that may not be left out.
fn go_without(plan: &mut Plan, error: Error) -> Result<()> {
    let refused = matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS));
    if !refused || !may_fail(&plan.attempt, "cgroupsPath") {
        return Err(error);
    }
    let strict = plan.writes.iter().find(|write| !may_fail(&plan.attempt, &write.field));
    let strict = strict.map(|write| &*write.field);
    let devices = plan.devices.as_ref().map(|_| "resources.devices");
    if let Some(field) = strict.or(devices.filter(|field| !may_fail(&plan.attempt, field))) {
        return Err(error.why(format_args!("{field} needs it")));
    }
    plan.degraded.push(format!("cgroupsPath: {error}"));
    plan.degraded.extend(plan.writes.drain(..).map(|write| format!("{}: there is no cgroup", write.field)));
    plan.degraded.extend(plan.devices.take().map(|_| "resources.devices: there is no cgroup".to_string()));
    Ok(())
}

pub(crate) fn limit(group: &Group, plan: &mut Plan) -> Result<()> {
    if plan.fresh && group.dirs.iter().any(|d| !d.is_new()) {
        return Err(Error::new(Class::Conflict, "make a fresh cgroup", "somebody made one of the same name"));
    }
    if let Some(limits) = plan.check_usage {
        limits.refuse_below_use(group)?;
    }
    settle(group, &mut plan.writes)?;
    let before = present(group, &plan.writes)?;
    set(group, plan).map_err(|error| put_back(group, before, error))
}

fn set(group: &Group, plan: &mut Plan) -> Result<()> {
    // Some files refuse a value as long as another file has its old one (memory above memory and swap together, a
    // quota below its burst), so what was refused is tried again when the others are set.
    let mut again = Vec::new();
    for at in 0..plan.writes.len() {
        match write_and_prove(group, &mut plan.writes, at) {
            Err(e) if matches!(e.errno(), Some(Errno::EINVAL | Errno::EBUSY)) => again.push(at),
            other => pass(other, group, at, plan)?,
        }
    }
    for at in again {
        let result = write_and_prove(group, &mut plan.writes, at);
        pass(result, group, at, plan)?;
    }

    if let Some(rules) = &plan.devices {
        let version = if matches!(rules, Devices::V1(_)) { Version::V1 } else { Version::V2 };
        let result = dir_of(group, "devices", version).and_then(|dir| device_limits::limit(dir, rules));
        forgive(result, "resources.devices", &plan.attempt, &mut plan.degraded)?;
    }
    plan.owner.map_or(Ok(()), |uid| owner::give(group, uid))
}

/// Goes on where it was done, or may be left out.
fn pass(result: Result<()>, group: &Group, at: usize, plan: &mut Plan) -> Result<()> {
    let write = &plan.writes[at];
    let result = result.map_err(|e| explain(e, group, write));
    forgive(result, &write.field, &plan.attempt, &mut plan.degraded)
}

/// Which of two files it is that this kernel has. In a new group nobody asks what it says, and the write itself finds out.
fn settle(group: &Group, writes: &mut [Write]) -> Result<()> {
    for write in writes.iter_mut().filter(|write| write.instead.is_some()) {
        let dir = dir_of(group, &write.controller, write.version)?;
        if !dir.is_new() && dir.read(&write.file)?.is_none() {
            write.use_instead();
        }
    }
    Ok(())
}

/// What a group that was there before has for limits now. Files of several lines cannot be written as they read.
fn present(group: &Group, writes: &[Write]) -> Result<Vec<Write>> {
    let mut before = Vec::new();
    if group.dirs.iter().all(Dir::is_new) {
        return Ok(before);
    }
    for write in writes {
        let dir = dir_of(group, &write.controller, write.version)?;
        let text = if dir.is_new() { None } else { dir.read(&write.file)? };
        let line = text.map(|t| t.trim().to_string()).filter(|t| !t.is_empty() && !t.contains('\n'));
        before.extend(line.map(|value| Write { value, ..write.clone() }));
    }
    Ok(before)
}

/// A layer that is refused changes nothing. Twice round, as some files wait for others.
fn put_back(group: &Group, mut before: Vec<Write>, error: Error) -> Error {
    before.retain(|write| perform(group, write).is_err());
    let failed = before.iter().find_map(|write| perform(group, write).err());
    match failed {
        Some(also) if error.why.is_none() => error.why(format_args!("and then it {also}")),
        _ => error,
    }
}

/// Lets a failure pass where `--try` names the field.
fn forgive(result: Result<()>, field: &str, attempt: &[String], degraded: &mut Vec<String>) -> Result<()> {
    match result {
        Err(error) if may_fail(attempt, field) => {
            degraded.push(format!("{field}: {error}"));
            Ok(())
        }
        other => other,
    }
}

pub(crate) fn dir_of<'a>(group: &'a Group, controller: &str, version: Version) -> Result<&'a Dir> {
    let dir = if version == Version::V1 { group.v1(controller) } else { group.v2() };
    dir.ok_or_else(|| {
        Error::new(Class::Internal, format_args!("limit {controller}"), "the group has no such directory")
    })
}

fn perform(group: &Group, write: &Write) -> Result<()> {
    let dir = dir_of(group, &write.controller, write.version)?;
    dir.write(&write.file, &write.value).or_else(|error| absent(error, write))
}

/// A write and its proof in one go, where what the file says now is what it will say when all is written.
fn write_and_prove(group: &Group, writes: &mut [Write], at: usize) -> Result<()> {
    if proof::waits(writes, at) {
        return perform(group, &writes[at]);
    }
    let write = &mut writes[at];
    let dir = dir_of(group, &write.controller, write.version)?;
    match dir.write_and_read(&write.file, &write.value) {
        Ok(text) => write.found = text.map(|text| proof::prove(dir, write, text)).transpose()?,
        Err(error) if error.errno() == Some(Errno::ENOENT) && write.use_instead() => {
            return write_and_prove(group, writes, at);
        }
        Err(error) => return absent(error, write),
    }
    Ok(())
}

/// A file that is not there.
fn absent(error: Error, write: &Write) -> Result<()> {
    match error.errno() {
        Some(Errno::ENOENT) if write.optional => Ok(()),
        Some(Errno::ENOENT) => Err(error.class(Class::Unsupported).why("this kernel has no such limit")),
        _ => Err(error),
    }
}

fn explain(error: Error, group: &Group, write: &Write) -> Error {
    let Ok(dir) = dir_of(group, &write.controller, write.version) else { return error };
    let usage = if write.version == Version::V1 { "memory.usage_in_bytes" } else { "memory.current" };
    match (error.errno(), &*write.controller) {
        (Some(Errno::EBUSY), "memory") => {
            let used = dir.read(usage).ok().flatten().unwrap_or_default();
            error.why(format_args!("{} bytes are in use and cannot be reclaimed", used.trim()))
        }
        (Some(Errno::EINVAL), "memory") => {
            error.why("with memory and swap together below memory alone, or above the parent's limit")
        }
        (Some(Errno::EINVAL), "cpu") => error
            .why("a quota is from 1000 µs, a period from 1000 to 1000000 µs, and both within the parent's"),
        (Some(Errno::ENODEV), "blkio" | "io") => error.why("there is no such disk; a partition is none"),
        (Some(Errno::ENODEV), "rdma") => error.why("there is no such device"),
        (Some(Errno::EINVAL | Errno::ERANGE), "blkio" | "io") => {
            error.why("a weight is from 10 to 1000, and a rate is of a whole disk")
        }
        (Some(Errno::EACCES | Errno::EINVAL | Errno::ERANGE), "cpuset") => {
            error.why("it may only have what its parent has, and what is online, and nothing that another child has for itself")
        }
        _ => error,
    }
}

/// Does to this process what the layer asks for: limits, score, group. Goes back out of the group when it fails.
pub(crate) fn enter(plan: &mut Plan, state: &mut State) -> Result<Receipt> {
    let entered = try_enter(plan, state);
    if entered.is_err() {
        abandon(plan)?;
    }
    entered
}

fn try_enter(plan: &mut Plan, state: &mut State) -> Result<Receipt> {
    for (resource, _, hard) in &plan.rlimits {
        forgive(rlimits::raise(*resource, *hard), "rlimits", &plan.attempt, &mut plan.degraded)?;
    }
    if let Some(score) = plan.oom_score_adj {
        forgive(set_oom_score(score), "oomScoreAdj", &plan.attempt, &mut plan.degraded)?;
    }
    let mut applied = Map::new();
    match &plan.group {
        Some(group) if plan.leaf => {
            // Whoever reads the receipt finds nobody there yet.
            applied.insert("leaf".into(), true.into());
            state.fds.groups = group.entrances()?.into_iter().map(IntoRawFd::into_raw_fd).collect();
        }
        Some(_) => existing::join(plan)?,
        None => {}
    }
    if let Some(group) = &plan.group {
        if !plan.leaf {
            group.prove_joined()?;
        }
        applied.insert("cgroup".into(), json!(group.paths().collect::<Vec<_>>()));
        let told = report::has_status() || state.fds.meet.is_some();
        let limits = read_back(group, &plan.writes, &plan.degraded, told)?;
        if told {
            applied.insert("limits".into(), Value::Object(limits));
        }
    }
    if let Some(uid) = plan.owner {
        applied.insert("owner".into(), json!(uid));
    }
    if let Some(unit) = &plan.scope {
        applied.insert("unit".into(), json!(unit));
    }
    if !plan.rlimits.is_empty() {
        let named =
            plan.rlimits.iter().map(|(n, soft, hard)| (rlimits::name(*n).to_string(), json!([soft, hard])));
        applied.insert("rlimits".into(), Value::Object(named.collect()));
        state.landing.rlimits = rlimits::within_reach(&plan.rlimits, &plan.degraded)?;
    }
    if let Some(score) = plan.oom_score_adj {
        applied.insert("oomScoreAdj".into(), json!(score));
    }
    tune(plan, state, &mut applied)?;
    let mut receipt = Receipt::verified(ToolName::CgApply, Value::Object(applied));
    receipt.degraded = std::mem::take(&mut plan.degraded);
    if let Some(group) = &mut plan.group {
        group.close();
    }
    Ok(receipt)
}

/// How it runs from now on: the cpuset and the real-time budget of the group are in force by now.
fn tune(plan: &mut Plan, state: &mut State, applied: &mut Map<String, Value>) -> Result<()> {
    let Plan { tuning, memory_policy, attempt, degraded, rdt_made, rdt_join, .. } = plan;
    degraded.extend(tuning.unbind());
    let mut field = |name: &str, result: Result<Value>| {
        let told = result.map(|value| drop(applied.insert(name.into(), value)));
        forgive(told, name, attempt, degraded)
    };
    if let Some(rdt) = rdt_made {
        field("intelRdt", rdt.join().map(|()| json!(rdt)))?;
    }
    for path in rdt_join {
        let joined = Rdt { path: path.clone(), ..Rdt::default() };
        field("intelRdt", joined.join().map(|()| json!(joined)))?;
    }
    if let Some(policy) = memory_policy {
        field("memoryPolicy", memory_policy::set(policy).map(|()| json!(policy.to_string())))?;
    }
    tuning.behind(&mut state.landing, field)
}

/// Leaves the group and removes what was made of it. For a link that stays nobody's: without `--keep` the supervisor
/// does it.
pub(crate) fn abandon(plan: &mut Plan) -> Result<()> {
    if plan.keep {
        plan.rdt_made.take().map_or(Ok(()), |made| made.remove())?;
    }
    match plan.group.as_mut().filter(|_| plan.keep && plan.scope.is_none()) {
        Some(group) if plan.leaf => group.undo(),
        Some(group) => group.leave().and_then(|()| group.undo()),
        None => Ok(()),
    }
}

/// oom_score_adj of this process, inherited by all that follows.
fn set_oom_score(score: i32) -> Result<()> {
    let read =
        || proc::read("/proc/self/oom_score_adj").map(|t| String::from_utf8_lossy(&t).trim().to_string());
    let present = read()?;
    if present == score.to_string() {
        return Ok(());
    }
    // Without CAP_SYS_ADMIN there is no private procfs, and then nobody's privilege is at stake either.
    let procfs = proc::private().or_else(|_| proc::host())?;
    proc::write_at(procfs.as_fd(), "self/oom_score_adj", score.to_string().as_bytes()).map_err(
        |e| match e.errno() {
            Some(Errno::EACCES | Errno::EPERM) => {
                e.why(format_args!("it is {present}, and lowering it needs CAP_SYS_RESOURCE"))
            }
            _ => e,
        },
    )?;
    let found = read()?;
    if found == score.to_string() { Ok(()) } else { Err(Error::readback("oom_score_adj", score, found)) }
}
