//! `--show PID`: the filters that hold a process, and, for who may know it, what they say.

use crate::decode::{self, Outcomes};
use crate::number::NEWEST;
use crate::{arch, number};
use chain::sys::caps;
use chain::sys::ptrace::hold;
use chain::sys::seccomp::Instruction;
use chain::{Class, Error, Result, proc};
use nix::errno::Errno;
use procfs::process::Process;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known of `pid`, as a layer.
pub(crate) fn layer(pid: i32) -> Result<String> {
    let doing = format_args!("show process {pid}");
    let status = Process::new(pid).and_then(|p| p.status()).map_err(|error| match error {
        procfs::ProcError::NotFound(_) => {
            Error::new(Class::Missing, doing, format_args!("there is no process {pid}"))
        }
        procfs::ProcError::PermissionDenied(_) => Error::new(Class::Denied, doing, error),
        _ => Error::new(Class::Internal, doing, error),
    })?;
    let mode = match status.seccomp {
        Some(0) => "none",
        Some(1) => "strict",
        Some(2) => "filter",
        _ => "unknown",
    };
    let spec = json!({ "allowNewPrivileges": status.nonewprivs != Some(1) });
    let mut layer = json!({ "tool": "seccomp-load", "spec": spec, "mode": mode, "filters": field(pid, "Seccomp_filters") });
    if status.seccomp == Some(2) {
        match filters(pid) {
            Ok(filters) => {
                layer["instructions"] = filters.iter().map(Vec::len).collect();
                layer["calls"] = calls(&filters);
            }
            Err(why) => {
                layer["calls"] = "unknown".into();
                layer["why"] = why.into();
            }
        }
    }
    Ok(format!("{layer}\n"))
}

/// A number of /proc/PID/status; the count of filters is there since Linux 5.9.
fn field(pid: i32, name: &str) -> Option<u32> {
    proc::status_field(&proc::read(&format!("/proc/{pid}/status")).ok()?, name)?.parse().ok()
}

/// The programs, the newest first; or why they cannot be had. Only who can read them stops the process for it.
fn filters(pid: i32) -> std::result::Result<Vec<Vec<Instruction>>, String> {
    const NOT_TOLD: &str = "the kernel tells it to who has CAP_SYS_ADMIN on the host";
    let held = caps::get().map_or(0, |sets| sets.effective);
    if held & ::caps::Capability::CAP_SYS_ADMIN.bitmask() == 0 {
        return Err(NOT_TOLD.into());
    }
    let own = std::process::id() as i32;
    if field(own, "Seccomp") != Some(0) {
        return Err("the kernel tells it to nobody who is behind a filter himself".into());
    }
    let process = hold(pid).map_err(|errno| match errno {
        Errno::EPERM => "ptrace(PTRACE_SEIZE): not permitted, or somebody traces it already".into(),
        Errno::ETIMEDOUT => "it did not stand still".into(),
        other => format!("ptrace(PTRACE_SEIZE): {other}"),
    })?;
    let mut filters = Vec::new();
    loop {
        match process.filter(filters.len()) {
            Ok(Some(code)) => filters.push(code),
            Ok(None) => {
                filters.reverse();
                return Ok(filters);
            }
            Err(Errno::EACCES | Errno::EPERM) => return Err(NOT_TOLD.into()),
            Err(Errno::EIO | Errno::EINVAL) => {
                return Err("this kernel keeps no filter as it was loaded: CONFIG_CHECKPOINT_RESTORE".into());
            }
            Err(other) => return Err(format!("ptrace(PTRACE_SECCOMP_GET_FILTER): {other}")),
        }
    }
}

/// For each kind of program what becomes of its calls: a word where it is the same of all, else names by action, and
/// under `arguments` those where it depends on them.
fn calls(filters: &[Vec<Instruction>]) -> Value {
    let mut document = Map::new();
    for arch in arch::all_of_this_kernel() {
        let mut by: BTreeMap<Outcomes, Vec<String>> = BTreeMap::new();
        let named = (arch.base..=arch.base + NEWEST).filter_map(|n| Some((n, number::name(n, arch)?)));
        for (n, name) in named {
            by.entry(decode::outcomes(filters, n, arch.audit)).or_default().push(name);
        }
        let value = match by.len() {
            1 => by.keys().next().map_or(Value::Null, words),
            _ => of_arch(&by),
        };
        document.insert(arch.name.into(), value);
    }
    Value::Object(document)
}

fn of_arch(by: &BTreeMap<Outcomes, Vec<String>>) -> Value {
    let mut document = json!({});
    for (outcomes, names) in by {
        match words(outcomes) {
            Value::String(word) => document[word] = json!(names),
            several => names.iter().for_each(|name| document["arguments"][name] = several.clone()),
        }
    }
    document
}

/// One word, or a list of what it can be.
fn words(outcomes: &Outcomes) -> Value {
    let words: Vec<String> = decode::words(outcomes);
    match words.as_slice() {
        [one] => json!(one),
        _ => json!(words),
    }
}
