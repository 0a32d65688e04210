//! Can this host do it? The version comes over the socket, which proves the conversation. The answer itself comes from
//! `criu check`: over the socket criu knows three features by name, on its command line all of them.

use crate::log::{Failed, explain, refusal};
use crate::rpc::{Kind, Opts};
use crate::swrk::{self, Criu, Group};
use chain::error::{Class, Error, Result};
use chain::report;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};

/// Answers with a line, and status 0 if all is well.
pub(crate) fn run(program: &Path, feature: Option<&str>, as_json: bool) -> Result<u8> {
    let doing = match feature {
        Some(name) => format!("use the feature {name} of criu"),
        None => "checkpoint and restore on this host".into(),
    };
    let place = format!("{} check", program.display());
    let says = |error: Error, printed: &[u8]| {
        let (opts, place) = (Opts::default(), place.clone());
        explain(error, &Failed { answer: None, log: b"", printed, opts: &opts, place, full: false })
    };

    let mut criu = Criu::start(program, Group::Ours)?;
    let answer = criu.ask(Kind::Version, None, &doing).map_err(|error| says(error, &criu.printed()))?;
    criu.end()?;
    if !answer.success {
        return Err(refusal(&doing, "version", &answer));
    }
    let version = answer.version.map_or_else(|| "of unknown version".into(), |v| v.to_string());

    let (printed, out, err) = swrk::capture()?;
    let mut command = Command::new(program);
    command.arg("check").args(feature.iter().flat_map(|name| ["--feature", name]));
    let status = command.stdin(Stdio::null()).stdout(out).stderr(err).status();
    let status = status.map_err(|e| swrk::not_started(program, e))?;
    if !status.success() {
        let printed = swrk::captured(&printed);
        let unknown = String::from_utf8_lossy(&printed).contains("Unknown feature");
        let class = if unknown { Class::Usage } else { Class::Unsupported };
        let error = Error::new(class, doing, format_args!("criu {version} says no"));
        return Err(says(error, &printed).class(class));
    }
    let text = match (as_json, feature) {
        (true, _) => {
            format!("{}\n", json!({"tool": crate::NAME, "check": true, "criu": version, "feature": feature}))
        }
        (false, Some(name)) => format!("criu {version} has {name}\n"),
        (false, None) => format!("criu {version} works on this kernel\n"),
    };
    report::stdout(text.as_bytes()).map(|()| 0)
}
