//! Bad input: one clear line, status 1, nothing left behind, and the command never runs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires};
use common::Bundle;
use common::zombies::{LATE, ZOMBIES, where_init_waits_for_nobody};
use serde_json::{Value, json};

/// `run` and `create` refuse with `text`; there is no container, and no cgroup, mount, process or state.
#[track_caller]
fn refused(bundle: &Bundle, text: &str) {
    let out = bundle.run();
    out.fails(1, text);
    assert!(!out.stdout.contains("RAN"), "the command ran: {out:?}");
    assert_eq!(out.stderr.lines().filter(|l| l.starts_with("runner: cannot ")).count(), 1, "{out:?}");
    bundle.create().fails(1, text);
    bundle.runner(["state", &bundle.id]).run().fails(1, "container does not exist");
    let left: Vec<_> = std::fs::read_dir(bundle.state.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn ran() -> Bundle {
    Bundle::sh("echo RAN")
}

/// `--unshare uts` is nothing that an engine's user could type.
#[test]
fn what_only_a_tools_own_user_could_type_is_not_proposed() {
    if !requires::root() {
        return;
    }
    let mut bundle = ran().set("/hostname", json!("inside"));
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "uts");
    bundle.write();
    refused(&bundle, "no uts namespace is made or joined");
    assert!(!bundle.run().stderr.contains("try:"), "{:?}", bundle.run());
}

#[test]
fn a_field_that_is_wrong_is_named() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let cases: &[(&str, Value, &str)] = &[
        ("/ociVersion", json!("2.0.0"), "ociVersion: 2.0.0"),
        ("/process/args", json!([]), "process.args: empty"),
        ("/process/cwd", json!("relative"), "process.cwd: not an absolute path"),
        ("/process/env", json!(["NOEQUALS"]), "process.env[0]: not KEY=VALUE"),
        ("/process/user/uid", json!(-1), "process.user.uid"),
        ("/process/user/uid", json!(4_294_967_295_u32), "process.user.uid"),
        ("/process/terminal", json!("yes"), "process.terminal"),
        ("/process/rlimits/-", json!({"type": "RLIMIT_FROB", "soft": 1, "hard": 1}), "RLIMIT_FROB"),
        ("/process/args", json!("sh"), "process.args"),
        ("/linux/namespaces/-", json!({"type": "frob"}), "frob"),
        ("/linux/namespaces/-", json!({"type": "pid"}), "pid"),
        ("/linux/namespaces", json!([]), "no uts namespace"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_FROB"}), "SCMP_ACT_FROB"),
        ("/linux/cgroupsPath", json!("../../x"), ".."),
        ("/linux/rootfsPropagation", json!("frob"), "frob"),
        ("/linux/netDevices", json!({"catena-none": {}}), "there is no such device"),
        ("/hooks", json!({"poststop": [{"path": "true"}]}), "hooks.poststop[0].path: not an absolute path"),
        (
            "/hooks",
            json!({"prestart": [{"path": "/x", "timeout": 0}]}),
            "hooks.prestart[0].timeout: not greater",
        ),
        (
            "/hooks",
            json!({"poststart": [{"path": "/x", "args": ["\u{0}"]}]}),
            "hooks.poststart[0].args: a NUL",
        ),
        ("/hooks", json!({"createRuntime": {"path": "/x"}}), "hooks.createRuntime"),
        ("/mounts/-", json!({"destination": "/x", "type": "nosuchfs", "source": "x"}), "nosuchfs"),
        (
            "/mounts/-",
            json!({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}),
            "/no/such",
        ),
        (
            "/mounts/-",
            json!({"destination": "/x", "type": "bind", "source": "/etc", "options": ["bind", "frob"]}),
            "frob",
        ),
        ("/mounts/-", json!({"destination": "/x", "type": "tmpfs", "options": ["frob=1"]}), "frob"),
        ("/root/path", json!("nowhere"), "nowhere"),
        ("/root/path", json!("config.json"), "config.json"),
        ("/windows", json!({}), "windows"),
    ];
    for (pointer, value, text) in cases {
        eprintln!("{pointer} = {value}");
        refused(&ran().set(pointer, value.clone()), text);
    }
    leftovers.check();
}

#[test]
fn a_config_that_is_cut_short_or_no_config_is_said_to_be() {
    if !requires::root() {
        return;
    }
    let bundle = ran();
    let path = bundle.rootfs.parent().join("config.json");
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 1, whole.len() / 3, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        refused(&bundle, "cut short at line");
    }
    std::fs::write(&path, b"[]").unwrap();
    refused(&bundle, "not a JSON object");
    std::fs::write(&path, vec![b' '; 50 << 20]).unwrap();
    refused(&bundle, "52428800 bytes, more than the 16777216 that are read");
    std::fs::remove_file(&path).unwrap();
    refused(&bundle, "No such file or directory (ENOENT)");
    std::fs::create_dir(&path).unwrap();
    refused(&bundle, "not a regular file");
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    refused(&bundle, "not a regular file");
}

#[test]
fn a_symlink_where_a_directory_must_be_is_refused() {
    if !requires::root() {
        return;
    }
    let bundle = ran();
    let real = bundle.rootfs.parent().join("real");
    std::fs::rename(bundle.rootfs.path(), &real).unwrap();
    std::os::unix::fs::symlink("real", bundle.rootfs.path()).unwrap();
    refused(&bundle, "it is a symbolic link");
    std::fs::remove_file(bundle.rootfs.path()).unwrap();
    std::fs::rename(&real, bundle.rootfs.path()).unwrap();
    std::fs::remove_dir(bundle.rootfs.path().join("proc")).unwrap();
    std::os::unix::fs::symlink("/tmp", bundle.rootfs.path().join("proc")).unwrap();
    refused(&bundle, "/proc");
}

#[test]
fn ids_that_are_paths_are_refused() {
    let bundle = Bundle::new();
    for id in ["../x", "a/b", "", ".", "..", "a b", "~a"] {
        for verb in [["state", id], ["start", id], ["delete", id], ["kill", id], ["create", id], ["run", id]]
        {
            let out = bundle.runner([]).args(verb).cwd(bundle.dir()).run();
            out.fails(1, "as a container id");
        }
    }
}

#[test]
fn an_unknown_capability_is_the_specifications_warning_and_is_not_granted() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::new().set("/process/capabilities/bounding", json!(["CAP_FROB", "CAP_KILL"]));
    let out = bundle.run();
    assert!(out.stderr.contains("CAP_FROB"), "{out:?}");
    let probe: catena_tests::Probe = serde_json::from_str(&out.stdout).unwrap();
    probe.expect_bounding(&["KILL"]);
}

#[test]
fn a_state_folder_that_is_a_file_or_the_root_is_refused() {
    let bundle = Bundle::new();
    let file = bundle.rootfs.parent().join("file");
    std::fs::write(&file, "").unwrap();
    let run = |root: &str| {
        catena_tests::tool("runner").args(["--root", root, "run", "--bundle", bundle.dir(), "x"]).run()
    };
    run(file.to_str().unwrap()).fails(1, "ENOTDIR");
    run("/").fails(1, "cannot use --root /");
}

#[test]
fn a_bundle_that_is_gone_is_not_missed_after_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo ran");
    bundle.create().succeeds();
    std::fs::remove_file(bundle.rootfs.parent().join("config.json")).unwrap();
    std::fs::rename(bundle.rootfs.path(), bundle.rootfs.parent().join("moved")).unwrap();
    assert_eq!(bundle.status(), "created");
    bundle.start().succeeds();
    bundle.becomes("stopped");
    assert_eq!(bundle.output(), "ran\n");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    drop(bundle);
    leftovers.check();
}

#[test]
fn sockets_that_nobody_listens_on_are_refused_and_nothing_stays() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let deaf = |name: &str, bundle: &Bundle| {
        let path = bundle.rootfs.parent().join(name);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        path.to_str().unwrap().to_string()
    };
    for (option, terminal) in [("--console-socket", true), ("--pidfd-socket", false)] {
        let bundle = ran().set("/process/terminal", json!(terminal));
        for (path, said) in [
            (deaf("deaf", &bundle), "Connection refused (ECONNREFUSED)"),
            (bundle.dir().to_string() + "/nowhere", "No such file or directory (ENOENT)"),
            (format!("/{}", "x".repeat(200)), "cannot give the "),
        ] {
            let pid_file = bundle.rootfs.parent().join("pid");
            let create = bundle.runner(["create", "--bundle", bundle.dir(), option, &path]);
            create.args(["--pid-file"]).arg(&pid_file).arg(&bundle.id).run().refuses(1, said);
            assert!(!pid_file.exists());
            assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
        }
    }
    leftovers.check();
}

#[test]
fn a_long_environment_and_many_words_arrive_or_are_refused_by_name() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let words: Vec<String> = ["/bin/sh", "-c", "echo $#", "sh"].map(String::from).into();
    let many = words.into_iter().chain((0..100_000).map(|n| n.to_string())).collect::<Vec<_>>();
    let out = Bundle::new().set("/process/args", json!(many)).run();
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "100000\n", ""), "{out:?}");
    // The kernel takes 128 KiB in one word, and a quarter of the stack's limit in all.
    let mebibyte: Vec<String> = (0..16).map(|n| format!("V{n}={}", "x".repeat(65_536))).collect();
    let out = Bundle::sh("echo ${#V15}").set("/process/env", json!(mebibyte)).run();
    assert_eq!((out.status, out.stdout.as_str()), (0, "65536\n"), "{out:?}");
    let eight: Vec<String> = (0..128).map(|n| format!("V{n}={}", "x".repeat(65_536))).collect();
    for env in [vec![format!("V={}", "x".repeat(1 << 20))], eight] {
        let bundle = ran().set("/process/env", json!(env));
        let out = bundle.run();
        out.refuses(1, "execve(/bin/sh): Argument list too long (E2BIG)");
        assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
    }
    leftovers.check();
}

#[test]
fn an_id_may_be_as_long_as_a_files_name() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for length in [254, 255] {
        let mut bundle = Bundle::sh("echo ran");
        bundle.id = "i".repeat(length);
        bundle.create().succeeds();
        bundle.start().succeeds();
        bundle.becomes("stopped");
        bundle.runner(["delete", &bundle.id]).run().succeeds();
        let out = bundle.run();
        assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "ran\n", ""), "{out:?}");
        assert_eq!(std::fs::read_dir(bundle.state.path()).unwrap().count(), 0);
    }
    Bundle::new().runner(["state", &"i".repeat(256)]).run().fails(1, "it is longer than 255 bytes");
    leftovers.check();
}

/// The first process of a container that is not to be is not left to the host's init, also where the failure is told
/// before it is known which process that is.
#[test]
fn a_create_that_fails_leaves_no_zombie() {
    if !requires::root() || !requires::command("strace") {
        return;
    }
    for before in ["", LATE] {
        let bundle = Bundle::of(["/none"]);
        let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
        for verb in ["create", "run"] {
            let out = where_init_waits_for_nobody(&format!(
                "{before} runner --root {root} {verb} -b {dir} {id} >{dir}/out </dev/null && exit 9
                 {ZOMBIES}
                 ls -A {root}"
            ));
            assert!(out.stderr.contains("execve(/none)"), "{verb}: {out:#?}");
            assert_eq!((out.status, &*out.stdout), (0, ""), "{verb}: {out:#?}");
        }
    }
}
