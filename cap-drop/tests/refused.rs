//! Bad input: one line, 125, and the command never ran.

use catena_tests::{StatusLog, TempDir, Tool, shell, tool};

fn cap_drop(line: &str) -> Tool {
    tool("cap-drop").arg("-N").args(line.split_whitespace())
}

#[test]
fn a_command_line_that_is_wrong() {
    for (line, text) in [
        ("", "no option says what"),
        ("--allow-new-privs", "no option says what"),
        ("--no-keyring", "no option says what"),
        ("--try bounding", "no option says what"),
        ("--bogus", "unknown option --bogus"),
        ("--al", "unknown option --al"),
        ("-x", "unknown option -x"),
        ("--user -1", "unknown option -1"),
        ("--all sh", "sh is neither an option nor behind --"),
        ("--all=1", "--all"),
        ("--all --all", "--all"),
        ("--keep", "--keep"),
        ("--all --try nothing", "--try: 'nothing' is not known"),
        ("--all --try=", "--try: '' is not known"),
        ("--all --plan -", "exclude each other"),
        ("--all --plan /nonexistent", "exclude each other"),
        ("--all --status-fd x", "--status-fd"),
        ("--all --block-fd x", "--block-fd"),
    ] {
        let out = cap_drop(line).verb(["ran"]).run();
        out.refuses(125, text);
    }
    cap_drop("--all --").run().refuses(127, "nothing stands behind --");
}

#[test]
fn names_that_are_no_capability() {
    for flag in [
        "--keep",
        "--cap-drop",
        "--cap-add",
        "--ambient",
        "--bounding",
        "--permitted",
        "--effective",
        "--inheritable",
    ] {
        for word in [
            "chwon",
            "CAP_",
            "cap_64",
            "64",
            "CAP_CAP_CHOWN",
            "net-raw",
            "1e0",
            "*",
            "",
            "chown,",
            ",chown",
            "é",
        ] {
            let out = tool("cap-drop").arg("-N").arg(format!("{flag}={word}")).verb(["ran"]).run();
            out.refuses(125, "cannot read the capabilities: '");
        }
    }
    for word in ["-chown", "+chown", "none"] {
        for flag in ["--keep", "--cap-drop", "--cap-add"] {
            let out = tool("cap-drop").arg("-N").arg(format!("{flag}={word}")).verb(["ran"]).run();
            out.refuses(125, "is not known");
        }
    }
    cap_drop("--cap-drop CAP_SYS_ADMN").verb(["ran"]).run().refuses(125, "try: sys_admin?");
}

#[test]
fn lists_that_say_two_things() {
    for (line, text) in [
        ("--bounding chown,+kill", "either all words"),
        ("--bounding=-all,chown", "either all words"),
        ("--bounding none,+chown", "either all words"),
        ("--cap-drop all --cap-add all", "all cannot be both dropped and added"),
        ("--all --cap-add ALL", "all cannot be both dropped and added"),
        ("--keep chown --cap-add all", "all cannot be both dropped and added"),
    ] {
        cap_drop(line).verb(["ran"]).run().refuses(125, text);
    }
}

#[test]
fn words_that_are_no_secure_bit() {
    for (word, text) in [
        ("norooot", "'norooot' is not known"),
        ("NOROOT", "'NOROOT' is not known"),
        ("noroot_lock", "'noroot_lock' is not known"),
        ("_locked", "'_locked' is not known"),
        ("all", "'all' is not known"),
        ("+all", "'all' is not known"),
        ("--noroot", "'-noroot' is not known"),
        ("3", "'3' is not known"),
        ("", "'' is not known"),
        ("noroot,", "'' is not known"),
        ("keep_caps", "execve(2) clears it"),
    ] {
        let out = tool("cap-drop").arg("-N").arg(format!("--securebits={word}")).verb(["ran"]).run();
        out.refuses(125, text);
    }
}

/// A plan can say what a command line cannot.
#[test]
fn a_plan_that_is_wrong_where_it_is_carried_out() {
    for (spec, text) in [
        (r#"{"capabilites":{}}"#, "capabilites"),
        (
            r#"{"capabilities":{"bounding":["CAP_CHWON"]}}"#,
            "process.capabilities.bounding: 'CAP_CHWON' is not known",
        ),
        (r#"{"capabilities":{"bounding":["chown"]}}"#, "'chown' is not known"),
        (r#"{"change":{"keep":["chwon"]}}"#, "'chwon' is not known"),
        (r#"{"change":{"bounding":["chown","+kill"]}}"#, "either all words"),
        (r#"{"change":{"dropall":true}}"#, "dropall"),
        (r#"{"securebits":["norooot"]}"#, "'norooot' is not known"),
        (r#"{"user":{"uid":4294967295}}"#, "4294967295"),
        (r#"{"user":{"uid":-1}}"#, "-1"),
        (r#"{"user":{"uid":0,"name":"nobody"}}"#, "name excludes uid and gid"),
        (r#"{"user":{"name":"nobody","groups":["5"],"keepGroups":true}}"#, "exclude each other"),
        (r#"{"user":{"name":"nobody","additionalGids":[5],"initGroups":true}}"#, "exclude each other"),
        (r#"{"user":{"name":""}}"#, "'' is not in /etc/passwd"),
        (r#"{"user":{"name":"-1"}}"#, "'-1' is not a user id"),
        (r#"{"user":{"umask":511,"uids":1}}"#, "uids"),
        (r#"{"user":{"umask":512}}"#, "512 is more than 511"),
        (r#"{"user":{"groups":["no_such_group"]}}"#, "'no_such_group' is not in /etc/group"),
        (r#"{"user":{"initGroups":true}}"#, "/etc/passwd does not list the user"),
        (r#"{"noNewPrivileges":"yes"}"#, "yes"),
        (r#"{"umask":18}"#, "umask"),
    ] {
        let plan =
            format!(r#"{{"catena":1,"layers":[{{"tool":"cap-drop","spec":{spec}}}],"complete":true}}"#);
        let out = tool("seccomp-load").args(["-s", "add_key:EPERM"]).verb(["ran"]).input(plan).run();
        out.refuses(125, text);
    }
}

/// A stage that died leaves no command running with more.
#[test]
fn the_pipe_form_runs_nothing_either() {
    for line in [
        "cap-drop --keep chwon | seccomp-load -s add_key:EPERM -- $PROBE ran",
        "cap-drop --user no_such_user | seccomp-load -s add_key:EPERM -- $PROBE ran",
        "cap-drop --bogus | cap-drop --all -- $PROBE ran",
        "false | cap-drop --all -- $PROBE ran",
    ] {
        let out = shell(line).run();
        assert_eq!((out.status, out.stdout.as_str()), (125, ""), "{line}: {out:?}");
    }
    let twice = shell("cap-drop --all | cap-drop --keep chown -- $PROBE ran").run();
    twice.refuses(125, "cap-drop");
}

#[test]
fn a_command_that_is_not_there_or_is_none() {
    let dir = TempDir::new();
    let text = dir.file("text", "no program");
    let log = StatusLog::new();
    let none = cap_drop("--umask 022 --status-fd 9")
        .env("PATH", "/usr/bin:/bin")
        .command(["catena-no-such-program"]);
    let out = none.fd(log.fd(), 9).run();
    out.refuses(127, "execve(catena-no-such-program): No such file or directory (ENOENT)");
    log.expect_error("missing");
    cap_drop("--umask 022").command([&text]).run().refuses(126, "Permission denied (EACCES)");
    cap_drop("--umask 022").command(["/"]).run().refuses(126, "Permission denied (EACCES)");
    cap_drop("--umask 022").command([""]).run().refuses(127, "cannot run ");
    for status in [0, 1, 42, 125, 255] {
        cap_drop("--umask 022").verb(["exit", &status.to_string()]).run().exits(status);
    }
}
