//! `--to-host`, `--to-inside`, what `--print` says of where a range comes from, and the words of `--map-users`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod user;

use catena_tests::{requires, shell, tool};
use user::{GRANTS, ID, possible, run};

#[test]
fn ids_of_a_map_that_is_written_out() {
    let map = "--map-users 0:1000:1 --map-users 1:100000:999 --map-groups 0:5000:10";
    for (question, answer) in [
        ("--to-host 0", "1000"),
        ("--to-host 33", "100032"),
        ("--to-host=999", "100998"),
        ("--to-inside 100032", "33"),
        ("--to-inside u:1000", "0"),
        ("--to-host g:7", "5007"),
        ("--to-inside g:5007", "7"),
    ] {
        let out = shell(&format!("idmap {map} {question}")).run();
        assert_eq!(out.succeeds().stdout, format!("{answer}\n"), "{question}");
    }
    for (question, text) in [
        ("--to-host 1000", "user 1000 inside is nobody outside"),
        ("--to-inside 0", "user 0 outside is nobody inside"),
        ("--to-host g:10", "group 10 inside is nobody outside"),
        ("--to-host x", "'x' is no id"),
        ("--to-host -1", "-1"),
        ("--to-host 1 --to-inside 1", "--to-inside"),
        ("--to-host 1 -- echo ran", "run nothing"),
    ] {
        shell(&format!("idmap {map} {question}")).run().refuses(125, text);
    }
    shell("idmap --to-host 1").run().refuses(125, "it says no ids to map");
}

#[test]
fn ids_of_a_living_process() {
    if !requires::root() {
        return;
    }
    let line = "idmap -N --map-users 0:100000:10 --map-groups 0:200000:10 -- sh -c 'echo $$; exec sleep 20' | { read P; \
        idmap --pid $P --to-host 3; idmap --pid $P --to-host g:3; idmap --pid $P --to-inside 100003; kill $P; }";
    assert_eq!(shell(line).run().succeeds().stdout, "100003\n200003\n3\n");
    tool("idmap").args(["--pid", "99999999", "--to-host", "1"]).run().refuses(125, "99999999");
}

#[test]
fn print_names_the_line_that_grants() {
    if !possible() {
        return;
    }
    let out = run(GRANTS, "idmap --auto --print");
    let text = &out.succeeds().stdout;
    assert!(text.contains(&format!("0 to 0 inside are {ID} to {ID} outside (the caller)")), "{text}");
    assert!(text.contains("1 to 65535 inside are 300000 to 365534 outside (/etc/subuid:"), "{text}");
    assert!(text.contains("(/etc/subgid:"), "{text}");
}

#[test]
fn every_granted_id_as_itself_and_the_caller_kept() {
    if !possible() {
        return;
    }
    let map = |line: &str| {
        let out = run(GRANTS, &format!("{line} -- sh -c 'cat /proc/self/uid_map; id -u'"));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        out.succeeds().stdout.lines().map(words).collect::<Vec<_>>()
    };
    let kept = map("idmap --keep-id");
    assert_eq!(kept, map("idmap -c --auto"));
    assert_eq!(kept.last().unwrap(), &ID.to_string());
    assert_eq!(map("idmap --keep-id=7"), map("idmap --map-user 7 --map-group 7 --auto"));
    assert_eq!(map("idmap -c --map-users subids --map-groups subids")[1], "300000 300000 65536");
    run(GRANTS, "idmap --keep-id=x -- echo ran").refuses(125, "--keep-id=x: not an id");
    run(GRANTS, "idmap --keep-id -r -- echo ran").refuses(125, "");
}

#[test]
fn all_ids_there_are() {
    if !requires::root() {
        return;
    }
    let out = shell("idmap -N --map-users all --map-groups all -- sh -c 'id -u; cut -d: -f1 /proc/self/setgroups; cat /proc/self/uid_map'").run();
    let here = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let size = here.split_whitespace().last().unwrap().to_string();
    assert!(
        out.succeeds().stdout.starts_with("0\nallow\n") && out.stdout.trim_end().ends_with(&size),
        "{out:?}"
    );
}
