//! What was dropped must not come back: over more execs, through set-user-ID, through file capabilities, through what
//! the caller had ambient or inheritable.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Probe, TempDir, Tool, cap_bit, copy_program, probe_path, requires, shell, tool};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").arg("-N").args(line.split_whitespace())
}

/// All 64 bits of all five sets: what is newer than any table of names counts too.
#[track_caller]
fn nothing(seen: &Probe) {
    let c = seen.caps;
    let sets = [c.bounding, c.permitted, c.effective, c.inheritable, c.ambient];
    assert_eq!(sets, [0; 5], "bounding, permitted, effective, inheritable, ambient");
}

/// A copy of the payload that anybody may run.
fn payload(dir: &TempDir, mode: u32) -> PathBuf {
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.join("payload");
    copy_program(probe_path(), &path);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

/// `security.capability` as linux/capability.h has it, revision 2.
fn file_caps(dir: &TempDir, permitted: u64, inheritable: u64, effective: bool) -> PathBuf {
    let path = payload(dir, 0o755);
    let magic = 0x0200_0000 | u32::from(effective);
    let words =
        [magic, permitted as u32, inheritable as u32, (permitted >> 32) as u32, (inheritable >> 32) as u32];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    rustix::fs::setxattr(&path, "security.capability", &bytes, rustix::fs::XattrFlags::empty()).unwrap();
    path
}

#[test]
fn all_leaves_nothing_in_any_set_and_no_exec_brings_it_back() {
    if !requires::root() {
        return;
    }
    nothing(&cap_drop("--all").probe());
    nothing(&cap_drop("--cap-drop ALL").probe());
    nothing(&cap_drop("--bounding none --permitted none").probe());
    for privs in ["", " --allow-new-privs"] {
        let line = format!("cap-drop -N --all{privs} -- sh -c 'exec env sh -c \"exec $PROBE\"'");
        nothing(&shell(&line).run().probe());
        let line =
            format!("cap-drop -N --all{privs} -- seccomp-load -s mount:EPERM -- sh -c '(exec $PROBE)'");
        nothing(&shell(&line).run().probe());
    }
}

#[test]
fn what_is_cut_from_one_set_is_not_found_in_another() {
    if !requires::root() {
        return;
    }
    let held = "setpriv --inh-caps +net_raw,+chown --ambient-caps +net_raw,+chown -- ";
    for privs in ["", "--allow-new-privs "] {
        let seen = shell(&format!("{held}cap-drop {privs}--cap-drop net_raw -- $PROBE")).run().probe();
        seen.expect_without_caps(&["net_raw"]);
        assert_ne!(seen.caps.effective & cap_bit("chown"), 0, "only what was named");
    }
}

#[test]
fn a_setuid_program_gets_no_more_than_is_left() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let setuid = payload(&dir, 0o4755);
    let run = |line: &str| cap_drop(&format!("--user 1000:1000 {line}")).command([&setuid]).run().probe();
    // The file system honours the bit, and with nothing dropped it gives everything: the rest means something.
    let control = run("--allow-new-privs");
    assert_eq!((control.uids.effective, control.caps.effective), (0, control.caps.bounding));
    assert_ne!(control.caps.effective, 0);
    for line in ["--all", "--keep net_raw", "--cap-drop chown", ""] {
        let seen = run(line);
        seen.expect_user(1000, 1000, &[]).expect_no_new_privs(true);
        assert_eq!(seen.caps.effective & !cap_bit("net_raw"), 0, "{line}");
    }
    nothing(&run("--all --allow-new-privs"));
    run("--keep net_raw --allow-new-privs").expect_effective(&["net_raw"]).expect_bounding(&["net_raw"]);
    let seen = run("--cap-drop sys_admin,chown --allow-new-privs");
    seen.expect_without_caps(&["sys_admin", "chown"]);
    assert_eq!(seen.uids.effective, 0);
    let seen = run("--allow-new-privs --securebits noroot,noroot_locked");
    assert_eq!((seen.uids.effective, seen.caps.effective, seen.caps.permitted), (0, 0, 0));
}

#[test]
fn file_capabilities_give_no_more_than_is_left() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let two = cap_bit("net_raw") | cap_bit("chown");
    let file = file_caps(&dir, two, 0, false);
    let run = |line: &str| cap_drop(&format!("--user 1000:1000 {line}")).command([&file]).run().probe();
    run("--allow-new-privs").expect_permitted(&["net_raw", "chown"]);
    run("").expect_caps(&[]).expect_no_new_privs(true);
    run("--cap-drop chown").expect_caps(&[]);
    run("--cap-add net_raw").expect_caps(&[]);
    run("--bounding net_raw").expect_caps(&[]);
    nothing(&run("--all"));
    nothing(&run("--all --allow-new-privs"));
    run("--cap-drop chown --allow-new-privs").expect_permitted(&["net_raw"]);
    run("--keep net_raw --allow-new-privs").expect_permitted(&["net_raw"]);
    // A program whose file insists on them does not start at all.
    let file = file_caps(&dir, two, 0, true);
    let out = cap_drop("--user 1000:1000 --all --allow-new-privs").command([&file]).run();
    out.refuses(126, "Operation not permitted (EPERM)");
    cap_drop("--user 1000:1000").command([&file]).run().probe().expect_caps(&[]);
}

/// A capability that is inheritable meets the inheritable set of a file, and is back (CVE-2022-29162).
#[test]
fn what_is_added_is_not_inheritable() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let file = file_caps(&dir, 0, cap_bit("net_raw"), true);
    let run = |line: &str| cap_drop(line).command([&file]).run().probe();
    let user = "--user 1000:1000 --allow-new-privs";
    run(&format!("{user} --inheritable net_raw")).expect_effective(&["net_raw"]);
    for line in
        ["", "--cap-add net_raw", "--cap-drop all --cap-add net_raw", "--bounding net_raw --permitted none"]
    {
        let seen = run(&format!("{user} {line}"));
        assert_eq!((seen.caps.inheritable, seen.caps.effective, seen.caps.permitted), (0, 0, 0), "{line}");
    }
    cap_drop("--keep net_raw").probe().expect_inheritable(&[]);
    let inherited = "setpriv --inh-caps +net_raw -- cap-drop --user 1000:1000 --keep chown -- $PROBE";
    shell(inherited).run().probe().expect_inheritable(&["chown"]).expect_effective(&["chown"]);
}

#[test]
fn what_the_caller_had_ambient_does_not_reach_the_command() {
    if !requires::root() {
        return;
    }
    let sets =
        "--inh-caps +net_raw,+setuid,+setgid,+setpcap --ambient-caps +net_raw,+setuid,+setgid,+setpcap";
    let root = format!("setpriv {sets} -- ");
    let user = format!("setpriv --reuid 1001 --regid 1001 --clear-groups {sets} -- ");
    let seen = |line: String| shell(&format!("{line} -- $PROBE")).run().probe();
    assert_ne!(seen(format!("exec {user} env")).caps.ambient, 0, "the caller has them");
    for line in
        ["--umask 022", "--user 1000:1000", "--user 1000:1000 --cap-add net_raw", "--securebits noroot"]
    {
        for caller in [&root, &user] {
            let seen = seen(format!("{caller} cap-drop {line}"));
            assert_eq!(seen.caps.ambient, 0, "{caller} {line}");
            if seen.uid != 0 || line.contains("noroot") {
                assert_eq!((seen.caps.permitted, seen.caps.effective), (0, 0), "{caller} {line}");
            }
        }
    }
    nothing(&seen(format!("{user} cap-drop --all")));
    nothing(&seen(format!("{root} cap-drop --all")));
}

/// setpriv, without CAP_SETPCAP, leaves all of it and says nothing.
#[test]
fn a_bounding_set_that_cannot_be_cut_is_refused() {
    let without = if nix::unistd::geteuid().is_root() {
        "setpriv --bounding-set=-setpcap --inh-caps=-all -- "
    } else {
        ""
    };
    for line in [
        "--all",
        "--cap-drop net_raw",
        "--keep chown",
        "--bounding none",
        "--bounding=-net_raw",
        "--cap-drop 0",
    ] {
        let out = shell(&format!("{without}cap-drop {line} -- $PROBE ran")).run();
        // An ordinary user has nothing to keep either.
        let why = if without.is_empty() && line == "--keep chown" { "CAP_CHOWN" } else { "CAP_SETPCAP" };
        out.refuses(125, why);
    }
    let config = TempDir::new();
    let config = config.file("config.json", r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0}}}"#);
    if !without.is_empty() {
        let line = format!("{without}cap-drop --oci {} -- $PROBE ran", config.display());
        shell(&line).run().refuses(125, "CAP_SETPCAP");
    }
    let seen = shell(&format!("{without}cap-drop --try bounding --all -- $PROBE")).run();
    assert!(seen.stderr.contains("warning: bounding: left as it is"), "{seen:?}");
    let c = seen.probe().caps;
    assert!(c.bounding != 0 && [c.permitted, c.effective, c.inheritable, c.ambient] == [0; 4], "{c:?}");
}

#[test]
fn leave_to_do_less_is_not_used_where_all_can_be_done() {
    if !requires::root() {
        return;
    }
    let out = cap_drop("--all --user 1000:1000 --try bounding,groups,ambient").command([probe_path()]).run();
    out.succeeds();
    nothing(out.probe().expect_user(1000, 1000, &[]));
}

/// The kernel would let the command raise it again from permitted.
#[test]
fn a_request_that_exec_would_undo_is_refused() {
    if !requires::root() {
        return;
    }
    for (line, text) in [
        ("--allow-new-privs --permitted chown", "permitted: its exec would give"),
        ("--effective none", "effective: its exec would give"),
        ("--allow-new-privs --effective chown", "effective: its exec would give"),
        ("--user 1000:1000 --permitted chown", "permitted: its exec would take CAP_CHOWN"),
        ("--user 1000:1000 --effective chown", "effective: its exec would take CAP_CHOWN"),
        ("--bounding none --permitted chown", "permitted: its exec would take CAP_CHOWN"),
        ("--securebits keep_caps", "keep_caps: execve(2) clears it"),
    ] {
        cap_drop(line).verb(["ran"]).run().refuses(125, text);
    }
}
