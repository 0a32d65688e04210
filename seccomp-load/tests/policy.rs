//! Profiles in lines: what the command's calls meet then, what may be included, and what goes into other languages.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, TempDir, requires, rootfs, shell, tool};
use std::path::Path;

/// What becomes of one call of the command's.
fn says(profile: &Path, call: &str) -> String {
    let verb = std::iter::once("try-syscall").chain(call.split_whitespace());
    tool("seccomp-load").arg("-N").arg(profile).verb(verb).run().stdout.trim().to_string()
}

fn load(profile: &Path) -> Output {
    tool("seccomp-load").arg("-N").arg(profile).verb(["ran"]).run()
}

fn print(profile: &Path, words: &[&str]) -> Output {
    tool("seccomp-load").arg("-N").arg(profile).arg("--print").args(words).run()
}

#[test]
fn a_line_that_fits_decides() {
    let dir = TempDir::new();
    let rules = "# what a build may not do\n\ndefault allow\nEXDEV add_key\nENOSYS pidfd_open if flags == 99 # no such flags\n\
        EPERM pidfd_open if pid > 7 and pid < 9 or flags has 0x40\nallow @keyring\n4095 @swap\n";
    let profile = dir.file("rules", rules);
    for (call, said) in [
        ("add_key", "EXDEV"),
        ("request_key", "EFAULT"),
        // Flags of no meaning: EINVAL is what the kernel says to a call that goes through.
        ("pidfd_open 7 99", "ENOSYS"),
        // An int has no upper half.
        ("pidfd_open 7 0x100000063", "ENOSYS"),
        ("pidfd_open 8 3", "EPERM"),
        ("pidfd_open 7 3", "EINVAL"),
        ("pidfd_open 7 0x43", "EPERM"),
        ("swapon", "UnknownErrno"),
    ] {
        assert_eq!(says(&profile, call), said, "{call}");
    }
    // An argument compared whole has its upper half.
    let whole = dir.file("rules", "default allow\nEXDEV pidfd_open if arg1 == 99\n");
    assert_eq!(says(&whole, "pidfd_open 7 0x100000063"), "EINVAL");
    // Rules of the command line stand on top.
    let run = tool("seccomp-load")
        .args(["-N", "-s", "add_key:ENOSYS"])
        .arg(&whole)
        .verb(["try-syscall", "add_key"])
        .run();
    assert_eq!(run.stdout, "ENOSYS\n");
}

#[test]
fn a_file_that_is_killed_by_its_own_words_kills() {
    let dir = TempDir::new();
    let profile = dir.file("rules", "default kill\nallow @system-service @debug !@keyring\n");
    assert_eq!(load(&profile).stdout, "RAN\n");
    let run = tool("seccomp-load").arg("-N").arg(&profile).verb(["try-syscall", "add_key"]).run();
    assert_eq!((run.signal, run.stdout.as_str()), (Some(31), ""), "{run:?}");
    let service = |call: &str| {
        tool("seccomp-load").args(["-N", "@system-service"]).verb(["try-syscall", call]).run().stdout
    };
    assert_eq!((service("mount").as_str(), service("9999").as_str()), ("EPERM\n", "ENOSYS\n"));
}

#[test]
fn a_line_that_is_wrong_runs_nothing() {
    let dir = TempDir::new();
    for (text, said) in [
        ("default EPERM\nalow read\n", "rules:2: 'alow' is no action"),
        ("default EPERM\nallow raed\n", "rules:2: 'raed' is not a system call"),
        ("allow read\n", "it does not say what becomes of other calls"),
        ("default EPERM\nallow read\n", "execve: EPERM: it could not even be started"),
        ("default EPERM\nallow @system-service\nkill execve if arg0 == 0\n", "'execve' never gets here"),
        ("default allow\nnotify mkdirat\n", "SCMP_ACT_NOTIFY asks whoever listens there"),
        ("default allow\ninclude nowhere\n", "No such file or directory (ENOENT)"),
        ("default allow\ninclude .\n", "it is not a regular file"),
        ("\u{feff}default allow\n", "is no action"),
    ] {
        let profile = dir.file("rules", text);
        load(&profile).refuses(125, said);
    }
    let profile = dir.file("rules", "default allow\nEPERM mkdri\n");
    load(&profile).refuses(125, "try: mkdir?");
    let run = tool("seccomp-load").args(["-N", "--try", "syscalls"]).arg(&profile).verb(["ran"]).run();
    assert!(run.stdout == "RAN\n" && run.stderr.contains("'mkdri' is not known, left out"), "{run:?}");
    tool("seccomp-load")
        .args(["-N", "--format", "toml"])
        .arg(&profile)
        .verb(["ran"])
        .run()
        .refuses(125, "'toml'");
}

#[test]
fn what_is_included_lies_beside_what_includes_it() {
    let dir = TempDir::new();
    std::fs::create_dir(dir.join("sub")).unwrap();
    dir.file("sub/base", "default allow\nEPERM add_key request_key\n");
    dir.file("sub/middle", "include base\n");
    let profile = dir.file("rules", "EXDEV add_key\ninclude sub/middle\n");
    assert_eq!((says(&profile, "add_key"), says(&profile, "request_key")), ("EXDEV".into(), "EPERM".into()));
    // From wherever it is started, and not from an fd.
    let line = "cd / && exec seccomp-load -N \"$P\" -- \"$PROBE\" try-syscall request_key";
    assert_eq!(shell(line).env("P", &profile).run().stdout, "EPERM\n");
    let line = "exec 9<\"$P\" && exec seccomp-load -N fd:9 -- \"$PROBE\" ran";
    shell(line).env("P", &profile).run().refuses(125, "fd:9:2: 'sub/middle': an fd lies in no folder");
    let line = "exec 9<\"$P\" && exec seccomp-load -N fd:9 -- \"$PROBE\" try-syscall request_key";
    assert_eq!(shell(line).env("P", dir.join("sub/base")).run().stdout, "EPERM\n");
    // Round in circles, and deeper than anybody needs.
    dir.file("sub/base", "include ../rules\n");
    load(&profile).refuses(125, "'../rules' includes itself");
    for n in 0..12 {
        dir.file(&format!("deep{n}"), format!("include deep{}\n", n + 1));
    }
    load(&dir.join("deep0")).refuses(125, "more than 8 files one in another");
    let many = format!("default allow\n{}", "include one\n".repeat(100));
    dir.file("one", "EPERM add_key\n");
    load(&dir.file("many", many)).refuses(125, "or 64 in all");
}

/// In a root that the chain has changed to, a file of the same name is somebody else's.
#[test]
fn nothing_is_included_out_of_a_root_that_was_changed_to() {
    if !requires::root() {
        return;
    }
    let (dir, rootfs) = (TempDir::new(), rootfs());
    dir.file("base", "default allow\nEPERM add_key\n");
    let profile = dir.file("rules", "include base\n");
    let inside = rootfs.path().join(dir.path().strip_prefix("/").unwrap());
    for folder in inside.ancestors().collect::<Vec<_>>().into_iter().rev().filter(|folder| !folder.exists()) {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(inside.join("rules"), "include base\n").unwrap();
    std::fs::write(inside.join("base"), "default allow\n").unwrap();
    let chain = |profile: &Path| {
        let before = ["-N", "-m", "--", "rootfs-prep", "--root"];
        let chain =
            tool("ns-enter").args(before).arg(rootfs.path()).args(["--", "seccomp-load"]).arg(profile);
        chain.args(["--", "/probe", "try-syscall", "add_key"]).run()
    };
    let out = chain(&profile);
    assert!(
        out.status == 125 && out.stdout.is_empty() && out.stderr.contains("is not to be found any more"),
        "{out:?}"
    );
    // Without an include the file that was opened before is what counts.
    assert_eq!(chain(&dir.join("base")).stdout, "EPERM\n");
}

#[test]
fn a_plan_carries_the_lines() {
    let dir = TempDir::new();
    dir.file("base", "default allow\nEXDEV add_key\n");
    let profile = dir.file("rules", "include base\n");
    let line = "seccomp-load \"$P\" >\"$D/plan.json\" && rm \"$P\" && runner --plan \"$D/plan.json\" -- \"$PROBE\" try-syscall add_key";
    let run = shell(line).env("P", &profile).env("D", dir.path()).run();
    assert_eq!(run.stdout, "EXDEV\n", "{run:?}");
    let plan = |profile: &str| {
        let profile = serde_json::json!(profile);
        let text = format!(
            r#"{{"catena":1,"layers":[{{"tool":"seccomp-load","spec":{{"profile":{profile}}}}}],"complete":true}}"#
        );
        let path = dir.file("plan.json", text);
        tool("runner").arg("--plan").arg(path).verb(["ran"]).run()
    };
    assert_eq!(plan("default allow\nEPERM add_key").stdout, "RAN\n");
    plan("default allow\nEPERM addkey").refuses(125, "profile:2: 'addkey' is not a system call");
    plan("default allow\ninclude /etc/hostname")
        .refuses(125, "profile:2: '/etc/hostname': an fd lies in no folder");
    plan("bpf:1,6 0 0").refuses(125, "profile: it is no program");
    plan("bpf:1,32 0 0 0").refuses(125, "its last instruction does not return");
}

#[test]
fn what_is_written_down_in_another_language_decides_the_same() {
    let dir = TempDir::new();
    let rules = "default EPERM\nEXDEV uname\nallow socket if family >= 1 and family < 3\nEPERM socket\nallow @system-service\n";
    let profile = dir.file("rules", rules);
    for (format, name) in [("json", "p.json"), ("text", "p"), ("bpf", "p.bpf")] {
        let line = format!("seccomp-load -N \"$P\" --print --dump={format} >\"$O\"");
        let other = dir.join(name);
        assert_eq!(shell(&line).env("P", &profile).env("O", &other).run().status, 0, "{format}");
        for (call, said) in [
            ("uname", "EXDEV"),
            ("mount", "EPERM"),
            ("9999", "ENOSYS"),
            ("socket 3 1 0", "EPERM"),
            ("socket 1 -1 0", "EINVAL"),
        ] {
            assert_eq!(says(&other, call), said, "{name}: {call}");
        }
    }
    let pfc = print(&profile, &["--dump=pfc"]);
    assert!(
        pfc.succeeds().stdout.contains("    if ($a0.lo32 >= 1 && $a0.lo32 < 3)\n      action ALLOW;\n"),
        "{pfc:?}"
    );
    print(&profile, &["--dump=xml"]).refuses(125, "'xml'");
    let list = tool("seccomp-load").args(["--print", "--list", "@keyring"]).run();
    assert_eq!(list.succeeds().stdout, "add_key\nkeyctl\nrequest_key\n");
    let sets = tool("seccomp-load").args(["--print", "--list"]).run();
    assert!(sets.succeeds().stdout.contains("@system-service\n"), "{sets:?}");
    tool("seccomp-load").args(["--print", "--list", "@mounts"]).run().refuses(125, "try: @mount?");
}

#[test]
fn a_program_is_loaded_as_it_stands() {
    let dir = TempDir::new();
    let line = "seccomp-load -N -s add_key:EXDEV --print --raw >\"$P\"";
    let program = dir.join("p.bpf");
    assert_eq!(shell(line).env("P", &program).run().status, 0);
    assert_eq!((says(&program, "add_key"), says(&program, "request_key")), ("EXDEV".into(), "EFAULT".into()));
    let line = "exec 9<\"$P\" && exec seccomp-load -N fd:9 -- \"$PROBE\" try-syscall add_key";
    assert_eq!(shell(line).env("P", &program).run().stdout, "EXDEV\n");
    assert!(tool("seccomp-load").arg("-N").arg(&program).run().stdout.contains("\"profile\":\"bpf:"));
    let test = print(&program, &["--test", "add_key()", "--test", "read(0)"]);
    assert_eq!(
        (test.status, test.stdout.as_str()),
        (1, "add_key(): EXDEV: the program says so\nread(0): allow: the program says so\n")
    );
    assert!(print(&program, &[]).stdout.contains("return EXDEV\n"));
    tool("seccomp-load").arg("-N").arg(&program).arg("--check").run().succeeds();
    for words in [&["-s", "read:EPERM"][..], &["--default", "kill"], &["--deny", "mount"]] {
        tool("seccomp-load")
            .arg("-N")
            .arg(&program)
            .args(words)
            .verb(["ran"])
            .run()
            .refuses(125, "a program takes no rules");
    }
    for words in [&["--lint"][..], &["--dump"], &["--diff", "@default"]] {
        print(&program, words).refuses(125, "it does not say which calls it knows");
    }
    tool("seccomp-load")
        .args(["-N", "@default", "--print", "--diff"])
        .arg(&program)
        .run()
        .refuses(125, "it does not say");
    let bytes = std::fs::read(&program).unwrap();
    for end in (0..bytes.len()).step_by(4) {
        let cut = dir.file("cut.bpf", &bytes[..end]);
        let run = load(&cut);
        assert!(run.status == 125 && run.stdout.is_empty(), "{end}: {run:?}");
    }
}

/// minijail's and Kafel's, told from what they hold.
#[test]
fn policies_of_other_sandboxes_are_carried_out() {
    let dir = TempDir::new();
    // What every program needs, and a little more.
    let list = |set: &str| tool("seccomp-load").args(["--print", "--list", set]).run().stdout;
    let mut rest: Vec<String> = ["@default", "@basic-io", "@file-system", "@io-event", "@signal"]
        .iter()
        .flat_map(|set| list(set).lines().map(String::from).collect::<Vec<_>>())
        .collect();
    rest.sort();
    rest.dedup();
    let minijail: String = rest.iter().map(|name| format!("{name}: 1\n")).collect();
    dir.file("common.policy", minijail);
    let minijail =
        "# a test\n@include ./common.policy\nadd_key: return EXDEV\npidfd_open: arg1 == 99; return 38\n";
    let list = rest.join(", ");
    let kafel = format!(
        "POLICY common {{ ALLOW {{ {list} }} }}\nPOLICY mine {{\n  ERRNO(18) {{ add_key }},\n\
         ALLOW {{ pidfd_open {{ flags == 99 }} }}, ERRNO(38) {{ pidfd_open }}, USE common\n}}\nUSE mine DEFAULT KILL_PROCESS\n"
    );
    for (name, text) in [("p.policy", minijail), ("p.kafel", &kafel)] {
        let profile = dir.file(name, text);
        assert_eq!(load(&profile).stdout, "RAN\n", "{name}");
        for (call, said) in
            [("add_key", "EXDEV"), ("pidfd_open 7 99", "EINVAL"), ("pidfd_open 7 98", "ENOSYS")]
        {
            assert_eq!(says(&profile, call), said, "{name}: {call}");
        }
        let run = tool("seccomp-load").arg("-N").arg(&profile).verb(["try-syscall", "request_key"]).run();
        assert_eq!((run.signal, run.stdout.as_str()), (Some(31), ""), "{name}: {run:?}");
        let lines = print(&profile, &["--dump=text"]);
        assert!(
            lines.succeeds().stdout.starts_with("default kill\n") && lines.stdout.contains("\nnewest none\n"),
            "{lines:?}"
        );
        let wrong = dir.file(name, text.replace("add_key", "addkey"));
        load(&wrong).refuses(125, &format!("{name}:3: 'addkey' is not a system call"));
    }
    let text = dir.file("p", "read: 1\n");
    tool("seccomp-load")
        .args(["-N", "--format", "text"])
        .arg(&text)
        .verb(["ran"])
        .run()
        .refuses(125, "'read:' is no action");
}
