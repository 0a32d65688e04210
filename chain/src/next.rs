//! The next program: which links the command line names, opened before the first link acts, run by fd.

use crate::error::{Cannot, Class, Error, IntoErrno, Result};
use crate::name::ToolName;
use crate::state::{self, State};
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::sys::process::exec_fd;
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, stat};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Splits at the first `--`: our own words, and the next program if there is one.
pub fn split(words: &[OsString]) -> (&[OsString], Option<&[OsString]>) {
    match words.iter().position(|w| w == "--") {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (words, None),
    }
}

/// One later link of an exec chain: `tool options…`.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Which tool.
    pub tool: ToolName,
    /// The word that names it, and its options up to the next `--`.
    pub words: &'a [OsString],
}

/// The links that `next` starts with, and the command behind the last of them.
pub fn segments(next: &[OsString]) -> (Vec<Segment<'_>>, &[OsString]) {
    let mut links = Vec::new();
    let mut rest = next;
    while let Some(tool) = rest.first().and_then(|w| ToolName::of_program(w)) {
        let (words, after) = split(rest);
        links.push(Segment { tool, words });
        rest = after.unwrap_or(&[]);
    }
    (links, rest)
}

/// What [`open_tools`] opened.
pub struct Opened {
    /// The tools.
    pub tools: BTreeMap<ToolName, RawFd>,
    /// The mounts they are on. Whoever closes the last copy of one waits until no CPU looks at it any more.
    pub mounts: Vec<OwnedFd>,
}

/// Opens each tool of `wanted` (a tool, and the word that named it if a command line did), on mounts of our own as
/// [`open_read_only`] says. One mount serves a whole folder.
pub fn open_tools(wanted: &[(ToolName, Option<&OsStr>)]) -> Result<Opened> {
    let mut tools = BTreeMap::new();
    let own = std::env::current_exe().ok();
    let mut folders: BTreeMap<PathBuf, Option<OwnedFd>> = BTreeMap::new();
    for (tool, word) in wanted {
        if tools.contains_key(tool) {
            continue;
        }
        let path = tool_path(*tool, *word, own.as_deref())?;
        let below = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if folder != Path::new("") => {
                let clone = || read_only_clone(folder).ok();
                let clone = folders.entry(folder.to_path_buf()).or_insert_with(clone);
                clone.as_ref().and_then(|clone| open_below(clone, name, &path))
            }
            _ => None,
        };
        let fd = below.map_or_else(|| open_read_only(&path), Ok)?;
        tools.insert(*tool, fd.into_raw_fd());
    }
    Ok(Opened { tools, mounts: folders.into_values().flatten().collect() })
}

fn tool_path(tool: ToolName, word: Option<&OsStr>, own: Option<&Path>) -> Result<PathBuf> {
    match word {
        Some(word) if word.as_bytes().contains(&b'/') => Ok(PathBuf::from(word)),
        _ => find_beside(tool, own).ok_or_else(|| {
            Error::new(
                Class::Missing,
                format_args!("open the link {tool}"),
                "not beside this program, not in PATH",
            )
            .exit(crate::error::EXIT_NOT_FOUND)
        }),
    }
}

/// The file `name` of the cloned mount, if it is what `path` names: a link leads out of the clone, and a file that
/// something is mounted over is another one there.
fn open_below(clone: &OwnedFd, name: &OsStr, path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(clone, name, flags, Mode::empty()).ok()?;
    let (found, named) = (fstat(&fd).ok()?, stat(path).ok()?);
    let same = (found.st_dev, found.st_ino) == (named.st_dev, named.st_ino);
    (same && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile).then_some(fd)
}

/// Where a tool is.
pub fn find_tool(tool: ToolName) -> Option<PathBuf> {
    find_beside(tool, std::env::current_exe().ok().as_deref())
}

/// Beside this program, `own`, first: the neighbours are of our build.
fn find_beside(tool: ToolName, own: Option<&Path>) -> Option<PathBuf> {
    let beside = own.and_then(|exe| Some(exe.parent()?.join(tool.as_str())));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|d| d.is_absolute()).map(|dir| dir.join(tool.as_str()));
    beside.into_iter().chain(listed).find(|p| p.is_file())
}

/// A program on a read-only mount that is attached nowhere: it can be run after the pivot, its `/proc/PID/exe` can
/// never be opened for writing from inside (CVE-2019-5736), and nothing was copied. Where mounting is not permitted, a
/// sealed copy in memory.
pub fn open_read_only(path: &Path) -> Result<OwnedFd> {
    let doing = format!("open the program {}", path.display());
    read_only_clone(path).or_else(|_| sealed_copy(path, &doing))
}

/// The mount that `path` is on, once more, from there on down, read-only and attached nowhere.
fn read_only_clone(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).map_err(IntoErrno::into_errno)?;
    let read_only = MountAttr { attr_set: attr::RDONLY, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), c"", AtFlags::EMPTY_PATH.bits() as i32, &read_only)?;
    Ok(tree)
}

fn sealed_copy(path: &Path, doing: &str) -> Result<OwnedFd> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open({})", path.display()))?;
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut content).cannot(doing, "read")?;
    state::sealed(c"catena-link", &content).cannot(doing, "memfd_create(catena-link)")
}

/// Becomes the link that `fd` refers to. Comes back only with the reason why not.
pub fn exec_link(fd: RawFd, argv: &[OsString], state: &State) -> Error {
    match try_exec_link(fd, argv, state) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_exec_link(fd: RawFd, argv: &[OsString], state: &State) -> Result<std::convert::Infallible> {
    let doing =
        format_args!("go on to {}", argv.first().map_or_else(String::new, |w| w.display().to_string()));
    let (memfd, name) = state.send()?;
    for travelling in state.fds.all().chain([memfd.as_raw_fd()]) {
        let borrowed =
            crate::sys::fd::borrow(travelling).cannot(doing, format_args!("fcntl({travelling})"))?;
        crate::sys::fd::set_cloexec(borrowed, false).cannot(doing, "fcntl(F_SETFD)")?;
    }
    let mut env = environment();
    env.push(entry(state::ENV, &name));
    let argv: Vec<CString> = argv.iter().map(cstring).collect();
    let program = crate::sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    let errno = exec_fd(program, &argv, &env);
    Err(Error::call(doing, "execveat", errno).exit(crate::error::EXIT_CANNOT_RUN))
}

/// Our environment without the variables of the chain.
pub fn environment() -> Vec<CString> {
    let ours = |key: &OsStr| key == state::ENV;
    std::env::vars_os().filter(|(key, _)| !ours(key)).map(|(key, value)| entry(key, &value)).collect()
}

fn entry(key: impl AsRef<OsStr>, value: &OsStr) -> CString {
    let mut bytes = key.as_ref().as_bytes().to_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    CString::new(bytes).unwrap_or_default()
}

/// A word of argv for the kernel. Words come from argv or from a checked config, so they hold no NUL.
pub fn cstring(word: impl AsRef<OsStr>) -> CString {
    CString::new(word.as_ref().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_chain_ends_at_the_first_program_that_is_no_link() {
        let line = words("/opt/bin/ns-enter -mp -- cap-drop --all -- sh -c x -- cap-drop --");
        let (links, command) = segments(&line);
        let tools: Vec<_> = links.iter().map(|l| l.tool).collect();
        assert_eq!(tools, [ToolName::NsEnter, ToolName::CapDrop]);
        assert_eq!(links[1].words, words("cap-drop --all"));
        assert_eq!(command, words("sh -c x -- cap-drop --"));
    }

    #[test]
    fn a_link_without_a_program_behind_it_leaves_no_command() {
        let line = words("cap-drop --all");
        let (links, command) = segments(&line);
        assert_eq!((links.len(), command.len()), (1, 0));
    }
}
