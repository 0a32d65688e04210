//! Sources that are not named by a path: what the caller has open, and devices by a pattern.

mod common;

use catena_tests::{TempDir, requires, rootfs, shell};
use common::{Outside, bare, link, rooted};
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};

#[test]
fn what_is_open_is_bound() {
    let (root, dir) = (rootfs(), TempDir::new());
    dir.file("vol/f", "volume");
    let file = dir.file("file", "file");
    let (folder, file) = (File::open(dir.join("vol")).unwrap(), File::open(file).unwrap());
    let args = ["--bind-fd", "7", "/vol", "--ro-bind-fd", "7", "/same", "--ro-bind-fd", "8", "/etc/file"];
    let line = "cat /vol/f /same/f /etc/file; echo new >/vol/g; touch /same/h 2>/dev/null || echo no; ls /same; ls /proc/self/fd";
    let out = rooted(&root, &args).fd(folder, 7).fd(file, 8).command(["/bin/sh", "-c", line]).run();
    // The shell's three, and the folder that ls reads.
    assert_eq!(out.succeeds().stdout, "volumevolumefileno\nf\ng\n0\n1\n2\n3\n");
    assert_eq!(std::fs::read_to_string(dir.join("vol/g")).unwrap(), "new\n");
}

/// As a path could be meanwhile (CVE-2024-42472): the folder itself was opened, and nothing else is bound.
#[test]
fn what_takes_the_place_of_an_open_folder_is_not_bound() {
    let (root, outside, dir) = (rootfs(), Outside::new(), TempDir::new());
    dir.file("vol/f", "volume");
    let folder = File::open(dir.join("vol")).unwrap();
    std::fs::rename(dir.join("vol"), dir.join("moved")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.join("vol")).unwrap();
    let out = bare(&root, &["--bind-fd", "7", "/vol"]).fd(folder, 7).command(["/bin/cat", "/vol/f"]).run();
    assert_eq!(out.succeeds().stdout, "volume");
    // Gone: it is in no mount that could be bound.
    std::fs::create_dir(dir.join("gone")).unwrap();
    let folder = File::open(dir.join("gone")).unwrap();
    std::fs::remove_dir(dir.join("gone")).unwrap();
    let out = bare(&root, &["--bind-fd", "7", "/vol"]).fd(folder, 7).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "ENOENT");
    outside.is_untouched();
}

#[test]
fn what_covers_an_open_folder_is_not_bound() {
    if !requires::root() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    dir.file("vol/f", "volume");
    // A shell stays, and with it the mount namespace in which the folder was opened: else its mounts have no place.
    let inner = format!(
        "exec 7<vol; mount -t tmpfs cover vol; ns-enter -m -- rootfs-prep --root {} --no-defaults --bind-fd 7 /vol -- /bin/echo ran; exit $?",
        root.path().display()
    );
    let out = shell(&format!("exec unshare -m bash -c '{inner}'")).cwd(&dir).run();
    out.refuses(125, "is not what fd 7 is");
}

#[test]
fn a_number_that_means_nothing_is_refused() {
    let root = rootfs();
    for (fd, text) in [("7", "EBADF"), ("1", "standard fds"), ("x", "not an fd")] {
        bare(&root, &["--bind-fd", fd, "/vol"]).command(["/bin/echo", "ran"]).run().refuses(125, text);
    }
    // In a plan it is that file, whoever has the number by now.
    let dir = TempDir::new();
    dir.file("a/f", "a");
    dir.file("b/f", "b");
    let idmap = if common::is_root() { "" } else { "idmap -r | " };
    for (number, status) in [("a", 0), ("b", 125)] {
        let line = format!(
            "{idmap}ns-enter -m | rootfs-prep --root {} --no-defaults --bind-fd 7 /vol 7<a | cap-drop --all -- /bin/cat /vol/f 7<{number}",
            root.path().display()
        );
        let out = shell(&line).cwd(&dir).run();
        assert_eq!(out.status, status, "{out:?}");
        if status == 0 {
            assert_eq!(out.stdout, "a");
        } else {
            out.refuses(125, "fd 7 is another file by now");
        }
    }
}

/// Where the users of a user namespace could not go themselves.
#[test]
fn an_open_folder_behind_a_closed_one_is_bound_in_a_user_namespace() {
    if !requires::root() || !requires::mount_setattr() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    std::fs::set_permissions(root.parent(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["", "mnt"] {
        chown(root.path().join(folder), Some(200_000), Some(200_000)).unwrap();
    }
    dir.file("closed/vol/f", "volume");
    std::fs::set_permissions(dir.join("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let line = format!(
        "exec 7<closed/vol; idmap --map-users 0:200000:2000 --map-groups 0:200000:2000 | ns-enter -mp | \
         rootfs-prep --root {} --no-defaults --ro-bind-fd 7 /mnt -- /bin/cat /mnt/f",
        root.path().display()
    );
    assert_eq!(shell(&line).cwd(&dir).run().succeeds().stdout, "volume");
}

#[test]
fn devices_by_a_pattern() {
    let root = rootfs();
    let run = |args: &[&str]| {
        let line = "ls /dev; echo x >/dev/null && stat -c %t:%T /dev/null";
        bare(&root, args).command(["/bin/sh", "-c", line]).run()
    };
    let out = run(&["--tmpfs", "/dev", "--dev-bind-glob", "/dev/[nz]*[lo]"]);
    let names: Vec<&str> = out.succeeds().stdout.lines().collect();
    assert!(names.starts_with(&["null", "zero"]) && names.ends_with(&["1:3"]), "{names:?}");
    let out = run(&["--dev-bind-glob", "/dev/catena-none*"]);
    out.refuses(125, "nothing matches");
    assert!(out.stderr.contains("try: --dev-bind-glob-try"), "{out:?}");
    run(&["--tmpfs", "/dev", "--dev-bind-glob", "/dev/null", "--dev-bind-glob-try", "/dev/catena-none*"])
        .succeeds();
    run(&["--dev-bind-glob", "/etc/passw[d]"]).refuses(125, "/etc/passwd is no device");
    // What stands there in the image under such a name is not followed out.
    let outside = Outside::new();
    link(&root, "dev", outside.path());
    run(&["--dev-bind-glob", "/dev/null"]);
    outside.is_untouched();
}
