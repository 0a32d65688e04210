//! Questions about a filter: what becomes of a call, how two profiles differ, what gets around a refusal.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, TempDir, tool};

fn ask(words: &[&str]) -> Output {
    tool("seccomp-load").args(["-N", "--print"]).args(words).run()
}

#[test]
fn a_call_is_decided_as_the_kernel_decides_it() {
    for call in
        ["add_key()", "getpid", "socket(AF_VSOCK)", "socket(AF_INET)", "personality(8)", "personality(7)"]
    {
        let name = call.split('(').next().unwrap();
        let arg = match call {
            "socket(AF_VSOCK)" => "40",
            "socket(AF_INET)" => "2",
            "personality(8)" => "8",
            "personality(7)" => "7",
            _ => "0",
        };
        let out = ask(&["@default", "--test", call]);
        let made =
            tool("seccomp-load").args(["-N", "@default"]).verb(["try-syscall", name, arg, "0", "0"]).run();
        assert_eq!(out.stdout.contains(": EPERM: "), made.stdout == "EPERM\n", "{call}: {out:?} {made:?}");
        assert_eq!(out.status, i32::from(!out.stdout.contains(": allow: ")), "{out:?}");
    }
    let out = ask(&["-s", "mount:EXDEV", "--test", "mount()", "--test", "getpid()"]);
    assert_eq!(out.status, 1);
    assert!(
        out.stdout.starts_with("mount(): EXDEV: a rule names it; --allow mount would let it through\n"),
        "{out:?}"
    );
    assert!(out.stdout.contains("getpid(): allow: "), "{out:?}");
    let json = ask(&["-s", "mount:EXDEV", "--json", "--test", "mount()"]).stdout;
    assert!(json.contains(r#""action":"EXDEV""#) && json.contains(r#""try":"--allow mount""#), "{json}");
}

#[test]
fn a_filter_written_down_decides_nothing_otherwise() {
    let dir = TempDir::new();
    let out = ask(&["@default", "-s", "uname:EXDEV", "--dump"]);
    let file = dir.file("p.json", &out.succeeds().stdout);
    let file = file.to_str().unwrap();
    let same = ask(&["@default", "-s", "uname:EXDEV", "--diff", file]);
    assert_eq!((same.status, same.stdout.as_str()), (0, ""), "{same:?}");
    let other = ask(&["@default", "--diff", file]);
    assert_eq!((other.status, other.stdout.as_str()), (1, "uname: allow -> EXDEV\n"), "{other:?}");
    let run = tool("seccomp-load").args(["-N", file]).verb(["try-syscall", "uname"]).run();
    assert_eq!(run.stdout, "EXDEV\n");
}

#[test]
fn a_way_around_is_told_by_the_status() {
    let out = ask(&["-s", "fchmodat:EPERM", "--lint"]);
    assert!(out.status == 1 && out.stdout.starts_with("fchmodat refused"), "{out:?}");
    let out = ask(&["-s", "add_key:EPERM", "--lint"]);
    assert_eq!((out.status, out.stdout.as_str()), (0, ""));
}

#[test]
fn a_question_that_cannot_be_answered_runs_nothing() {
    for (words, said) in [
        (&["@default", "--test", "opnat()"][..], "'opnat' is no system call here"),
        (&["@default", "--test", "kill(1"], "no ) at its end"),
        (&["@default", "--diff", "/nonexistent"], "ENOENT"),
        (&["@default", "--dump", "--lint"], "exclude each other"),
    ] {
        ask(words).refuses(125, said);
    }
    tool("seccomp-load")
        .args(["-N", "@default", "--test", "kill()"])
        .verb(["ran"])
        .run()
        .refuses(125, "--print");
}
