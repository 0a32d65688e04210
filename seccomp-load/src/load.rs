//! The operand PROFILE: which language a file is in, told from what it holds.

use crate::policy::{self, Language, Origin};
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
    Text(Language),
    Bpf,
}

const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("text", Format::Text(Language::Lines)),
    ("bpf", Format::Bpf),
    ("minijail", Format::Text(Language::Minijail)),
    ("kafel", Format::Text(Language::Kafel)),
];

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
        Format::Text(language) => {
            policy::read(&text, language, &origin, lenient)?.carried(&word).map(ProfileSource::Own)
        }
    }
}

fn own(word: &str, name: &str) -> Result<ProfileSource> {
    match word {
        OWN => Ok(ProfileSource::Own(word.into())),
        SERVICE => {
            let text = format!("default EPERM\nallow {SERVICE}\n");
            let policy = policy::read(text.as_bytes(), Language::Lines, &Origin::Elsewhere(word), false)?;
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
        Some(b'[' | b'"') => Err(Error::usage(doing, "not a JSON object")),
        Some(b'{') if !is_minijail(text) => Ok(Format::Json),
        Some(_) if is_kafel(text) => Ok(Format::Text(Language::Kafel)),
        Some(_) if is_minijail(text) => Ok(Format::Text(Language::Minijail)),
        Some(_) => Ok(Format::Text(Language::Lines)),
    }
}

/// The first line that is more than a comment.
fn first_line(text: &[u8]) -> &str {
    let lines = text.split(|b| *b == b'\n').map(|line| std::str::from_utf8(line).unwrap_or("").trim());
    lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("")
}

/// No line of ours begins with an action in capitals, or with a comment of C's.
fn is_kafel(text: &[u8]) -> bool {
    const WORDS: [&str; 14] = [
        "POLICY",
        "USE",
        "DEFAULT",
        "ALLOW",
        "DENY",
        "KILL",
        "KILL_PROCESS",
        "KILL_THREAD",
        "LOG",
        "USER_NOTIF",
        "ERRNO",
        "TRAP",
        "TRACE",
        "SYSCALL",
    ];
    let line = first_line(text);
    let word = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(line, |end| &line[..end]);
    WORDS.contains(&word) || line.starts_with("//") || line.starts_with("/*")
}

/// A colon stands behind the first word of each line, or that is a directive.
fn is_minijail(text: &[u8]) -> bool {
    let line = first_line(text);
    if let Some(list) = line.strip_prefix('{') {
        return list.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    }
    let word = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(line.len());
    let behind = line[word..].trim_start();
    // trace:7 is an action of ours.
    word > 0 && !line.starts_with("trace:") && behind.starts_with([':', '[']) || line.starts_with('@')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_from_the_first_line() {
        let of = |text: &str| detect(text.as_bytes(), "x").unwrap();
        for (text, language) in [
            ("default EPERM\nallow read", Language::Lines),
            ("# read: 1\n\nEPERM @mount", Language::Lines),
            ("trace:7 mount", Language::Lines),
            ("#define is a word\ndeny read", Language::Lines),
            ("read: 1", Language::Minijail),
            ("# x\n@include ./x\n", Language::Minijail),
            ("{ read, write }: 1", Language::Minijail),
            ("read[arch=arm]: 1", Language::Minijail),
            ("POLICY a { }", Language::Kafel),
            ("#define A 1\nALLOW { read }", Language::Kafel),
            ("// x", Language::Kafel),
            ("ERRNO(1) { read }", Language::Kafel),
        ] {
            assert_eq!(of(text), Format::Text(language), "{text}");
        }
        assert_eq!(
            (of("{"), of(" {\"a\": 1}"), of("\0\0"), of("{}")),
            (Format::Json, Format::Json, Format::Bpf, Format::Json)
        );
        assert!(detect(b" \n", "x").is_err() && detect(b"[1]", "x").is_err());
    }
}
