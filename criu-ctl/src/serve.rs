//! criu's two servers, in the foreground: one that takes pages from a dump elsewhere, and one that hands lazy pages out.

use crate::folder;
use crate::plan::Serve;
use crate::swrk;
use chain::error::{Cannot, Class, Error, Result};
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// The pipe by which criu hands out memory that is fetched: eight pages of what the kernel keeps of each page in a pipe.
const PIPE: usize = 8 * 4096 / 40 * 4096;

/// criu does not look whether it got that pipe: the tree stands still by then, and whoever fetches waits for ever.
pub(crate) fn expect_pipes(doing: &str) -> Result<()> {
    let (_, write) = pipe_with(PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
    let large = fcntl_setpipe_size(&write, PIPE).cannot(doing, format_args!("fcntl(F_SETPIPE_SZ, {PIPE})"));
    large.map(drop).map_err(|error| {
        error
            .why("criu hands out lazy memory by a pipe of that size, larger than fs.pipe-max-size without CAP_SYS_RESOURCE")
            .cure("sysctl fs.pipe-max-size=4194304")
    })
}

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
