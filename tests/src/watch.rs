//! What a hostile container sees of whoever comes in: the fds of every process that it finds in /proc.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Looks until it is sent SIGTERM or nobody reads any more; prints at once each program that it could look into, and each
/// directory of which it is not the case that the same path leads there from here.
pub(crate) fn fds() -> ExitCode {
    let mut told = BTreeSet::new();
    let mut heard = tell("ready");
    while heard {
        for pid in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let dir = pid.path();
            if pid.file_name() == "self" || dir == Path::new(&format!("/proc/{}", std::process::id())) {
                continue;
            }
            let program = std::fs::read_link(dir.join("exe")).unwrap_or_default();
            for fd in std::fs::read_dir(dir.join("fd")).into_iter().flatten().filter_map(Result::ok) {
                let name = program.file_name().unwrap_or_default().display().to_string();
                let directory = foreign(&fd.path()).map(|d| format!("DIRECTORY {} of {name}", d.display()));
                for line in [Some(format!("saw {name}")), directory].into_iter().flatten() {
                    heard &= !told.insert(line.clone()) || tell(line);
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn foreign(link: &Path) -> Option<PathBuf> {
    let there = std::fs::metadata(link).ok().filter(std::fs::Metadata::is_dir)?;
    let target = std::fs::read_link(link).ok()?;
    // Closed and opened as something else between two looks: what is kept is there for the next.
    let id = |m: &std::fs::Metadata| (m.dev(), m.ino());
    std::fs::metadata(link).ok().filter(|again| id(again) == id(&there))?;
    let here = std::fs::metadata(&target).ok();
    let same = here.is_some_and(|here| id(&here) == id(&there));
    (!same).then_some(target)
}

/// Does anybody read?
fn tell(text: impl std::fmt::Display) -> bool {
    println!("{text}");
    std::io::stdout().flush().is_ok()
}
