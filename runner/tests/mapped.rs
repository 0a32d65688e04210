//! Mapped ids of what only an earlier mount brings into the root: inside a new user namespace nobody may map them, and
//! the runner, outside, does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{TempDir, requires};
use common::Bundle;
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, chown};

/// A volume of root's own at /mnt, and what is at /mnt once more at /final, with these options.
fn bundle(vol: &TempDir, options: &[&str], maps: Value) -> Bundle {
    let bundle = Bundle::sh("cat /final/f /final/below/g; stat -c %u:%g /mnt/f /final/f /final/below/g");
    for folder in [bundle.rootfs.parent(), vol.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for folder in ["", "mnt", "dev", "proc", "sys", "final"] {
        let path = bundle.rootfs.path().join(folder);
        if !path.exists() {
            std::fs::create_dir(&path).unwrap();
        }
        chown(path, Some(200_000), Some(200_000)).unwrap();
    }
    let range = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    let bind = |source: String, at: &str, options: &[&str]| json!({"type": "bind", "source": source, "destination": at, "options": options});
    let inside = format!("{}/rootfs/mnt", bundle.dir());
    let mut mapped = bind(inside, "/final", options);
    mapped["uidMappings"] = maps.clone();
    mapped["gidMappings"] = maps;
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", range.clone())
        .set("/linux/gidMappings", range)
        .set("/mounts/-", bind(vol.path().to_str().unwrap().into(), "/mnt", &["bind"]))
        .set("/mounts/-", bind(vol.join("other").to_str().unwrap().into(), "/mnt/below", &["bind"]))
        .set("/mounts/-", mapped)
}

#[test]
fn what_an_earlier_mount_brought_is_mapped_for_the_user_namespace() {
    if !requires::idmapped_mounts() {
        return;
    }
    let vol = TempDir::new();
    vol.file("f", "volume");
    vol.file("below/.keep", "");
    vol.file("other/g", "below");
    let nobody = "65534:65534";
    for (options, maps, seen, below) in [
        (&["rbind", "idmap"][..], json!([]), "0:0", nobody),
        (&["rbind", "ridmap"], json!([]), "0:0", "0:0"),
        (&["rbind"], json!([{"containerID": 0, "hostID": 200_007, "size": 1}]), "7:7", nobody),
        (&["rbind", "idmap=uids=@0-9-1;gids=@0-9-1"], json!([]), "9:9", nobody),
    ] {
        let out = bundle(&vol, options, maps).run();
        let expected = format!("volumebelow{nobody}\n{seen}\n{below}\n");
        assert_eq!(out.succeeds().stdout, expected, "{options:?}");
    }
}

/// Who may not map it says so, and the command does not run.
#[test]
fn what_cannot_be_mapped_is_refused() {
    if !requires::idmapped_mounts() {
        return;
    }
    let vol = TempDir::new();
    vol.file("f", "volume");
    let bundle = bundle(&vol, &["rbind", "idmap"], json!([])).set(
        "/mounts/-",
        json!({"type": "bind", "source": "/proc", "destination": "/mnt/below", "options": ["rbind"]}),
    );
    let mut bundle = bundle;
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    // The one that is mapped comes last, and takes a procfs along.
    let count = mounts.len();
    mounts.swap(count - 1, count - 2);
    mounts.remove(count - 3);
    mounts[count - 2]["options"] = json!(["rbind", "ridmap"]);
    std::fs::create_dir(vol.join("below")).unwrap();
    bundle.write();
    let out = bundle.run();
    out.refuses(1, "mount_setattr(MOUNT_ATTR_IDMAP)");
    assert!(out.stderr.contains("this file system has no idmapped mounts"), "{out:?}");
}
