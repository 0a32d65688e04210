//! A plan that is not whole never leaves a command running: cut at any byte, from a stage that died, not a plan at all.

use catena_tests::{Output, TempDir, shell, tool};
use std::path::Path;

/// Feeds `input` to a tool with a command; the command must not run.
#[track_caller]
fn refused(input: &[u8], text: &str) -> Output {
    let dir = TempDir::new();
    let mark = dir.join("ran");
    let out =
        tool("cap-drop").args(["--all"]).command(["touch".as_ref(), mark.as_os_str()]).input(input).run();
    assert!(!mark.exists(), "the command ran\n{out:?}");
    out.refuses(125, text).clone()
}

/// Runs a pipeline whose last stage would make `ran`; it must not, and the last stage must say why.
#[track_caller]
fn dead(first: &str, text: &str) {
    let dir = TempDir::new();
    let out = shell(&format!("{first} | cap-drop --all -- touch ran")).cwd(&dir).run();
    assert!(!dir.join("ran").exists(), "the command ran\n{out:?}");
    out.fails(125, text);
}

fn a_plan() -> String {
    let out = shell("ns-enter -mu | rootfs-prep --root ./rootfs").run();
    out.succeeds();
    out.stdout.clone()
}

#[test]
fn a_plan_cut_at_any_byte_is_refused() {
    let plan = a_plan();
    let body = plan.trim_end();
    let last = body.len() - 1;
    for at in (0..last).step_by(7).chain(last.saturating_sub(20)..=last) {
        refused(&body.as_bytes()[..at], "cannot read the plan from standard input");
    }
}

#[test]
fn a_stage_that_dies_leaves_no_command() {
    let empty = "cannot read the plan from standard input: it is empty";
    for first in [
        "true",
        "false",
        "kill -9 $BASHPID",
        "(exec 2>&-; no-such-program)",
        "ns-enter --bogus",
        ": > /dev/null",
    ] {
        dead(first, empty);
    }
    dead("ns-enter -mu | false", empty);
    dead("ns-enter --bogus | rootfs-prep --root ./rootfs", empty);
    dead("ns-enter -mu | rootfs-prep --bogus", "unknown option --bogus");
}

#[test]
fn a_stage_that_dies_while_it_writes_leaves_no_command() {
    dead("(ns-enter -mu | head -c 40; sleep 0.2; exit 1)", "cut short");
    dead("(printf '{\"catena\":1,'; sleep 1.2)", "cut short");
}

#[test]
fn a_foreign_document_is_refused() {
    refused(b"hello\n", "cannot read the plan");
    refused(b"{}", "missing field `catena`");
    refused(b"[]", "cannot read the plan");
    refused(b"null", "cannot read the plan");
    refused(b"\n\n", "it is empty");
    refused(b"\0\0\0\0", "cannot read the plan");
    refused(b"\xff\xfe{}", "cannot read the plan");
    refused(br#"{"ociVersion":"1.0.2","process":{"args":["sh"]}}"#, "cannot read the plan");
    refused("[".repeat(100_000).as_bytes(), "cannot read the plan");
    refused("{\"catena\":".repeat(100_000).as_bytes(), "cannot read the plan");
}

#[test]
fn a_plan_that_is_nearly_one_is_refused() {
    let empty = r#"{"catena":1,"build":"x","layers":[],"complete":true}"#;
    let change = |from: &str, to: &str| empty.replace(from, to).into_bytes();
    refused(&change("\"catena\":1", "\"catena\":2"), "version 2, not 1");
    refused(&change("\"complete\":true", "\"complete\":false"), "it does not end with");
    refused(&change(",\"complete\":true", ""), "complete");
    refused(
        &change("\"layers\":[],\"complete\":true", "\"complete\":true,\"layers\":[]"),
        "it does not end with",
    );
    refused(&change("[]", r#"[{"tool":"rm-rf","spec":{}}]"#), "layers[0].tool");
    refused(&change("[]", r#"[{"tool":"ns-enter","spec":{"bogus":1}}]"#), "bogus");
    refused(&change("[]", r#"[{"tool":"ns-enter","spec":{"hostname":1}}]"#), "hostname");
    refused(&change("[]", r#"[{"tool":"ns-enter"}]"#), "it has no spec");
    refused(format!("{empty}{empty}").as_bytes(), "cannot read the plan");
    refused(format!("{empty}\nrm -rf").as_bytes(), "cannot read the plan");
}

/// Layers only: what comes through a pipe must not choose the command, its environment or a hook.
#[test]
fn a_plan_carries_no_command() {
    for member in [
        r#""command":["id"]"#,
        r#""env":["A=b"]"#,
        r#""hooks":{}"#,
        r#""fds":{}"#,
        r#""landing":{}"#,
        r#""receipts":[]"#,
    ] {
        let plan = format!(r#"{{"catena":1,"build":"x","layers":[],{member},"complete":true}}"#);
        refused(plan.as_bytes(), "unknown field");
    }
}

#[test]
fn an_error_document_is_told_and_refused() {
    refused(
        br#"{"error":"cannot make a namespace"}"#,
        "the stage before this one failed: cannot make a namespace",
    );
}

#[test]
fn twenty_megabytes_of_garbage_are_refused_early() {
    refused(&vec![b'x'; 20 << 20], "bytes: this is not a plan");
    refused(&vec![b' '; 20 << 20], "bytes: this is not a plan");
    dead("yes", "this is not a plan");
    dead("cat /dev/zero", "this is not a plan");
}

/// A filter writes nothing when it refuses, so that the next stage has nothing to go on.
#[test]
fn a_filter_that_refuses_writes_nothing() {
    let out = tool("cap-drop").args(["--all"]).input("{}").run();
    out.refuses(125, "missing field `catena`");
    tool("cap-drop").args(["--bogus"]).run().refuses(125, "unknown option --bogus");
}

#[test]
fn a_plan_that_cannot_be_written_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    shell("ns-enter -mu > /dev/full")
        .run()
        .refuses(125, "cannot write the output: write(stdout): No space left");
}
