//! The command: its words and environment, where it is, and the exec.

use super::Landing;
use crate::bytes::Bytes;
use crate::error::{EXIT_CANNOT_RUN, EXIT_NOT_FOUND, Error, Result};
use crate::next::cstring;
use crate::sys::process::exec_path;
use nix::errno::Errno;
use rustix::fs::FileType;
use std::collections::HashSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where a command is looked for when its environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// argv and environment: of the landing if `runner` set them, else of the command line.
pub(super) fn words(landing: &Landing, argv: &[OsString]) -> Result<(Vec<CString>, Vec<CString>)> {
    let (argv, env) = match &landing.command {
        Some(command) => (
            command.args.iter().map(Bytes::to_cstring).collect::<Vec<_>>(),
            with_home(last_of_each(command.env.iter().map(Bytes::to_cstring)), landing),
        ),
        None => (argv.iter().map(cstring).collect(), crate::next::environment()),
    };
    if argv.is_empty() {
        return Err(Error::usage("start the command", "there is none: nothing stands behind the last --"));
    }
    Ok((argv, env))
}

/// Of two values of one name the last counts, and it stands where it stood: which one a command takes of both is its own
/// affair, and a secret that was overwritten should not be in its environment.
fn last_of_each(env: impl DoubleEndedIterator<Item = CString>) -> Vec<CString> {
    let mut seen = HashSet::new();
    let name = |entry: &CString| entry.to_bytes().split(|b| *b == b'=').next().map(<[u8]>::to_vec);
    let mut kept: Vec<CString> = env.rev().filter(|entry| seen.insert(name(entry))).collect();
    kept.reverse();
    kept
}

fn with_home(mut env: Vec<CString>, landing: &Landing) -> Vec<CString> {
    let named = env.iter().any(|e| e.to_bytes().starts_with(b"HOME=") && e.to_bytes().len() > 5);
    if !named {
        let uid = landing.user.as_ref().and_then(|u| u.uid).unwrap_or(0);
        env.retain(|e| !e.to_bytes().starts_with(b"HOME="));
        env.push(cstring(std::ffi::OsStr::from_bytes(&[b"HOME=".to_vec(), crate::home::of(uid)].concat())));
    }
    env
}

/// A command that is nowhere, or that nobody may execute, fails the create, not the start: engines tell "no such
/// program" and "permission denied" from it. What root cannot look at, the command's own user may be able to.
pub(super) fn exists(program: &CString, env: &[CString], landing: &Landing) -> Result<()> {
    let cwd = landing.cwd.as_ref().map_or(Path::new("/"), Bytes::as_path);
    let name = Path::new(OsStr::from_bytes(program.as_bytes()));
    let path = env.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let by_path = !program.as_bytes().contains(&b'/');
    let dirs: Vec<&[u8]> = if by_path { path.split(|b| *b == b':').collect() } else { vec![b""] };
    let mut never = None;
    for dir in dirs.into_iter().filter(|_| !program.is_empty()) {
        let file = cwd.join(OsStr::from_bytes(dir)).join(name);
        match rustix::fs::stat(&file) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(_) => return Ok(()),
            Ok(stat) => match never_runs(&stat) {
                None => return Ok(()),
                Some(why) => never = Some(format!("{} {why}", file.display())),
            },
        }
    }
    let shown = program.to_string_lossy();
    let failed = |errno| Error::call(format_args!("run {shown}"), format_args!("execve({shown})"), errno);
    Err(match never {
        Some(why) => failed(Errno::EACCES).exit(EXIT_CANNOT_RUN).why(why),
        None => {
            let error = failed(Errno::ENOENT).exit(EXIT_NOT_FOUND);
            if by_path {
                error.why(format_args!("not in PATH={}", String::from_utf8_lossy(path)))
            } else {
                error
            }
        }
    })
}

/// Why no user at all can execute it.
fn never_runs(stat: &rustix::fs::Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (stat.st_mode & 0o111 == 0).then_some("has no execute permission"),
        FileType::Directory => Some("is a folder"),
        _ => Some("is no file"),
    }
}

/// execvpe(3) by the command's own PATH, inside the command's own root.
pub(super) fn exec(program: &CString, argv: &[CString], env: &[CString]) -> Error {
    let name = program.to_string_lossy().into_owned();
    let failed = |errno: Errno| {
        let exit = if errno == Errno::ENOENT { EXIT_NOT_FOUND } else { EXIT_CANNOT_RUN };
        Error::call(format_args!("run {name}"), format_args!("execve({name})"), errno).exit(exit)
    };
    if program.as_bytes().is_empty() {
        return failed(Errno::ENOENT);
    }
    if program.as_bytes().contains(&b'/') {
        return failed(exec_path(program, argv, env));
    }
    let path = env.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH="));
    let mut worst = Errno::ENOENT;
    for dir in path.unwrap_or(DEFAULT_PATH).split(|b| *b == b':') {
        let mut full = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
        full.push(b'/');
        full.extend_from_slice(program.as_bytes());
        match exec_path(&cstring(std::ffi::OsStr::from_bytes(&full)), argv, env) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => worst = Errno::EACCES,
            other => return failed(other),
        }
    }
    let shown = String::from_utf8_lossy(path.unwrap_or(b"(unset)")).into_owned();
    failed(worst).why(format_args!("{name} is not in PATH={shown}"))
}
