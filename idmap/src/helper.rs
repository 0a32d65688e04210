//! The helper: a child that stays in the old user namespace and writes what the process in the new one may not.

use crate::plan::Kind;
use crate::resolve::{Map, Plan, Writer};
use crate::why;
use chain::canary::{listen, reap, tell};
use chain::sys::namespaces::owner_of;
use chain::sys::process::{Forked, exit_now, fork};
use chain::{Cannot, Error, Result, proc, supervise};
use rustix::fs::{Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

/// A helper that waits for the namespace to be there.
pub(crate) struct Helper {
    pid: i32,
    go: OwnedFd,
    told: OwnedFd,
}

impl Helper {
    /// Forks one, if a map of `plan` is not ours to write.
    pub(crate) fn start(plan: &Plan) -> Result<Option<Helper>> {
        let doing = "start a helper";
        let maps: Vec<&Map> = plan.maps.iter().filter(|m| m.writer != Writer::Itself).collect();
        if maps.is_empty() {
            return Ok(None);
        }
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
        let (told, tell_to) = pipe_with(PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
        let (target, owner) = (std::process::id(), plan.owner);
        match fork(0).cannot(doing, "clone3")? {
            Forked::Child => {
                drop((go, told));
                // Its end without a word is the end of the process that wanted a namespace.
                if rustix::io::read(&wait, &mut [0_u8]) == Ok(1) {
                    let owned = owner.map_or(Ok(()), |owner| is_owned(target, owner.uid));
                    tell(&tell_to, &owned.and_then(|()| maps.iter().try_for_each(|map| write(map, target))));
                }
                exit_now(0)
            }
            Forked::Parent(pid, _) => Ok(Some(Helper { pid, go, told })),
        }
    }

    /// Lets it write, and waits.
    pub(crate) fn finish(self) -> Result<()> {
        rustix::io::write(&self.go, b"g").cannot("start the helper's work", "write(pipe)")?;
        let told = listen(self.told);
        reap(self.pid)?;
        told?
    }

    /// Sends it away.
    pub(crate) fn dismiss(self) -> Result<()> {
        drop(self.go);
        reap(self.pid)
    }
}

/// Out here the owner has the name that was asked for.
fn is_owned(target: u32, uid: u32) -> Result<()> {
    let doing = "prove whose the user namespace is";
    let proc = proc::host()?;
    let path = format!("{target}/ns/user");
    let fd = openat(&proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, format_args!("open(/proc/{path})"))?;
    let found = owner_of(fd.as_fd()).cannot(doing, "ioctl(NS_GET_OWNER_UID)")?;
    if found == uid { Ok(()) } else { Err(Error::readback("the owner", uid, found)) }
}

/// Writes `map` for process `target`, from outside.
pub(crate) fn write(map: &Map, target: u32) -> Result<()> {
    match &map.writer {
        Writer::Program(path) => by_program(map, path, target),
        Writer::Privileged | Writer::Itself => write_file(map, &target.to_string()),
    }
}

/// Writes /proc/`who`/uid_map or gid_map.
pub(crate) fn write_file(map: &Map, who: &str) -> Result<()> {
    let path = format!("{who}/{}", map.kind.file());
    let proc = proc::host()?;
    proc::write_at(std::os::fd::AsFd::as_fd(&proc), &path, map.text().as_bytes()).map_err(|error| {
        let doing = format!("map {}s", map.kind.noun());
        why::of_write(Error { doing, ..error }, map)
    })
}

fn by_program(map: &Map, program: &std::path::Path, target: u32) -> Result<()> {
    let doing = format_args!("map {}s", map.kind.noun());
    // Waiting for a child is pointless where the kernel reaps by itself.
    supervise::default_action(nix::sys::signal::Signal::SIGCHLD)?;
    let numbers = map.lines.iter().flat_map(|m| [m.container_id, m.host_id, m.size]);
    let done = Command::new(program)
        .arg(target.to_string())
        .args(numbers.map(|n| n.to_string()))
        .stdin(Stdio::null())
        .output()
        .cannot(doing, format_args!("execve({})", program.display()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(why::of_program(map, program, done.status, &done.stderr))
}

/// For `--print`: who writes it.
pub(crate) fn writer_shown(writer: &Writer, kind: Kind) -> String {
    match writer {
        Writer::Itself => "written by the process itself".into(),
        Writer::Privileged => {
            format!("written from outside with CAP_SET{}", if kind == Kind::User { "UID" } else { "GID" })
        }
        Writer::Program(path) => format!("written by {}", path.display()),
    }
}
