//! `--print`, `--check`, `--show PID`: answers that change nothing.

use crate::cli::Args;
use crate::{check, plan, print, show};
use chain::link::Question;
use chain::plan::Layer;
use chain::report::stdout;
use chain::spec::CgApply;
use chain::{Class, Error, Result};
use serde_json::json;

/// Answers `question`; gives the exit status.
pub(crate) fn answer(question: Question, args: &Args, spec: &CgApply) -> Result<u8> {
    let json = args.common.json;
    let text = match question {
        Question::Show(pid) => layer(&show::in_force(pid)?)?,
        Question::Print => {
            // Each run has another fresh name.
            let facts = plan::facts(spec)?.named("catena-PID-TIME");
            let plan = plan::resolve(spec, &facts)?;
            if json { format!("{}\n", print::document(&plan, spec)?) } else { print::text(&plan, spec)? }
        }
        Question::Check => {
            let lost = check::check(spec)?;
            match json {
                true => format!("{}\n", json!({"tool": "cg-apply", "check": true, "degraded": lost})),
                false => lost
                    .iter()
                    .fold("this host can do it\n".into(), |all, one| format!("{all}less      {one}\n")),
            }
        }
    };
    stdout(text.as_bytes()).map(|()| 0)
}

fn layer(spec: &CgApply) -> Result<String> {
    let text = serde_json::to_string(&Layer::of(spec)?);
    text.map(|t| t + "\n").map_err(|e| Error::new(Class::Internal, "write the layer", e))
}
