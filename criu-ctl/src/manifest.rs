//! The manifest of a dump: each of its files with its size and its SHA-256, written when all is written, and looked at
//! before a restore. It finds what was cut off on the way, mixed up or changed; it is no seal, for who may write to the
//! folder may write it anew.

use crate::folder::{self, open_regular};
use chain::error::{Cannot, Class, Error, Result};
use rustix::fs::{Dir, fstat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

/// Its name.
const NAME: &str = "catena-manifest.json";
/// One of a large tree has some thousand lines.
const LONGEST: u64 = 16 << 20;

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    catena: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    size: u64,
    /// Not of memory, unless that is asked for: it would take as long as the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Writes down what is in the folder.
pub(crate) fn write(folder: BorrowedFd<'_>, hash_pages: bool, doing: &str) -> Result<()> {
    let mut manifest = Manifest { catena: 1, ..Manifest::default() };
    for name in names(folder, doing)? {
        let hash = hash_pages || !is_memory(&name);
        let entry = look(folder, &name, hash, doing)?;
        manifest.files.insert(name, entry);
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::new(Class::Internal, doing, e))?;
    folder::write(folder, NAME, &text, doing)
}

/// Removes what is there of one.
pub(crate) fn forget(folder: BorrowedFd<'_>, doing: &str) -> Result<()> {
    match rustix::fs::unlinkat(folder, NAME, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::call(doing, format_args!("unlink({NAME})"), e)),
    }
}

/// Refuses images that are not those that were dumped. Those of another tool have no manifest.
pub(crate) fn check(folder: BorrowedFd<'_>, doing: &str) -> Result<()> {
    let Some(text) = folder::read_regular(folder, NAME, LONGEST, doing)? else { return Ok(()) };
    let manifest: Manifest = chain::json::parse(&text, doing)?;
    let there = names(folder, doing)?;
    let changed = |detail: String| {
        Error::new(Class::Conflict, doing, detail)
            .why("the images are not those that were dumped")
            .cure(format_args!("remove {NAME}, if that is as it should be"))
    };
    for (name, then) in &manifest.files {
        if !there.contains(name) {
            return Err(changed(format!("{name} is gone")));
        }
        let now = look(folder, name, then.sha256.is_some(), doing)?;
        if now.size != then.size {
            return Err(changed(format!("{name} has {} bytes, and had {}", now.size, then.size)));
        }
        if now != *then {
            return Err(changed(format!("{name} is not what it was")));
        }
    }
    // Memory that went to a page server comes beside the rest later.
    let memory_came = !manifest.files.keys().any(|name| is_memory(name));
    let new = there.iter().find(|name| {
        let came = memory_came && (is_memory(name) || name.starts_with("pagemap-"));
        !manifest.files.contains_key(*name) && !came
    });
    new.map_or(Ok(()), |name| Err(changed(format!("{name} was not there"))))
}

fn is_memory(name: &str) -> bool {
    name.starts_with("pages-")
}

/// The images, and what of the folder is ours.
fn names(folder: BorrowedFd<'_>, doing: &str) -> Result<BTreeSet<String>> {
    let dir = Dir::read_from(folder).cannot(doing, "open(the images)")?;
    let mut list = BTreeSet::new();
    for entry in dir {
        let entry = entry.cannot(doing, "getdents(the images)")?;
        let name = entry.file_name().to_string_lossy();
        if name.ends_with(".img") || name == crate::stdio::FILE {
            list.insert(name.into_owned());
        }
    }
    Ok(list)
}

fn look(folder: BorrowedFd<'_>, name: &str, hash: bool, doing: &str) -> Result<Entry> {
    let missing = || Error::new(Class::Missing, doing, format_args!("{name} is gone"));
    let mut file = File::from(open_regular(folder, name, u64::MAX, doing)?.ok_or_else(missing)?);
    let size = fstat(&file).cannot(doing, format_args!("fstat({name})"))?.st_size.unsigned_abs();
    let sha256 = hash.then(|| digest(&mut file)).transpose().cannot(doing, format_args!("read({name})"))?;
    Ok(Entry { size, sha256 })
}

fn digest(file: &mut File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::path::PathBuf;

    struct Images(PathBuf, File);

    impl Images {
        fn new(name: &str) -> Images {
            let path = std::env::temp_dir().join(format!("criu-ctl-manifest-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            for (file, content) in [("core-1.img", "core"), ("pages-1.img", "pages"), ("dump.log", "log")] {
                std::fs::write(path.join(file), content).unwrap();
            }
            let fd = File::open(&path).unwrap();
            Images(path, fd)
        }

        fn put(&self, name: &str, content: &str) {
            std::fs::write(self.0.join(name), content).unwrap();
        }

        #[track_caller]
        fn refused(&self, word: &str) {
            let error = check(self.1.as_fd(), "restore").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    impl Drop for Images {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_was_changed_is_named() {
        let images = Images::new("changed");
        let folder = images.1.as_fd();
        check(folder, "restore").unwrap();
        write(folder, false, "dump").unwrap();
        // A log and numbers are no images: a restore writes its own.
        images.put("dump.log", "other");
        images.put("stats-restore", "");
        check(folder, "restore").unwrap();
        images.put("core-1.img", "CORE");
        images.refused("core-1.img is not what it was");
        images.put("core-1.img", "cor");
        images.refused("core-1.img has 3 bytes, and had 4");
        std::fs::remove_file(images.0.join("core-1.img")).unwrap();
        images.refused("core-1.img is gone");
        images.put("core-1.img", "core");
        images.put("core-2.img", "");
        images.refused("core-2.img was not there");
    }

    #[test]
    fn memory_is_looked_at_by_its_size_unless_it_is_asked_for() {
        let images = Images::new("memory");
        let folder = images.1.as_fd();
        write(folder, false, "dump").unwrap();
        images.put("pages-1.img", "PAGES");
        check(folder, "restore").unwrap();
        write(folder, true, "dump").unwrap();
        images.put("pages-1.img", "pages");
        images.refused("pages-1.img is not what it was");
        images.put("pages-1.img", "");
        images.refused("pages-1.img has 0 bytes");
        // It went to a page server, and is beside the rest by now.
        std::fs::remove_file(images.0.join("pages-1.img")).unwrap();
        write(folder, false, "dump").unwrap();
        images.put("pages-1.img", "pages");
        images.put("pagemap-1.img", "");
        check(folder, "restore").unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let images = Images::new("fifo");
        write(images.1.as_fd(), false, "dump").unwrap();
        std::fs::remove_file(images.0.join("core-1.img")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(&images.1, "core-1.img", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        images.refused("core-1.img is no file");
        images.put("catena-manifest.json", "{}x");
        images.refused("cannot restore");
    }

    #[test]
    fn the_digest_is_that_of_everybody() {
        let images = Images::new("digest");
        images.put("abc.img", "abc");
        let entry = look(images.1.as_fd(), "abc.img", true, "look").unwrap();
        // FIPS 180-4's own example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(entry.sha256.as_deref(), Some(expected));
    }
}
