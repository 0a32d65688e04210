//! What the kernel then does to the command's calls.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, TempDir, Tool, requires, shell, tool};

fn seccomp_load(line: &str) -> Tool {
    tool("seccomp-load").arg("-N").args(line.split_whitespace())
}

/// What becomes of one call of the command's, made with -1 for every argument that is not given.
fn says(line: &str, call: &str) -> String {
    let verb = std::iter::once("try-syscall").chain(call.split_whitespace());
    seccomp_load(line).verb(verb).run().stdout.trim().to_string()
}

/// Filters that are in force on the test itself.
fn here() -> u32 {
    catena_tests::Probe::here().seccomp_filters.unwrap_or(0)
}

fn profile(dir: &TempDir, text: &str) -> String {
    dir.file("profile.json", text).to_str().unwrap().to_string()
}

#[test]
fn a_call_that_is_refused_does_not_happen() {
    let dir = TempDir::new();
    let made = dir.join("made");
    let run = |line: &str| {
        seccomp_load(line).args(["--"]).arg(catena_tests::probe_path()).arg("mkdir").arg(&made).run()
    };
    let out = run("-s mkdir:EXDEV,mkdirat:EXDEV");
    assert!(out.stdout == "EXDEV\n" && out.status == 1 && !made.exists(), "{out:?}");
    assert_eq!(run("@default").stdout, "ok\n");
    assert!(made.exists());
}

/// The family is an int, of which the kernel takes the lower half.
#[test]
fn no_bit_in_the_upper_half_gets_a_socket_through_the_default_profile() {
    for family in ["38", "40", "0x100000026", "0x100000028"] {
        assert_eq!(says("@default", &format!("socket {family} 1 0")), "EPERM", "{family}");
    }
    for family in ["1", "2"] {
        assert!(says("@default", &format!("socket {family} 1 0")).starts_with("ok"), "{family}");
    }
}

#[test]
fn every_action() {
    for (action, said) in [
        ("EPERM", "EPERM"),
        ("ENOSYS", "ENOSYS"),
        ("38", "ENOSYS"),
        ("4095", "UnknownErrno"),
        ("0", "ok 0"),
        ("allow", "EINVAL"),
        ("log", "EINVAL"),
        // Nobody traces it.
        ("trace", "ENOSYS"),
    ] {
        assert_eq!(says(&format!("-s add_key:{action}"), "add_key"), said, "{action}");
    }
    for action in ["kill", "kill-thread", "trap"] {
        let run = seccomp_load(&format!("-s add_key:{action}")).verb(["try-syscall", "add_key"]).run();
        assert_eq!((run.signal, run.status, run.stdout.as_str()), (Some(31), 128 + 31, ""), "{action}");
    }
}

#[test]
fn deny_allow_and_default() {
    assert_eq!(says("--deny add_key,request_key", "request_key"), "EPERM");
    assert_eq!(says("--deny @keyring,@swap", "add_key"), "EPERM");
    assert_eq!(says("@default --allow add_key", "add_key"), "EINVAL");
    assert_eq!(says("@default --default ENOSYS", "add_key"), "ENOSYS");
    assert_eq!(says("@default --default ENOSYS -s add_key:EXDEV", "add_key"), "EXDEV");
    assert_eq!(says("@default -s uname:EXDEV", "uname"), "EXDEV");
}

#[test]
fn conditions_on_arguments_are_looked_at_whole() {
    let dir = TempDir::new();
    let args = |args: &str| {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["pidfd_open"],"action":"SCMP_ACT_ERRNO","errnoRet":18,"args":[{args}]}}]}}"#
        );
        profile(&dir, &text)
    };
    let arg = |index: u32, value: u64, op: &str, two: u64| {
        format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#)
    };
    // Flags of no meaning: EINVAL is what the kernel says to a call that goes through.
    let cases = [
        (arg(1, 99, "EQ", 0), "pidfd_open 7 99", "EXDEV"),
        (arg(1, 99, "EQ", 0), "pidfd_open 7 98", "EINVAL"),
        // The upper half counts.
        (arg(1, 99, "EQ", 0), "pidfd_open 7 0x100000063", "EINVAL"),
        (arg(1, 99, "NE", 0), "pidfd_open 7 0x100000063", "EXDEV"),
        (arg(1, 0x1_0000_0000, "GE", 0), "pidfd_open 7 0x100000063", "EXDEV"),
        (arg(1, 0x1_0000_0000, "GE", 0), "pidfd_open 7 0xffffffff", "EINVAL"),
        (arg(1, 100, "LT", 0), "pidfd_open 7 99", "EXDEV"),
        (arg(1, 99, "LT", 0), "pidfd_open 7 99", "EINVAL"),
        (arg(1, 99, "LE", 0), "pidfd_open 7 99", "EXDEV"),
        (arg(1, 99, "GT", 0), "pidfd_open 7 99", "EINVAL"),
        (arg(1, 0xf0, "MASKED_EQ", 0x60), "pidfd_open 7 99", "EXDEV"),
        (arg(1, 0xf0, "MASKED_EQ", 0x70), "pidfd_open 7 99", "EINVAL"),
        // Two arguments: both must hold.
        (arg(0, 7, "EQ", 0) + "," + &arg(1, 99, "EQ", 0), "pidfd_open 7 99", "EXDEV"),
        (arg(0, 7, "EQ", 0) + "," + &arg(1, 99, "EQ", 0), "pidfd_open 8 99", "EINVAL"),
        // Two conditions on one argument: either does, as in every runtime.
        (arg(1, 99, "EQ", 0) + "," + &arg(1, 97, "EQ", 0), "pidfd_open 7 97", "EXDEV"),
        (arg(1, 99, "EQ", 0) + "," + &arg(1, 97, "EQ", 0), "pidfd_open 7 99", "EXDEV"),
        (arg(1, 99, "EQ", 0) + "," + &arg(1, 97, "EQ", 0), "pidfd_open 7 98", "EINVAL"),
    ];
    for (condition, call, said) in cases {
        assert_eq!(says(&args(&condition), call), said, "{condition}: {call}");
    }
}

#[test]
fn what_is_newer_than_the_profile_is_not_there() {
    let dir = TempDir::new();
    // io_uring_setup is 425, newer than pidfd_send_signal, 424.
    let names = r#"["execve","brk","mmap","munmap","mprotect","write","exit_group","arch_prctl","pidfd_send_signal"]"#;
    let allow = profile(
        &dir,
        &format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":{names},"action":"SCMP_ACT_ALLOW"}}]}}"#
        ),
    );
    let program = format!(
        "{allow} --allow rt_sigprocmask,rt_sigaction,sigaltstack,poll,set_tid_address,set_robust_list,\
        getrandom,prlimit64,fstat,readlink,read,close,sched_getaffinity,gettid,fcntl,futex,openat,lseek"
    );
    if std::env::consts::ARCH == "x86_64" {
        // rseq, 334, is older and not in it: EPERM.
        assert_eq!(says(&program, "add_key"), "EPERM");
        assert_eq!(says(&program, "425"), "ENOSYS");
        assert_eq!(says(&program, "9999"), "ENOSYS");
    }
    assert_eq!(says("@default", "9999"), "ENOSYS");
    // What lets everything through lets what is new through to the kernel.
    assert_eq!(says("-s read:allow", "9999"), "ENOSYS");
}

/// Rules by hand are written by somebody who knows what this build knows.
#[test]
fn rules_by_hand_say_nothing_of_how_new_a_call_is() {
    let pure = "--default EXDEV --allow execve,brk,mmap,munmap,mprotect,write,exit_group,arch_prctl,poll,rt_sigaction,\
        rt_sigprocmask,sigaltstack,read,close,fcntl,openat,fstat,readlink";
    for (call, said) in [("425", "EXDEV"), ("469", "EXDEV"), ("470", "ENOSYS"), ("add_key", "EXDEV")] {
        assert_eq!(says(pure, call), said, "{call}");
    }
    // And on top of a profile they make it no newer: 467 is newer than @default, 469 is named.
    for (call, said) in [("467", "ENOSYS"), ("468", "ENOSYS"), ("469", "EXDEV"), ("470", "ENOSYS")] {
        assert_eq!(says("@default -s file_setattr:EXDEV", call), said, "{call}");
    }
}

#[test]
fn x32_calls_are_no_way_around() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    // add_key is 248.
    let x32 = "0x400000f8";
    assert_eq!(says("-s add_key:EXDEV", x32), "EXDEV");
    assert_eq!(says("@default", x32), "EPERM");
    let dir = TempDir::new();
    let native = profile(&dir, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    let run = seccomp_load(&native).verb(["try-syscall", x32]).run();
    assert_eq!((run.signal, run.stdout.as_str()), (Some(31), ""), "{run:?}");
}

/// A program for i386 that makes one call and exits with its errno: ELF header, program header, code.
fn i386(number: u32, args: [u32; 2]) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes()); // mov eax, number
    code.push(0xbb);
    code.extend(args[0].to_le_bytes()); // mov ebx, …
    code.push(0xb9);
    code.extend(args[1].to_le_bytes()); // mov ecx, …
    // int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80
    code.extend([0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
    let (base, entry, size) = (0x0804_8000_u32, 0x0804_8054_u32, 84 + code.len() as u32);
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [entry, 52, 0, 0] {
        elf.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 40, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1, 0, base, base, size, size, 5, 0x1000] {
        elf.extend(u32::to_le_bytes(word));
    }
    elf.extend(code);
    elf
}

#[test]
fn a_program_for_i386_is_no_way_around() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let dir = TempDir::new();
    let program = |number, args| dir.program("i386", i386(number, args));
    let run = |line: &str, path: &std::path::Path| -> Output { seccomp_load(line).command([path]).run() };
    // add_key is 286 there.
    let program_add = program(286, [u32::MAX, u32::MAX]);
    if run("-s read:allow", &program_add).status != 14 {
        requires::skip("needs a kernel that runs programs for i386");
        return;
    }
    assert_eq!(run("-s add_key:EXDEV", &program_add).status, 18);
    assert_eq!(run("@default", &program_add).status, 1);
    let native = profile(&dir, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    assert_eq!(run(&native, &program_add).signal, Some(31));
    // socket(AF_UNIX…) both ways: by itself, 359, and through socketcall, 102, whose arguments no filter can see.
    for (number, args) in [(359, [u32::MAX, 0]), (102, [1, u32::MAX])] {
        let socket = program(number, args);
        assert_eq!(run("-s socket:EXDEV", &socket).status, 18, "{number}");
        assert_eq!(run("@default -s socket:EXDEV", &socket).status, 18, "{number}");
        assert_ne!(run("@default", &socket).status, 18, "{number}");
    }
}

#[test]
fn one_filter_and_no_new_privs() {
    let mut lines = vec!["seccomp-load -N @default -- "];
    if requires::root() {
        lines.extend([
            "cap-drop -N --all -- seccomp-load @default -- ",
            "cap-drop --all | seccomp-load @default -- ",
        ]);
    }
    for line in lines {
        shell(&format!("{line}\"$PROBE\"")).run().probe().expect_filters(1).expect_no_new_privs(true);
    }
}

#[test]
fn new_privileges_stay_possible_where_they_were_asked_for() {
    if !requires::root() {
        return;
    }
    let seen = seccomp_load("--allow-new-privileges -s mkdir:EPERM").probe();
    seen.expect_filters(1).expect_no_new_privs(false);
    // The words of the lane that plays an older kernel.
    let old =
        "--allow-new-privileges -s openat2:ENOSYS,mount_setattr:ENOSYS,close_range:ENOSYS,faccessat2:ENOSYS";
    for call in ["openat2", "mount_setattr", "close_range"] {
        assert_eq!(says(old, call), "ENOSYS");
    }
    // Filters add up: a chain under a filter loads its own.
    let line = format!("seccomp-load -N {old} -- sh -c 'exec seccomp-load -N @default -- \"$PROBE\"'");
    shell(&line).run().probe().expect_filters(2).expect_no_new_privs(true);
}

#[test]
fn print_check_and_show() {
    let text = seccomp_load("@default --print").run().succeeds().stdout.clone();
    assert!(
        text.contains("what no rule names: EPERM") && text.contains("newer than removexattrat: ENOSYS"),
        "{text}"
    );
    let text = seccomp_load("-s fchmod:EPERM --print").run().succeeds().stdout.clone();
    assert!(text.contains("note: fchmod refused, and the same goes through by"), "{text}");
    let json = seccomp_load("@default --print --json").run().succeeds().json();
    assert_eq!(json["default"], "EPERM");
    let calls = &json["calls"]["SCMP_ARCH_X86_64"];
    if std::env::consts::ARCH == "x86_64" {
        assert!(calls["allow"].as_array().unwrap().contains(&"read".into()), "{calls}");
        assert_eq!(calls["conditions"]["socket"][0], "allow if arg0 < 0x26");
    }
    for line in ["@default", "-s mkdirat:EXDEV", "-s read:log"] {
        seccomp_load(&format!("{line} --check")).run().succeeds();
    }
    let line = "seccomp-load -N @default -- sh -c 'exec 3<&1; cat /proc/self/status >/dev/null; seccomp-load --show $$'";
    let shown = shell(line).run().succeeds().json();
    assert_eq!(
        (&shown["mode"], &shown["filters"], &shown["tool"]),
        (&"filter".into(), &(here() + 1).into(), &"seccomp-load".into())
    );
    seccomp_load("--show 999999999").run().refuses(125, "999999999");
}

#[test]
fn the_raw_program_is_what_others_load() {
    let line = "seccomp-load -s mkdir:EXDEV --print --raw | wc -c";
    let size: usize = shell(line).run().succeeds().stdout.trim().parse().unwrap();
    assert!(size > 0 && size.is_multiple_of(8));
    if !requires::command("bwrap") {
        return;
    }
    let line = "seccomp-load -s mkdir:EXDEV --print --raw >\"$TMP\" && \
        bwrap --bind / / --seccomp 9 \"$PROBE\" mkdir /tmp/never 9<\"$TMP\"";
    let dir = TempDir::new();
    let out = shell(line).env("TMP", dir.join("filter.bpf")).run();
    assert_eq!(out.stdout, "EXDEV\n", "{out:?}");
}

#[test]
fn standard_input_is_the_commands() {
    let text = "{\"catena\":1}\n";
    let run = seccomp_load("@default").command(["cat"]).input(text).run();
    assert_eq!(run.succeeds().stdout, text);
}
