//! A folder that is gone at the end of the test.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// See the module.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A fresh one. Process ids come again, and who had this one before may have left a folder.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("catena-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// A file in it; its folder is made.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(dir) = path.parent() {
            crate::rootfs::make_dirs(dir);
        }
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// A program in it, to be executed at once (see [`crate::copy_program`]).
    pub fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (new, path) = (self.file(&format!("{name}.new"), content), self.join(name));
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("chmod works");
        crate::copy_program(&new, &path);
        std::fs::remove_file(&new).expect("it can be removed");
        path
    }
}

impl Default for TempDir {
    fn default() -> TempDir {
        TempDir::new()
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = |m: &crate::Mount| Path::new(&m.point).starts_with(&self.0);
        let mounts: Vec<String> =
            crate::Mount::parse_all(&text).into_iter().filter(below).map(|m| m.point).collect();
        // Removing would go through a mount that a test left there, into whatever is mounted.
        for point in mounts.iter().rev() {
            if nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH).is_err() {
                eprintln!("{} is still mounted: left behind", point);
                return;
            }
        }
        if std::fs::remove_dir_all(&self.0).is_ok() {
            return;
        }
        // Overlayfs leaves a folder of mode 0 below its workdir, which only root looks into.
        open_up(&self.0);
        std::fs::remove_dir_all(&self.0).unwrap_or_else(|e| eprintln!("{}: {e}", self.0.display()));
    }
}

/// Gives every folder below `dir` to its owner; one that is not ours stays as it is, and is told of when it stays.
fn open_up(dir: &Path) {
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if !is_folder(dir) || std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).is_err() {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
}
