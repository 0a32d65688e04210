//! `--pid-file`: whole or not at all, for engines read it as soon as it is there.

use chain::state::write_all;
use chain::{Cannot, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use std::os::fd::AsFd;
use std::path::Path;

/// Writes `pid` beside `path`, then renames.
pub(crate) fn write(path: &Path, pid: i32) -> Result<()> {
    let doing = format_args!("write the pid file {}", path.display());
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{pid}"));
    let temporary = path.with_file_name(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = openat(CWD, &temporary, flags, Mode::from_raw_mode(0o644))
        .cannot(doing, format_args!("open({})", temporary.display()))?;
    let written = write_all(fd.as_fd(), pid.to_string().as_bytes())
        .cannot(doing, format_args!("write({})", temporary.display()))
        .and_then(|()| {
            renameat(CWD, &temporary, CWD, path).cannot(doing, format_args!("rename({})", path.display()))
        });
    if written.is_err() {
        unlinkat(CWD, &temporary, AtFlags::empty()).cannot(doing, "unlink")?;
    }
    written
}

/// Removes one that was written for a container that is not to be.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let doing = format_args!("remove the pid file {}", path.display());
    unlinkat(CWD, path, AtFlags::empty()).cannot(doing, format_args!("unlink({})", path.display()))
}
