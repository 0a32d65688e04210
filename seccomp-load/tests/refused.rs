//! What must never run: a command behind a filter that is not the one that was asked for.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{TempDir, Tool, requires, shell, tool};
use std::os::unix::fs::symlink;

fn seccomp_load(line: &str) -> Tool {
    tool("seccomp-load").arg("-N").args(line.split_whitespace())
}

/// A profile that refuses mkdir and is right in every way.
const GOOD: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
    {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":18,"args":[]}]}"#;

#[test]
fn a_command_line_that_is_wrong() {
    for (line, reason) in [
        ("--bogus @default", "unknown option --bogus"),
        ("@default @default", "@default"),
        ("", "no profile and no rule"),
        ("@Default", "there is no profile '@Default'"),
        ("-s mkdri:EPERM", "'mkdri' is not a system call"),
        ("-s mkdir:EPREM", "'EPREM' is not an action"),
        ("-s mkdir", "'mkdir' is not CALL:ACTION"),
        ("-s mkdir:4096", "'4096' is not an action"),
        ("--default nothing", "'nothing' is not an action"),
        ("@default --try all", "'all' is not something that can be left out"),
        ("-s mkdir:EPERM,mkdir:ENOSYS", "'mkdir' stands twice"),
        ("-s execve:EPERM", "execve: EPERM"),
        ("--default kill --allow read", "execve: kill"),
        ("/nonexistent.json", "open(/nonexistent.json): No such file or directory (ENOENT)"),
        ("--oci /nonexistent.json", "No such file or directory (ENOENT)"),
        ("fd:99", "(EBADF)"),
    ] {
        seccomp_load(line).verb(["ran"]).run().refuses(125, reason);
    }
}

#[test]
fn a_slip_of_the_fingers_is_named() {
    seccomp_load("-s mkdri:EPERM").verb(["ran"]).run().refuses(125, "try: mkdir?");
}

#[test]
fn a_profile_that_is_no_profile() {
    let dir = TempDir::new();
    let run = |text: &[u8]| {
        let path = dir.file("profile.json", text);
        tool("seccomp-load").arg("-N").arg(path).verb(["ran"]).run()
    };
    assert_eq!(run(GOOD.as_bytes()).stdout, "RAN\n");
    for (text, reason) in [
        ("", "cut short"),
        ("[]", "not a JSON object"),
        ("\"@default\"", "not a JSON object"),
        ("null", "profile.json:1: 'null' is no action"),
        ("{}", "defaultAction: missing"),
        ("{} {}", "trailing characters"),
        (r#"{"defaultAction":1}"#, "defaultAction: invalid type"),
        (r#"{"defaultAction":"SCMP_ACT_DENY"}"#, "defaultAction: 'SCMP_ACT_DENY' is not an action"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}"#, "syscalls: invalid type"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscall":[]}"#, "syscall: unknown field"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultAction":"SCMP_ACT_LOG"}"#, "duplicate field"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW"]}"#,
            "flags[0]: 'SECCOMP_FILTER_FLAG_NEW' is not known",
        ),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY cannot be used as default action"),
        (r#"{"ociVersion":"1.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}"#, "try: --oci"),
    ] {
        run(text.as_bytes()).refuses(125, reason);
    }
    for (old, new, reason) in [
        ("\"names\"", "\"nammes\"", "syscalls[0].nammes: unknown field"),
        ("\"args\"", "\"include\"", "syscalls[0].include: unknown field"),
        ("SCMP_ACT_ERRNO", "SCMP_ACT_ERNO", "syscalls[0].action: 'SCMP_ACT_ERNO' is not an action"),
        ("SCMP_ARCH_X86_64", "SCMP_ARCH_AMD64", "architectures: 'SCMP_ARCH_AMD64' is not known"),
        ("mkdirat", "mkdirrat", "syscalls[0].names: 'mkdirrat' is not known"),
        ("18", "-1", "syscalls[0].errnoRet"),
        ("18", "9999", "9999 is no errno"),
        (
            "\"args\":[]",
            r#""args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]"#,
            "syscalls[0].args[0].index: 9",
        ),
        (
            "\"args\":[]",
            r#""args":[{"index":0,"value":0,"op":"EQ"}]"#,
            "syscalls[0].args[0].op: 'EQ' is not an operator",
        ),
        ("\"args\":[]", r#""args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]"#, "syscalls[0].args[0].value"),
        (
            "\"args\":[]",
            r#""includes":{"caps":["SYS_ADMIN"]}"#,
            "syscalls[0].includes.caps[0]: 'SYS_ADMIN' is no capability",
        ),
        ("\"args\":[]", r#""excludes":{"minKernel":"new"}"#, "syscalls[0].excludes.minKernel: 'new'"),
        ("\"args\":[]", r#""includes":{"cap":["CAP_CHOWN"]}"#, "syscalls[0].includes.cap: unknown field"),
    ] {
        let text = GOOD.replacen(old, new, 1);
        run(text.as_bytes()).refuses(125, reason);
    }
}

#[test]
fn a_profile_cut_short_at_every_byte() {
    let dir = TempDir::new();
    for end in 0..GOOD.len() {
        let path = dir.file("profile.json", &GOOD.as_bytes()[..end]);
        let out = tool("seccomp-load").arg("-N").arg(path).verb(["ran"]).run();
        out.refuses(125, "cannot read the filter");
    }
}

#[test]
fn a_profile_that_is_no_file_or_too_much_of_one() {
    let dir = TempDir::new();
    let big = std::fs::File::create(dir.join("big.json")).unwrap();
    big.set_len(50 << 20).unwrap();
    symlink(dir.path(), dir.join("link.json")).unwrap();
    nix::unistd::mkfifo(&dir.join("fifo.json"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for (name, reason) in [
        ("big.json", "52428800 bytes, more than"),
        ("link.json", "it is not a regular file"),
        ("fifo.json", "it is not a regular file"),
    ] {
        for option in [&[][..], &["--oci"]] {
            let run = tool("seccomp-load").arg("-N").args(option).arg(dir.join(name));
            run.verb(["ran"]).run().refuses(125, reason);
        }
    }
}

#[test]
fn a_config_that_is_wrong_names_the_path() {
    let dir = TempDir::new();
    for (seccomp, reason) in [
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_DENY"}]}"#,
            "linux.seccomp.syscalls[0].action: 'SCMP_ACT_DENY'",
        ),
        (
            r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG"}]}"#,
            "linux.seccomp.defaultAction: missing",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "linux.seccomp.listenerPath: missing",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]}"#,
            "linux.seccomp.architectures: 'SCMP_ARCH_Z80'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":"read"}]}"#,
            "linux.seccomp.syscalls[0].names",
        ),
    ] {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"noNewPrivileges":true}},"linux":{{"seccomp":{seccomp}}}}}"#
        );
        let path = dir.file("config.json", text);
        tool("seccomp-load").args(["-N", "--oci"]).arg(path).verb(["ran"]).run().refuses(125, reason);
    }
}

#[test]
fn the_pipe_form_refuses_as_early() {
    let run = shell("seccomp-load -s mkdri:EPERM | seccomp-load --plan - @default -- \"$PROBE\" ran").run();
    assert!(run.status == 125 && run.stdout.is_empty(), "{run:?}");
    let run = shell("cap-drop --all | seccomp-load @defalt -- \"$PROBE\" ran").run();
    // The stage before may have found nobody to write to.
    run.fails(125, "there is no profile '@defalt'");
    assert_eq!(run.stdout, "");
    // A plan is read again where it is carried out.
    let dir = TempDir::new();
    let plan = |spec: &str| {
        let text =
            format!(r#"{{"catena":1,"layers":[{{"tool":"seccomp-load","spec":{spec}}}],"complete":true}}"#);
        let path = dir.file("plan.json", text);
        tool("runner").arg("--plan").arg(path).verb(["ran"]).run()
    };
    assert_eq!(plan(r#"{"profile":"@default"}"#).stdout, "RAN\n");
    for (spec, reason) in [
        (r#"{"profile":"@other"}"#, "profile: there is no '@other'"),
        (
            r#"{"seccomp":{"defaultAction":"SCMP_ACT_ALOW"}}"#,
            "defaultAction: 'SCMP_ACT_ALOW' is not an action",
        ),
        (r#"{"rules":[{"names":["frobnicate"],"action":"SCMP_ACT_KILL"}]}"#, "rules[0].names: 'frobnicate'"),
        (r#"{"rules":[{"names":["execve"],"action":"SCMP_ACT_KILL"}]}"#, "execve: kill-thread"),
        (r#"{"default":{"names":[],"action":"deny"},"rules":[]}"#, "default.action: 'deny' is not an action"),
    ] {
        plan(spec).refuses(125, reason);
    }
}

#[test]
fn without_no_new_privs_it_wants_the_capability() {
    if !requires::root() || !requires::command("setpriv") {
        return;
    }
    let line = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all -- \
        seccomp-load -N --allow-new-privs -s mkdir:EPERM -- \"$PROBE\" ran";
    shell(line).run().refuses(125, "without no_new_privs it wants CAP_SYS_ADMIN, which is not held");
    // With no_new_privs anybody may.
    let line = line.replace(" --allow-new-privs", "");
    assert_eq!(shell(&line).run().succeeds().stdout, "RAN\n");
}

#[test]
fn a_question_runs_nothing() {
    for option in ["--print", "--check", "--help", "--version", "--show 1"] {
        let run = seccomp_load(&format!("@default {option}")).verb(["ran"]).run();
        assert!(run.status == 0 && !run.stdout.contains("RAN"), "{option}: {run:?}");
    }
}
