//! What criu-ctl tells of images, and pages that go elsewhere; with a real criu.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{TempDir, requires, tool};
use counter::{Counter, criu_ctl, dump, wait_for};
use nix::sys::signal::Signal;
use std::net::TcpListener;

#[test]
fn show_tells_what_a_folder_holds_and_dump_how_long_the_tree_stood_still() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let mut counter = Counter::start(&dir);
    let numbers = dump(&counter, &img, "--json").succeeds().json();
    counter.expect_gone();
    assert!(numbers["frozen_time"].as_u64().unwrap() > 0 && numbers["pages_written"].as_u64().unwrap() > 0);
    let show = |flags: &str| tool("criu-ctl").arg("show").arg(&img).args(flags.split_whitespace()).run();
    let text = show("").succeeds().stdout.clone();
    assert!(text.starts_with("a whole dump\n") && text.contains("bash\n"), "{text}");
    assert!(text.contains(&format!("process {} of ", counter.pid)) && text.contains("frozen for "), "{text}");
    let document = show("--json").succeeds().json();
    assert_eq!((&document["whole"], &document["processes"][0]["pid"]), (&true.into(), &counter.pid.into()));
    // What is no file is not waited for.
    std::fs::remove_file(img.join("pstree.img")).unwrap();
    nix::unistd::mkfifo(&img.join("pstree.img"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    show("").refuses(125, "pstree.img is no file");
}

/// Whether somebody listens there. A connection would be the one that the server takes.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|line| line.get(1).is_some_and(|local| local.ends_with(&wanted)) && line.get(3) == Some(&"0A"))
}

#[test]
fn pages_go_to_a_server_and_come_back_with_the_rest() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let (img, pages) = (dir.join("img"), dir.join("pages"));
    // Below those that connections get by themselves.
    let port = (20_000_u16..32_000)
        .cycle()
        .skip(std::process::id() as usize % 12_000)
        .take(12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let mut counter = Counter::start(&dir);
    let address = format!("--page-server 127.0.0.1:{port}");
    let server = criu_ctl("page-server", &pages, &address).spawn();
    wait_for("it listens", || listens(port));
    dump(&counter, &img, &address).succeeds();
    counter.expect_gone();
    server.wait().exits(0);
    assert!(!img.join("pages-1.img").exists(), "they went to the server");
    for entry in std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&entry, img.join(entry.file_name().unwrap())).unwrap();
    }
    let stopped_at = counter.last();
    let running = criu_ctl("restore", &img, "").spawn();
    wait_for("it counts on", || counter.last() > stopped_at + 3);
    counter.expect_every_number_once();
    running.signal(Signal::SIGTERM);
    running.wait().exits(128 + 15);
}
