//! A folder that is gone at the end of the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// See the module.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A fresh one.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("catena-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        TempDir(path)
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
        std::fs::remove_dir_all(&self.0).unwrap_or_else(|e| eprintln!("{}: {e}", self.0.display()));
    }
}
