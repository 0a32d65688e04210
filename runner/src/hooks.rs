//! Hooks: prestart, createRuntime, poststart and poststop are run here, in the runner's namespaces and in the bundle's
//! folder; createContainer and startContainer by the links that are where they belong.

use crate::bundle::Bundle;
use crate::container::Record;
use crate::log;
use chain::bytes::Bytes;
use chain::hook::{ChainHooks, Stage};
use chain::oci::{Config, ContainerState, Hook, Hooks};
use chain::state::sealed;
use chain::{Cannot, Class, Error, Result, next};
use rustix::process::chdir;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What can be known to be wrong before anything is made.
pub(crate) fn check(hooks: &Hooks) -> Result<()> {
    for (kind, list) in all(hooks) {
        for (number, hook) in list.iter().enumerate() {
            check_one(hook).map_err(|(member, wrong)| {
                let detail = format!("hooks.{kind}[{number}].{member}: {wrong}");
                Error::usage("carry out config.json", detail)
            })?;
        }
    }
    Ok(())
}

fn check_one(hook: &Hook) -> std::result::Result<(), (&'static str, &'static str)> {
    if !hook.path.starts_with('/') {
        return Err(("path", "not an absolute path"));
    }
    if hook.timeout.is_some_and(|seconds| seconds <= 0) {
        return Err(("timeout", "not greater than zero"));
    }
    let env = hook.env.as_deref().unwrap_or_default();
    let words = [("path", std::slice::from_ref(&hook.path)), ("args", &hook.args), ("env", env)];
    match words.into_iter().find(|(_, list)| list.iter().any(|word| word.contains('\0'))) {
        Some((member, _)) => Err((member, "a NUL byte")),
        None => Ok(()),
    }
}

fn all(hooks: &Hooks) -> [(&'static str, &[Hook]); 6] {
    [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ]
}

/// What the chain is told. It stops for the runner's own hooks, and before the container's too: a runner that has seen
/// the first process by then can have it ended.
pub(crate) fn of_chain(bundle: &Bundle, id: &str) -> Option<Box<ChainHooks>> {
    let hooks = bundle.config.hooks.as_ref()?;
    let early = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    let meet = early.into_iter().any(|list| !list.is_empty());
    (meet || !hooks.start_container.is_empty()).then(|| {
        Box::new(ChainHooks {
            meet,
            create_container: hooks.create_container.clone(),
            start_container: hooks.start_container.clone(),
            state: of_bundle(bundle, id),
        })
    })
}

/// What is still to run once the container is there.
pub(crate) fn of_record(config: &Config) -> Option<Hooks> {
    let hooks = config.hooks.as_ref().filter(|h| !h.poststart.is_empty() || !h.poststop.is_empty())?;
    let (poststart, poststop) = (hooks.poststart.clone(), hooks.poststop.clone());
    Some(Hooks { poststart, poststop, ..Hooks::default() })
}

fn of_bundle(bundle: &Bundle, id: &str) -> ContainerState {
    ContainerState {
        oci_version: bundle.config.oci_version.clone(),
        id: id.to_string(),
        bundle: Bytes::from(bundle.path.as_path()),
        annotations: bundle.config.annotations.clone(),
        ..ContainerState::default()
    }
}

fn state_of(record: &Record) -> ContainerState {
    ContainerState {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
        ..ContainerState::default()
    }
}

/// prestart, then createRuntime: the mounts are there, the new root is not entered yet.
pub(crate) fn create_runtime(bundle: &Bundle, id: &str, pid: i32) -> Result<()> {
    let Some(hooks) = &bundle.config.hooks else { return Ok(()) };
    let state = ContainerState { status: "creating".into(), pid, ..of_bundle(bundle, id) };
    let run = |kind, list: &[Hook]| staged(kind, &state, |stage| stage.run(list, &state));
    run("prestart", &hooks.prestart)?;
    run("createRuntime", &hooks.create_runtime)
}

/// poststart: the command runs. When one fails, the container is not to go on; that is the caller's to see to.
pub(crate) fn poststart(record: &Record) -> Result<()> {
    let Some(hooks) = &record.hooks else { return Ok(()) };
    let state = ContainerState { status: "running".into(), pid: record.pid, ..state_of(record) };
    staged("poststart", &state, |stage| stage.run(&hooks.poststart, &state))
}

/// The poststop hooks of a container, for when nothing else is left of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct After {
    hooks: Vec<Hook>,
    state: ContainerState,
}

impl After {
    /// Of a container in the making, which may never be there.
    pub(crate) fn of_bundle(bundle: &Bundle, id: &str) -> After {
        let hooks = bundle.config.hooks.as_ref().map(|hooks| hooks.poststop.clone()).unwrap_or_default();
        let state = if hooks.is_empty() { ContainerState::default() } else { of_bundle(bundle, id) };
        After { hooks, state }
    }

    /// Of one that is there.
    pub(crate) fn of_record(record: &Record) -> After {
        let hooks = record.hooks.as_ref().map(|hooks| hooks.poststop.clone()).unwrap_or_default();
        let state = if hooks.is_empty() { ContainerState::default() } else { state_of(record) };
        After { hooks, state }
    }

    /// For a program that is to run them in our place; None if there are none.
    pub(crate) fn travelling(&self) -> Result<Option<OwnedFd>> {
        if self.hooks.is_empty() {
            return Ok(None);
        }
        let doing = "hand the poststop hooks on";
        let text = serde_json::to_vec(self).map_err(|e| Error::new(Class::Internal, doing, e))?;
        sealed(c"catena-poststop", &text).cannot(doing, "memfd_create(catena-poststop)").map(Some)
    }

    /// What [`After::travelling`] gave.
    pub(crate) fn arrived(fd: OwnedFd) -> Result<After> {
        let doing = "take over the poststop hooks";
        let mut file = File::from(fd);
        file.rewind().cannot(doing, "lseek")?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).cannot(doing, "read")?;
        chain::json::parse(&text, doing)
    }

    /// Runs them all: what is gone cannot be kept from going, so a failure is a warning.
    pub(crate) fn run(&self) {
        if self.hooks.is_empty() {
            return;
        }
        let state = ContainerState { status: "stopped".into(), ..self.state.clone() };
        let failures = staged("poststop", &state, |stage| stage.run_all(&self.hooks, &state));
        for error in failures {
            let why = error.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            log::warn(format_args!("{error}{why}"));
        }
    }
}

/// In the bundle's folder, as long as there is one, with our own environment for a hook that names none.
fn staged<T>(kind: &str, state: &ContainerState, run: impl FnOnce(&Stage<'_>) -> T) -> T {
    let bundle = state.bundle.as_path();
    let enter = || {
        let entered = chdir(bundle).or_else(|_| chdir(Path::new("/")));
        entered.cannot("enter the bundle's folder", format_args!("chdir({})", bundle.display()))
    };
    run(&Stage { kind, env: &next::environment(), enter: &enter })
}
