//! `--tty`: what a command types does not reach the terminal of whoever started it, and whoever sits there keeps the keys.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Leftovers, TempDir, TerminalSession, requires, shell, tool};

/// Runs the attack under a terminal, then somebody types; what the attacker says, and what whoever started it has read
/// from its terminal.
fn read_after_attack(tty: &str) -> (String, String) {
    let line = format!(
        "stty -echo; idmap -r -- ns-enter -m {tty} -- \"$PROBE\" type-in stolen; \
        echo attack over; read -r word; echo \"got $word.\""
    );
    let mut session = TerminalSession::start(&line);
    let said = session.expect("attack over");
    session.type_in("honest\n");
    session.expect("got ");
    let word = session.expect(".");
    assert_eq!(session.end(), 0);
    (said.trim().to_string(), word)
}

#[test]
fn without_it_a_command_types_for_its_caller() {
    if !requires::typing() {
        return;
    }
    assert_eq!(read_after_attack(""), ("ok".into(), "stolen".into()));
}

#[test]
fn what_a_command_types_does_not_reach_its_caller() {
    let leftovers = Leftovers::watch();
    // In its own terminal it may type what it likes, if the kernel allows it.
    let own = if requires::typing() { "ok" } else { "EIO" };
    for (tty, says) in [
        ("--tty=filter", "EPERM"),
        ("-p --tty=filter", "EPERM"),
        ("--tty=setsid", "EPERM"),
        ("-p --init --tty=setsid", "EPERM"),
        ("--tty=pty", own),
        ("-p --init --tty=pty", own),
    ] {
        assert_eq!(read_after_attack(tty), (says.into(), "honest".into()), "{tty}");
    }
    leftovers.check();
}

#[test]
fn the_filter_refuses_both_requests_by_their_lower_half_and_nothing_else() {
    let asks = |chain: &str, request: &str| {
        let line = format!(
            "idmap -r -- ns-enter -u --tty=filter {chain} -- \"$PROBE\" try-syscall ioctl -1 {request}"
        );
        shell(&line).run().stdout
    };
    for chain in ["", "-- cap-drop --all", "-- cap-drop --all -- seccomp-load @default", "-p"] {
        for request in ["0x5412", "0x541c", "0x100005412", "0x7fffffff0000541c"] {
            assert_eq!(asks(chain, request), "EPERM\n", "{chain} {request}");
        }
        assert_eq!(asks(chain, "0x5413"), "EBADF\n", "{chain}");
    }
}

#[test]
fn the_filter_is_one_more_and_no_gain_of_privilege_is_lost_by_it() {
    let of = |chain: &str| {
        shell(&format!("idmap -r -- ns-enter -u --tty=filter {chain} -- \"$PROBE\"")).run().probe()
    };
    of("").expect_filters(1).expect_no_new_privs(catena_tests::Probe::here().no_new_privs);
    of("-- cap-drop --all -- seccomp-load @default").expect_filters(2);
}

/// A filter wants no_new_privs or privilege, and without the filter the command does not run.
#[test]
fn without_privilege_the_filter_wants_no_new_privs() {
    let Some(user) = requires::user() else { return };
    let as_user = format!("setpriv --reuid {} --regid {} --clear-groups --reset-env", user.uid, user.gid);
    let join = "$(command -v ns-enter) --join uts=/proc/self/ns/uts --tty=filter";
    let out = shell(&format!("PATH=$PATH exec {as_user} {join} -- \"$PROBE\" ran")).run();
    let out = out.refuses(125, "cannot keep the command from typing into the terminal");
    assert!(out.stderr.contains("no_new_privs"), "{out:?}");
    let line = format!("exec {as_user} {join} -- $(command -v cap-drop) --umask 22 -- \"$PROBE\"");
    shell(&line).run().probe().expect_filters(1).expect_no_new_privs(true);
}

#[test]
fn a_session_of_its_own_has_no_terminal() {
    let mut session = TerminalSession::start(
        "stty -echo; ns-enter --join uts=/proc/self/ns/uts --tty=setsid -- bash -c \
        '(: </dev/tty) 2>&1; trap \"echo interrupted; kill %1; exit 9\" INT; sleep 60 & echo ready; wait'; echo \"status $?.\"",
    );
    assert!(session.expect("ready").contains("No such device or address"));
    // ^C is the caller's, and reaches the command all the same.
    session.type_in("\x03");
    session.expect("interrupted");
    session.expect("status 9.");
    assert_eq!(session.end(), 0);
}

#[test]
fn a_terminal_of_its_own_is_as_large_as_ours_and_follows_it() {
    let mut session = TerminalSession::start(
        "ns-enter --join uts=/proc/self/ns/uts --tty=pty -- bash -c \
        'stty size; until [ \"$(stty size)\" = \"33 44\" ]; do sleep 0.02; done; stty size; exit 5'; echo \"status $?.\"",
    );
    session.expect("24 80\r\n");
    session.resize(33, 44);
    session.expect("33 44\r\n");
    session.expect("status 5.");
    assert!(session.edits_lines(), "the terminal is as it was before");
    assert_eq!(session.end(), 0);
}

#[test]
fn what_was_redirected_stays_redirected() {
    let dir = TempDir::new();
    let mut session = TerminalSession::start(
        "echo data | CATENA_STDIN=command ns-enter --join uts=/proc/self/ns/uts --tty=pty -- bash -c \
        'cat; test -t 0 || echo no terminal at 0; test -t 1 && echo one at 1; read -r key </dev/tty; echo \"key $key\" >&2' \
        2>$APART; sed s/^/apart:/ $APART; echo over".replace("$APART", dir.join("apart").to_str().unwrap()).as_str(),
    );
    session.expect("data\r\nno terminal at 0\r\none at 1\r\n");
    session.type_in("q\n");
    session.expect("apart:key q");
    session.expect("over");
    assert_eq!(session.end(), 0);
}

fn job_word(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\"").replace('$', "\\$"))
}

/// An interactive shell in the sandbox, started by an interactive shell.
#[test]
fn job_control_is_intact() {
    for tty in ["--tty=filter", "--tty=pty", "-p --tty=pty"] {
        let bash = "bash --norc --noprofile --noediting -i";
        let mut session = TerminalSession::start(&format!("PS1='outer> ' exec {bash}"));
        session.expect("outer> ");
        session.type_in(&format!("idmap -r -- ns-enter -u {tty} -- env PS1='inner> ' {bash}\n"));
        session.expect("inner> ");
        // Says that it is there, and again when it was woken; by then the terminal is its own. It waits without a child:
        // a shell whose child ended in peace when ^C came goes on.
        let job = "trap 'echo a\"\"wake' CONT; echo up$((40+2)); while :; do :; done";
        session.type_in(&format!("bash -c {}\n", job_word(job)));
        session.expect("up42");
        session.type_in("\x1a");
        session.expect("Stopped");
        session.expect("inner> ");
        session.type_in("fg\n");
        session.expect("awake");
        session.type_in("\x03");
        session.expect("inner> ");
        session.type_in("exit 7\n");
        session.expect("outer> ");
        session.type_in("echo status $?.\n");
        session.expect("status 7.");
        assert!(tty == "--tty=filter" || session.edits_lines(), "{tty}");
        session.type_in("exit 0\n");
        assert_eq!(session.end(), 0, "{tty}");
    }
}

/// A command that stops gives the terminal back to the shell outside, whose fg takes it again.
#[test]
fn a_command_that_stops_stops_for_the_shell_outside_too() {
    let bash = "bash --norc --noprofile --noediting -i";
    let mut session = TerminalSession::start(&format!("PS1='outer> ' exec {bash}"));
    session.expect("outer> ");
    let inner = "stty -echo raw; kill -STOP $$; echo on again; read -r -n 3 keys; echo \"keys $keys.\"";
    session.type_in(&format!("ns-enter --join uts=/proc/self/ns/uts --tty=pty -- bash -c '{inner}'\n"));
    session.expect("Stopped");
    session.expect("outer> ");
    assert!(session.edits_lines(), "the shell has its terminal");
    // In the background it reads nothing: this is the shell's.
    session.type_in("bg\n");
    session.expect("on again");
    session.type_in("echo for the $((40 + 2)) shell\n");
    session.expect("for the 42 shell");
    session.type_in("fg\n");
    session.expect("ns-enter");
    session.type_in("abc");
    session.expect("keys abc.");
    session.expect("outer> ");
    session.type_in("exit 0\n");
    assert_eq!(session.end(), 0);
}

#[test]
fn it_is_refused_where_it_could_not_be_kept() {
    let refused = |line: &str, text: &str| {
        tool("ns-enter").args(line.split_whitespace()).verb(["ran"]).run().refuses(125, text);
    };
    refused("--join uts=/proc/self/ns/uts --tty=pty", "cannot give the command a terminal of its own");
    refused("-p --no-fork --tty=pty", "noFork and tty exclude each other");
    refused("-p --no-fork --tty=setsid", "noFork and tty exclude each other");
    refused("-m --tty=own", "'own' is not possible");
}

#[test]
fn print_and_check_tell_of_it() {
    let line = "ns-enter -U --tty=filter --print && ns-enter -U --tty=filter --check && ns-enter -U --tty=setsid --print";
    let out = shell(line).run();
    let said = out.succeeds().stdout.clone();
    assert!(said.contains("terminal    ours, and a filter against typing into it"), "{said}");
    assert!(said.contains("this host can do it"), "{said}");
    assert!(said.contains("terminal    none, in a session of its own"), "{said}");
}
