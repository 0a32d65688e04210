//! `--print`, `--check`, `--show`: answers that change nothing.

use crate::cli::Args;
use crate::helper::writer_shown;
use crate::plan::Kind;
use crate::resolve::Plan;
use crate::{apply, pick, resolve, subid};
use chain::canary::canary;
use chain::link::Question;
use chain::oci::IdMapping;
use chain::plan::Layer;
use chain::spec::Idmap;
use chain::state::State;
use chain::userns::parse_map;
use chain::{Class, Error, Result, proc, report};
use std::fmt::Write;

/// Answers `question`.
pub(crate) fn answer(question: Question, args: &Args, spec: &Idmap) -> Result<u8> {
    let json = args.common.json;
    match question {
        Question::Show(pid) => layer(&in_force(pid)?)?,
        Question::Print if json => layer(spec)?,
        Question::Print => {
            let mut spec = spec.clone();
            let _picked = pick::pick(&mut spec)?;
            let plan = resolve::resolve(&spec, &resolve::facts()?)?;
            report::stdout(shown(&plan).as_bytes())?;
        }
        Question::Check => {
            let mut spec = spec.clone();
            let _picked = pick::pick(&mut spec)?;
            let plan = resolve::resolve(&spec, &resolve::facts()?)?;
            canary(|| apply::all(&plan, &mut State::default()).map(drop))?;
            let text = if json { "{\"tool\":\"idmap\",\"check\":true}\n" } else { "this host can do it\n" };
            report::stdout(text.as_bytes())?;
        }
    }
    Ok(0)
}

fn layer(spec: &Idmap) -> Result<()> {
    let mut text = serde_json::to_vec(&Layer::of(spec)?)
        .map_err(|e| Error::new(Class::Internal, "write the layer", e))?;
    text.push(b'\n');
    report::stdout(&text)
}

/// The maps of the user namespace that `pid` is in; the ids outside are those of our own namespace, or, where that is
/// the same one, of its parent.
fn in_force(pid: i32) -> Result<Idmap> {
    let read = |file: &str| proc::read(&format!("/proc/{pid}/{file}"));
    Ok(Idmap {
        uid_mappings: parse_map(&read("uid_map")?)?,
        gid_mappings: parse_map(&read("gid_map")?)?,
        setgroups: Some(!read("setgroups")?.starts_with(b"deny")),
        ..Idmap::default()
    })
}

/// Who says that the caller may map these ids: itself, or a line of a file.
fn source(kind: Kind, m: &IdMapping) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let own = if kind == Kind::User { uid } else { rustix::process::getegid().as_raw() };
    if (m.host_id, m.size) == (own, 1) {
        return " (the caller)".into();
    }
    subid::line_of(kind.grants_file(), uid, m.host_id, m.size)
        .map_or_else(String::new, |line| format!(" ({line})"))
}

fn shown(plan: &Plan) -> String {
    if plan.maps.is_empty() {
        return "no user namespace\n".into();
    }
    let mut text = String::from("make a user namespace\n");
    for map in &plan.maps {
        let by = writer_shown(&map.writer, map.kind);
        writeln!(text, "{} map, {by}:", map.kind.noun()).expect("a String takes all");
        for m in &map.lines {
            let last = |first: u32| u64::from(first) + u64::from(m.size) - 1;
            let (inside, outside) = (m.container_id, m.host_id);
            writeln!(
                text,
                "  {inside} to {} inside are {outside} to {} outside{}",
                last(inside),
                last(outside),
                source(map.kind, m)
            )
            .expect("a String takes all");
        }
    }
    if let Some(owner) = plan.owner {
        writeln!(text, "it is user {}'s and group {}'s", owner.uid, owner.gid).expect("a String takes all");
    }
    let setgroups = if plan.deny_setgroups { "denied" } else { "allowed" };
    if plan.disable_userns {
        text += "no further user namespaces inside\n";
    }
    writeln!(text, "setgroups {setgroups}").expect("a String takes all");
    text
}
