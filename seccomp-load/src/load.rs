//! The operand PROFILE: which language a file is in, told from what it holds.

use crate::policy::{self, Origin};
use crate::{raw, sets};
use chain::files::Files;
use chain::oci::Profile;
use chain::spec::ProfileSource;
use chain::{Error, Result};
use std::path::Path;

/// Profiles of our own.
const OWN: &str = "@default";
/// A set that is a profile too, as it is in a unit of systemd's.
const SERVICE: &str = "@system-service";

/// Languages of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
    Bpf,
}

const FORMATS: [(&str, Format); 3] = [("json", Format::Json), ("text", Format::Text), ("bpf", Format::Bpf)];

/// The profile that is named by `path`. `lenient` is for names of calls that nobody knows.
pub(crate) fn profile(
    path: &Path,
    format: Option<&str>,
    lenient: bool,
    files: &Files<'_>,
) -> Result<ProfileSource> {
    let word = path.to_string_lossy();
    let format = format.map(named).transpose()?;
    if let Some(name) = word.strip_prefix('@') {
        return own(&word, name);
    }
    let doing = format!("read the filter of {}", path.display());
    let (text, identity) = policy::open(path, files)?;
    let origin = match word.starts_with("fd:") {
        true => Origin::Elsewhere(&word),
        false => Origin::File(path, Some(identity)),
    };
    match format.map_or_else(|| detect(&text, &doing), Ok)? {
        Format::Json => json(&text, path, &doing),
        Format::Bpf => Ok(ProfileSource::Own(raw::carried(&raw::of_bytes(&text, &word)?))),
        Format::Text => policy::read(&text, &origin, lenient)?.carried(&word).map(ProfileSource::Own),
    }
}

fn own(word: &str, name: &str) -> Result<ProfileSource> {
    match word {
        OWN => Ok(ProfileSource::Own(word.into())),
        SERVICE => {
            let text = format!("default EPERM\nallow {SERVICE}\n");
            let policy = policy::read(text.as_bytes(), &Origin::Elsewhere(word), false)?;
            policy.carried(word).map(ProfileSource::Own)
        }
        _ => {
            let detail = format!("there is no profile '@{}'", name.escape_debug());
            let error = Error::usage("read the filter", detail);
            Err(match sets::calls(word) {
                Some(_) => error.cure(format_args!("--deny {word}")),
                None => error.cure(OWN),
            })
        }
    }
}

fn named(word: &str) -> Result<Format> {
    FORMATS.iter().find(|(name, _)| *name == word).map(|(_, format)| *format).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
        let detail = format!("--format: '{}' is no language of profiles", word.escape_debug());
        Error::usage("read the command line", detail).cure(names.join(", "))
    })
}

/// JSON begins with a brace, and a program has a zero in every instruction, as no text has. What begins as JSON can and no
/// line does is an error of JSON's.
fn detect(text: &[u8], doing: &str) -> Result<Format> {
    if text.contains(&0) {
        return Ok(Format::Bpf);
    }
    match text.trim_ascii_start().first() {
        None => Err(Error::usage(doing, "cut short: there is nothing in it")),
        Some(b'{') => Ok(Format::Json),
        Some(b'[' | b'"') => Err(Error::usage(doing, "not a JSON object")),
        Some(_) => Ok(Format::Text),
    }
}

fn json(text: &[u8], path: &Path, doing: &str) -> Result<ProfileSource> {
    // An array would do for a struct, member by member.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Error::usage(doing, "not a JSON object"));
    }
    let profile: Profile = chain::json::parse(text, doing).map_err(|error| {
        let config = chain::oci::parse_config(text, &doing).is_ok_and(|c| !c.oci_version.is_empty());
        if config { error.cure(format_args!("--oci {}", path.display())) } else { error }
    })?;
    Ok(ProfileSource::Document(Box::new(profile)))
}
