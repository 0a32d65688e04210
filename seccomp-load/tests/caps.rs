//! Rules that depend on what the command will hold, and the share of a config.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{TempDir, requires, shell};

fn says(line: &str, call: &str) -> String {
    shell(&format!("{line}\"$PROBE\" try-syscall {call}")).run().stdout.trim().to_string()
}

/// With -1 for an address, a call that goes through says EFAULT, or EINVAL, EBADF or ENOMEM.
fn goes_through(line: &str, call: &str) -> bool {
    let said = says(line, call);
    assert!(
        ["EPERM", "EFAULT", "EINVAL", "EBADF", "ENOMEM"].contains(&said.as_str()),
        "{line} {call}: {said}"
    );
    said != "EPERM"
}

#[test]
fn a_capability_that_is_kept_opens_its_calls_and_no_others() {
    if !requires::root() {
        return;
    }
    for form in ["cap-drop -N KEEP -- seccomp-load @default -- ", "cap-drop KEEP | seccomp-load @default -- "]
    {
        let with = |keep: &str| form.replace("KEEP", keep);
        for (keep, open, shut) in [
            ("--all", None, "chroot"),
            ("--all", None, "mount"),
            ("--keep sys_chroot", Some("chroot"), "mount"),
            ("--keep sys_admin", Some("mount"), "chroot"),
            ("--keep sys_boot", Some("reboot"), "chroot"),
            ("--keep chown", None, "mount"),
        ] {
            if let Some(call) = open {
                assert!(goes_through(&with(keep), call), "{keep}: {call}");
            }
            assert!(!goes_through(&with(keep), shut), "{keep}: {shut}");
        }
    }
}

#[test]
fn namespaces_are_for_who_holds_sys_admin() {
    if !requires::root() {
        return;
    }
    let unshare = |keep: &str| says(&format!("cap-drop -N {keep} -- seccomp-load @default -- "), "unshare 0");
    assert_eq!(unshare("--all"), "EPERM");
    assert_eq!(unshare("--keep sys_admin"), "ok 0");
    // A new user namespace gives every capability in it: clone(2) with its flag is refused too, and clone3(2) is not there.
    let clone = |keep: &str| {
        says(&format!("cap-drop -N {keep} -- seccomp-load @default -- "), "56 0x10000000 0 0 0 0")
    };
    if std::env::consts::ARCH == "x86_64" {
        assert_eq!(clone("--all"), "EPERM");
    }
    assert_eq!(says("cap-drop -N --all -- seccomp-load @default -- ", "clone3"), "ENOSYS");
    assert_ne!(says("cap-drop -N --keep sys_admin -- seccomp-load @default -- ", "clone3"), "ENOSYS");
}

#[test]
fn an_ordinary_user_holds_nothing_whatever_the_bounding_set() {
    if !requires::root() || !requires::command("setpriv") {
        return;
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all -- ";
    assert_eq!(says(&format!("{user}seccomp-load -N @default -- "), "unshare 0"), "EPERM");
}

#[test]
fn a_file_with_conditions_goes_by_the_same() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":null}],
        "syscalls":[{"names":["add_key"],"action":"SCMP_ACT_ERRNO","errnoRet":18,"args":null,"comment":"",
            "includes":{},"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"name":"request_key","action":"SCMP_ACT_ERRNO","errno":"EXDEV","includes":{"minKernel":"4.0"}}]}"#;
    let file = dir.file("p.json", text).display().to_string();
    for form in [
        format!("cap-drop -N KEEP -- seccomp-load {file} -- "),
        format!("cap-drop KEEP | seccomp-load {file} -- "),
    ] {
        assert_eq!(says(&form.replace("KEEP", "--all"), "add_key"), "EXDEV");
        assert_eq!(says(&form.replace("KEEP", "--all"), "request_key"), "EXDEV");
        assert_eq!(says(&form.replace("KEEP", "--keep sys_admin"), "add_key"), "EINVAL");
    }
    let by_fd = format!("seccomp-load -N fd:9 9<{file} -- ");
    assert_eq!(says(&by_fd, "request_key"), "EXDEV");
}

fn config(dir: &TempDir, no_new_privs: bool, seccomp: &str) -> String {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","process":{{"args":["sh"],"cwd":"/","noNewPrivileges":{no_new_privs}}},"linux":{{{seccomp}}}}}"#
    );
    dir.file("config.json", text).display().to_string()
}

#[test]
fn the_share_of_a_config() {
    let dir = TempDir::new();
    let seccomp = r#""seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
        "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":["#;
    // As Docker writes it: its profile with the conditions worked out.
    let names = shell("seccomp-load @default --print --json").run().succeeds().json();
    let names = names["calls"]["SCMP_ARCH_X86_64"]["allow"].to_string();
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let rules = format!(
        r#"{{"names":{names},"action":"SCMP_ACT_ALLOW"}},{{"names":["clone"],"action":"SCMP_ACT_ALLOW"}},
        {{"names":["add_key"],"action":"SCMP_ACT_ERRNO","errnoRet":18}},{{"names":["nosuchcall"],"action":"SCMP_ACT_ALLOW"}}]}}"#
    );
    let file = config(&dir, true, &(seccomp.to_string() + &rules));
    let line = format!("seccomp-load -N --oci {file} -- ");
    assert_eq!(says(&line, "add_key"), "EXDEV");
    assert_eq!(says(&line, "request_key"), "EPERM");
    assert_eq!(says(&line, "9999"), "ENOSYS");
    shell(&format!("{line}\"$PROBE\"")).run().probe().expect_filters(1).expect_no_new_privs(true);
    // A name that nobody knows is left out, as every runtime does, and the receipt says so.
    let told = shell(&format!("seccomp-load -N --status-fd 3 --oci {file} -- true 3>&1")).run().stdout;
    assert!(told.contains("'nosuchcall' is not known, left out"), "{told}");
    // Rules of the command line come on top.
    assert_eq!(says(&format!("seccomp-load -N --oci {file} -s add_key:ENOSYS -- "), "add_key"), "ENOSYS");
}

#[test]
fn a_config_without_a_filter_loads_none() {
    let dir = TempDir::new();
    for seccomp in ["", r#""seccomp":null"#, r#""seccomp":{"defaultAction":""}"#] {
        let file = config(&dir, true, seccomp);
        let seen = shell(&format!("seccomp-load -N --oci {file} -- \"$PROBE\"")).run().probe();
        seen.expect_filters(0).expect_no_new_privs(true);
    }
    if requires::root() {
        let file = config(&dir, false, r#""seccomp":{"defaultAction":"SCMP_ACT_LOG"}"#);
        let seen = shell(&format!("seccomp-load -N --oci {file} -- \"$PROBE\"")).run().probe();
        seen.expect_filters(1).expect_no_new_privs(false);
    }
}

#[test]
fn what_is_left_out_and_lets_more_through_is_said_aloud() {
    let dir = TempDir::new();
    let seccomp = r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["add_keyy"],"action":"SCMP_ACT_KILL"}]}"#;
    let file = config(&dir, true, seccomp);
    let run = shell(&format!("seccomp-load -N --oci {file} -- \"$PROBE\" ran")).run();
    assert_eq!((run.status, run.stdout.as_str()), (0, "RAN\n"));
    assert!(
        run.stderr.contains("warning: linux.seccomp.syscalls[0].names: 'add_keyy' is not known, left out"),
        "{run:?}"
    );
}
