//! Links out of order are refused before the first acts, and the right chain is printed.

use catena_tests::{Leftovers, StatusLog, TempDir, requires, rootfs, shell, tool};

/// Every link, in the order that is right, with words that any of them takes.
const LINKS: [(&str, &[&str]); 6] = [
    ("cg-apply", &["-m", "512M"]),
    ("idmap", &["-r"]),
    ("ns-enter", &["-m"]),
    ("rootfs-prep", &["--root", "rootfs"]),
    ("cap-drop", &["--all"]),
    ("seccomp-load", &["@default"]),
];

fn written(link: (&str, &[&str])) -> String {
    format!("{} {}", link.0, link.1.join(" "))
}

/// Every pair that is not in order, a link twice included.
fn wrong_pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..LINKS.len()).flat_map(|i| (0..=i).map(move |j| (i, j)))
}

#[test]
fn every_pair_out_of_order_is_refused_in_the_exec_form() {
    for (i, j) in wrong_pairs() {
        let (first, then) = (LINKS[i], LINKS[j]);
        let dir = TempDir::new();
        let log = StatusLog::new();
        let run = tool(first.0).args(["--status-fd", "9"]).args(first.1).then(then.0, then.1);
        let out = run.command(["touch", "ran"]).fd(log.fd(), 9).cwd(&dir).run();
        assert!(!dir.join("ran").exists(), "the command ran");
        if i == j {
            out.refuses(125, "stands twice in one chain");
        } else {
            let right =
                format!("{} -- {} --status-fd 9 {} -- touch ran", written(then), first.0, first.1.join(" "));
            out.refuses(125, &right);
        }
        log.expect_error("order");
    }
}

#[test]
fn every_pair_out_of_order_is_refused_in_the_pipe_form() {
    for (i, j) in wrong_pairs() {
        let (first, then) = (LINKS[i], LINKS[j]);
        let dir = TempDir::new();
        let log = StatusLog::new();
        let line = format!("{} | {} --status-fd 9 -- touch ran", written(first), written(then));
        let out = shell(&line).fd(log.fd(), 9).cwd(&dir).run();
        assert!(!dir.join("ran").exists(), "the command ran");
        if i == j {
            out.refuses(125, "stands twice in one chain");
        } else {
            out.refuses(125, &format!("{} --status-fd 9 -- {} ", written(then), first.0));
        }
        log.expect_error("order");
    }
}

/// Every choice of links, in order, makes a process; without a mount namespace of its own, rootfs-prep refuses.
#[test]
fn every_choice_in_order_works_in_both_forms() {
    if !requires::controller("memory") {
        return;
    }
    let root = rootfs();
    let before = Leftovers::watch();
    for choice in 1_u32..64 {
        let links: Vec<String> = LINKS
            .iter()
            .enumerate()
            .filter(|(i, _)| choice >> i & 1 == 1)
            .map(|(_, l)| written(*l))
            .collect();
        let alone = choice >> 3 & 1 == 1 && choice >> 2 & 1 == 0;
        for glue in [" -- ", " | "] {
            let line = format!("{} -- /bin/echo RAN", links.join(glue));
            let out = shell(&line).cwd(root.parent()).run();
            if alone {
                out.refuses(125, "mount namespace");
            } else {
                assert_eq!(
                    (out.status, out.stdout.as_str(), out.stderr.as_str()),
                    (0, "RAN\n", ""),
                    "{line}"
                );
            }
        }
    }
    before.check();
}

/// Also where the last stage is not the one that stands wrong: the filter refuses, and what follows has no plan.
#[test]
fn a_filter_out_of_order_refuses() {
    for (i, j) in wrong_pairs() {
        let (first, then) = (LINKS[i], LINKS[j]);
        let out = shell(&format!("{} | {}", written(first), written(then))).run();
        out.refuses(125, if i == j { "stands twice" } else { "must stand before" });
    }
}

/// Not only neighbours: the wrong pair may stand anywhere in a longer chain.
#[test]
fn a_link_far_back_is_seen_before_the_first_acts() {
    let dir = TempDir::new();
    let run = tool("idmap").args(["-r"]).then("ns-enter", ["-m"]).then("seccomp-load", ["@default"]);
    let out = run.then("cap-drop", ["--all"]).command(["touch", "ran"]).cwd(&dir).run();
    out.refuses(125, "idmap -r -- ns-enter -m -- cap-drop --all -- seccomp-load @default -- touch ran");
    assert!(!dir.join("ran").exists());
    let mixed = shell("cap-drop --all | idmap -r -- ns-enter -m -- touch ran").cwd(&dir).run();
    mixed.refuses(125, "idmap -r -- ns-enter -m -- cap-drop … -- touch ran");
    assert!(!dir.join("ran").exists());
}

/// The chain that is printed can be typed: words with blanks and quotes are quoted.
#[test]
fn the_printed_chain_is_quoted() {
    let run =
        tool("rootfs-prep").args(["--root", "a b'c"]).then("ns-enter", ["-m"]).command(["echo", "$x", "*"]);
    run.run().refuses(125, r"ns-enter -m -- rootfs-prep --root 'a b'\''c' -- echo '$x' '*'");
}

/// A link with nothing behind it, alone or in a chain.
#[test]
fn a_chain_without_a_command_is_refused() {
    tool("ns-enter")
        .args(["-m"])
        .then("cap-drop", ["--all"])
        .run()
        .refuses(127, "nothing stands behind cap-drop");
    tool("ns-enter").args(["-m", "--"]).run().refuses(127, "nothing stands behind --");
    tool("ns-enter")
        .args(["-m"])
        .then("cap-drop", ["--all", "--"])
        .run()
        .refuses(127, "nothing stands behind");
}
