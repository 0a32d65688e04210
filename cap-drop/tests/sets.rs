//! The five sets in every spelling: what the command really has.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{CAPS, Probe, Tool, cap_bit, probe_path, requires, tool};

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").arg("-N").args(line.split_whitespace())
}

/// What root has here; some hosts keep a few from it.
fn held() -> u64 {
    Probe::here().caps.permitted
}

#[test]
fn keep_is_held_by_root_and_is_all_that_is_left() {
    if !requires::root() {
        return;
    }
    for line in ["--keep chown,net_raw", "--keep CAP_CHOWN --keep Net_Raw", "--all --keep 0,cap_13"] {
        let seen = cap_drop(line).probe();
        seen.expect_caps(&["chown", "net_raw"]).expect_bounding(&["chown", "net_raw"]);
        assert_eq!(seen.uid, 0);
    }
    assert_eq!(cap_drop("--keep all").probe().caps.permitted, held());
}

/// And really has it: the call that wants it goes through.
#[test]
fn keep_is_held_by_a_user_over_its_exec() {
    if !requires::root() {
        return;
    }
    let user = "--user 1000:1000";
    let seen = cap_drop(&format!("{user} --keep setuid")).probe();
    seen.expect_user(1000, 1000, &[]).expect_ambient(&["setuid"]).expect_effective(&["setuid"]);
    seen.expect_bounding(&["setuid"]).expect_inheritable(&["setuid"]).expect_permitted(&["setuid"]);
    let setuid =
        |line: &str| cap_drop(&format!("{user} {line}")).verb(["try-syscall", "setuid", "0"]).run().stdout;
    assert_eq!(setuid("--keep setuid"), "ok 0\n");
    assert_eq!(setuid("--ambient setuid"), "ok 0\n");
    assert_eq!(setuid("--keep setgid"), "EPERM\n");
    assert_eq!(setuid("--all"), "EPERM\n");
    assert_eq!(setuid(""), "EPERM\n");
    // Docker's way: permitted before the exec, so lost by a user.
    assert_eq!(setuid("--cap-drop all --cap-add setuid"), "EPERM\n");
    assert_eq!(cap_drop("--keep setuid").verb(["try-syscall", "setuid", "1"]).run().stdout, "ok 0\n");
}

#[test]
fn dockers_flags_in_dockers_spelling() {
    if !requires::root() {
        return;
    }
    let held = held();
    for (line, wanted) in [
        ("--cap-drop ALL", 0),
        ("--cap-drop all --cap-add CHOWN", cap_bit("chown")),
        ("--cap-add chown --cap-drop=ALL", cap_bit("chown")),
        ("--cap-drop ALL --cap-add CAP_CHOWN,cap_kill", cap_bit("chown") | cap_bit("kill")),
        ("--cap-drop net_raw", held & !cap_bit("net_raw")),
        ("--cap-drop Net_Raw,CAP_MKNOD", held & !cap_bit("net_raw") & !cap_bit("mknod")),
        ("--cap-add ALL --cap-drop NET_RAW", held & !cap_bit("net_raw")),
        ("--cap-add ALL", held),
        ("--cap-drop net_raw --cap-add net_raw", held),
    ] {
        let c = cap_drop(line).probe().caps;
        assert_eq!((c.permitted, c.effective, c.bounding & held), (wanted, wanted, wanted), "{line}");
        assert_eq!((c.inheritable, c.ambient), (0, 0), "{line}");
    }
}

#[test]
fn each_set_by_itself() {
    if !requires::root() {
        return;
    }
    let (chown, kill, raw) = (cap_bit("chown"), cap_bit("kill"), cap_bit("net_raw"));
    let held = held();
    // line, then bounding, permitted and effective, inheritable, ambient of the command.
    for (line, bounding, permitted, inheritable, ambient) in [
        ("--bounding chown,kill", chown | kill, chown | kill, 0, 0),
        ("--bounding=-all,+chown", chown, chown, 0, 0),
        ("--bounding=-net_raw", held & !raw, held & !raw, 0, 0),
        ("--bounding none", 0, 0, 0, 0),
        ("--permitted chown", held, chown, 0, 0),
        ("--permitted=-net_raw", held, held & !raw, 0, 0),
        ("--permitted none", held, 0, 0, 0),
        ("--permitted chown --effective chown", held, chown, 0, 0),
        ("--inheritable chown,kill", held, held, chown | kill, 0),
        ("--inheritable=+chown --bounding none", 0, chown, chown, 0),
        ("--ambient net_raw", held, held, raw, raw),
        ("--ambient=+net_raw --all", 0, raw, raw, raw),
        ("--ambient none --keep chown", chown, chown, 0, 0),
        ("--inheritable none --all", 0, 0, 0, 0),
    ] {
        let c = cap_drop(line).probe().caps;
        let found = [c.bounding & (held | raw), c.permitted, c.effective, c.inheritable, c.ambient];
        assert_eq!(found, [bounding, permitted, permitted, inheritable, ambient], "{line}");
    }
}

#[test]
fn a_user_has_of_each_set_what_exec_leaves() {
    if !requires::root() {
        return;
    }
    let user = |line: &str| cap_drop(&format!("--user 1000:1000 {line}")).probe();
    user("--ambient net_raw,kill")
        .expect_effective(&["net_raw", "kill"])
        .expect_ambient(&["net_raw", "kill"]);
    user("--all --ambient net_raw").expect_effective(&["net_raw"]).expect_bounding(&[]);
    user("--permitted net_raw --effective net_raw --ambient net_raw").expect_permitted(&["net_raw"]);
    user("--inheritable net_raw").expect_effective(&[]).expect_inheritable(&["net_raw"]);
    user("--keep net_raw --ambient none").expect_ambient(&["net_raw"]);
    assert_eq!(user("").caps.bounding, Probe::here().caps.bounding);
    user("").expect_caps(&[]);
    // With noroot even uid 0 is nobody to exec, so what is kept is ambient.
    let seen = cap_drop("--keep net_raw --securebits noroot").probe();
    seen.expect_effective(&["net_raw"]).expect_ambient(&["net_raw"]);
    assert_eq!((seen.uid, seen.securebits & 1), (0, 1));
}

#[test]
fn every_capability_can_be_named_alone() {
    if !requires::root() {
        return;
    }
    let held = held();
    for (n, name) in CAPS.iter().enumerate().filter(|(n, _)| held >> n & 1 == 1) {
        let seen = cap_drop(&format!("--keep {}", name.to_lowercase())).probe();
        assert_eq!((seen.caps.effective, seen.caps.bounding), (1 << n, 1 << n), "{name}");
    }
}

/// The table of names has an end; the kernel's list may go on.
#[test]
fn every_number_the_kernel_has_is_dropped() {
    if !requires::root() {
        return;
    }
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let seen = cap_drop("--all").probe();
    assert_eq!(seen.caps.bounding, 0, "all 64, of which {last} is the last that is there");
    for line in [format!("--keep cap_{}", last + 1), "--cap-drop 63".into(), "--bounding=-cap_62".into()] {
        cap_drop(&line).verb(["ran"]).run().refuses(125, "this kernel knows none above");
    }
    let line = format!("--cap-drop {last}");
    assert_eq!(cap_drop(&line).probe().caps.bounding >> last, 0);
}

/// Nothing that the caller does not hold is taken for held.
#[test]
fn what_is_not_held_cannot_be_given() {
    let lacking = if nix::unistd::geteuid().is_root() {
        "setpriv --bounding-set=-net_raw --inh-caps=-all -- "
    } else {
        ""
    };
    for (line, set) in [
        ("--keep net_raw", "permitted"),
        ("--cap-add net_raw", "permitted"),
        ("--ambient net_raw", "permitted"),
        ("--permitted net_raw", "permitted"),
        ("--bounding=+net_raw", "bounding"),
        ("--inheritable net_raw", "inheritable"),
    ] {
        if lacking.is_empty() && line.starts_with("--bounding") {
            continue;
        }
        let out =
            catena_tests::shell(&format!("{lacking}cap-drop -N --try ambient {line} -- $PROBE ran")).run();
        out.refuses(125, &format!("{set}: CAP_NET_RAW"));
    }
}

#[test]
fn leave_to_lack_ambient_is_taken_and_said() {
    if !requires::root() {
        return;
    }
    let line = "--user 1000:1000 --ambient net_raw,kill --inheritable net_raw";
    cap_drop(line).verb(["ran"]).run().refuses(125, "ambient: CAP_KILL: not in permitted and inheritable");
    let out = cap_drop(&format!("{line} --try ambient")).command([probe_path()]).run();
    assert!(
        out.stderr.contains("warning: ambient: can't raise ambient capability CAP_KILL: not in"),
        "{out:?}"
    );
    out.probe().expect_ambient(&["net_raw"]).expect_effective(&["net_raw"]);
}
