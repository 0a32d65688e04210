//! Where the lines come from: a file and those that it includes, or a plan.

use super::lines::{self, Line};
use super::{DOING, NOTHING_NEWER, Policy, kafel, minijail, wrong};
use crate::action::Action;
use crate::value::Wrong;
use chain::files::Files;
use chain::oci::read_bounded;
use chain::{Cannot, Error, Result};
use nix::sys::stat::{fstat, stat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The most bytes of one file, the most files, and how deep they may include each other.
const MOST_BYTES: usize = 1 << 20;
const MOST_FILES: usize = 64;
const DEEPEST: usize = 8;

/// A file by device and inode.
pub(crate) type Identity = (u64, u64);

/// What the text was read from.
pub(crate) enum Origin<'a> {
    /// A file, by this path: what it includes is looked for beside it.
    File(&'a Path, Option<Identity>),
    /// An fd or a plan, which lies in no folder.
    Elsewhere(&'a str),
}

/// A file opened for reading, and what it is.
pub(crate) fn open(path: &Path, files: &Files<'_>) -> Result<(Vec<u8>, Identity)> {
    let fd = files.open(path)?;
    let identity = identity(&fd)?;
    Ok((read_bounded(fd, &format!("{DOING} of {}", path.display()))?, identity))
}

fn identity(fd: &OwnedFd) -> Result<Identity> {
    let stat = fstat(fd.as_fd()).cannot(DOING, "fstat")?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Lines,
    Minijail,
    Kafel,
}

/// Reads the whole policy.
pub(crate) fn read(text: &[u8], language: Language, origin: &Origin<'_>, lenient: bool) -> Result<Policy> {
    let mut reader = Reader { policy: Policy::default(), language, lenient, open: Vec::new(), files: 1 };
    if let Origin::File(_, Some(identity)) = origin {
        reader.open.push(*identity);
    }
    reader.text(text, origin)?;
    if language != Language::Lines {
        // Neither of the two knows of calls that are too new.
        reader.policy.newest = Some(NOTHING_NEWER.into());
        if reader.policy.default.is_none() {
            reader.policy.set_default(Action::KillProcess, &origin.name())?;
        }
    }
    Ok(reader.policy)
}

struct Reader {
    policy: Policy,
    language: Language,
    lenient: bool,
    /// Files that are being read, from the outermost in.
    open: Vec<Identity>,
    files: usize,
}

impl Origin<'_> {
    fn name(&self) -> String {
        match self {
            Origin::File(path, _) => path.display().to_string(),
            Origin::Elsewhere(name) => (*name).into(),
        }
    }
}

impl Reader {
    fn text(&mut self, text: &[u8], origin: &Origin<'_>) -> Result<()> {
        let name = origin.name();
        if text.len() > MOST_BYTES {
            return Err(Error::usage(DOING, format_args!("{name}: longer than 1 MiB")));
        }
        let mut clean = String::with_capacity(text.len());
        for (n, line) in text.split(|b| *b == b'\n').enumerate() {
            let odd = |line: &&str| line.chars().any(|c| c.is_control() && c != '\t' && c != '\r');
            let Some(line) = std::str::from_utf8(line).ok().filter(|line| !odd(line)) else {
                let text = "it is no text".to_string();
                return Err(wrong(
                    &format!("{name}:{}", n + 1),
                    Wrong { text, cure: "--format bpf, for a program".into() },
                ));
            };
            clean += line;
            clean.push('\n');
        }
        match self.language {
            Language::Kafel => kafel::read(&mut self.policy, &clean, &name),
            _ => self.lines(&clean, origin, &name),
        }
    }

    fn lines(&mut self, text: &str, origin: &Origin<'_>, name: &str) -> Result<()> {
        // minijail's go on behind a backslash.
        let (mut whole, mut first) = (String::new(), None);
        for (n, line) in text.lines().enumerate() {
            let start = *first.get_or_insert(n);
            if let Some(part) =
                line.trim_end().strip_suffix('\\').filter(|_| self.language == Language::Minijail)
            {
                whole += part;
                whole.push(' ');
                continue;
            }
            whole += line;
            let at = format!("{name}:{}", start + 1);
            let done = match self.language {
                Language::Minijail => minijail::carry_out(&mut self.policy, &whole, &at)?,
                _ => lines::carry_out(&mut self.policy, &whole, &at, self.lenient)?,
            };
            if let Line::Include(word) = done {
                self.include(word, origin, &at)?;
            }
            whole.clear();
            first = None;
        }
        match whole.is_empty() {
            true => Ok(()),
            false => Err(Error::usage(DOING, format_args!("{name}: cut short behind a backslash"))),
        }
    }

    fn include(&mut self, word: &str, origin: &Origin<'_>, at: &str) -> Result<()> {
        let refused = |text: String, cure: &str| wrong(at, Wrong { text, cure: cure.into() });
        let path = self.beside(word, origin).map_err(|w| wrong(at, w))?;
        let (text, identity) =
            open(&path, &Files::default()).map_err(|error| error.why(format_args!("{at} includes it")))?;
        self.files += 1;
        if self.open.contains(&identity) {
            return Err(refused(format!("'{word}' includes itself"), "each file once"));
        }
        if self.open.len() >= DEEPEST || self.files > MOST_FILES {
            let text = format!("'{word}': more than {DEEPEST} files one in another, or {MOST_FILES} in all");
            return Err(refused(text, "fewer"));
        }
        self.open.push(identity);
        self.policy.depth += 1;
        self.text(&text, &Origin::File(&path, Some(identity)))?;
        self.policy.depth -= 1;
        self.open.pop();
        Ok(())
    }

    /// The path of a file that is included. In a chain that has left the host behind, paths are somebody else's: then the
    /// file that includes is no longer where it was, and nothing is looked for beside it.
    fn beside(&self, word: &str, origin: &Origin<'_>) -> std::result::Result<PathBuf, Wrong> {
        let text = |text: String| Wrong {
            text,
            cure: "the whole policy in one file: seccomp-load POLICY --print --dump=text".into(),
        };
        match origin {
            Origin::Elsewhere(_) => {
                Err(text(format!("'{word}': an fd lies in no folder, so nothing can be included")))
            }
            Origin::File(path, identity) => {
                let here = stat(*path).ok().map(|stat| (stat.st_dev, stat.st_ino));
                if identity.is_none() || here != *identity {
                    return Err(text(format!("'{word}': {} is not to be found any more", path.display())));
                }
                Ok(path.parent().unwrap_or(Path::new(".")).join(word))
            }
        }
    }
}
