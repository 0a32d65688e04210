//! `--print`, `--check`, `--show PID`: questions, which change nothing.

use crate::cli::Args;
use crate::plan::Plan;
use crate::{assert, facts, name, plan};
use chain::landing::{self, CapSets};
use chain::link::Question;
use chain::oci::Capabilities;
use chain::plan::Layer;
use chain::report::stdout;
use chain::spec::{CapDrop, UserSpec};
use chain::state::State;
use chain::{Class, Error, Result};
use procfs::process::{Process, Status};

/// Answers; gives the exit status.
pub(crate) fn answer(question: Question, args: &Args, spec: &CapDrop) -> Result<u8> {
    let text = match question {
        Question::Show(pid) if !args.assert.is_empty() => {
            let broken = assert::broken(&args.assert, &status(pid)?)?;
            let text: String = broken.iter().map(|line| format!("{line}\n")).collect();
            return stdout(text.as_bytes()).map(|()| u8::from(!broken.is_empty()));
        }
        Question::Show(pid) => show(pid)?,
        Question::Print => print(&resolve(spec)?, args.common.json),
        Question::Check => {
            let plan = resolve(spec)?;
            let mut state = State::default();
            plan.hand_to(&mut state.landing);
            // In a child that goes no further: all of it, as the landing would.
            landing::rehearse(&state, None)?;
            print(&plan, args.common.json)
        }
    };
    stdout(text.as_bytes()).map(|()| 0)
}

fn resolve(spec: &CapDrop) -> Result<Plan> {
    plan::resolve(spec, &facts::gather(spec)?)
}

fn print(plan: &Plan, json: bool) -> String {
    if json {
        let mut document = plan.document();
        document["degraded"] = plan.degraded.clone().into();
        return format!("{document}\n");
    }
    let CapSets { bounding, effective, permitted, inheritable, ambient } = plan.after;
    let set = |mask| {
        if mask == 0 {
            "none".to_string()
        } else {
            name::words(mask).to_ascii_lowercase().replace("cap_", "")
        }
    };
    let mut lines = vec!["the command will have".to_string()];
    for (what, mask) in [
        ("bounding", bounding),
        ("permitted", permitted),
        ("effective", effective),
        ("inheritable", inheritable),
        ("ambient", ambient),
    ] {
        lines.push(format!("  {what:<12} {}", set(mask)));
    }
    lines.push(format!("  {:<12} {}", "no_new_privs", if plan.no_new_privs { "on" } else { "as it is" }));
    if let Some(ids) = &plan.user {
        let or = |id: Option<u32>| id.map_or("as it is".to_string(), |n| n.to_string());
        let groups = ids.groups.as_ref().map_or("as they are".to_string(), |g| format!("{g:?}"));
        lines.push(format!("  {:<12} uid {}, gid {}, groups {groups}", "user", or(ids.uid), or(ids.gid)));
        lines.extend(ids.umask.map(|m| format!("  {:<12} {m:04o}", "umask")));
    }
    lines.extend(
        plan.securebits.map(|b| format!("  {:<12} {}", "securebits", crate::securebits::list(b).join(","))),
    );
    lines.extend(
        plan.keyring
            .as_ref()
            .map(|k| format!("  {:<12} new{}{k}", "keyring", if k.is_empty() { "" } else { ": " })),
    );
    lines.extend(plan.apparmor.as_ref().map(|p| format!("  {:<12} {p}", "apparmor")));
    lines.extend(plan.selinux.as_ref().map(|l| format!("  {:<12} {l}", "selinux")));
    lines.extend(plan.degraded.iter().map(|d| format!("  left out: {d}")));
    lines.join("\n") + "\n"
}

fn status(pid: i32) -> Result<Status> {
    let doing = format!("show process {pid}");
    Process::new(pid).and_then(|p| p.status()).map_err(|e| proc_error(&doing, pid, e))
}

/// What is in force for `pid`, as this tool's layer. Secure bits and the keyring of another process cannot be seen.
fn show(pid: i32) -> Result<String> {
    let status = status(pid)?;
    let names = |mask: Option<u64>| name::list(mask.unwrap_or(0));
    let spec = CapDrop {
        user: Some(UserSpec {
            uid: status.euid.to_string().parse().ok(),
            gid: status.egid.to_string().parse().ok(),
            additional_gids: Some(status.groups.iter().map(|g| chain::ids::Gid(*g)).collect()),
            umask: status.umask,
            ..UserSpec::default()
        }),
        capabilities: Some(Capabilities {
            bounding: names(status.capbnd),
            permitted: names(Some(status.capprm)),
            effective: names(Some(status.capeff)),
            inheritable: names(Some(status.capinh)),
            ambient: names(status.capamb),
        }),
        no_new_privileges: status.nonewprivs == Some(1),
        apparmor_profile: apparmor(pid),
        ..CapDrop::default()
    };
    let layer = Layer::of(&spec)?;
    let text = serde_json::to_string(&layer)
        .map_err(|e| Error::new(Class::Internal, format_args!("show process {pid}"), e))?;
    Ok(text + "\n")
}

/// `NAME (mode)`, or `unconfined`; nothing where there is no AppArmor.
fn apparmor(pid: i32) -> Option<String> {
    let text = chain::proc::read(&format!("/proc/{pid}/attr/apparmor/current")).ok()?;
    let text = String::from_utf8(text).ok()?;
    let name = text.trim_end().rsplit_once(" (").map_or(text.trim_end(), |(name, _)| name);
    (name != "unconfined" && !name.is_empty()).then(|| name.to_string())
}

fn proc_error(doing: &str, pid: i32, error: procfs::ProcError) -> Error {
    let class = match error {
        procfs::ProcError::NotFound(_) => Class::Missing,
        procfs::ProcError::PermissionDenied(_) => Class::Denied,
        _ => Class::Internal,
    };
    match class {
        Class::Missing => Error::new(class, doing, format_args!("there is no process {pid}")),
        _ => Error::new(class, doing, error),
    }
}
