//! Rounds of memory with a real criu, while the tree runs: in the lane `vm`, whose kernel tells which pages were written
//! to. In the lane `trixie` none can tell, and that is said.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counter;

use catena_tests::{Output, TempDir, requires, shell};
use counter::migrating::{expect_it_counts, expect_nothing_happened, migrate, started};

fn knows_dirty_pages() -> bool {
    shell("criu-ctl check --feature mem_dirty_track").run().status == 0
}

/// Said aloud, or an error where rounds were demanded.
#[test]
fn memory_goes_in_rounds_or_it_is_said_why_not() {
    if !requires::criu() {
        return;
    }
    let dir = TempDir::new();
    let there = dir.join("there");
    let mut counter = started(&dir, "LOOP");
    if knows_dirty_pages() {
        let out = migrate(counter.pid, &there, "-d --json --pre-copy --dirty-below 0").run();
        assert_eq!(out.status, 0, "{out:?}");
        assert!(out.json()["rounds"].as_array().unwrap().len() > 1, "{out:?}");
        assert!(out.stderr.contains("criu-ctl: round 1: "), "{out:?}");
    } else {
        migrate(counter.pid, &there, "-d --pre-copy")
            .run()
            .refuses(125, "does not tell which pages were written to");
        expect_nothing_happened(&counter, &there);
        let out: Output = migrate(counter.pid, &there, "-d --json").run();
        assert_eq!(out.status, 0, "{out:?}");
        assert!(
            out.stderr.contains("warning: this kernel does not tell which pages were written to"),
            "{out:?}"
        );
        assert_eq!(out.json()["rounds"].as_array().unwrap().len(), 1);
    }
    expect_it_counts(&counter);
    counter.kill();
}
