//! Memory that goes elsewhere, or comes later, or was taken before; with a real criu.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, Tool, requires, shell, tool, until};
use common::Bundle;
use common::criu::{COUNTS, checkpoint, counter, counting, counts_on, images, numbers, restore};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// It has a few MiB of memory, so that not all of it is fetched at once.
fn large() -> Bundle {
    counting(&format!("a=$(head -c 4000000 /dev/zero | tr '\\0' x); {COUNTS}"))
}

fn criu_ctl(verb: &str, folder: &Path, flags: &str) -> Tool {
    tool("criu-ctl").arg(verb).arg("-D").arg(folder).args(flags.split_whitespace())
}

/// A free port, given out once, and none of those from 32768 on that connections get by themselves.
fn port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let next = || (std::process::id() as u16).wrapping_add(COUNT.fetch_add(1, Relaxed)) % 12_000;
    std::iter::repeat_with(|| 20_000 + next())
        .take(12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Whether somebody listens there. A connection would be the one that the server takes.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listeners = lines.filter(|line| line.get(3) == Some(&"0A"));
    listeners.any(|line| line.get(1).is_some_and(|local| local.ends_with(&wanted)))
}

#[test]
fn memory_comes_from_the_folder_when_it_is_used() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = large().up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    let server = criu_ctl("lazy-pages", &images(&bundle), "").spawn();
    until("it listens", || images(&bundle).join("lazy-pages.socket").exists());
    restore(&bundle, "--lazy-pages").succeeds();
    counts_on(&bundle);
    server.wait().exits(0);
    counts_on(&bundle);
    drop(bundle);
    leftovers.check();
}

/// The one here stands still until the last page was fetched by the one there, and is gone then.
#[test]
fn memory_is_fetched_from_where_it_was() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let mut bundle = large().up();
    counts_on(&bundle);
    let (img, dir, port) = (images(&bundle), bundle.dir().to_string(), port());
    let line = format!(
        "exec runner --root {} checkpoint --image-path {} --lazy-pages --page-server 127.0.0.1:{port} --status-fd 7 {} 7>{dir}/ready",
        bundle.state.path().display(),
        img.display(),
        bundle.id
    );
    let (_, pipe) = rustix::pipe::pipe().unwrap();
    if rustix::pipe::fcntl_setpipe_size(&pipe, 4 << 20).is_err() {
        shell(&line).run().refuses(1, "larger than fs.pipe-max-size without CAP_SYS_RESOURCE");
        counts_on(&bundle);
        requires::skip("needs CAP_SYS_RESOURCE, or an fs.pipe-max-size of 4 MiB");
        return;
    }
    let source = shell(&line).spawn();
    until("it says that pages can be fetched", || {
        std::fs::read(format!("{dir}/ready")).is_ok_and(|text| text == b"\0")
    });
    let then = numbers(&bundle).len();
    let server = criu_ctl("lazy-pages", &img, &format!("--page-server 127.0.0.1:{port}")).spawn();
    until("it listens", || img.join("lazy-pages.socket").exists());
    assert_eq!(numbers(&bundle).len(), then, "it stands still");
    let old = std::mem::take(&mut bundle.id);
    bundle.id = format!("{old}b");
    restore(&bundle, "--lazy-pages").succeeds();
    counts_on(&bundle);
    server.wait().exits(0);
    source.wait().exits(0);
    bundle.runner(["state", &old]).run().refuses(1, "does not exist");
    counts_on(&bundle);
    drop(bundle);
    leftovers.check();
}

#[test]
fn lazy_memory_that_nobody_could_fetch_is_refused() {
    if !requires::criu() {
        return;
    }
    let bundle = counter().up();
    checkpoint(&bundle, ["--lazy-pages"]).refuses(1, "--page-server is missing");
    counts_on(&bundle);
    drop(bundle);
}

/// criu kills the tree then and waits for it; its init waits for the process that criu traces, and both for ever.
#[test]
fn a_server_of_memory_that_goes_away_is_an_error_and_not_waited_for() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = large().up();
    counts_on(&bundle);
    checkpoint(&bundle, []).succeeds();
    let entries = std::fs::read_dir(images(&bundle)).unwrap().map(|entry| entry.unwrap().file_name());
    let processes = entries.filter(|name| name.to_string_lossy().starts_with("core-")).count();
    let listener = UnixListener::bind(images(&bundle).join("lazy-pages.socket")).unwrap();
    let server = std::thread::spawn(move || {
        // A pid, and a byte with an fd, of each process.
        listener.accept().unwrap().0.read_exact(&mut vec![0; processes * 5]).unwrap();
    });
    let start = Instant::now();
    restore(&bundle, "--lazy-pages").refuses(1, "uffd: ");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    server.join().unwrap();
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    drop(bundle);
    leftovers.check();
}

#[test]
fn memory_goes_to_a_server_and_comes_back_with_the_rest() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = large().up();
    counts_on(&bundle);
    let (pages, port) = (bundle.rootfs.parent().join("pages"), port());
    let address = format!("127.0.0.1:{port}");
    let server = criu_ctl("page-server", &pages, &format!("--page-server {address}")).spawn();
    until("it listens", || listens(port));
    checkpoint(&bundle, ["--page-server", &address]).succeeds();
    server.wait().exits(0);
    bundle.runner(["state", &bundle.id]).run().refuses(1, "does not exist");
    // Without them it is none.
    restore(&bundle, "").refuses(1, "the memory of its processes is not in it: pagemap-");
    for entry in std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&entry, images(&bundle).join(entry.file_name().unwrap())).unwrap();
    }
    restore(&bundle, "").succeeds();
    counts_on(&bundle);
    drop(bundle);
    leftovers.check();
}
