//! Where the lines come from: a file and those that it includes, or a plan.

use super::lines::{self, Line};
use super::{DOING, Policy, wrong};
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

/// Reads the whole policy.
pub(crate) fn read(text: &[u8], origin: &Origin<'_>, lenient: bool) -> Result<Policy> {
    let mut reader = Reader { policy: Policy::default(), lenient, open: Vec::new(), files: 1 };
    if let Origin::File(_, Some(identity)) = origin {
        reader.open.push(*identity);
    }
    reader.lines(text, origin)?;
    Ok(reader.policy)
}

struct Reader {
    policy: Policy,
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
    fn lines(&mut self, text: &[u8], origin: &Origin<'_>) -> Result<()> {
        let name = origin.name();
        let whole = |detail: &str| Error::usage(DOING, format_args!("{name}: {detail}"));
        if text.len() > MOST_BYTES {
            return Err(whole("longer than 1 MiB"));
        }
        for (n, line) in text.split(|b| *b == b'\n').enumerate() {
            let at = format!("{name}:{}", n + 1);
            let line = std::str::from_utf8(line)
                .ok()
                .filter(|line| !line.chars().any(|c| c.is_control() && c != '\t' && c != '\r'));
            let Some(line) = line else {
                let text = "it is no text".to_string();
                return Err(wrong(&at, Wrong { text, cure: "--format bpf, for a program".into() }));
            };
            if let Line::Include(word) = lines::carry_out(&mut self.policy, line, &at, self.lenient)? {
                self.include(word, origin, &at)?;
            }
        }
        Ok(())
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
        self.lines(&text, &Origin::File(&path, Some(identity)))?;
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
