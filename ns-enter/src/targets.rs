//! The namespaces to join, opened and looked at before anything is touched.

use chain::bytes::Bytes;
use chain::oci::{Namespace, NamespaceKind};
use chain::spec::NsEnter;
use chain::sys::namespaces::kind_of;
use chain::sys::process::pidfd_open;
use chain::{Cannot, Class, Error, Result, supervise, sys};
use nix::errno::Errno;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::str::FromStr;

/// One namespace to join.
pub(crate) struct Target {
    /// Its kind.
    pub(crate) kind: NamespaceKind,
    /// As the layer names it.
    pub(crate) path: Bytes,
    /// It.
    pub(crate) fd: OwnedFd,
    /// Its inode.
    pub(crate) inode: u64,
    /// We are in it already.
    pub(crate) here: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Targets {
    /// In the layer's order.
    pub(crate) list: Vec<Target>,
    /// The process, if all are of one: setns(2) takes a pidfd and joins all of its namespaces at once, or none.
    pub(crate) process: Option<OwnedFd>,
    /// The root directory of that process, if it is to be ours.
    pub(crate) root: Option<OwnedFd>,
}

/// Opens what `spec` joins. `known` is a pidfd of the process it names, if whoever started the chain has one: its pid may
/// have been given away again by now.
pub(crate) fn open(spec: &NsEnter, known: Option<RawFd>) -> Result<Targets> {
    let joins: Vec<(&Namespace, &Bytes)> =
        spec.namespaces.iter().filter_map(|ns| Some((ns, ns.path.as_ref()?))).collect();
    let exact = spec.target.as_deref().map(exactly).transpose()?;
    // Its files say nothing that helps when it has not been reaped yet.
    if let Some(process) = &exact
        && supervise::has_ended(process.as_fd())?
    {
        let whose = spec.target.as_deref().unwrap_or_default();
        let doing = format_args!("join the namespaces of process {whose}");
        return Err(Error::new(Class::Missing, doing, "the process has ended"));
    }
    let common = common_pid(joins.iter().map(|(_, path)| *path).chain(&spec.root));
    let process = match (common, known) {
        (Some(_), _) if exact.is_some() => exact,
        (Some(_), Some(fd)) => Some(taken_over(fd)?),
        (Some(pid), None) => open_process(pid)?,
        (None, _) => exact,
    };
    let root = spec.root.as_ref().map(|path| open_root(path, process.is_some())).transpose()?;
    let list = joins.iter().map(|(ns, path)| open_one(ns.kind, path)).collect::<Result<Vec<_>>>()?;
    // If it lives now, the files opened above were its own and not those of a successor with its number.
    if let Some(process) = &process
        && supervise::has_ended(process.as_fd())?
    {
        let doing = match joins.first() {
            Some((_, path)) => format!("join {path}"),
            None => "join the namespaces of a process".into(),
        };
        return Err(Error::new(Class::Missing, doing, "the process has ended"));
    }
    Ok(Targets { list, process: process.filter(|_| common.is_some()), root })
}

/// Of a process that is known by more than its number: what is there is what it has for `/`.
fn open_root(path: &Bytes, known: bool) -> Result<OwnedFd> {
    let doing = format_args!("take the root {path}");
    if !known {
        return Err(Error::new(Class::Unsupported, doing, "whose it is cannot be proven"));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path.as_path(), flags, Mode::empty()).cannot(doing, format_args!("open({path})"))
}

/// The process that `-t PID:INODE` or `-t fd:N` means, or an error.
fn exactly(text: &str) -> Result<OwnedFd> {
    let target = chain::target::Target::from_str(text)
        .map_err(|what| Error::usage("join the namespaces of a process", what))?;
    target.open()
}

/// The process that all these paths belong to.
fn common_pid<'a>(paths: impl Iterator<Item = &'a Bytes>) -> Option<i32> {
    let pids: Option<Vec<i32>> = paths.map(pid_of).collect();
    let pids = pids?;
    pids.first().copied().filter(|first| pids.iter().all(|pid| pid == first))
}

/// `/proc/N/ns/X`, `/proc/N/root`: N.
fn pid_of(path: &Bytes) -> Option<i32> {
    let text = std::str::from_utf8(&path.0).ok()?;
    let (pid, rest) = text.strip_prefix("/proc/")?.split_once('/')?;
    let pid = (rest == "root" || rest.starts_with("ns/")).then_some(pid)?;
    pid.parse().ok().filter(|pid| *pid > 0)
}

fn taken_over(fd: RawFd) -> Result<OwnedFd> {
    sys::fd::adopt(fd).cannot("join the namespaces of a process", format_args!("fcntl({fd})"))
}

fn open_process(pid: i32) -> Result<Option<OwnedFd>> {
    match pidfd_open(pid) {
        Ok(fd) => Ok(Some(fd)),
        // Before Linux 5.3 the paths alone must do.
        Err(Errno::ENOSYS) => Ok(None),
        Err(e) => Err(Error::call(
            format_args!("join namespaces of process {pid}"),
            format_args!("pidfd_open({pid})"),
            e,
        )),
    }
}

fn open_one(kind: NamespaceKind, path: &Bytes) -> Result<Target> {
    let doing = format!("join the {} namespace {path}", kind.as_str());
    // A FIFO must not make us wait, nor a terminal become ours, before they are seen to be no namespaces.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match path.0.strip_prefix(b"fd:") {
        Some(number) => given(number, &doing)?,
        None => {
            openat(CWD, path.as_path(), flags, Mode::empty()).cannot(&doing, format_args!("open({path})"))?
        }
    };
    let found = match kind_of(fd.as_fd()) {
        Ok(flag) => flag,
        Err(Errno::ENOTTY) => return Err(Error::usage(doing, "it is not a namespace")),
        Err(e) => return Err(Error::call(doing, format_args!("ioctl({path}, NS_GET_NSTYPE)"), e)),
    };
    if found != kind.clone_flag() {
        let found = NamespaceKind::ALL.into_iter().find(|k| k.clone_flag() == found);
        let found = found.map_or("unknown", NamespaceKind::as_str);
        return Err(Error::usage(doing, format_args!("it is a {found} namespace")));
    }
    let inode = fstat(&fd).cannot(&doing, format_args!("fstat({path})"))?.st_ino;
    let here = chain::proc::namespace("self", kind)? == inode;
    Ok(Target { kind, path: path.clone(), fd, inode, here })
}

fn given(number: &[u8], doing: &str) -> Result<OwnedFd> {
    let digits = number.iter().all(u8::is_ascii_digit).then_some(number);
    let number = digits.and_then(|n| std::str::from_utf8(n).ok()?.parse::<RawFd>().ok());
    let number = number.ok_or_else(|| Error::usage(doing, "not fd:N"))?;
    let fd = sys::fd::borrow(number).cannot(doing, format_args!("fcntl({number})"))?;
    rustix::io::fcntl_dupfd_cloexec(fd, 3).cannot(doing, format_args!("fcntl({number}, F_DUPFD_CLOEXEC)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_is_recognised_by_its_paths() {
        let pid = |paths: &[&str]| {
            let paths: Vec<Bytes> = paths.iter().map(|p| Bytes::from(*p)).collect();
            common_pid(paths.iter())
        };
        assert_eq!(pid(&["/proc/7/ns/net", "/proc/7/ns/mnt"]), Some(7));
        assert_eq!(pid(&["/proc/7/root"]), Some(7));
        assert_eq!(pid(&["/proc/7/ns/net", "/proc/8/root"]), None);
        assert_eq!(pid(&["/proc/7/ns/net", "/proc/8/ns/mnt"]), None);
        assert_eq!(pid(&["/proc/7/ns/net", "/run/netns/x"]), None);
        assert_eq!(pid(&["/proc/self/ns/net"]), None);
        assert_eq!(pid(&["fd:5"]), None);
        assert_eq!(pid(&[]), None);
    }
}
