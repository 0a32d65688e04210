//! A root file system made of Debian's static busybox and the payload.

use crate::temp::TempDir;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// See the module. The payload is `/probe`, every applet is in `/bin`.
#[derive(Debug)]
pub struct TempRootfs {
    dir: TempDir,
}

/// Makes one: `DIR/rootfs` in a folder that is removed at the end.
pub fn rootfs() -> TempRootfs {
    let root = TempRootfs { dir: TempDir::new() };
    let at = |name: &str| root.path().join(name);
    for dir in ["", "bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var"] {
        make_dirs(&at(dir));
    }
    symlink("bin", at("sbin")).expect("a link can be made");
    symlink("../bin", at("usr/bin")).expect("a link can be made");
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.is_file(), "/bin/busybox is missing: apt-get install busybox-static");
    // One process for both: what this one writes itself may be busy when it is executed (see `copy_program`).
    let mut install = std::process::Command::new("install");
    install.args(["-m", "755"]).arg(busybox).arg(crate::probe_path()).arg(root.path());
    assert!(install.status().is_ok_and(|status| status.success()), "{install:?}");
    fs::rename(at("busybox"), at("bin/busybox")).expect("a file can be moved");
    let list = std::process::Command::new(busybox).arg("--list").output().expect("busybox runs");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
        symlink("busybox", at("bin").join(applet)).expect("a link can be made");
    }
    write(
        &at("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\napp:x:1000:1000::/home:/bin/sh\n",
    );
    write(
        &at("etc/group"),
        "root:x:0:\ntty:x:5:\naudio:x:29:app\nvideo:x:44:app\napp:x:1000:\nnogroup:x:65534:\n",
    );
    fs::set_permissions(at("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .expect("chmod works");
    root
}

/// A copy of a program that is executed at once: made by another process, for what this one has open for writing is open
/// in the child of any thread until that child executes something, and a file that is open for writing is not executed.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let done = std::process::Command::new("cp").arg("-p").arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(done.is_ok_and(|status| status.success()), "cp {}", from.as_ref().display());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A folder and those above it.
pub(crate) fn make_dirs(path: &Path) {
    if path.is_dir() {
        return;
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent);
    }
    fs::create_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

impl TempRootfs {
    /// The root itself.
    pub fn path(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The folder in which it is `./rootfs`.
    pub fn parent(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it, `name` relative to the root; folders are made.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.dir.file(&format!("rootfs/{name}"), content)
    }

    /// A `config.json` beside it, for a bundle.
    pub fn config(&self, config: &serde_json::Value) -> PathBuf {
        self.dir.file("config.json", config.to_string())
    }
}
