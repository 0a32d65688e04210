//! What these tests share: the chain in front of rootfs-prep, and a folder of the host that must stay as it is.
#![allow(dead_code, reason = "each test binary uses its part")]

use catena_tests::{Mount, TempDir, TempRootfs, Tool, tool};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Are we root? Else chains start with a user namespace.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `rootfs-prep ARGS` behind all its namespaces.
pub(crate) fn prep<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Tool {
    behind("-mpniuC", args)
}

/// `rootfs-prep ARGS` behind these namespaces, and behind a user namespace for who is not root.
pub(crate) fn behind<S: AsRef<std::ffi::OsStr>>(namespaces: &str, args: impl IntoIterator<Item = S>) -> Tool {
    let tool = match is_root() {
        true => tool("ns-enter").arg(namespaces),
        false => tool("idmap").arg("-r").then("ns-enter", [namespaces]),
    };
    tool.then("rootfs-prep", args)
}

/// `rootfs-prep --root ROOT ARGS` behind all its namespaces.
pub(crate) fn rooted(root: &TempRootfs, args: &[&str]) -> Tool {
    let path = root.path();
    let path = path.to_str().expect("its name is text");
    prep(["--root", path].iter().chain(args))
}

/// The same without anything mounted of its own.
pub(crate) fn bare(root: &TempRootfs, args: &[&str]) -> Tool {
    rooted(root, &[&["--no-defaults"], args].concat())
}

/// A folder of the host, with things in it that an attack would like to change.
pub(crate) struct Outside {
    dir: TempDir,
    before: BTreeMap<PathBuf, String>,
    mounts: Vec<String>,
}

impl Outside {
    /// Makes it.
    pub(crate) fn new() -> Outside {
        let dir = TempDir::new();
        dir.file("file", "host");
        dir.file("folder/inner", "host");
        let before = tree(dir.path());
        Outside { dir, before, mounts: mounts() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it, as text.
    pub(crate) fn at(&self, name: &str) -> String {
        self.dir.join(name).to_str().expect("its name is text").to_string()
    }

    /// Nothing in it was made, changed or removed, and nothing is mounted that was not.
    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        assert_eq!(tree(self.dir.path()), self.before, "the host's folder was changed");
        assert_eq!(mounts(), self.mounts, "the host's mounts were changed");
    }
}

/// Everything below, and what would change if somebody touched it (times of access aside).
pub(crate) fn tree(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![top.to_path_buf()];
    while let Some(path) = todo.pop() {
        let m = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if m.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            todo.extend(entries.filter_map(Result::ok).map(|e| e.path()));
        }
        let text = if m.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let shown = format!(
            "{:o} {}:{} {} {} {}.{} {text:?}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.dev(),
            m.ino(),
            m.ctime(),
            m.ctime_nsec()
        );
        found.insert(path, shown);
    }
    found
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    // Others work on this machine too; these folders are this test binary's.
    let name = format!("catena-test-{}-", std::process::id());
    let ours = |m: &Mount| m.point.contains(&name);
    Mount::parse_all(&text).into_iter().filter(ours).map(|m| m.point).collect()
}

/// A link `name` in the root that leads to `target`, in the place of whatever is there.
pub(crate) fn link(root: &TempRootfs, name: &str, target: impl AsRef<Path>) {
    let at = root.path().join(name);
    match fs::symlink_metadata(&at) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(&at).expect("it can be removed"),
        Ok(_) => fs::remove_file(&at).expect("it can be removed"),
        Err(_) => {}
    }
    symlink(target, &at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
}

/// `name` below the root, on the host.
pub(crate) fn there(root: &TempRootfs, name: &str) -> PathBuf {
    root.path().join(name.trim_start_matches('/'))
}
