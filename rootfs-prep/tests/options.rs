//! Options of mounts by the kernel's own account: each set, each cleared, kept where it is locked.

mod common;

use catena_tests::{Probe, TempDir, TempRootfs, requires, rootfs, shell};
use common::{Outside, bare, link, there};
use serde_json::{Value, json};

fn seen(root: &TempRootfs, mounts: &[&str]) -> Probe {
    let mut args: Vec<&str> = mounts.iter().flat_map(|m| ["--mount", m]).collect();
    args.extend(["--proc", "/proc"]);
    bare(root, &args).probe_at("/probe")
}

/// On, off, and what mountinfo says of it.
const PAIRS: [(&str, &str, &str); 6] = [
    ("ro", "rw", "ro"),
    ("nosuid", "suid", "nosuid"),
    ("nodev", "dev", "nodev"),
    ("noexec", "exec", "noexec"),
    ("nodiratime", "diratime", "nodiratime"),
    ("nosymfollow", "symfollow", "nosymfollow"),
];

/// A bind of a mount that has them all: each is cleared alone, and the others stay.
#[test]
fn each_flag_is_set_and_cleared_alone() {
    if !requires::root() {
        return;
    }
    let root = rootfs();
    std::fs::create_dir(there(&root, "all")).unwrap();
    let on: Vec<&str> = PAIRS.iter().map(|(on, ..)| *on).collect();
    let (set, dir) = (on.join(","), TempDir::new());
    let mut mounts = String::new();
    for (n, (on, off, _)) in PAIRS.iter().enumerate() {
        mounts += &format!(" --mount type=bind,source=$PWD/all,target=/off{n},{off}");
        mounts += &format!(" --mount type=bind,source=$PWD/all,target=/roff{n},r{off}");
        mounts += &format!(" --mount type=bind,source=$PWD/none,target=/on{n},{off},{on}");
        mounts += &format!(" --mount type=tmpfs,target=/fs{n},r{off},r{on}");
    }
    let script = format!(
        "mkdir all none && mount -t tmpfs all all && mount -o remount,bind,{set} all && mount --bind none none && \
         exec ns-enter -mp -- rootfs-prep --root {} --no-defaults --proc /proc{mounts} -- /probe",
        root.path().display()
    );
    let script = dir.file("script", script);
    let p = shell(&format!("exec unshare -m bash {}", script.display())).cwd(dir.path()).run().probe();
    for (n, (.., shown)) in PAIRS.iter().enumerate() {
        for prefix in ["off", "roff"] {
            let mount = p.mount_at(&format!("/{prefix}{n}")).unwrap();
            for (.., other) in PAIRS {
                assert_eq!(
                    mount.options.iter().any(|o| o == other),
                    other != *shown,
                    "{prefix} {shown}: {mount:?}"
                );
            }
        }
        for prefix in ["on", "fs"] {
            let mount = p.mount_at(&format!("/{prefix}{n}")).unwrap();
            for (.., other) in PAIRS {
                assert_eq!(
                    mount.options.iter().any(|o| o == other),
                    other == *shown,
                    "{prefix} {shown}: {mount:?}"
                );
            }
        }
    }
}

/// The access time is one of three, whatever was there before; recursive words go for all below.
#[test]
fn the_access_time_is_an_enumeration() {
    if !requires::root() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    let shown =
        [("noatime", "noatime"), ("relatime", "relatime"), ("atime", "relatime"), ("strictatime", "")];
    let mut mounts = String::new();
    for (n, (_, _)) in shown.iter().enumerate() {
        for (m, (word, _)) in shown.iter().enumerate() {
            mounts += &format!(" --mount type=bind,source=$PWD/{n},target=/t{n}{m},{word}");
            mounts += &format!(" --mount type=bind,source=$PWD/{n},target=/r{n}{m},rbind,r{word}");
        }
    }
    let made = "for n in 0 1 2 3; do mkdir $n && mount -t tmpfs x $n && mkdir $n/b && mount -t tmpfs y $n/b; done; \
        mount -o remount,bind,noatime 0; mount -o remount,bind,strictatime 3; mount -o remount,bind,noatime 3/b";
    let script = format!(
        "{made}; exec ns-enter -mp -- rootfs-prep --root {} --no-defaults --proc /proc{mounts} -- /probe",
        root.path().display()
    );
    let script = dir.file("script", script);
    let p = shell(&format!("exec unshare -m bash {}", script.display())).cwd(dir.path()).run().probe();
    for n in 0..shown.len() {
        for (m, (word, shown)) in shown.iter().enumerate() {
            for at in [format!("/t{n}{m}"), format!("/r{n}{m}"), format!("/r{n}{m}/b")] {
                let mount = p.mount_at(&at).unwrap();
                let found: Vec<&String> = mount.options.iter().filter(|o| o.ends_with("atime")).collect();
                let wanted: Vec<&&str> = [shown].into_iter().filter(|s| !s.is_empty()).collect();
                assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{at} {word}: {mount:?}");
            }
        }
    }
}

/// Of the file system, as its superblock has them.
#[test]
fn options_of_the_file_system() {
    let root = rootfs();
    let p = seen(
        &root,
        &[
            "type=tmpfs,target=/a,sync,dirsync,lazytime",
            "type=tmpfs,target=/b,sync,async,silent,loud,iversion,defaults",
        ],
    );
    p.expect_mount_options("/a", &["sync", "dirsync", "lazytime"]);
    assert!(!p.mount_at("/b").unwrap().has("sync"));
}

/// Each kind on the mount itself and, with an r, on all below.
#[test]
fn propagation_of_each_mount() {
    let root = rootfs();
    let kinds = ["private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable"];
    let mounts: Vec<String> = kinds.iter().map(|k| format!("type=tmpfs,target=/{k},{k}")).collect();
    let mut all: Vec<&str> = mounts.iter().map(String::as_str).collect();
    all.push("type=tmpfs,target=/both,shared,slave");
    let p = seen(&root, &all);
    for kind in kinds {
        let found = p.mount_at(&format!("/{kind}")).unwrap().propagation.join(" ");
        match kind.trim_start_matches('r') {
            "shared" => assert!(found.starts_with("shared:"), "{kind}: {found}"),
            "unbindable" => assert_eq!(found, "unbindable"),
            // A slave of nobody is private.
            _ => assert_eq!(found, "", "{kind}"),
        }
    }
    assert_eq!(p.mount_at("/both").unwrap().propagation.join(" "), "", "in order: the last word counts");
}

/// A flag that the outer user namespace set stays, or the wish is refused with its name: never less without a word.
#[test]
fn a_locked_flag_stays_or_is_refused_by_name() {
    if !requires::root() {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    std::fs::create_dir(dir.join("vol")).unwrap();
    let run = |options: &str| {
        let line = format!(
            "mount -t tmpfs -o ro,nosuid,nodev,noatime x $PWD/vol && exec idmap -r -- ns-enter -mp -- rootfs-prep --root {} --no-defaults \
             --ro-bind /proc /proc --mount type=bind,source=$PWD/vol,target=/vol{options} -- /probe",
            root.path().display()
        );
        let script = dir.file("script", line);
        shell(&format!("exec unshare -m bash {}", script.display())).cwd(dir.path()).run()
    };
    for kept in ["", ",noexec", ",ro,nosuid", ",noatime"] {
        let p = run(kept).probe();
        p.expect_mount_options("/vol", &["ro", "nosuid", "nodev", "noatime"]);
    }
    for (asked, named) in [
        (",rw", "'ro' of the source is locked"),
        (",suid", "'nosuid' of the source is locked"),
        (",dev", "'nodev' of the source is locked"),
        (",rw,suid", "'ro', 'nosuid' of the source is locked"),
        (",rrw", "'ro' of the source is locked"),
        (",strictatime", "its access time is locked"),
    ] {
        let out = run(asked);
        out.refuses(125, "(EPERM)");
        assert!(out.stderr.contains(named), "{asked}: {out:?}");
    }
    run(",exec").succeeds();
}

/// As a tracefs is, in the /sys of a host.
#[test]
fn a_mount_below_that_is_closed_to_the_user_gets_its_flags_too() {
    if !requires::root() || !requires::command("setpriv") {
        return;
    }
    let (root, dir) = (rootfs(), TempDir::new());
    for folder in [root.parent(), &root.path(), dir.path()] {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(root.path().join("vol")).unwrap();
    dir.file("vol/closed/.keep", "");
    let line = format!(
        "mount -t tmpfs -o mode=0700 x $PWD/vol/closed && exec setpriv --reuid 54321 --regid 54321 --clear-groups \
         idmap -r -- ns-enter -mp -- rootfs-prep --root {} --no-defaults --ro-bind /proc /proc \
         --mount type=bind,source=$PWD/vol,target=/vol,rbind,rro,rnoexec -- /probe",
        root.path().display()
    );
    let script = dir.file("script", line);
    let p = shell(&format!("exec unshare -m bash {}", script.display())).cwd(dir.path()).run().probe();
    for at in ["/vol", "/vol/closed"] {
        p.expect_mount_options(at, &["ro", "noexec"]);
    }
}

fn config(root: &TempRootfs, mounts: Value) -> catena_tests::Tool {
    let path = root.config(&json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["x"], "cwd": "/", "user": {}}, "mounts": mounts}));
    common::prep(["--oci", path.to_str().expect("text")])
}

/// crun's words for links: the same link instead of a bind, the link itself as the source, the link itself mounted on.
#[test]
fn links_that_are_not_followed() {
    let (root, outside) = (rootfs(), Outside::new());
    let dir = TempDir::new();
    std::os::unix::fs::symlink(outside.at("file"), dir.join("source")).unwrap();
    let source = dir.join("source").display().to_string();
    link(&root, "mnt/dest", outside.at("file"));
    let bind = |at: &str, options: Value| json!({"destination": at, "type": "bind", "source": source, "options": options});
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let line = format!(
        "readlink /copy/deep; cat /followed; readlink /itself || cat /itself; cat /mnt/dest; ls -A {} 2>/dev/null; grep -c ' /mnt/dest ' /proc/self/mountinfo",
        outside.at("")
    );
    let mounts = json!([
        proc,
        bind("/copy/deep", json!(["bind", "copy-symlink"])),
        bind("/followed", json!(["bind", "ro"])),
        bind("/mnt/dest", json!(["bind", "dest-nofollow"])),
        {"destination": "/plain", "type": "bind", "source": outside.at("file"), "options": ["bind", "copy-symlink"]},
    ]);
    let line = line.replace("readlink /itself || cat /itself; ", "cat /plain; ");
    let out = config(&root, mounts).command(["/bin/sh", "-c", &line]).run();
    assert_eq!(out.succeeds().stdout, format!("{}\nhosthosthost1\n", outside.at("file")));
    assert!(!there(&root, &outside.at("")).exists(), "nothing was made where the link leads");
    // The link itself on a name, which is made; and on a link, which stays what it is.
    link(&root, "itself", "/etc/passwd");
    let mounts = json!([bind("/itself", json!(["bind", "src-nofollow", "dest-nofollow"]))]);
    let out = config(&root, mounts).command(["/bin/readlink", "/itself"]).run();
    assert_eq!(out.succeeds().stdout.trim(), outside.at("file"));
    assert_eq!(std::fs::read_link(there(&root, "itself")).unwrap().to_str(), Some("/etc/passwd"));
    // A copy of a link that is another one there already.
    let mounts = json!([bind("/itself", json!(["bind", "copy-symlink"]))]);
    config(&root, mounts).command(["/bin/echo", "ran"]).run().refuses(125, "something else is there");
    outside.is_untouched();
}
