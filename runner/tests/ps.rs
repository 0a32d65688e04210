//! ps shows what is in the container, and nothing else of the host.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, until};
use common::Bundle;
use serde_json::json;

fn two() -> Bundle {
    let bundle = Bundle::sh("sleep 61 & exec sleep 62");
    bundle.create().succeeds();
    bundle
}

/// The pids that ps lists, waiting until there are so many.
#[track_caller]
fn pids(bundle: &Bundle, count: usize) -> Vec<i64> {
    let mut pids: Vec<i64> = Vec::new();
    until(&format!("processes: {count}"), || {
        let listed = bundle.runner(["ps", "-f", "json", &bundle.id]).run().json();
        pids = listed.as_array().unwrap().iter().map(|p| p.as_i64().unwrap()).collect();
        pids.len() == count
    });
    pids
}

#[test]
fn json_is_the_pids_that_the_host_sees() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = two();
    let first = bundle.state()["pid"].as_i64().unwrap();
    assert_eq!(pids(&bundle, 1), [first]);
    bundle.start().succeeds();
    assert!(pids(&bundle, 2).contains(&first));
    drop(bundle);
    leftovers.check();
}

#[test]
fn the_table_is_the_hosts_ps_with_the_containers_rows() {
    if !requires::root() || !requires::ps() {
        return;
    }
    let bundle = two();
    bundle.start().succeeds();
    let pids = pids(&bundle, 2);
    let table = || bundle.runner(["ps", &bundle.id]).run();
    // Until a shell has become its command, its own line has both.
    let both = ["sleep 61", "sleep 62"];
    until("both commands", || {
        let text = table().stdout;
        both.iter().all(|command| text.lines().any(|line| line.ends_with(*command)))
    });
    let table = table();
    table.succeeds();
    let mut lines = table.stdout.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header[..3], ["UID", "PID", "PPID"]);
    let mut listed: Vec<i64> = lines.map(|l| l.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, pids, "{table:?}");
    assert!(table.stdout.contains("sleep 61") && table.stdout.contains("sleep 62"), "{table:?}");

    // Options behind the id are ps's own, those in front of it are ours.
    let other = bundle.runner(["ps", "--format", "table", &bundle.id, "-e", "-o", "pid,comm"]).run();
    assert_eq!(
        other.stdout.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["PID", "COMMAND"]
    );
    assert_eq!(other.stdout.lines().count(), 3, "{other:?}");
}

#[test]
fn the_table_is_that_of_runc() {
    if !requires::root() || !requires::command("runc") || !requires::ps() {
        return;
    }
    let bundle = two();
    bundle.start().succeeds();
    pids(&bundle, 2);
    let ours = bundle.runner(["ps", &bundle.id]).run().stdout;
    let dir = bundle.dir();
    let line = format!(
        "runc --root {dir}/runc run -d -b {dir} x{0} >/dev/null 2>&1 </dev/null && runc --root {dir}/runc ps x{0}; \
         runc --root {dir}/runc ps -f json x{0}; runc --root {dir}/runc delete -f x{0}",
        bundle.id
    );
    let theirs = catena_tests::shell(&line).run().stdout;
    let columns =
        |text: &str| text.lines().next().unwrap().split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(columns(&ours), columns(&theirs));
    let last: serde_json::Value = serde_json::from_str(theirs.lines().last().unwrap()).unwrap();
    assert!(last.as_array().is_some_and(|pids| pids.iter().all(serde_json::Value::is_i64)), "{theirs}");
}

#[test]
fn what_ps_cannot_say_is_an_error_and_a_stopped_container_has_no_rows() {
    if !requires::root() || !requires::ps() {
        return;
    }
    let bundle = Bundle::sh("exit 0");
    bundle.runner(["ps", "nobody"]).run().fails(1, "container does not exist");
    bundle.create().succeeds();
    bundle.runner(["ps", &bundle.id, "--no-such-option"]).run().fails(1, "cannot run ps");
    bundle.runner(["ps", &bundle.id, "-e", "-o", "comm"]).run().fails(1, "no column PID");
    bundle.start().succeeds();
    bundle.becomes("stopped");
    let table = bundle.runner(["ps", &bundle.id]).run();
    table.succeeds();
    assert_eq!(table.stdout.lines().count(), 1, "{table:?}");
    assert_eq!(bundle.runner(["ps", "-f", "json", &bundle.id]).run().json(), json!([]));
}
