//! The mount points of a container's binds in its root: criu mounts, and makes nothing to mount on. A root that was made
//! anew for a restore may lack them.

use crate::known::Known;
use crate::outside::in_root;
use chain::bytes::Bytes;
use chain::error::{Cannot, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, openat, stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Makes those that are missing, each in the root or in the bind that it is below. What is below another mount of the
/// container comes back with that.
pub(crate) fn make(known: &Known, doing: &str) -> Result<()> {
    let Some(root) = &known.root else { return Ok(()) };
    for bind in &known.binds {
        let folder = stat(bind.source.as_path())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if let Some((base, rest)) = base(known, root, &bind.inside) {
            one(&base, &rest, folder, doing)?;
        }
    }
    let own = known.made.iter().chain(&known.cgroups).filter_map(|at| base(known, root, at));
    own.into_iter().try_for_each(|(base, rest)| one(&base, &rest, true, doing))
}

/// The folder of the host that a mount point is in, and the way from there.
fn base(known: &Known, root: &Bytes, at: &Bytes) -> Option<(PathBuf, PathBuf)> {
    let below =
        |above: &Bytes| at.as_path().strip_prefix(above.as_path()).ok().filter(|rest| *rest != Path::new(""));
    let binds = known.binds.iter().map(|bind| (&bind.inside, Some(&bind.source)));
    let own = known.made.iter().chain(&known.cgroups).map(|at| (at, None));
    let around = binds.chain(own).filter(|(above, _)| below(above).is_some());
    match around.max_by_key(|(above, _)| above.0.len()) {
        Some((above, Some(source))) => Some((source.as_path().to_path_buf(), below(above)?.to_path_buf())),
        Some((_, None)) => None,
        None => Some((root.as_path().to_path_buf(), at.as_path().strip_prefix("/").ok()?.to_path_buf())),
    }
}

fn one(base: &Path, rest: &Path, folder: bool, doing: &str) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base =
        openat(CWD, base, flags, Mode::empty()).cannot(doing, format_args!("open({})", base.display()))?;
    if in_root(base.as_fd(), rest).is_some() {
        return Ok(());
    }
    let call = || format!("make the mount point {}", rest.display());
    let mut dir: OwnedFd = base.try_clone().cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
    let parts: Vec<_> = rest.components().map(|part| PathBuf::from(part.as_os_str())).collect();
    let Some((last, folders)) = parts.split_last() else { return Ok(()) };
    let mut so_far = PathBuf::new();
    for part in folders {
        so_far.push(part);
        dir = match in_root(base.as_fd(), &so_far) {
            Some(there) => there,
            None => {
                match mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
                    // A link that leads nowhere as long as nothing is mounted.
                    Err(Errno::EXIST) => return Ok(()),
                    other => other.cannot(doing, call())?,
                }
                openat(&dir, part, flags | OFlags::NOFOLLOW, Mode::empty()).cannot(doing, call())?
            }
        };
    }
    let made = match folder {
        true => mkdirat(&dir, last, Mode::from_raw_mode(0o755)),
        false => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&dir, last, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other.cannot(doing, call()),
    }
}
