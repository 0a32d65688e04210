//! Containers with TCP connections. Since Linux 6.16 criu 4.1.1 cannot take one, and that is said: the lane `vm` has an
//! older kernel, and there they go on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Output, requires, until};
use common::Bundle;
use common::criu::{COUNTS, checkpoint, counting, counts_on, restore};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

/// Whether it was taken; a refusal is the one of a criu that is too old for this kernel, and harms nobody.
#[track_caller]
fn taken(bundle: &Bundle, out: &Output) -> bool {
    if out.status == 0 {
        return true;
    }
    let lane = std::env::var("CATENA_LANE").unwrap_or_default();
    assert_ne!(lane, "vm", "its kernel is one that criu knows: {out:?}");
    assert!(out.stderr.contains("this criu is too old for the sockets of this kernel"), "{out:?}");
    assert_eq!(bundle.status(), "running");
    counts_on(bundle);
    false
}

/// In the host's network, with an end outside.
#[test]
fn a_connection_to_the_host_goes_on() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = "while read -r word; do echo \"got $word\"; done";
    let line = format!("mkfifo /way; (nc 127.0.0.1 {port} </way | ({answers}) >/way) & {COUNTS}");
    let mut bundle = counting(&line);
    let mine = bundle.config["linux"]["namespaces"].as_array().unwrap().iter();
    let mine: Vec<_> = mine.filter(|namespace| namespace["type"] != "network").cloned().collect();
    bundle = bundle.set("/linux/namespaces", json!(mine)).up();
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut end = BufReader::new(stream);
    let mut told = |word: &str| {
        writeln!(end.get_mut(), "{word}").unwrap();
        let mut line = String::new();
        end.read_line(&mut line).unwrap();
        assert_eq!(line, format!("got {word}\n"));
    };
    told("one");
    counts_on(&bundle);
    if taken(&bundle, &checkpoint(&bundle, ["--tcp-established"])) {
        restore(&bundle, "--tcp-established").succeeds();
        counts_on(&bundle);
    }
    told("two");
    drop(bundle);
    leftovers.check();
}

/// In a network namespace of its own, which is taken along with both ends.
#[test]
fn a_connection_inside_goes_on() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    // /proc/net: port 7000 in hexadecimal, and 0A for a socket that listens.
    let line = format!(
        "mkfifo /way; exec 5<>/way; nc -l -p 7000 <&5 >/heard & until grep -q ':1B58 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done; \
         (while :; do j=$((j+1)); echo $j; sleep 0.05; done | nc 127.0.0.1 7000 >/dev/null) & {COUNTS}"
    );
    let bundle = counting(&line).up();
    let heard = || {
        let text = std::fs::read_to_string(bundle.rootfs.path().join("heard")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse::<usize>().unwrap()).collect::<Vec<_>>()
    };
    until("it heard itself", || heard().len() > 3);
    if taken(&bundle, &checkpoint(&bundle, ["--tcp-established"])) {
        restore(&bundle, "--tcp-established").succeeds();
    }
    let then = heard().len();
    until("it hears itself", || heard().len() > then + 3);
    let all = heard();
    assert_eq!(all, (1..=all.len()).collect::<Vec<_>>());
    drop(bundle);
    leftovers.check();
}
