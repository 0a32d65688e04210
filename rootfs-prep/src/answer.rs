//! `--print`, `--check`, `--show PID`: questions, which change nothing.

use crate::cli::Args;
use crate::facts::{self, Facts};
use crate::path::clean;
use crate::plan::{self, NewRoot, Plan, Step, What};
use crate::{check, presets, show};
use chain::bytes::Bytes;
use chain::link::Question;
use chain::plan::Layer;
use chain::report::stdout;
use chain::spec::RootfsPrep;
use chain::state::State;
use chain::{Class, Error, Result};
use rustix::fs::{FileType, major, minor};
use std::fmt::Write;

/// Answers; gives the exit status.
pub(crate) fn answer(question: Question, args: &Args, spec: &RootfsPrep) -> Result<u8> {
    let json = args.common.json;
    let text = match question {
        Question::Show(pid) => layer(&show::in_force(pid)?)?,
        Question::Print => {
            let plan = plan::resolve(spec, &facts::gather(spec, &State::default())?)?;
            match (json, &args.preset) {
                (true, _) => layer(spec)?,
                (false, None) => shown(&plan, spec),
                (false, Some(name)) => {
                    let flags = presets::line(&presets::ops(name)?);
                    format!("{:<10}{name}: {flags} --mask-default\n{}", "preset", shown(&plan, spec))
                }
            }
        }
        Question::Check => {
            let lost = check::check(&plan::resolve(spec, &Facts::ALL_NEW)?)?;
            match json {
                true => format!(
                    "{}\n",
                    serde_json::json!({"tool": "rootfs-prep", "check": true, "degraded": lost})
                ),
                false => {
                    lost.iter().fold("this host can do it\n".to_string(), |all, one| all + "  " + one + "\n")
                }
            }
        }
    };
    stdout(text.as_bytes()).map(|()| 0)
}

fn layer(spec: &RootfsPrep) -> Result<String> {
    let text = serde_json::to_string(&Layer::of(spec)?);
    text.map(|t| t + "\n").map_err(|e| Error::new(Class::Internal, "write the layer", e))
}

fn shown(plan: &Plan, spec: &RootfsPrep) -> String {
    let options = |at: &Bytes| {
        let mount =
            spec.mounts.iter().rev().find(|m| clean(&m.destination, "destination").is_ok_and(|d| d == *at));
        mount.filter(|m| !m.options.is_empty()).map_or(String::new(), |m| format!(" {}", m.options.join(",")))
    };
    let mut text = String::new();
    let mut line =
        |what: &str, value: String| writeln!(text, "{what:<10}{value}").expect("a String takes all");
    match &plan.root {
        NewRoot::Present => line("root", "the present one".into()),
        NewRoot::Folder { path, readonly } => {
            line("root", format!("{path}{}", if *readonly { " ro" } else { "" }))
        }
        NewRoot::Mount(step) => line("root", what(&step.what)),
    }
    for step in &plan.steps {
        match step {
            Step::Mount(step) => {
                let attempt = if step.attempt { " (or less, where the kernel does not let it)" } else { "" };
                line("mount", format!("{} {}{}{attempt}", step.at, what(&step.what), options(&step.at)));
            }
            Step::Folder(path, _) => line("folder", path.to_string()),
            Step::File { path, content, mode } => {
                line("file", format!("{path} of {} bytes, mode {mode:04o}", content.0.len()))
            }
            Step::Link { path, target } => line("link", format!("{path} -> {target}")),
        }
    }
    if plan.default_devices {
        line("devices", "null zero full random urandom tty, links ptmx fd stdin stdout stderr".into());
    }
    for node in &plan.devices {
        let kind = match node.kind {
            FileType::CharacterDevice => "c",
            FileType::BlockDevice => "b",
            _ => "p",
        };
        let (major, minor) = (major(node.number), minor(node.number));
        line(
            "device",
            format!("{} {kind} {major}:{minor} mode {:04o} {}:{}", node.path, node.mode, node.uid, node.gid),
        );
    }
    if plan.terminal.is_some() {
        line("terminal", "/dev/console, from the container's own devpts".into());
    }
    plan.readonly.iter().for_each(|path| line("read-only", path.to_string()));
    plan.masked.iter().for_each(|path| line("masked", path.to_string()));
    plan.cwd.iter().for_each(|path| line("directory", path.to_string()));
    if plan.root != NewRoot::Present {
        let how = match (plan.carried, plan.no_pivot) {
            (true, _) => "by chroot, in the caller's mount namespace",
            (false, true) => "by chroot",
            (false, false) => "by pivot_root",
        };
        line("enter", how.into());
    }
    plan.degraded.iter().for_each(|lost| line("less", lost.clone()));
    text
}

fn what(what: &What) -> String {
    match what {
        What::Fs { kind, .. } => kind.clone(),
        What::Bind { source, recursive } => {
            format!("{} of {source}", if *recursive { "rbind" } else { "bind" })
        }
        What::Cgroups { .. } => "cgroups".into(),
        What::Data { content, mode } => format!("data of {} bytes, mode {mode:04o}", content.0.len()),
        What::Remount => "other options".into(),
    }
}
