//! criu's two servers, in the foreground: one that takes pages from a dump elsewhere, and one that hands lazy pages out.

use crate::folder;
use crate::plan::Serve;
use crate::swrk;
use chain::error::{Class, Error, Result};
use rustix::fs::Mode;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs it to its end.
pub(crate) fn run(program: &Path, job: &Serve) -> Result<u8> {
    let doing = format!("serve {}", job.folder.display());
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let images =
        if job.lazy { folder::open(&job.folder, &doing)? } else { folder::make(&job.folder, &doing)? };
    let log = if job.lazy { "lazy-pages.log" } else { "page-server.log" };
    folder::forget_log(images.as_fd(), log.as_bytes(), &doing)?;
    let mut command = Command::new(program);
    command.arg(if job.lazy { "lazy-pages" } else { "page-server" });
    command.arg("-D").arg(&job.folder).args(["-v4", "-o", log]);
    if let Some(server) = &job.server {
        command.args(job.lazy.then_some("--page-server"));
        command.args(server.address.iter().flat_map(|address| ["--address", address]));
        command.args(server.port.map(|port| format!("--port={port}")));
    }
    let status = command.stdin(Stdio::null()).status().map_err(|e| swrk::not_started(program, e))?;
    if status.success() {
        return Ok(0);
    }
    let text = folder::log(images.as_fd(), log.as_bytes());
    let reason =
        crate::log::reason(&String::from_utf8_lossy(&text)).unwrap_or_else(|| format!("criu: {status}"));
    Err(Error::new(Class::Internal, doing, reason).why(job.folder.join(log).display()))
}
