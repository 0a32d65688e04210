//! Files that links name on their command lines: opened by the first link, found again by the later ones.

use crate::bytes::Bytes;
use crate::error::{Cannot, Error, Result};
use crate::name::ToolName;
use crate::next::Segment;
use crate::sys;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files that this link names. After a pivot the host's paths are gone, so the first link opened them.
#[derive(Default)]
pub struct Files<'a> {
    pub(crate) opened: &'a [(Bytes, RawFd)],
    /// The chain's own, which a number of the caller's cannot mean.
    pub(crate) own: Vec<RawFd>,
}

impl Files<'_> {
    /// Opens `path` for reading: what the first link opened under this name, else the path itself. `fd:N` is that fd,
    /// read from its start.
    pub fn open(&self, path: &Path) -> Result<OwnedFd> {
        let doing = format!("open {}", path.display());
        if let Some(n) =
            path.to_str().and_then(|p| p.strip_prefix("fd:")).and_then(|n| n.parse::<RawFd>().ok())
        {
            let fd = sys::fd::borrow(n).cannot(&doing, format_args!("fcntl({n})"))?;
            return again(fd.as_raw_fd(), &doing);
        }
        match self.opened.iter().find(|(name, _)| name.as_path() == path) {
            Some((_, fd)) => again(*fd, &doing),
            None => openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
                .cannot(&doing, format_args!("open({})", path.display())),
        }
    }
}

/// The most that a layer holds of one file.
const LONGEST: u64 = 4 << 20;

impl Files<'_> {
    /// Fd `n`, which the caller left open for this.
    pub fn given(&self, n: RawFd, doing: &str) -> Result<BorrowedFd<'_>> {
        if n < 3 {
            return Err(Error::usage(doing, "standard fds are the command's"));
        }
        if self.own.contains(&n) {
            return Err(Error::call(doing, format_args!("fcntl({n})"), nix::errno::Errno::EBADF));
        }
        sys::fd::borrow(n).cannot(doing, format_args!("fcntl({n})"))
    }

    /// All that is behind fd `n`, which the caller left open for this: from its start, unless it is a pipe.
    pub fn content(&self, n: RawFd) -> Result<Vec<u8>> {
        let doing = format!("read fd {n}");
        self.given(n, &doing)?;
        let mut file = std::fs::File::from(again(n, &doing)?).take(LONGEST + 1);
        let mut content = Vec::new();
        file.read_to_end(&mut content).cannot(&doing, format_args!("read({n})"))?;
        if content.len() as u64 > LONGEST {
            return Err(Error::usage(doing, "it holds more than 4 MiB").cure("--ro-bind FILE PATH"));
        }
        Ok(content)
    }
}

/// A duplicate at offset 0, so that one fd can be read by two links.
fn again(fd: RawFd, doing: &str) -> Result<OwnedFd> {
    let fd = sys::fd::borrow(fd).cannot(doing, format_args!("fcntl({fd})"))?;
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).cannot(doing, "fcntl(F_DUPFD_CLOEXEC)")?;
    match rustix::fs::seek(&copy, rustix::fs::SeekFrom::Start(0)) {
        Ok(_) | Err(rustix::io::Errno::SPIPE) => Ok(copy),
        Err(e) => Err(Error::call(doing, "lseek", e)),
    }
}

fn is_socket(path: &Path) -> bool {
    let mode = rustix::fs::stat(path).map(|stat| stat.st_mode);
    mode.is_ok_and(|mode| FileType::from_raw_mode(mode) == FileType::Socket)
}

/// Opens what later links name: the file of `--oci`, and every operand of seccomp-load that is a file or a socket here.
pub(crate) fn open_files(later: &[Segment<'_>]) -> Result<Vec<(Bytes, RawFd)>> {
    let mut files = Vec::new();
    for segment in later {
        let mut named = false;
        for word in &segment.words[1..] {
            let inline = word.as_bytes().strip_prefix(b"--oci=").map(OsStr::from_bytes);
            let operand = segment.tool == ToolName::SeccompLoad && !word.as_bytes().starts_with(b"-");
            let path =
                if named { Some(word.as_os_str()) } else { inline.or(operand.then_some(word.as_os_str())) };
            named = word == "--oci";
            let Some(path) = path else { continue };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            // The agent of `--notify` is no file to open.
            if operand && is_socket(Path::new(path)) {
                if let Ok(fd) = crate::agent::connect(&path.into()) {
                    files.push((path.into(), fd.into_raw_fd()));
                }
                continue;
            }
            // What cannot be opened now is the later link's to complain about, in its own words.
            if let Ok(fd) = openat(CWD, path, flags, Mode::empty()) {
                files.push((path.into(), fd.into_raw_fd()));
            }
        }
    }
    Ok(files)
}
