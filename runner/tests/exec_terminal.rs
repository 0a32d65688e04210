//! exec: terminals.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Probe, requires, shell};
use common::Bundle;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

/// The payload's document among what a terminal showed.
fn probe(text: &str) -> Probe {
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(line).unwrap()
}

#[test]
fn with_a_terminal_the_command_has_one_of_the_containers_own() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let out = bundle.exec(["-t", "-u", "7:8"], ["/bin/sh", "-c", "tty; exec /probe"]).run();
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("/dev/pts/0\n"), "{out:?}");
    let probe = probe(&out.stdout);
    assert!(probe.tty.controlling && probe.tty.foreground && probe.tty.std == [true; 3], "{:?}", probe.tty);
    probe.expect_only_std_fds().expect_user(7, 8, &[]);
    assert_eq!((probe.session, probe.pgid), (probe.pid, probe.pid));
    // It is its user's, as after a login, and the console stays the first process's.
    let out = bundle.exec_sh(["-t", "-u", "7"], "stat -c %u /dev/pts/0; test ! -e /dev/console && echo none");
    assert_eq!(out.stdout, "7\nnone\n", "{out:?}");
    bundle.exec_sh(["-t"], "exit 6").exits(6);
    bundle.exec(["-t"], ["no-such-program"]).run().refuses(255, "No such file");
}

#[test]
fn its_size_is_the_callers() {
    if !requires::root() || !requires::command("script") {
        return;
    }
    let bundle = Bundle::asleep().up();
    let exec = format!("runner --root {} exec -t {} stty size", bundle.state.path().display(), bundle.id);
    // Standard input neither ends nor speaks: script(1) passes on what it hears, the end too.
    let pipe = bundle.rootfs.parent().join("in");
    let line = format!("script -qefc 'stty rows 33 columns 44; {exec}' /dev/null");
    let out = shell(&format!("mkfifo {0}; exec {line} 0<>{0}", pipe.display())).run();
    assert!(out.status == 0 && out.stdout.contains("33 44"), "{out:?}");
}

#[test]
fn the_console_socket_gets_the_master() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let path = bundle.rootfs.parent().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let process = json!({"args": ["/bin/sh", "-c", "stty size; read word; echo got $word"], "cwd": "/",
        "env": ["PATH=/bin"], "terminal": true, "consoleSize": {"height": 11, "width": 22}});
    let file = bundle.rootfs.parent().join("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    // As conmon has it: the flag and the file say the same.
    let exec = ["exec", "--detach", "--tty", "--console-socket", path.to_str().unwrap(), "--process"];
    let running = bundle.runner(exec).args([file.to_str().unwrap(), &bundle.id]).spawn();
    let (stream, _) = listener.accept().unwrap();
    let mut master = std::fs::File::from(common::exec::receive(&stream));
    running.wait().succeeds();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let mut asked = false;
    while let Ok(n @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..n]);
        // Not before, for the echo of what is typed may come into the middle of a line.
        if !asked && text.ends_with(b"\n") {
            master.write_all(b"word\n").unwrap();
            asked = true;
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("11 22\r\n") && text.contains("got word"), "{text}");
}

#[test]
fn a_console_socket_that_nobody_listens_on_runs_nothing() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::asleep().up();
    let path = bundle.rootfs.parent().join("dead");
    drop(UnixListener::bind(&path).unwrap());
    let out = bundle.exec(["-d", "-t", "--console-socket", path.to_str().unwrap()], ["/probe", "ran"]).run();
    out.refuses(255, "Connection refused (ECONNREFUSED)");
    bundle.comes_down_to(1);
}
