//! `--cache DIR`: a filter that comes again is not made again, and nothing that somebody planted is taken for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, TempDir, copy_program, requires, shell};
use chain::filters::{About, Kept, Made};
use chain::name::ToolName;
use chain::state::Receipt;
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A program of one instruction: it lets everything through.
fn open_door() -> Made {
    let receipt = Receipt::verified(ToolName::SeccompLoad, serde_json::Value::Null);
    let about = About { flags: 0, no_new_privs: true, warnings: vec!["w".into()], receipt };
    Made { about, program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f] }
}

fn place(folder: &Path, key: &[u8]) -> Result<Kept, String> {
    let base = fs::File::open("/").unwrap();
    Kept::below(base.as_fd(), folder, key.to_vec()).map_err(|error| error.to_string())
}

fn found(folder: &Path, key: &[u8]) -> Result<bool, String> {
    place(folder, key)?.find().map(|made| made.is_some()).map_err(|error| error.to_string())
}

/// The files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn only(folder: &Path) -> PathBuf {
    let files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn what_is_kept_is_found_again_by_all_that_it_was_made_of() {
    let dir = TempDir::new();
    let folder = dir.join("filters");
    assert!(!found(&folder, b"key").unwrap());
    place(&folder, b"key").unwrap().keep(&open_door()).unwrap();
    let made = place(&folder, b"key").unwrap().find().unwrap().unwrap();
    assert_eq!((made.program, made.about.warnings), (open_door().program, vec!["w".to_string()]));
    assert!(!found(&folder, b"kez").unwrap());
    assert_eq!(
        (fs::metadata(&folder).unwrap().mode() & 0o777, only(&folder).metadata().unwrap().mode() & 0o777),
        (0o700, 0o600)
    );
    // Under the name of another one it is still what it is.
    let own = only(&folder);
    for n in 0..64 {
        let other = folder.join(format!("{n:02x}"));
        if other != own {
            fs::copy(&own, other).unwrap();
        }
    }
    for n in 0..1000_u32 {
        assert_eq!(found(&folder, format!("other {n}").as_bytes()), Ok(false));
    }
}

#[test]
fn a_folder_holds_so_many_and_no_more() {
    let dir = TempDir::new();
    for n in 0..500_u32 {
        let kept = place(dir.path(), format!("key {n}").as_bytes()).unwrap();
        kept.keep(&open_door()).unwrap();
        assert_eq!(found(dir.path(), format!("key {n}").as_bytes()), Ok(true));
    }
    assert_eq!(files(dir.path()).len(), 64);
}

#[test]
fn a_file_that_was_changed_in_any_byte_or_cut_short_is_not_used() {
    let dir = TempDir::new();
    place(dir.path(), b"key").unwrap().keep(&open_door()).unwrap();
    let file = only(dir.path());
    let whole = fs::read(&file).unwrap();
    let refused = |text: &[u8]| {
        fs::write(&file, text).unwrap();
        found(dir.path(), b"key").unwrap_err()
    };
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(refused(&changed).ends_with("it is damaged"), "byte {at}");
        assert!(refused(&whole[..at]).ends_with("it is damaged"), "{at} bytes");
    }
    assert!(refused(&[&whole[..], b"x"].concat()).ends_with("it is damaged"));
    fs::write(&file, &whole).unwrap();
    assert_eq!(found(dir.path(), b"key"), Ok(true));
}

#[test]
fn what_somebody_else_could_have_planted_is_not_used() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let folder = dir.join("filters");
    let plant = || {
        place(&folder, b"key").unwrap().keep(&open_door()).unwrap();
        assert_eq!(found(&folder, b"key"), Ok(true));
        only(&folder)
    };
    let refused = |why: &str| {
        let said = found(&folder, b"key").unwrap_err();
        assert!(said.contains(why), "{said}");
        // The next one that is made takes its place.
        fs::remove_dir_all(&folder).unwrap();
    };
    chown(plant(), Some(1000), None).unwrap();
    refused("it belongs to user 1000");
    for mode in [0o620, 0o602] {
        fs::set_permissions(plant(), Permissions::from_mode(mode)).unwrap();
        refused(&format!("others may write to it: mode {mode:04o}"));
    }
    fs::hard_link(plant(), dir.join("second")).unwrap();
    refused("it has another name");
    let file = plant();
    fs::rename(&file, dir.join("elsewhere")).unwrap();
    symlink(dir.join("elsewhere"), &file).unwrap();
    refused("ELOOP");
    let file = plant();
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    refused("it is no file");
    plant();
    fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
    refused("others may write to it: mode 0770");
    plant();
    chown(&folder, Some(1000), None).unwrap();
    refused("it belongs to user 1000");
    plant();
    fs::rename(&folder, dir.join("moved")).unwrap();
    symlink(dir.join("moved"), &folder).unwrap();
    let said = found(&folder, b"key").unwrap_err();
    assert!(said.contains("ENOTDIR"), "{said}");
}

/// The probe under a filter, with a cache.
fn run(folder: &Path, flags: &str, call: &str) -> Output {
    shell(&format!("seccomp-load --cache {} {flags} -- \"$PROBE\" try-syscall {call}", folder.display()))
        .run()
}

fn says(out: &Output) -> &str {
    assert!(out.status == 1 && out.stderr.is_empty(), "{out:?}");
    out.stdout.trim()
}

#[test]
fn the_second_run_takes_the_filter_of_the_first() {
    let dir = TempDir::new();
    let folder = dir.join("filters");
    assert_eq!(says(&run(&folder, "-s mkdirat:EXDEV", "mkdirat")), "EXDEV");
    let first = only(&folder).metadata().unwrap().ino();
    assert_eq!(says(&run(&folder, "-s mkdirat:EXDEV", "mkdirat")), "EXDEV");
    assert_eq!(only(&folder).metadata().unwrap().ino(), first, "it was not made again");
    // Another rule, and the same one under other conditions, are other filters.
    assert_eq!(says(&run(&folder, "-s mkdirat:EIO", "mkdirat")), "EIO");
    run(&folder, "@default", "getpid").succeeds();
    // Nor is one that was damaged used, and the run goes on with a filter all the same.
    for file in files(&folder) {
        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..text.len() - 8]).unwrap();
    }
    let out = run(&folder, "-s mkdirat:EXDEV", "mkdirat");
    assert_eq!((out.status, out.stdout.as_str()), (1, "EXDEV\n"), "{out:?}");
    assert!(out.stderr.contains("it is damaged; it is made anew"), "{out:?}");
    assert_eq!(says(&run(&folder, "-s mkdirat:EXDEV", "mkdirat")), "EXDEV");
}

#[test]
fn what_is_said_of_a_filter_is_said_each_time() {
    let dir = TempDir::new();
    let folder = dir.join("filters");
    let flags = "--try syscalls -s frobnicate:EPERM,mkdirat:EXDEV";
    for _ in 0..2 {
        let out = run(&folder, flags, "mkdirat");
        assert_eq!(out.stdout, "EXDEV\n");
        assert!(out.stderr.contains("'frobnicate' is not known, left out"), "{out:?}");
    }
    let receipts = || {
        let line =
            format!("seccomp-load --status-fd 3 --cache {} -s mkdir:EXDEV -- true 3>&1", folder.display());
        shell(&line).run().succeeds().stdout.clone()
    };
    let (first, second) = (receipts(), receipts());
    assert!(first.contains("\"instructions\""), "{first}");
    let applied = |text: &str| {
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| !line["applied"].is_null())
            .map(|line| line["applied"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(applied(&first), applied(&second));
}

#[test]
fn a_folder_that_cannot_be_trusted_is_refused_before_anything_runs() {
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    run(dir.path(), "-s mkdirat:EXDEV", "mkdirat").refuses(125, "others may write to it: mode 0777");
    run(&dir.join("no/such"), "-s mkdirat:EXDEV", "mkdirat")
        .refuses(125, "No such file or directory (ENOENT)");
    assert!(files(dir.path()).is_empty());
}

/// The folder is opened by the first link, where paths are the caller's.
#[test]
fn a_later_link_finds_it_behind_another_root() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let (root, folder) = (dir.join("root"), dir.join("filters"));
    for made in [&root, &folder] {
        fs::create_dir(made).unwrap();
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    copy_program("/bin/busybox", root.join("busybox"));
    let line = format!(
        "ns-enter -m -- rootfs-prep --bind {} / -- seccomp-load --cache {} -s mkdir:EXDEV,mkdirat:EXDEV -- /busybox mkdir /x",
        root.display(),
        folder.display()
    );
    for _ in 0..2 {
        let out = shell(&line).run();
        assert!(out.status == 1 && out.stderr.contains("cross-device"), "{out:?}");
    }
    only(&folder);
}
