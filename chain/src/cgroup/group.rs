//! A group: one directory in each hierarchy.

use super::dir::write_at;
use super::{Dir, Membership, Version};
use crate::bytes::Bytes;
use crate::error::{Cannot, Error, Result};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// See the module. Its record is the list of [`Group::paths`]; [`Group::at`] finds it again.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// v1 ones first, v2 last.
    pub dirs: Vec<Dir>,
}

impl Group {
    /// The group that was recorded as these absolute directories; those that are gone are left out.
    pub fn at(paths: &[Bytes]) -> Result<Group> {
        let found: Vec<Option<Dir>> = paths.iter().map(Dir::at).collect::<Result<_>>()?;
        Ok(Group { dirs: found.into_iter().flatten().collect() })
    }

    /// Its directories, absolute.
    pub fn paths(&self) -> impl Iterator<Item = &Bytes> {
        self.dirs.iter().map(|d| &d.path)
    }

    /// Whether any of its directories exists.
    pub fn exists(&self) -> Result<bool> {
        for dir in &self.dirs {
            if dir.open()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The groups below it, by their paths from here, those above before those below them.
    pub fn below(&self) -> Result<Vec<(String, Group)>> {
        let mut found: BTreeMap<Vec<u8>, Group> = BTreeMap::new();
        for dir in &self.dirs {
            dir.each_group(&[], &mut |name, dir| found.entry(name.to_vec()).or_default().dirs.push(dir))?;
        }
        Ok(found.into_iter().map(|(name, group)| (Bytes(name).to_string(), group)).collect())
    }

    /// Memory in use; None where nobody counts it.
    pub fn memory_used(&self) -> Result<Option<u64>> {
        match self.number("memory.usage_in_bytes")? {
            None => self.number("memory.current"),
            some => Ok(some),
        }
    }

    /// The directory of a v1 controller.
    pub fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|d| d.has(controller))
    }

    /// The directory in the v2 hierarchy.
    pub fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|d| d.version == Version::V2)
    }

    /// Moves a process (0: this one, which must have one thread) into the group, hierarchy by hierarchy. When one
    /// refuses, this process goes back to where it was in those before.
    pub fn join(&self, pid: i32) -> Result<()> {
        let dirs: Vec<&Dir> = self.dirs.iter().collect();
        join_all(&dirs, pid)
    }

    /// Moves this process into the v1 directories: it was made in the v2 one by
    /// [`fork_into`](crate::sys::process::fork_into).
    pub fn join_v1(&self) -> Result<()> {
        let dirs: Vec<&Dir> = self.dirs.iter().filter(|d| d.version == Version::V1).collect();
        join_all(&dirs, 0)
    }

    /// The files that take a process which writes a 0 to them, one for each hierarchy.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>> {
        let open = |dir: &Dir| {
            let file = pid_file(dir.version, 0);
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let doing = format_args!("open the cgroup {}", dir.path).to_string();
            openat(dir.fd()?.as_fd(), file, flags, Mode::empty())
                .cannot(doing, format_args!("open({}/{file})", dir.path))
        };
        self.dirs.iter().map(open).collect()
    }

    /// Proves by /proc/self/cgroup that this process is in the group, in every hierarchy.
    pub fn prove_joined(&self) -> Result<()> {
        let own = Membership::own()?;
        for dir in &self.dirs {
            let found = own.iter().find(|m| m.controllers == dir.controllers).map(|m| m.path.as_slice());
            let asked = dir.membership();
            // What a mount from outside our cgroup namespace shows cannot be compared with what the namespace shows.
            if found != Some(&asked) && !dir.root.0.starts_with(b"/..") {
                let found = String::from_utf8_lossy(found.unwrap_or(b"nothing")).into_owned();
                return Err(Error::readback(
                    "the cgroup of this process",
                    String::from_utf8_lossy(&asked),
                    found,
                ));
            }
        }
        Ok(())
    }

    /// Closes the directories it holds open.
    pub fn close(&mut self) {
        for dir in &mut self.dirs {
            dir.fd = None;
        }
    }

    /// Moves this process back to the groups it was in when the hierarchies were detected.
    pub fn leave(&self) -> Result<()> {
        self.dirs.iter().try_for_each(go_back)
    }
}

/// The file that takes a pid. Writing 0 to v1's `tasks` moves the calling thread only, and so spares the kernel the
/// lock against forks and exits of the whole system, for which it would wait some milliseconds. v2 has no such file
/// that leads into another domain.
fn pid_file(version: Version, pid: i32) -> &'static str {
    if version == Version::V1 && pid == 0 { "tasks" } else { "cgroup.procs" }
}

fn join_all(dirs: &[&Dir], pid: i32) -> Result<()> {
    for (at, dir) in dirs.iter().enumerate() {
        if let Err(error) = join_one(dir, pid) {
            if pid == 0 {
                dirs[..at].iter().try_for_each(|d| go_back(d))?;
            }
            return Err(error);
        }
    }
    Ok(())
}

fn join_one(dir: &Dir, pid: i32) -> Result<()> {
    let file = pid_file(dir.version, pid);
    let who = if pid == 0 { "this process".to_string() } else { format!("process {pid}") };
    let doing = format_args!("move {who} into the cgroup {}", dir.path);
    write_at(dir.fd()?.as_fd(), file, &pid.to_string())
        .cannot(doing, format_args!("write({}/{file})", dir.path))
        .map_err(|e| explain_join(e, dir))
}

fn explain_join(error: Error, dir: &Dir) -> Error {
    let kind = || dir.read("cgroup.type").ok().flatten().unwrap_or_default();
    match error.errno() {
        Some(nix::errno::Errno::EOPNOTSUPP) => {
            let kind = kind();
            error.why(format_args!("it is a '{}' cgroup, and only a 'domain' takes processes", kind.trim()))
        }
        Some(nix::errno::Errno::EBUSY) => {
            error.why("it gives controllers to children, so it may hold no process itself")
        }
        // sched_rt_can_attach() of kernel/sched/rt.c, on kernels with RT_GROUP_SCHED.
        Some(nix::errno::Errno::EINVAL) if dir.has("cpu") => error
            .why("a process with a real-time policy (SCHED_FIFO, SCHED_RR) needs a budget in it: cpu.rt_runtime_us")
            .cure("linux.resources.cpu.realtimeRuntime, as far as the groups above have one"),
        Some(nix::errno::Errno::ENOSPC) => error.why("its cpuset.cpus or cpuset.mems is empty"),
        Some(nix::errno::Errno::EACCES | nix::errno::Errno::EPERM) => error.why(
            "the mover needs write permission here and, on v2, in the common ancestor of both groups too",
        ),
        _ => error,
    }
}

fn go_back(dir: &Dir) -> Result<()> {
    let Some(own) = &dir.own else { return Ok(()) };
    let home = Dir { below: own.clone(), fd: None, path: dir.mount.clone(), ..dir.clone() };
    join_one(&home, 0)
}
