//! The options of the one cgroup2 hierarchy (`nsdelegate`, `memory_recursiveprot`), which belong to the whole system.
//!
//! criu mounts a cgroup2 of its own to look at groups, without options, and a mount by the first cgroup namespace sets
//! them anew for everybody: on a systemd host the delegation boundary would be gone after the first checkpoint. They are
//! put back when criu has ended. Whoever works with criu holds a shared lock, and the first of them notes the options,
//! for the next one may look at them when criu has taken them away.

use crate::NAME;
use crate::rpc::Opts;
use chain::bytes::Bytes;
use chain::error::{Cannot, Error, Result};
use chain::proc::mounts;
use chain::report;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, ftruncate, openat};
use rustix::io::{pread, pwrite};
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick};
use std::os::fd::OwnedFd;

const DOING: &str = "keep the options of the cgroup hierarchy";
const LOCK: &str = "/run/catena-criu.lock";

/// They are put back when this is dropped.
pub(crate) struct Kept {
    options: Vec<String>,
    _lock: OwnedFd,
}

/// Notes what they are, where this criu is going to mount one, and there is something to lose.
pub(crate) fn keep(opts: &Opts) -> Result<Option<Kept>> {
    if !opts.manage_cgroups {
        return Ok(None);
    }
    let Some((_, present)) = present()? else { return Ok(None) };
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match openat(CWD, LOCK, flags, Mode::RUSR | Mode::WUSR) {
        Ok(lock) => lock,
        // Who may not write there may not mount a hierarchy either.
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS | rustix::io::Errno::NOENT) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::call(DOING, format_args!("open({LOCK}, O_CREAT)"), e)),
    };
    let hold = |operation| flock(&lock, operation).cannot(DOING, format_args!("flock({LOCK})"));
    let alone = match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(rustix::io::Errno::WOULDBLOCK) => false,
        Err(e) => return Err(Error::call(DOING, format_args!("flock({LOCK})"), e)),
    };
    let options = if alone {
        ftruncate(&lock, 0).cannot(DOING, format_args!("ftruncate({LOCK})"))?;
        pwrite(&lock, present.join(",").as_bytes(), 0).cannot(DOING, format_args!("write({LOCK})"))?;
        hold(FlockOperation::LockShared)?;
        present
    } else {
        hold(FlockOperation::LockShared)?;
        let mut text = [0; 256];
        let got = pread(&lock, &mut text[..], 0).cannot(DOING, format_args!("read({LOCK})"))?;
        let text = String::from_utf8_lossy(&text[..got]);
        text.split(',').filter(|word| !word.is_empty()).map(Into::into).collect()
    };
    Ok(Some(Kept { options, _lock: lock }))
}

/// Where it is mounted, and its options.
fn present() -> Result<Option<(Bytes, Vec<String>)>> {
    let found = mounts()?.into_iter().find(|mount| mount.kind == "cgroup2");
    Ok(found.map(|mount| {
        let options = mount.super_options.into_iter().filter(|word| word != "rw" && word != "ro");
        (mount.target, options.collect())
    }))
}

impl Kept {
    fn put_back(&self) -> Result<()> {
        let Some((point, now)) = present()? else { return Ok(()) };
        if now == self.options {
            return Ok(());
        }
        let context = fspick(CWD, point.as_path(), FsPickFlags::FSPICK_CLOEXEC)
            .cannot(DOING, format_args!("fspick({point})"))?;
        for option in &self.options {
            fsconfig_set_flag(&context, option.as_str())
                .cannot(DOING, format_args!("fsconfig({point}, {option})"))?;
        }
        fsconfig_reconfigure(&context).cannot(DOING, format_args!("fsconfig({point}, reconfigure)"))?;
        match present()? {
            Some((_, found)) if found != self.options => {
                Err(Error::readback("the options of cgroup2", self.options.join(","), found.join(",")))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Kept {
    /// The tree is dumped, or runs again, whatever becomes of them.
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            report::warn(NAME, error);
        }
    }
}
