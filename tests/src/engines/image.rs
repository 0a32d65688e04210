//! The image: one archive in the format that `docker save` writes, which all engines take.

use crate::rootfs::rootfs;
use crate::run::shell;
use crate::temp::TempDir;
use std::path::PathBuf;

/// The payload without its debug information: engines copy the whole image for each container.
const LINES: &str = r#"set -e
strip -o "$ROOTFS/probe" "$PROBE"
echo sacred > "$ROOTFS/etc/image"
tar -C "$ROOTFS" -cf layer.tar .
sum=$(sha256sum layer.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/bin:/bin", "IMAGE=base"], "Cmd": ["sleep", "9999"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]}}
END
echo '[{"Config": "config.json", "RepoTags": ["localhost/base:latest"], "Layers": ["layer.tar"]}]' > manifest.json
tar -cf image.tar manifest.json config.json layer.tar
rm layer.tar"#;

/// Makes it in `dir`.
pub(super) fn make(dir: &TempDir) -> PathBuf {
    let root = rootfs();
    shell(LINES).cwd(dir).env("ROOTFS", root.path()).run().succeeds();
    dir.join("image.tar")
}
