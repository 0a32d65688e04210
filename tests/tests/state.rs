//! The state is taken over only when it is what a link of this build sealed; else the command never runs.

use catena_tests::{Output, TempDir, memfd, requires, state_name, tool};
use serde_json::{Value, json};
use std::os::fd::OwnedFd;

fn build() -> String {
    let version = tool("cap-drop").args(["--version", "--json"]).run().json();
    version["build"].as_str().unwrap().to_string()
}

/// What the first link of a chain hands to the second, without any layer.
fn empty() -> Value {
    json!({"catena": 1, "build": build(), "layers": [], "receipts": [], "fds": {}, "landing": {}, "complete": true})
}

fn done(tool: &str) -> Value {
    json!({"tool": tool, "verified": true})
}

/// Runs `cap-drop --all -- touch ran` with `fd` as fd 10 and this name for it; was the command run?
fn with(fd: OwnedFd, name: &str) -> (Output, bool) {
    let dir = TempDir::new();
    let run = tool("cap-drop").args(["--all"]).command(["touch", "ran"]).cwd(&dir).fd(fd, 10);
    let out = run.env("CATENA_STATE", name).run();
    let ran = dir.join("ran").exists();
    (out, ran)
}

#[track_caller]
fn refused(fd: OwnedFd, name: &str, text: &str) {
    let (out, ran) = with(fd, name);
    assert!(!ran, "the command ran\n{out:?}");
    out.refuses(125, text);
}

#[track_caller]
fn refused_document(document: &Value, text: &str) {
    let fd = memfd(document.to_string().as_bytes(), true);
    let name = state_name(&fd, 10);
    refused(fd, &name, text);
}

/// Without this, every refusal below could have another reason.
#[test]
fn a_right_state_is_taken_over() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let fd = memfd(empty().to_string().as_bytes(), true);
    let name = state_name(&fd, 10);
    let (out, ran) = with(fd, &name);
    out.succeeds();
    assert!(ran);
}

#[test]
fn a_name_that_is_not_one_is_refused() {
    let good = empty().to_string();
    let fd = || memfd(good.as_bytes(), true);
    for name in
        ["", "10", "fd:10", "fd:x:1", "fd:10:x", "fd:-1:1", "fd:10:1:2", "fd:99999999999:1", "/etc/passwd"]
    {
        refused(fd(), name, "CATENA_STATE");
    }
    refused(fd(), "fd:0:1", "not above the standard fds");
    refused(fd(), "fd:10:1", "that fd is another file by now");
    refused(fd(), "fd:77:1", "(EBADF)");
}

#[test]
fn an_fd_that_somebody_can_still_write_is_refused() {
    let good = empty().to_string();
    let unsealed = memfd(good.as_bytes(), false);
    let name = state_name(&unsealed, 10);
    refused(unsealed, &name, "that fd is not sealed");

    use rustix::fs::{SealFlags, fcntl_add_seals};
    for some in [SealFlags::WRITE, SealFlags::SHRINK | SealFlags::GROW, SealFlags::WRITE | SealFlags::GROW] {
        let fd = memfd(good.as_bytes(), false);
        fcntl_add_seals(&fd, some).unwrap();
        let name = state_name(&fd, 10);
        refused(fd, &name, "that fd is not sealed");
    }
    let dir = TempDir::new();
    let file: OwnedFd = std::fs::File::open(dir.file("state", &good)).unwrap().into();
    let name = state_name(&file, 10);
    // On a tmpfs it can have seals, and has none.
    refused(file, &name, "that fd is no");
}

#[test]
fn another_build_is_refused() {
    let mut other = empty();
    other["build"] = json!("0.0.1+other");
    refused_document(&other, "it was written by build 0.0.1+other");
    // Nothing else of another build's state is looked at, for it may mean something else there.
    refused_document(
        &json!({"build": "9.9.9+x", "catena": 9, "new": {}}),
        "install all the tools from one build",
    );
    let mut none = empty();
    none.as_object_mut().unwrap().remove("build");
    refused_document(&none, "build");
}

#[test]
fn a_state_that_is_not_whole_is_refused() {
    for member in ["catena", "layers", "receipts", "fds", "landing", "complete"] {
        let mut less = empty();
        less.as_object_mut().unwrap().remove(member);
        refused_document(&less, member);
    }
    let mut more = empty();
    more["bogus"] = json!(1);
    refused_document(&more, "bogus");
    let mut half = empty();
    half["complete"] = json!(false);
    refused_document(&half, "complete");
    let mut version = empty();
    version["catena"] = json!(2);
    refused_document(&version, "catena");
    let text = empty().to_string();
    for at in (0..text.len()).step_by(11) {
        let fd = memfd(&text.as_bytes()[..at], true);
        let name = state_name(&fd, 10);
        refused(fd, &name, "cannot take over the state of the chain");
    }
}

/// The fds of a state must be open: a number that means nothing would mean something else later.
#[test]
fn a_state_with_fds_that_are_closed_is_refused() {
    for fds in [
        json!({"tools": {"seccomp-load": 77}}),
        json!({"status": 77}),
        json!({"filter": 77}),
        json!({"keep": [77]}),
    ] {
        let mut state = empty();
        state["fds"] = fds;
        refused_document(&state, "fcntl(77)");
    }
}

/// A layer without a receipt was not carried out; the landing looks at each.
#[test]
fn a_layer_without_proof_keeps_the_command_from_running() {
    if !requires::capability("SETPCAP") {
        return;
    }
    let mut state = empty();
    state["layers"] = json!([{"tool": "ns-enter", "spec": {"namespaces": []}}]);
    refused_document(&state, "the layer is ns-enter's, and this is cap-drop");

    state["layers"] = json!([{"tool": "ns-enter"}]);
    state["receipts"] = json!([{"tool": "ns-enter", "verified": false}]);
    refused_document(&state, "the layer of ns-enter was not proven");

    state["receipts"] = json!([done("idmap")]);
    refused_document(&state, "the layer of ns-enter was not proven");

    state["layers"] = json!([{"tool": "cap-drop"}]);
    state["receipts"] = json!([done("ns-enter")]);
    refused_document(&state, "was not proven");
}

/// More receipts than layers would make a layer that is added now look done.
#[test]
fn receipts_without_layers_are_refused() {
    let mut state = empty();
    state["receipts"] = json!([done("ns-enter")]);
    refused_document(&state, "receipt");
    state["receipts"] = json!([done("cap-drop"), done("seccomp-load")]);
    refused_document(&state, "receipt");
}

/// A link that a plan drives looks at its layer, not at its flags, and its layer must be readable.
#[test]
fn a_driven_link_reads_its_layer_strictly() {
    let mut state = empty();
    for (spec, text) in [
        (json!({"bogus": 1}), "bogus"),
        (json!({"capabilities": {"bounding": ["CAP_BOGUS"]}}), "CAP_BOGUS"),
        (json!(null), "cannot"),
    ] {
        state["layers"] = json!([{"tool": "cap-drop", "spec": spec}]);
        refused_document(&state, text);
    }
}
