//! What the host says: read once, changing nothing.

use crate::securebits::NOROOT;
use crate::sets::Present;
use crate::user::{self, Database};
use chain::landing::CapSets;
use chain::spec::CapDrop;
use chain::sys::caps;
use chain::sys::process::prctl;
use chain::{Cannot, Result, oci, proc};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{geteuid, getgroups, getuid};

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
    let (known, bounding) = caps::known_and_bounding();
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
    let doing = format!("read {path}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => oci::read_bounded(fd, &doing),
        Err(rustix::io::Errno::NOENT) => Ok(Vec::new()),
        Err(e) => Err(chain::Error::call(doing, format_args!("open({path})"), e)),
    }
}
