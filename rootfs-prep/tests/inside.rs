//! Bind sources that lie in the folder that becomes the root: they are what is mounted there by then, and no link of the
//! image leads one out.

mod common;

use catena_tests::{TempDir, TempRootfs, requires, rootfs, shell};
use common::{Outside, bare, link, prep, there};
use serde_json::json;

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("its name is text")
}

/// A path of the host to what is below the root.
fn host(root: &TempRootfs, path: &str) -> String {
    format!("{}{path}", text(&root.path()))
}

#[test]
fn a_source_in_the_root_is_what_an_earlier_mount_brought() {
    let (root, vol) = (rootfs(), TempDir::new());
    vol.file("f", "volume");
    root.file("mnt/f", "hidden");
    let (mnt, from) = (host(&root, "/mnt"), text(vol.path()));
    for source in
        [mnt.clone(), format!("{mnt}/"), host(&root, "/../rootfs/./mnt"), host(&root, "/etc/../mnt")]
    {
        let args = ["--bind", from, "/mnt", "--bind", &source, "/final"];
        let out = bare(&root, &args).command(["/bin/cat", "/final/f"]).run();
        assert_eq!(out.succeeds().stdout, "volume", "{source}");
    }
    // What is mounted there later is not in it, and without an earlier mount it is the folder.
    let args = ["--bind", &mnt, "/final", "--bind", from, "/mnt"];
    let out = bare(&root, &args).command(["/bin/cat", "/final/f"]).run();
    assert_eq!(out.succeeds().stdout, "hidden");
    assert!(!there(&root, "mnt").join("final").exists());
}

/// A tree of mounts, by the host's paths in source and destination, as other runtimes take them.
#[test]
fn a_tree_of_mounts_is_bound_whole() {
    if !requires::root() {
        return;
    }
    let (root, vol) = (rootfs(), TempDir::new());
    vol.file("a/x/f", "a/x");
    vol.file("b/y/f", "b/y");
    let bind = |source: String, at: String, how: &str| json!({"destination": at, "type": "bind", "source": source, "options": [how]});
    let of = |name: &str| format!("{}/{name}", text(vol.path()));
    let config = json!({"ociVersion": "1.0.2", "root": {"path": root.path()},
    "process": {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "mount"}]},
    "mounts": [
        bind(of("a"), "/mnt".into(), "bind"),
        bind(of("b"), "/mnt/x".into(), "bind"),
        bind(host(&root, "/mnt/x"), host(&root, "/mnt/x/y"), "rbind"),
        bind(host(&root, "/mnt"), host(&root, "/final"), "rbind"),
    ]});
    let path = root.config(&config);
    let out = prep(["--oci", text(&path)])
        .command(["/bin/sh", "-c", "cat /final/x/y/y/f; ls /final/x; ls -d /tmp/*"])
        .run();
    assert_eq!(out.stdout, "b/yy\n", "{out:?}");
}

/// The links of an image are followed in its root, and nowhere else.
#[test]
fn a_link_in_the_root_leads_no_source_out() {
    let (root, outside) = (rootfs(), Outside::new());
    link(&root, "abs", outside.path());
    link(&root, "up", format!("../../../../../../../../../{}", outside.at("")));
    link(&root, "leaf", outside.at("file"));
    link(&root, "magic", "/proc/self/root");
    let inside = host(&root, "");
    let magic = format!("/magic{}", outside.at("file"));
    for (source, errno) in [
        ("/abs/file", "ENOENT"),
        ("/up/file", "ENOENT"),
        ("/leaf", "ENOENT"),
        ("/abs", "ENOENT"),
        ("/abs/../file", "ENOENT"),
        // A link of a procfs is not followed at all; where openat2(2) is missing, as the word "/".
        (&magic, "openat2(/magic"),
    ] {
        let out =
            bare(&root, &["--ro-bind", "/proc", "/proc", "--bind", &format!("{inside}{source}"), "/got"])
                .command(["/bin/cat", "/got"])
                .run();
        out.refuses(125, errno);
    }
    assert!(!there(&root, "got").exists());
    // Where the root has such a path, that one is meant.
    root.file(outside.at("file").trim_start_matches('/'), "image");
    for source in ["/abs/file", "/up/file", "/leaf"] {
        let out = bare(&root, &["--bind", &format!("{inside}{source}"), "/got"])
            .command(["/bin/cat", "/got"])
            .run();
        assert_eq!(out.succeeds().stdout, "image", "{source}");
    }
    outside.is_untouched();
}

/// However the source comes to lead there.
#[test]
fn a_link_of_the_host_that_leads_into_the_root() {
    let (root, outside, links) = (rootfs(), Outside::new(), TempDir::new());
    link(&root, "abs", outside.path());
    root.file("mnt/f", "image");
    std::os::unix::fs::symlink(root.path(), links.join("root")).expect("it can be made");
    std::os::unix::fs::symlink(host(&root, "/abs"), links.join("leaf")).expect("it can be made");
    for source in ["root/abs/file", "leaf/file"] {
        let args = ["--bind", text(&links.join(source)), "/got"].map(String::from);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        bare(&root, &args).command(["/bin/cat", "/got"]).run().refuses(125, "ENOENT");
    }
    let source = links.join("root/mnt/f");
    let out = bare(&root, &["--bind", text(&source), "/got"]).command(["/bin/cat", "/got"]).run();
    assert_eq!(out.succeeds().stdout, "image");
    outside.is_untouched();
}

/// Sources are opened before a user namespace is entered, but not those.
#[test]
fn in_a_user_namespace_as_well() {
    let (root, outside, vol) = (rootfs(), Outside::new(), TempDir::new());
    vol.file("f", "volume");
    link(&root, "abs", outside.path());
    let chain = |source: &str| {
        let line = format!(
            "idmap -r | ns-enter -mpniuC | rootfs-prep --root {} --no-defaults --bind {} /mnt --bind {} /final -- /bin/cat /final/f",
            text(&root.path()),
            text(vol.path()),
            host(&root, source),
        );
        shell(&line).run()
    };
    assert_eq!(chain("/mnt").succeeds().stdout, "volume");
    chain("/abs").refuses(125, "ENOENT");
    chain("/abs/folder").refuses(125, "ENOENT");
    outside.is_untouched();
}

/// As an option, which shows, and not only by chmod.
#[test]
fn a_tmpfs_says_the_mode_that_it_has_from_the_folder_below() {
    use std::os::unix::fs::PermissionsExt;
    let root = rootfs();
    std::fs::create_dir(there(&root, "below")).expect("it can be made");
    std::fs::set_permissions(there(&root, "below"), std::fs::Permissions::from_mode(0o710))
        .expect("chmod works");
    let args = [
        "--ro-bind",
        "/proc",
        "/proc",
        "--tmpfs",
        "/below",
        "--tmpfs",
        "/fresh",
        "--tmpfs",
        "/own:mode=1500",
    ];
    let p = bare(&root, &args).probe_at("/probe");
    p.expect_mount_options("/below", &["mode=710"]);
    p.expect_mount_options("/own", &["mode=1500"]);
    let fresh = p.expect_mounted("/fresh", "tmpfs");
    assert!(!fresh.super_options.iter().any(|o| o.starts_with("mode=")), "{fresh:?}");
    let out = bare(&root, &args).command(["/bin/stat", "-c", "%a", "/below", "/own"]).run();
    assert_eq!(out.succeeds().stdout, "710\n1500\n");
}
