//! What the host says: read once, changing nothing.

use crate::securebits::NOROOT;
use crate::sets::Present;
use crate::user::{self, Database};
use chain::landing::CapSets;
use chain::spec::CapDrop;
use chain::sys::caps;
use chain::sys::process::prctl;
use chain::{Cannot, Error, Result, oci, proc};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::process::{geteuid, getgroups, getuid};
use std::os::fd::OwnedFd;

/// Facts that the plan rests on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The present sets.
    pub(crate) present: Present,
    /// Secure bits in force.
    pub(crate) securebits: u32,
    /// no_new_privs is on already.
    pub(crate) no_new_privs: bool,
    /// Real and effective user id.
    pub(crate) uids: [u32; 2],
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// This user namespace denies setgroups.
    pub(crate) setgroups_denied: bool,
    /// Users and groups of this root.
    pub(crate) database: Database,
}

/// Reads what `spec` needs.
pub(crate) fn gather(spec: &CapDrop) -> Result<Facts> {
    let doing = "see what this process has";
    let held = caps::get().cannot(doing, "capget")?;
    let (known, bounding) = caps::known_and_bounding().cannot(doing, "prctl(PR_CAPBSET_READ)")?;
    let sets = CapSets {
        bounding,
        effective: held.effective,
        permitted: held.permitted,
        inheritable: held.inheritable,
        ambient: 0,
    };
    let groups = getgroups().cannot(doing, "getgroups")?.iter().map(|g| g.as_raw()).collect();
    Ok(Facts {
        present: Present { sets, known },
        securebits: prctl(libc::PR_GET_SECUREBITS, 0, 0).cannot(doing, "prctl(PR_GET_SECUREBITS)")? as u32,
        no_new_privs: prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(1),
        uids: [getuid().as_raw(), geteuid().as_raw()],
        setgroups_denied: spec.user.is_some() && setgroups_denied(),
        groups,
        database: database(spec)?,
    })
}

impl Facts {
    /// Whether root's rule of exec holds for a command of `uid` (None: as now) with these secure bits.
    pub(crate) fn root_rule(&self, uid: Option<u32>, securebits: u32) -> bool {
        let root = uid.map_or(self.uids.contains(&0), |uid| uid == 0);
        root && securebits & NOROOT == 0
    }
}

/// Where /proc is out of reach the answer is no, and the landing's setgroups then tells the truth.
fn setgroups_denied() -> bool {
    proc::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

fn database(spec: &CapDrop) -> Result<Database> {
    let (passwd, group) = spec.user.as_ref().map_or((false, false), user::needs);
    Ok(Database {
        passwd: if passwd { read("/etc/passwd")? } else { Vec::new() },
        group: if group { read("/etc/group")? } else { Vec::new() },
    })
}

/// A file of the root, which may be anything: a regular file of bounded size, or nothing.
fn read(path: &str) -> Result<Vec<u8>> {
    let doing = format_args!("read {path}");
    let call = format!("open({path})");
    // Looked at before it is opened, for opening a device can already do something.
    let there = match open_in_root(path, OFlags::PATH) {
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        other => other.cannot(doing, &call)?,
    };
    let mode = fstat(&there).cannot(doing, "fstat")?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Err(Error::usage(doing, "it is not a regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    oci::read_bounded(open_in_root(path, flags).cannot(doing, &call)?, &doing)
}

/// Through links within the root, and no link of procfs: `/proc/self/fd/0`, `/proc/1/root/etc/passwd` lead to what a
/// root must not choose its users from.
fn open_in_root(path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // Before Linux 5.6: through no link at all.
        Err(rustix::io::Errno::NOSYS) => {
            let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
            let dir_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = openat(CWD, dir, dir_flags, Mode::empty())?;
            openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        other => other,
    }
}
