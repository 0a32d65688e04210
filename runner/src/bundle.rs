//! The bundle: its folder, its config.json, and what must hold before anything is made.

use crate::cli::{Args, Create};
use chain::bytes::Bytes;
use chain::oci::Config;
use chain::{Cannot, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::PathBuf;

/// A bundle that was read and checked.
pub(crate) struct Bundle {
    /// Its folder, absolute.
    pub(crate) path: PathBuf,
    /// The configuration.
    pub(crate) config: Config,
    /// config.json to the letter: the state keeps it, and the bundle is not read again.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Reads the bundle of `options`.
    pub(crate) fn read(args: &Args, options: &Create) -> Result<Bundle> {
        let path = absolute(&options.bundle)?;
        let given = options.config.clone().or_else(|| args.common.oci.clone());
        let file = given.unwrap_or_else(|| path.join("config.json"));
        let doing = format_args!("read {}", file.display());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = openat(CWD, &file, flags, Mode::empty())
            .cannot(doing, format_args!("open({})", file.display()))?;
        let text = chain::oci::read_bounded(fd, &doing)?;
        let config = chain::oci::parse_config(&text, &doing)?;
        check(&config)?;
        Ok(Bundle { path, config, text })
    }
}

/// The folder without symlinks and `..`, which is what state and hooks are to say.
fn absolute(bundle: &std::path::Path) -> Result<PathBuf> {
    let doing = format_args!("open the bundle {}", bundle.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, bundle, flags, Mode::empty())
        .cannot(doing, format_args!("open({})", bundle.display()))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    std::fs::read_link(&link).cannot(doing, format_args!("readlink({link})"))
}

fn check(config: &Config) -> Result<()> {
    let wrong = |what: &str| Error::usage("carry out config.json", what);
    let Some(process) = &config.process else { return Err(wrong("process: missing")) };
    if process.args.is_empty() {
        return Err(wrong("process.args: empty"));
    }
    if !process.cwd.0.starts_with(b"/") {
        return Err(wrong("process.cwd: not an absolute path"));
    }
    if let Some(i) = process.env.iter().position(|e| !e.0.contains(&b'=')) {
        return Err(wrong(&format!("process.env[{i}]: not KEY=VALUE")));
    }
    let words = process.args.iter().map(|a| ("args", a)).chain(process.env.iter().map(|e| ("env", e)));
    if let Some((list, _)) = words.into_iter().find(|(_, word): &(_, &Bytes)| word.0.contains(&0)) {
        return Err(wrong(&format!("process.{list}: a NUL byte")));
    }
    config.hooks.as_ref().map_or(Ok(()), crate::hooks::check)
}
