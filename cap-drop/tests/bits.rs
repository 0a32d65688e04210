//! Secure bits, no_new_privs, the session keyring, and labels of security modules.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Probe, StatusLog, TempDir, Tool, probe_path, requires, shell, tool};

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").arg("-N").args(line.split_whitespace())
}

#[test]
fn each_secure_bit_and_its_lock() {
    if !requires::root() {
        return;
    }
    for (line, bits) in [
        ("noroot", 1),
        ("noroot,noroot_locked", 3),
        ("+noroot", 1),
        ("no_setuid_fixup", 4),
        ("no_setuid_fixup,no_setuid_fixup_locked", 12),
        ("keep_caps_locked", 32),
        ("no_cap_ambient_raise", 64),
        ("no_cap_ambient_raise,no_cap_ambient_raise_locked", 192),
        ("noroot,-noroot", 0),
        ("noroot,-all,no_setuid_fixup", 4),
    ] {
        assert_eq!(cap_drop(&format!("--securebits={line}")).probe().securebits, bits, "{line}");
        // Setting them wants CAP_SETPCAP, which may go in the same step.
        for user in ["--all", "--all --user 1000:1000"] {
            let seen = cap_drop(&format!("--securebits={line} {user}")).probe();
            seen.expect_caps_empty();
            assert_eq!(seen.securebits, bits, "{line} {user}");
        }
    }
}

#[test]
fn bits_of_the_caller_stay_unless_they_are_cleared() {
    if !requires::root() {
        return;
    }
    let caller =
        "setpriv --securebits=+noroot,+no_setuid_fixup --inh-caps +setpcap --ambient-caps +setpcap -- ";
    let seen = |line: &str| shell(&format!("{caller}cap-drop -N {line} -- $PROBE")).run().probe().securebits;
    assert_eq!(seen("--umask 022"), 5);
    assert_eq!(seen("--securebits no_cap_ambient_raise"), 69);
    assert_eq!(seen("--securebits=-noroot"), 4);
    assert_eq!(seen("--securebits=-all"), 0);
}

#[test]
fn a_locked_bit_cannot_be_cleared_and_that_is_said() {
    if !requires::root() {
        return;
    }
    let caller =
        "setpriv --securebits=+noroot,+noroot_locked --inh-caps +setpcap --ambient-caps +setpcap -- ";
    for line in ["--securebits=-noroot", "--securebits=-noroot_locked", "--securebits=-all"] {
        let out = shell(&format!("{caller}cap-drop -N {line} -- $PROBE ran")).run();
        out.refuses(125, "cannot set the secure bits: prctl(PR_SET_SECUREBITS, ");
    }
    let again = shell(&format!("{caller}cap-drop -N --securebits noroot -- $PROBE")).run().probe();
    assert_eq!(again.securebits, 3);
}

#[test]
fn noroot_makes_root_a_user_like_any() {
    if !requires::root() {
        return;
    }
    let seen = cap_drop("--securebits noroot,noroot_locked").probe();
    assert_eq!((seen.uid, seen.caps.permitted, seen.caps.effective), (0, 0, 0));
}

/// Bits that would keep an ambient capability from being raised are set after it is.
#[test]
fn ambient_is_raised_before_a_bit_forbids_it() {
    if !requires::root() {
        return;
    }
    let line =
        "--user 1000:1000 --keep net_raw --securebits no_cap_ambient_raise,no_cap_ambient_raise_locked";
    let seen = cap_drop(line).probe();
    seen.expect_effective(&["net_raw"]).expect_ambient(&["net_raw"]);
    assert_eq!(seen.securebits, 192);
    let out = shell(
        "cap-drop -N --securebits no_cap_ambient_raise --allow-new-privs -- \
        sh -c 'cap-drop -N --user 1000:1000 --keep net_raw -- $PROBE ran'",
    )
    .run();
    out.refuses(125, "prctl(PR_CAP_AMBIENT_RAISE, 13): Operation not permitted (EPERM)");
}

#[test]
fn no_new_privs_is_on_unless_it_is_turned_off() {
    for line in ["--umask 022", "--keyring x", "--no-keyring --umask 022"] {
        cap_drop(line).probe().expect_no_new_privs(true);
    }
    cap_drop("--umask 022 --allow-new-privs").probe().expect_no_new_privs(false);
    // What is on stays on.
    let on = "setpriv --no-new-privs -- cap-drop -N --umask 022 --allow-new-privs -- $PROBE";
    shell(on).run().probe().expect_no_new_privs(true);
    if requires::root() {
        for line in ["--all", "--user 1000:1000", "--keep chown", "--securebits noroot"] {
            cap_drop(line).probe().expect_no_new_privs(true);
            cap_drop(&format!("{line} --allow-new-privs")).probe().expect_no_new_privs(false);
        }
    }
}

#[test]
fn no_new_privs_with_a_filter_behind() {
    if !requires::root() {
        return;
    }
    for (cap, filter, on) in [
        ("--all", "", true),
        ("--all", "--allow-new-privs", true),
        ("--all --allow-new-privs", "", true),
        ("--all --allow-new-privs", "--allow-new-privs", false),
        ("--user 1000:1000 --allow-new-privs", "--allow-new-privs", false),
        ("--user 1000:1000", "", true),
    ] {
        for form in [
            "cap-drop -N CAP -- seccomp-load FILTER -s add_key:EPERM -- ",
            "cap-drop CAP | seccomp-load FILTER -s add_key:EPERM -- ",
        ] {
            let line = form.replace("CAP", cap).replace("FILTER", filter);
            let seen = shell(&format!("{line}$PROBE")).run().probe();
            seen.expect_no_new_privs(on).expect_filters(1);
            if cap.starts_with("--all") {
                seen.expect_caps_empty();
            }
        }
    }
}

/// The caller's keys stay outside.
#[test]
fn the_session_keyring_is_a_new_one() {
    let Some(here) = keyrings() else { return };
    let serial = |tool: Tool| tool.probe().session_keyring;
    let (one, two) = (serial(cap_drop("--umask 022")), serial(cap_drop("--umask 022")));
    assert!(one.is_some() && one != Some(here) && two != Some(here), "{here} {one:?} {two:?}");
    // By its serial, for one that is no longer in use is in the list for a while.
    let name = format!("catena-test-{}", std::process::id());
    let log = StatusLog::new();
    let named = cap_drop(&format!("--keyring {name} --status-fd 9")).fd(log.fd(), 9);
    let out = named.command(["sh", "-c", "$PROBE; exec cat /proc/keys"]).env("PROBE", probe_path()).run();
    let (probe, keys) = out.succeeds().stdout.split_once('\n').unwrap();
    let serial = serde_json::from_str::<Probe>(probe).unwrap().session_keyring.unwrap();
    let line = keys.lines().find(|l| l.starts_with(&format!("{serial:08x} "))).unwrap_or_default();
    assert!(line.ends_with(&format!("keyring   {name}: empty")), "{serial:x}: {keys}");
    assert_eq!(log.of("warning").len(), 0);
    let kept = |line: &str| shell(&format!("$PROBE; exec cap-drop -N {line} -- $PROBE")).run();
    let serials = |out: catena_tests::Output| {
        let all: Vec<Probe> = out.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        (all[0].session_keyring, all[1].session_keyring)
    };
    let (before, after) = serials(kept("--umask 022 --no-keyring"));
    assert_eq!(before, after);
    if requires::root() {
        let (before, after) = serials(kept("--user 1000:1000 --all"));
        assert!(after.is_some() && before != after, "a user has it too");
    }
}

fn keyrings() -> Option<i64> {
    let here = Probe::here().session_keyring;
    if here.is_none() {
        requires::skip("needs keyrings");
    }
    here
}

/// By name, keyctl(2) gives a keyring that is there if others may search it, with all its keys.
#[test]
fn a_keyring_of_that_name_that_others_can_reach_is_not_shared() {
    if keyrings().is_none() {
        return;
    }
    let name = format!("catena-shared-{}", std::process::id());
    let serials = |open: &str| {
        let log = StatusLog::new();
        let inner = format!("{open}; $PROBE; cap-drop -N --status-fd 9 --keyring {name} -- $PROBE");
        let line = format!("cap-drop -N --keep-fd 9 --keyring {name} -- sh -c '{inner}'");
        let out = shell(&line).fd(log.fd(), 9).run();
        let all: Vec<Probe> =
            out.succeeds().stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let serial = |n: usize| all[n].session_keyring.unwrap();
        assert_ne!(serial(0), serial(1), "{open}");
        log.of("warning").len()
    };
    assert_eq!(serials("true"), 0);
    // KEYCTL_SETPERM for all that others may do.
    assert_eq!(serials("$PROBE try-syscall keyctl 5 -3 0x3f3f3f3f >/dev/null"), 1);
}

#[test]
fn names_that_no_keyring_has() {
    for name in [".x", "", "a b", "x\ny", "é"] {
        tool("cap-drop")
            .args(["-N", "--keyring", name])
            .verb(["ran"])
            .run()
            .refuses(125, "cannot name the keyring");
    }
    cap_drop("--keyring x --no-keyring").verb(["ran"]).run().refuses(125, "exclude each other");
}

/// Written through a procfs of our own, whatever is mounted over /proc (CVE-2019-16884, CVE-2025-52881).
#[test]
fn a_proc_that_is_covered_does_not_take_the_label() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let fake = dir.file("exec", "");
    for cover in [
        format!("mount --bind {} /proc/$$/attr/exec", fake.display()),
        format!(
            "mount -t tmpfs t /proc && mkdir -p /proc/self/attr && cp {} /proc/self/attr/",
            fake.display()
        ),
        format!("mount --bind {} /proc/$$/attr", dir.path().display()),
    ] {
        for label in ["--selinux-label no:such:label:s0", "--apparmor-profile catena-no-such"] {
            let inner = format!("{cover} && exec cap-drop -N --umask 022 {label} -- $PROBE ran");
            let out = shell(&format!("exec unshare -m --propagation private sh -c '{inner}'")).run();
            out.refuses(125, "cannot set the ");
            assert_eq!(std::fs::read_to_string(&fake).unwrap(), "", "{cover}");
        }
    }
}

/// A label that is not taken must not leave the command without one.
#[test]
fn a_label_that_nobody_takes_is_refused() {
    for (line, text) in [
        ("--apparmor-profile catena-no-such", "set the AppArmor profile catena-no-such"),
        ("--selinux-label no:such:label:s0", "set the label no:such:label:s0"),
    ] {
        let run = |more: &str| cap_drop(&format!("--umask 022 {line} {more}"));
        let log = StatusLog::new();
        run("--status-fd 9").fd(log.fd(), 9).verb(["ran"]).run().refuses(125, text);
        assert_eq!((log.of("error").len(), log.of("exec").len()), (1, 0));
        // Only the writing of it shows whether it is taken.
        run("--check").run().refuses(125, text);
        run("").then("seccomp-load", ["-s", "add_key:EPERM"]).verb(["ran"]).run().refuses(125, text);
    }
    let dir = TempDir::new();
    for (field, text) in [
        (r#""apparmorProfile":"catena-no-such""#, "set the AppArmor profile catena-no-such"),
        (r#""selinuxLabel":"no:such:label:s0""#, "set the label no:such:label:s0"),
    ] {
        let user = nix::unistd::geteuid();
        let config =
            format!(r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":{user},"gid":{user}}},{field}}}}}"#);
        let config = dir.file("config.json", config);
        let line = format!("--oci {} --try bounding,groups", config.display());
        cap_drop(&line).verb(["ran"]).run().refuses(125, text);
    }
    for line in ["--apparmor-profile=", "--selinux-label="] {
        cap_drop(line).verb(["ran"]).run().refuses(125, "'' is not possible");
    }
}
