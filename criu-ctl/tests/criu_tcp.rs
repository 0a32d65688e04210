//! A tree with a TCP connection to somebody who stays. Since Linux 6.16 criu 4.1.1 cannot take one, and that is said: the
//! lane `vm` has an older kernel, and there it goes on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{TempDir, requires};
use counter::{Counter, criu_ctl, dump};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Who stays.
struct End(BufReader<TcpStream>);

impl End {
    /// A tree that answers, connected to this end.
    fn with_tree(dir: &TempDir) -> (Counter, End) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = "while read -r word <&5; do echo \"got $word\" >&5; done; echo 1 >COUNT.closed";
        let counter =
            Counter::running(dir, &format!("exec 5<>/dev/tcp/127.0.0.1/{port}; {{ {answers}; }} & LOOP"));
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        (counter, End(BufReader::new(stream)))
    }

    fn say(&mut self, word: &str) {
        writeln!(self.0.get_mut(), "{word}").unwrap();
    }

    #[track_caller]
    fn expect(&mut self, answer: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), answer);
    }
}

/// Dumped with its connection; false where this criu cannot, which is said and harms nobody.
#[track_caller]
fn taken(counter: &mut Counter, end: &mut End, img: &std::path::Path) -> bool {
    end.say("one");
    end.expect("got one");
    let out = dump(counter, img, "--tcp-established");
    if out.status == 0 {
        counter.expect_gone();
        return true;
    }
    let lane = std::env::var("CATENA_LANE").unwrap_or_default();
    assert_ne!(lane, "vm", "its kernel is one that criu knows: {out:?}");
    out.refuses(125, "this criu is too old for the sockets of this kernel");
    end.say("two");
    end.expect("got two");
    false
}

#[test]
fn it_goes_on_and_the_other_end_notices_nothing() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let (mut counter, mut end) = End::with_tree(&dir);
    if !taken(&mut counter, &mut end, &img) {
        return;
    }
    end.say("said while it was away");
    criu_ctl("restore", &img, "-d").run().refuses(125, "try: --tcp-established");
    criu_ctl("restore", &img, "-d --tcp-established").run().succeeds();
    end.expect("got said while it was away");
    end.say("and now");
    end.expect("got and now");
    counter.expect_every_number_once();
}

#[test]
fn it_is_restored_without_its_connection_where_that_is_asked_for() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let img = dir.join("img");
    let (mut counter, mut end) = End::with_tree(&dir);
    if !taken(&mut counter, &mut end, &img) {
        return;
    }
    criu_ctl("restore", &img, "-d --tcp-close").run().succeeds();
    let closed = dir.join("count.closed");
    counter::wait_for("it found its connection closed", || closed.exists());
    let then = counter.last();
    counter::wait_for("it counts on", || counter.last() > then + 3);
}
