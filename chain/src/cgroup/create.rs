//! Making a group, and taking back what was made when it cannot be finished.

use super::dir::{PATH_FLAGS, read_at, write_at};
use super::{Dir, Group, Version};
use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, IntoErrno, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, Mode, mkdirat, openat, unlinkat};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

/// What a group is made for.
#[derive(Debug)]
pub struct Purpose<'a> {
    /// Refuse one that holds processes or is frozen.
    pub exclusive: bool,
    /// The v2 controllers that limits will be set for; the others are given to the children too where that is possible,
    /// so that usage can be read.
    pub needed: Vec<&'a str>,
    /// The files of v1's cpuset that will be written, so that they need not have the parent's value first. A parent's
    /// may be one that the kernel refuses: another child may have some of its CPUs for itself alone.
    pub cpuset: Vec<&'a str>,
}

impl Group {
    /// Makes what does not exist yet, and remembers what it made. On failure nothing stays behind.
    pub fn create(&mut self, purpose: &Purpose<'_>) -> Result<()> {
        for at in 0..self.dirs.len() {
            if let Err(error) = self.dirs[at].create(purpose) {
                self.undo()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Hands these v2 controllers, and no others, down to a group that somebody else made: systemd gives a scope the
    /// ones it knows, and leaves the rest of an ancestor's list as it is.
    pub fn give(&self, needed: &[&str]) -> Result<()> {
        for dir in self.dirs.iter().filter(|dir| dir.version == Version::V2) {
            let has = dir.read("cgroup.controllers")?.unwrap_or_default();
            let absent = needed.iter().filter(|n| !has.split_whitespace().any(|h| h == **n));
            for controller in absent {
                dir.hand_down(controller)?;
            }
        }
        Ok(())
    }

    /// Refuses a group that was there before and holds processes or is frozen.
    pub fn refuse_if_in_use(&self) -> Result<()> {
        self.dirs.iter().try_for_each(Dir::refuse_if_in_use)
    }

    /// Removes the directories that [`Group::create`] made. One that somebody else has put something into stays.
    pub fn undo(&mut self) -> Result<()> {
        self.dirs.iter_mut().try_for_each(Dir::undo)
    }
}

impl Dir {
    fn create(&mut self, purpose: &Purpose<'_>) -> Result<()> {
        // A directory may be removed by another runtime's clean-up between our finding it and our making its child.
        let mut walked = self.walk(purpose);
        for _ in 0..3 {
            if walked.as_ref().is_err_and(|e| e.errno() == Some(Errno::ENOENT)) {
                walked = self.walk(purpose);
            }
        }
        walked?;
        if purpose.exclusive { self.refuse_if_in_use() } else { Ok(()) }
    }

    fn walk(&mut self, purpose: &Purpose<'_>) -> Result<()> {
        let doing = format_args!("make the cgroup {}", self.path);
        let mut parent = self.open_mount()?;
        self.made = 0;
        for (at, name) in self.below.iter().enumerate() {
            if self.version == Version::V2 {
                enable(parent.as_fd(), &purpose.needed, &self.path)?;
            }
            let new = match mkdirat(&parent, name.as_slice(), Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(rustix::io::Errno::EXIST) => false,
                Err(e) => {
                    let error = Error::call(doing, format_args!("mkdir({})", self.path), e);
                    return Err(explain_mkdir(error, parent.as_fd(), self));
                }
            };
            self.made += usize::from(new);
            let child = openat(&parent, name.as_slice(), PATH_FLAGS, Mode::empty())
                .cannot(doing, format_args!("open({})", self.path))?;
            if self.has("cpuset") {
                let written: &[&str] = if at + 1 == self.below.len() { &purpose.cpuset } else { &[] };
                inherit_cpuset(parent.as_fd(), child.as_fd(), new, written, &self.path)?;
            }
            parent = child;
        }
        self.fd = Some(Rc::new(parent));
        Ok(())
    }

    fn hand_down(&self, controller: &str) -> Result<()> {
        let doing = format_args!("limit {controller} in the cgroup {}", self.path);
        let mut parent = self.open_mount()?;
        for name in &self.below {
            let words = |file| read_at(parent.as_fd(), file, &self.path).map(|text| text.unwrap_or_default());
            let (has, gives) = (words("cgroup.controllers")?, words("cgroup.subtree_control")?);
            if !has.split_whitespace().any(|h| h == controller) {
                return Err(no_controller(controller, has.trim(), &self.path));
            }
            // An ancestor that is not ours may do so already.
            if !gives.split_whitespace().any(|g| g == controller) {
                give(parent.as_fd(), controller, &self.path)?;
            }
            parent = openat(&parent, name.as_slice(), PATH_FLAGS, Mode::empty())
                .cannot(doing, format_args!("open({})", self.path))?;
        }
        Ok(())
    }

    fn refuse_if_in_use(&self) -> Result<()> {
        if self.made > 0 {
            return Ok(());
        }
        let doing = format_args!("take the cgroup {} for a new container", self.path);
        if self.is_frozen()? {
            return Err(Error::new(Class::Conflict, doing, "container's cgroup unexpectedly frozen"));
        }
        match self.procs()?.len() {
            0 => Ok(()),
            n => Err(Error::new(
                Class::Conflict,
                doing,
                format_args!("container's cgroup is not empty: {n} process(es)"),
            )),
        }
    }

    fn undo(&mut self) -> Result<()> {
        self.fd = None;
        let mut below = self.below.clone();
        for _ in 0..std::mem::take(&mut self.made) {
            let Some(name) = below.pop() else { break };
            let parent = Dir { below: below.clone(), ..self.clone() };
            let Some(parent) = parent.open()? else { continue };
            match remove_one(parent.as_fd(), &name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                // Another user of the same parent has come.
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => break,
                Err(e) => {
                    return Err(Error::call(format_args!("remove the cgroup {}", self.path), "rmdir", e));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn remove_one(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<(), Errno> {
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(IntoErrno::into_errno)
}

fn explain_mkdir(error: Error, parent: BorrowedFd<'_>, dir: &Dir) -> Error {
    let number =
        |file: &str| read_at(parent, file, &dir.path).ok().flatten().unwrap_or_default().trim().to_string();
    match error.errno() {
        Some(Errno::EAGAIN) => {
            let (groups, depth) = (number("cgroup.max.descendants"), number("cgroup.max.depth"));
            error.why(format_args!("an ancestor allows {groups} groups below it and a depth of {depth}"))
        }
        Some(Errno::EACCES | Errno::EPERM) => error.why("its parent is not delegated to this user"),
        Some(Errno::EROFS) => error.why(format_args!("{} is mounted read-only here", dir.mount)),
        _ => error,
    }
}

/// Gives controllers to the children of a v2 group: all that it has where the kernel lets us, the needed ones at least.
fn enable(parent: BorrowedFd<'_>, needed: &[&str], path: &Bytes) -> Result<()> {
    let words = |file| read_at(parent, file, path).map(|t| t.unwrap_or_default());
    let (has, gives) = (words("cgroup.controllers")?, words("cgroup.subtree_control")?);
    let missing: Vec<&str> =
        has.split_whitespace().filter(|c| !gives.split_whitespace().any(|g| g == *c)).collect();
    if let Some(absent) = needed.iter().find(|n| !has.split_whitespace().any(|h| h == **n)) {
        return Err(no_controller(absent, has.trim(), path));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ");
    let refused = match write_at(parent, "cgroup.subtree_control", &all) {
        Ok(()) => return Ok(()),
        Err(e) => e,
    };
    // A group that holds processes may give some controllers all the same, and with them it would become a threaded
    // domain, whose children take no process.
    if refused == rustix::io::Errno::BUSY && !words("cgroup.procs")?.is_empty() {
        let Some(controller) = missing.iter().find(|c| needed.contains(*c)) else { return Ok(()) };
        let doing = format_args!("limit {controller} in the cgroup {path}");
        let call = format_args!("write(cgroup.subtree_control, {all})");
        return Err(explain_enable(Error::call(doing, call, refused), parent, path));
    }
    // It is all or nothing in one write, so one by one.
    for controller in missing {
        let result = give(parent, controller, path);
        if needed.contains(&controller) {
            result?;
        }
    }
    Ok(())
}

fn give(parent: BorrowedFd<'_>, controller: &str, path: &Bytes) -> Result<()> {
    write_at(parent, "cgroup.subtree_control", &format!("+{controller}")).map_err(|e| {
        let doing = format_args!("limit {controller} in the cgroup {path}");
        let error = Error::call(doing, format_args!("write(cgroup.subtree_control, +{controller})"), e);
        explain_enable(error, parent, path)
    })
}

fn no_controller(name: &str, has: &str, path: &Bytes) -> Error {
    let has = if has.is_empty() { "none" } else { has };
    let detail = format!("an ancestor has no controller '{name}' to give (it has: {has})");
    Error::new(Class::Unsupported, format_args!("limit {name} in the cgroup {path}"), detail)
        .why("a v1 hierarchy holds it, the kernel lacks it, or it is not delegated (systemd: Delegate=yes)")
}

fn explain_enable(error: Error, parent: BorrowedFd<'_>, path: &Bytes) -> Error {
    let kind = read_at(parent, "cgroup.type", path).ok().flatten().unwrap_or_default();
    match error.errno() {
        Some(Errno::EBUSY) => {
            let held =
                read_at(parent, "cgroup.procs", path).ok().flatten().unwrap_or_default().lines().count();
            error
                .class(Class::Conflict)
                .why(format_args!("the parent holds {held} process(es) itself, and then it may not give controllers to children"))
                .cure("another --cgroup, or move those processes into a child of their own")
        }
        Some(Errno::EACCES | Errno::EPERM) => error
            .why("the parent is not delegated to this user")
            .cure("systemd-run --user --scope -p Delegate=yes …"),
        Some(Errno::EOPNOTSUPP) => {
            error.why(format_args!("the parent is a '{}' cgroup, not a domain", kind.trim()))
        }
        _ => error,
    }
}

/// A new v1 cpuset group has no CPU and no memory node, and takes no process until it has. Those that are `written`
/// next stay as they are.
fn inherit_cpuset(
    parent: BorrowedFd<'_>,
    child: BorrowedFd<'_>,
    new: bool,
    written: &[&str],
    path: &Bytes,
) -> Result<()> {
    let files = [("cpuset.cpus", "cpuset.cpu_exclusive"), ("cpuset.mems", "cpuset.mem_exclusive")];
    for (file, exclusive) in files.into_iter().filter(|(file, _)| !written.contains(file)) {
        // One that is new has its parent's at most (cgroup.clone_children).
        if !new && !read_at(child, file, path)?.unwrap_or_default().trim().is_empty() {
            continue;
        }
        let value = read_at(parent, file, path)?.unwrap_or_default();
        let (doing, call) =
            (format_args!("give the cgroup {path} its parent's {file}"), format_args!("write({file})"));
        write_at(child, file, value.trim()).cannot(doing, call).map_err(|e| match e.errno() {
            Some(Errno::EINVAL) => e
                .why(format_args!("another child may have some of them for itself ({exclusive})"))
                .cure("--cpuset-cpus and --cpuset-mems with those that are free, in a cgroup whose parent is there"),
            _ => e,
        })?;
    }
    Ok(())
}
