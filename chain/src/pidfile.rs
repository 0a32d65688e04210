//! `--pid-file`: whole or not at all, for engines read it as soon as it is there.

use crate::error::{Cannot, Result};
use crate::state::write_all;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A pid file to be: the place was found writable before there is a process to write of. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    temporary: PathBuf,
    fd: OwnedFd,
}

impl PidFile {
    /// Makes a file beside `path`.
    pub fn prepare(path: &Path) -> Result<PidFile> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = openat(CWD, &temporary, flags, Mode::from_raw_mode(0o644)).cannot(
            format_args!("write the pid file {}", path.display()),
            format_args!("open({})", temporary.display()),
        )?;
        Ok(PidFile { path: path.into(), temporary, fd })
    }

    /// Writes `pid` there and gives the file its name.
    pub fn write(self, pid: i32) -> Result<()> {
        let doing = format_args!("write the pid file {}", self.path.display());
        write_all(self.fd.as_fd(), pid.to_string().as_bytes())
            .cannot(doing, format_args!("write({})", self.temporary.display()))?;
        renameat(CWD, &self.temporary, CWD, &self.path)
            .cannot(doing, format_args!("rename({})", self.path.display()))
    }
}

impl Drop for PidFile {
    /// After the rename there is none to remove.
    fn drop(&mut self) {
        unlinkat(CWD, &self.temporary, AtFlags::empty()).unwrap_or(());
    }
}
