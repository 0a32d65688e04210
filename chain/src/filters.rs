//! Filters that were made before: what seccomp-load made of a layer, kept for the next time that it is asked the same.
//!
//! Nothing is believed that somebody else could have planted. The folder and the file belong to this user, and nobody else
//! may write to them; the file has no second name; it holds all that the program was made of, which is compared byte by
//! byte, so that a name says nothing; and a checksum, for what a full disk or a crash did to it. What is believed of it
//! less than wholly is not used, and the filter is made anew.

use crate::bytes::Bytes;
use crate::error::{Cannot, Class, Error, Result};
use crate::plan::{BUILD, Layer};
use crate::state::{Receipt, write_all};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// So many files at most, by the hash of what the program was made of: what comes later takes the place of an older one.
const SLOTS: u64 = 64;
/// More than the longest program, and any profile that it is worth keeping.
const LONGEST: usize = 1 << 20;
/// BPF_MAXINSNS of linux/bpf_common.h, 8 bytes each.
const LONGEST_PROGRAM: usize = 4096 * 8;
const MAGIC: &[u8; 8] = b"catena\x00f";
const HEAD: usize = 8 + 8 + 3 * 8;

/// What seccomp-load made of a layer.
#[derive(Clone, Debug)]
pub struct Made {
    /// All but the program.
    pub about: About,
    /// `struct sock_filter[]`.
    pub program: Vec<u8>,
}

/// What is to be known of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// seccomp(2)'s.
    pub flags: u64,
    /// no_new_privs is to be set before it.
    pub no_new_privs: bool,
    /// What is said whenever it is used.
    pub warnings: Vec<String>,
    /// seccomp-load's.
    pub receipt: Receipt,
}

/// All that a program is made of: the layer, and `by`: which seccomp-load makes it, and what it finds out of the host.
pub fn key(layer: &Layer, by: &str) -> Vec<u8> {
    let spec = layer.spec.as_ref().map_or("", |spec| spec.get());
    format!("{BUILD} {by}\n{spec}").into_bytes()
}

/// The place of one filter in a folder of kept ones.
pub struct Kept {
    folder: Folder,
    shown: Bytes,
    name: String,
    key: Vec<u8>,
}

enum Folder {
    There(OwnedFd),
    /// Not yet, below this one.
    Missing(OwnedFd),
}

impl Kept {
    /// In the folder `path`, below `base`.
    pub fn below(base: BorrowedFd<'_>, path: &Path, key: Vec<u8>) -> Result<Kept> {
        let name = format!("{:02x}", hash(&key) % SLOTS);
        let shown = Bytes::from(path);
        let folder = match open_folder(base, path) {
            Ok(folder) => Folder::There(checked(folder, &shown)?),
            Err(Errno::NOENT) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let base = openat(base, ".", flags, Mode::empty());
                Folder::Missing(base.cannot(wish(&shown), "open(.)")?)
            }
            Err(e) => return Err(Error::call(wish(&shown), format_args!("open({shown})"), e)),
        };
        Ok(Kept { folder, shown, name, key })
    }

    /// In `folder`, which is called `shown`.
    pub fn at(folder: OwnedFd, shown: &Bytes, key: Vec<u8>) -> Result<Kept> {
        let name = format!("{:02x}", hash(&key) % SLOTS);
        Ok(Kept { folder: Folder::There(checked(folder, shown)?), shown: shown.clone(), name, key })
    }

    /// Makes the folder if it is not there.
    pub fn make(self) -> Result<Kept> {
        let Folder::Missing(base) = &self.folder else { return Ok(self) };
        let (shown, doing) = (&self.shown, wish(&self.shown));
        match mkdirat(base, shown.as_path(), Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::call(doing, format_args!("mkdir({shown})"), e)),
        }
        let folder =
            open_folder(base.as_fd(), shown.as_path()).cannot(doing, format_args!("open({shown})"))?;
        Ok(Kept { folder: Folder::There(checked(folder, shown)?), ..self })
    }

    /// The filter, if it is there. An error says why a file that is there is not used.
    pub fn find(&self) -> Result<Option<Made>> {
        let Folder::There(folder) = &self.folder else { return Ok(None) };
        let doing = format_args!("use the filter {}/{}", self.shown, self.name);
        // A FIFO is opened without waiting for a writer, and then found to be none of ours.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match openat(folder, self.name.as_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.cannot(doing, "open")?,
        };
        let stat = fstat(&fd).cannot(doing, "fstat")?;
        let ours = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink > 1 => Err("it has another name".to_string()),
            FileType::RegularFile => nobody_elses(&stat),
            _ => Err("it is no file".to_string()),
        };
        ours.map_err(|why| Error::new(Class::Denied, doing, why))?;
        let mut text = Vec::with_capacity((stat.st_size as usize).min(LONGEST) + 1);
        std::fs::File::from(fd).take(LONGEST as u64 + 1).read_to_end(&mut text).cannot(doing, "read")?;
        self.read(&text).map_err(|why| Error::new(Class::Conflict, doing, why))
    }

    /// None where it is the program of something else.
    fn read(&self, text: &[u8]) -> std::result::Result<Option<Made>, &'static str> {
        const DAMAGED: &str = "it is damaged";
        let (head, rest) = text.split_at_checked(HEAD).ok_or(DAMAGED)?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        if head[..8] != *MAGIC || number(8) != hash(&text[16..]) {
            return Err(DAMAGED);
        }
        let length = |at: usize| usize::try_from(number(at)).map_err(|_| DAMAGED);
        let (key, rest) = rest.split_at_checked(length(16)?).ok_or(DAMAGED)?;
        let (about, program) = rest.split_at_checked(length(24)?).ok_or(DAMAGED)?;
        if program.len() != length(32)? || !is_program(program) {
            return Err(DAMAGED);
        }
        if key != self.key {
            return Ok(None);
        }
        let about = serde_json::from_slice(about).map_err(|_| DAMAGED)?;
        Ok(Some(Made { about, program: program.to_vec() }))
    }

    /// Keeps it for the next time, all or nothing; not where it is longer than is worth it.
    pub fn keep(self, made: &Made) -> Result<()> {
        let kept = self.make()?;
        let Folder::There(folder) = &kept.folder else { return Ok(()) };
        let doing = format!("keep the filter in {}", kept.shown);
        let Some(text) = kept.text(made, &doing)? else { return Ok(()) };
        let spare = format!("~{}.{}", kept.name, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let remove =
            || unlinkat(folder, &spare, AtFlags::empty()).cannot(&doing, format_args!("unlink({spare})"));
        let fd = match openat(folder, &spare, flags, Mode::from_raw_mode(0o600)) {
            // Somebody of this number was killed in the middle.
            Err(Errno::EXIST) => return remove(),
            other => other.cannot(&doing, format_args!("open({spare})"))?,
        };
        let written = write_all(fd.as_fd(), &text).cannot(&doing, format_args!("write({spare})"));
        let name = kept.name.as_str();
        let placed = || renameat(folder, &spare, folder, name).cannot(&doing, format_args!("rename({name})"));
        written.and_then(|()| placed()).or_else(|error| remove().and(Err(error)))
    }

    /// The file of it.
    fn text(&self, made: &Made, doing: &str) -> Result<Option<Vec<u8>>> {
        let about = serde_json::to_vec(&made.about).map_err(|e| Error::new(Class::Internal, doing, e))?;
        let lengths = [self.key.len(), about.len(), made.program.len()];
        if HEAD + lengths.iter().sum::<usize>() > LONGEST || !is_program(&made.program) {
            return Ok(None);
        }
        let head: Vec<u8> = lengths.iter().flat_map(|len| (*len as u64).to_le_bytes()).collect();
        let body = [&head[..], &self.key, &about, &made.program].concat();
        Ok(Some([&MAGIC[..], &hash(&body).to_le_bytes(), &body].concat()))
    }
}

fn wish(shown: &Bytes) -> String {
    format!("keep filters in {shown}")
}

fn open_folder(base: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(base, path, flags, Mode::empty())
}

fn checked(folder: OwnedFd, shown: &Bytes) -> Result<OwnedFd> {
    let stat = fstat(&folder).cannot(wish(shown), "fstat")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::usage(wish(shown), "it is no folder"));
    }
    nobody_elses(&stat).map_err(|why| Error::new(Class::Denied, wish(shown), why))?;
    Ok(folder)
}

impl Made {
    /// As it goes to a runner that wants to keep it.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let about = serde_json::to_vec(&self.about)
            .map_err(|e| Error::new(Class::Internal, "tell the runner of the filter", e))?;
        Ok([&(about.len() as u64).to_le_bytes()[..], &about, &self.program].concat())
    }

    /// What [`Made::to_bytes`] wrote; None where nothing was written.
    pub fn of_bytes(text: &[u8]) -> Option<Made> {
        let (length, rest) = text.split_first_chunk::<8>()?;
        let (about, program) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Made { about: serde_json::from_slice(about).ok()?, program: program.to_vec() })
    }
}

fn is_program(bytes: &[u8]) -> bool {
    bytes.len().is_multiple_of(8) && (8..=LONGEST_PROGRAM).contains(&bytes.len())
}

/// Whoever else could write there could plant a filter that lets everything through.
fn nobody_elses(stat: &Stat) -> std::result::Result<(), String> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to user {}", stat.st_uid));
    }
    match stat.st_mode & 0o022 {
        0 => Ok(()),
        _ => Err(format!("others may write to it: mode {:04o}", stat.st_mode & 0o7777)),
    }
}

/// Against accidents alone; the same for all programs of one build.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
