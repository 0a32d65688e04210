//! Terminals: in the foreground through a real terminal of script(1), and over a console socket.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Probe, requires, shell};
use common::Bundle;
use common::exec::receive;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

fn with_terminal(line: &str) -> Bundle {
    Bundle::sh(line).set("/process/terminal", json!(true))
}

#[test]
fn the_default_bundle_runs_under_a_terminal() {
    if !requires::root() || !requires::command("script") {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle =
        with_terminal("test -t 0 && test -t 1 && test -t 2 && tty; stty size; ls -l /dev/console; exit 4")
            .set("/process/consoleSize", json!({"height": 33, "width": 44}));
    let run = format!(
        "runner --root {} run --bundle {} {}",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    let out = shell(&format!("script -qefc '{run}' /dev/null </dev/null")).run();
    assert_eq!(out.status, 4, "{out:?}");
    assert!(out.stdout.contains("/dev/pts/0\r\n"), "one carriage return, of the terminal outside: {out:?}");
    assert!(out.stdout.contains("136,   0"), "console is the pty: {out:?}");
    drop(bundle);
    leftovers.check();
}

/// One that ends before anybody listens for its end, and output that is read late.
#[test]
fn a_short_command_under_a_terminal_ends_every_time() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = with_terminal("echo said; exit 3");
    for _ in 0..40 {
        let run = ["run", "--bundle", bundle.dir(), &bundle.id];
        let out = bundle.runner(run).run();
        assert_eq!((out.status, out.stdout.as_str()), (3, "said\n"), "{out:?}");
    }
    drop(bundle);
    leftovers.check();
}

/// More than the terminal holds in either direction, from a pipe and to a pipe that is read late: neither end waits for
/// the other, and the end of the input is the command's.
#[test]
fn as_much_as_there_is_goes_through_a_terminal() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = with_terminal("stty -echo; echo ready; exec cat");
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    // What comes before it is ready is echoed.
    let line = format!(
        "(until [ -e {dir}/ready ]; do sleep 0.02; done; seq 60000; printf end) | \
         runner --root {root} run --bundle {dir} {id} | \
         (read -r word; echo \"$word\"; touch {dir}/ready; sleep 1; cat)"
    );
    let out = shell(&line).run();
    let expected: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    let said = out.succeeds().stdout.trim_start_matches("ready\n");
    assert_eq!(said.len(), expected.len() + 3, "all of it, once");
    assert_eq!(said.strip_suffix("end"), Some(expected.as_str()));
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_terminal_is_refused_where_nobody_holds_it() {
    let bundle = with_terminal("true");
    bundle.create().fails(1, "cannot give the container a terminal: nobody is there to hold it");
    let plain = Bundle::new();
    let socket = plain.rootfs.parent().join("s");
    let run = ["run", "--console-socket", socket.to_str().unwrap(), "--bundle", plain.dir(), &plain.id];
    plain.runner(run).run().fails(1, "process.terminal is false");
    let run = ["run", "--console-socket", socket.to_str().unwrap(), "--bundle", bundle.dir(), &bundle.id];
    bundle.runner(run).run().refuses(1, "it is our own that it would have");
}

#[test]
fn the_console_socket_gets_the_master() {
    if !requires::root() {
        return;
    }
    let bundle = with_terminal("read word; echo got $word; exec /probe");
    let path = bundle.rootfs.parent().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let run =
        ["run", "--detach", "--console-socket", path.to_str().unwrap(), "--bundle", bundle.dir(), &bundle.id];
    let runner = bundle.runner(run).spawn();
    let (stream, _) = listener.accept().unwrap();
    let mut master = std::fs::File::from(receive(&stream));
    runner.wait().succeeds();
    master.write_all(b"word\n").unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..n]);
        if n == 0 {
            break;
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("got word"), "{text}");
    let document = text.lines().find(|l| l.starts_with('{')).expect("the payload's document");
    let probe: Probe = serde_json::from_str(document).unwrap();
    assert!(probe.tty.controlling && probe.tty.std == [true; 3], "{:?}", probe.tty);
    probe.expect_only_std_fds();
    assert_eq!(probe.session, probe.pid, "it leads its session");
}

/// Whoever reads the output of create to its end must not wait for the container's, and a container that waits for its
/// start has nothing open that leads outside (CVE-2024-21626).
#[test]
fn a_created_container_has_its_terminal_and_nothing_of_its_creator() {
    if !requires::root() {
        return;
    }
    let bundle = with_terminal("true");
    let path = bundle.rootfs.parent().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let line = format!(
        "exec 9<{0} 8<>{0}/fd8; runner --root {1} create --console-socket {2} --bundle {0} {3} >{0}/out 2>&1 </dev/null",
        bundle.dir(),
        bundle.state.path().display(),
        path.display(),
        bundle.id
    );
    shell(&line).run().succeeds();
    let (stream, _) = listener.accept().unwrap();
    let _master = receive(&stream);
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let mut others = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned();
        match entry.file_name().to_str().unwrap().parse::<u32>().unwrap() {
            0..=2 => assert_eq!(target, "/dev/pts/0"),
            _ => others.push(target),
        }
    }
    others.retain(|target| target != "anon_inode:[signalfd]");
    assert!(others.iter().all(|target| target.starts_with("socket:")), "{others:?}");
    assert!(others.len() <= 2, "the gate and the runner's meeting socket: {others:?}");
}

#[test]
fn a_console_socket_that_nobody_listens_on_fails_the_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = with_terminal("true");
    let path = bundle.rootfs.parent().join("dead");
    drop(UnixListener::bind(&path).unwrap());
    let run =
        ["run", "--detach", "--console-socket", path.to_str().unwrap(), "--bundle", bundle.dir(), &bundle.id];
    bundle.runner(run).run().fails(1, "Connection refused (ECONNREFUSED)");
    drop(bundle);
    leftovers.check();
}
