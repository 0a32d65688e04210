//! Mounts with mapped ids: who owns a file is another one inside, on the host nothing changes; and bind sources that the
//! users of a user namespace could not reach.

mod common;

use catena_tests::{TempDir, TempRootfs, requires, rootfs, shell, tool};
use common::bare;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// A folder with files of users 0, 1000 and 70000.
fn owned() -> TempDir {
    let dir = TempDir::new();
    for id in [0, 1000, 70000] {
        chown(dir.file(&format!("of{id}"), ""), Some(id), Some(id)).expect("root may");
    }
    dir
}

const LIST: &str = "stat -c '%n %u:%g' /vol/*";

#[track_caller]
fn list(root: &TempRootfs, mount: &str) -> String {
    bare(root, &["--mount", mount]).command(["/bin/sh", "-c", LIST]).run().succeeds().stdout.clone()
}

#[test]
fn maps_of_its_own() {
    if !requires::idmapped_mounts() {
        return;
    }
    let (root, dir) = (rootfs(), owned());
    let bind = format!("type=bind,source={},target=/vol", dir.path().display());
    let found = list(&root, &format!("{bind},idmap=0:5000:1001,uidmap=70000:3:1"));
    // Who is in no map is nobody.
    assert_eq!(found, "/vol/of0 5000:5000\n/vol/of1000 6000:6000\n/vol/of70000 3:65534\n");
    assert_eq!(list(&root, &bind), "/vol/of0 0:0\n/vol/of1000 1000:1000\n/vol/of70000 70000:70000\n");
    // What is made there is the file system's own user's.
    let make = "cd /vol && cp /bin/true made && chown 5000:5000 made && stat -c %u made";
    let mount = format!("{bind},idmap=0:5000:1");
    let out = bare(&root, &["--mount", &mount]).command(["/bin/sh", "-c", "true"]).run();
    out.succeeds();
    let out = bare(&root, &["--mount", &mount]).command(["/bin/sh", "-c", make]).run();
    assert_ne!(out.status, 0, "root is nobody there, and makes nothing: {out:?}");
    let as_5000 = bare(&root, &["--mount", &mount]).then("cap-drop", ["--user", "5000:5000"]);
    as_5000.command(["/bin/sh", "-c", "touch /vol/made"]).run().succeeds();
    let made = std::fs::symlink_metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0));
    for id in [0, 1000, 70000] {
        assert_eq!(std::fs::symlink_metadata(dir.join(format!("of{id}"))).unwrap().uid(), id, "on the host");
    }
}

/// Inside a user namespace with one range: its users own what 0 and 1000 own on the host.
fn in_user_namespace(root: &TempRootfs, dir: &Path, mount: &str) -> catena_tests::Output {
    let line = format!(
        "ulimit -n 64; idmap --map-users 0:200000:2000 --map-groups 0:200000:2000 | ns-enter -mpniuC | rootfs-prep --root {} --mount {mount} -- /bin/sh -c \"{LIST}; id -u\"",
        root.path().display()
    );
    shell(&line).cwd(dir).run()
}

#[test]
fn as_the_container_is_mapped() {
    if !requires::idmapped_mounts() {
        return;
    }
    let (root, dir) = (rootfs(), owned());
    open_to_all(&root);
    let run = |more: &str| {
        in_user_namespace(
            &root,
            dir.path(),
            &format!("type=bind,source={},target=/vol{more}", dir.path().display()),
        )
    };
    let mapped = "/vol/of0 0:0\n/vol/of1000 1000:1000\n/vol/of70000 65534:65534\n0\n";
    assert_eq!(run(",idmap").succeeds().stdout, mapped);
    assert_eq!(run(",ridmap").succeeds().stdout, mapped);
    let nobody = "/vol/of0 65534:65534\n/vol/of1000 65534:65534\n/vol/of70000 65534:65534\n0\n";
    assert_eq!(run("").succeeds().stdout, nobody);
    // Ids of the host, and ids of the container.
    let host = "/vol/of0 5:5\n/vol/of1000 65534:65534\n/vol/of70000 65534:65534\n0\n";
    assert_eq!(run(",'idmap=uids=0-200005-1;gids=0-200005-1'").succeeds().stdout, host);
    assert_eq!(run(",'idmap=uids=@0-5-1;gids=@0-5-1'").succeeds().stdout, host);
    run(",'idmap=uids=@0-1999-2;gids=@0-5-1'").refuses(125, "is not one range of the container's");
}

/// A folder of root's own (TempRootfs is 0700) is closed to the user namespace; its root is looked for there.
fn open_to_all(root: &TempRootfs) {
    std::fs::set_permissions(root.parent(), std::fs::Permissions::from_mode(0o755)).expect("chmod works");
    for folder in ["mnt", "dev", "proc", "sys", ""] {
        chown(root.path().join(folder), Some(200_000), Some(200_000)).expect("root may");
    }
}

/// Volumes of engines lie in folders that only the host's root may enter.
#[test]
fn a_source_that_the_user_namespace_cannot_reach() {
    if !requires::root() || !requires::mount_setattr() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    open_to_all(&root);
    dir.file("closed/vol/ofboth", "");
    std::fs::set_permissions(dir.join("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let source = dir.join("closed/vol");
    let mount = format!("type=bind,source={},target=/vol,ro,nosuid", source.display());
    let out = in_user_namespace(&root, dir.path(), &mount);
    assert!(out.succeeds().stdout.starts_with("/vol/ofboth "), "{out:?}");
    // Without a plan nobody knew of it in time, and it is refused as ever.
    let line = format!(
        "idmap --map-users 0:200000:2000 --map-groups 0:200000:2000 -- ns-enter -mpniuC -- rootfs-prep --root {} --mount {mount} -- /bin/echo ran",
        root.path().display()
    );
    shell(&line).run().refuses(125, "EACCES");
    let gone = mount.replace("closed/vol", "closed/none");
    in_user_namespace(&root, dir.path(), &gone).refuses(125, "closed/none");
}

#[test]
fn what_cannot_be_mapped_is_refused_with_the_reason() {
    if !requires::idmapped_mounts() {
        return;
    }
    let (root, dir) = (rootfs(), owned());
    let bind = format!("type=bind,source={},target=/vol", dir.path().display());
    let refused = |mount: &str, text: &str| {
        let out = bare(&root, &["--mount", mount]).command(["/bin/echo", "ran"]).run();
        out.refuses(125, text);
        out.stderr.clone()
    };
    let told = refused(&format!("{bind},idmap"), "idmap: there is no user namespace in this plan");
    assert!(told.contains("why: without uidMappings"), "{told}");
    let told = refused("type=bind,source=/proc,target=/vol,idmap=0:1:1", "mount_setattr(MOUNT_ATTR_IDMAP)");
    assert!(told.contains("why: this file system has no idmapped mounts"), "{told}");
    refused("type=tmpfs,target=/vol,idmap", "idmap without uidMappings is for binds");
    refused(&format!("{bind},idmap=0:0:0"), "write(uid_map, 0 0 0)");
    refused(&format!("{bind},uidmap=0:1:1"), "mounts[0].gidMappings: missing");
    // In a user namespace the host's file systems are somebody else's.
    let chain = tool("idmap").arg("-r").then("ns-enter", ["-mp"]);
    let path = root.path();
    let mount = format!("{bind},idmap=0:0:1");
    let args = ["--root", path.to_str().unwrap(), "--no-defaults", "--mount", &mount];
    let out = chain.then("rootfs-prep", args).command(["/bin/echo", "ran"]).run();
    out.refuses(125, "mount_setattr(MOUNT_ATTR_IDMAP)");
    assert!(out.stderr.contains("why: mapping wants CAP_SYS_ADMIN in the user namespace that"), "{out:?}");
}

/// Any file system that allows it, not only binds; with all below, or without.
#[test]
fn other_file_systems_and_mounts_below() {
    if !requires::idmapped_mounts() {
        return;
    }
    let (root, dir) = (rootfs(), owned());
    std::fs::create_dir(dir.join("below")).unwrap();
    let run = |mount: &str| {
        let chain = format!(
            "ns-enter -mp -- rootfs-prep --root {} --no-defaults --proc /proc --mount type=bind,source=$PWD,target=/vol,{mount} \
             -- /bin/sh -c 'stat -c %u /vol/of0 /vol/below/f'",
            root.path().display()
        );
        let script =
            dir.file("script", format!("mount --bind $PWD $PWD/below && touch below/f && exec {chain}"));
        let out = shell(&format!("exec unshare -m bash {}", script.display())).cwd(dir.path()).run();
        out.succeeds().stdout.clone()
    };
    assert_eq!(run("rbind,idmap=0:77:1"), "77\n0\n");
    assert_eq!(run("rbind,ridmap,idmap=0:77:1"), "77\n77\n");
}

/// It goes on: the mounts made before are attached where the plan says, and their fds end with the chain.
#[test]
fn no_source_is_left_open() {
    if !requires::root() {
        return;
    }
    let (root, dir) = (rootfs(), owned());
    open_to_all(&root);
    let line = format!(
        "idmap --map-users 0:200000:2000 --map-groups 0:200000:2000 | ns-enter -mpniuC | rootfs-prep --root {} --ro-bind {} /vol --bind-try /no/such /x -- /probe",
        root.path().display(),
        dir.path().display()
    );
    let p = shell(&line).run().probe();
    p.expect_only_std_fds();
    p.expect_mount_options("/vol", &["ro", "nosuid", "nodev"]);
    p.expect_not_mounted("/x");
}

/// A source is opened while the mounts of the host are in sight, and may be a peer of theirs: nothing that is mounted in
/// it inside is to show up outside.
#[test]
fn what_is_mounted_in_a_source_stays_inside() {
    if !requires::root() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    dir.file("vol/below/.keep", "");
    for propagation in ["", "--propagation slave", "--propagation rslave", "--propagation rshared"] {
        let line = format!(
            "mount --bind vol vol && mount --make-rshared vol || exit 9
             idmap --map-users 0:200000:2000 --map-groups 0:200000:2000 | ns-enter -mpniuC | rootfs-prep --root {} \
                 {propagation} --bind {1}/vol /mnt --tmpfs /mnt/below -- /bin/sh -c 'touch /mnt/below/x; ls /mnt/below' || exit 8
             mount | grep -c {1}/vol; ls vol/below",
            root.path().display(),
            dir.path().display()
        );
        let out = shell(&format!(
            "exec unshare -m --propagation private bash -c '{}'",
            line.replace('\'', "'\\''")
        ))
        .cwd(&dir)
        .run();
        assert_eq!(out.succeeds().stdout, "x\n1\n", "{propagation}: {out:?}");
    }
}
