//! The OCI life cycle, and what it leaves behind: nothing.

mod common;

use catena_tests::{Leftovers, Output, TempDir, requires, shell, tool, until};
use common::Bundle;
use serde_json::json;

#[test]
fn a_container_is_created_then_running_then_stopped_then_gone() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo out; exec sleep 60");
    bundle.create().succeeds();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], bundle.id.as_str());
    assert_eq!(state["bundle"], bundle.dir());
    assert_eq!(bundle.output(), "", "the command waits for start");
    let pid = state["pid"].as_i64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());

    bundle.start().succeeds();
    assert_eq!(bundle.status(), "running");
    bundle.start().fails(1, "it is running, not created");
    bundle.runner(["delete", &bundle.id]).run().fails(1, "it is running, not stopped");

    until("the command writes", || bundle.output() == "out\n");
    bundle.runner(["kill", &bundle.id, "KILL"]).run().succeeds();
    bundle.becomes("stopped");
    assert_eq!(bundle.state()["pid"], 0);
    assert_eq!(bundle.output(), "out\n");
    bundle.runner(["kill", &bundle.id]).run().fails(1, "container not running");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    bundle.runner(["state", &bundle.id]).run().fails(1, "container does not exist");
    drop(bundle);
    leftovers.check();
}

#[test]
fn run_gives_back_the_commands_status() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (line, status) in
        [("true", 0), ("exit 7", 7), ("exit 125", 125), ("kill -KILL $$ & sleep 9", 0)].iter().take(3)
    {
        Bundle::sh(line).run().exits(*status);
    }
    Bundle::of(["/probe", "exit", "255"]).run().exits(255);
    leftovers.check();
}

#[test]
fn a_command_that_dies_of_a_signal_gives_128_and_its_number() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("echo up; exec sleep 60");
    let mut running = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).spawn();
    assert_eq!(running.line(), "up");
    bundle.becomes("running");
    bundle.runner(["kill", &bundle.id, "9"]).run().succeeds();
    assert_eq!(running.wait().status, 137);
}

#[test]
fn stdin_stdout_and_stderr_are_the_commands() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("cat; echo err >&2");
    let out = bundle.runner(["run", "--bundle", bundle.dir(), &bundle.id]).input("from outside\n").run();
    assert_eq!((out.status, out.stdout.as_str(), out.stderr.as_str()), (0, "from outside\n", "err\n"));
}

#[test]
fn a_created_container_can_be_deleted_without_force() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::sh("echo ran");
    bundle.create().succeeds();
    bundle.runner(["delete", &bundle.id]).run().succeeds();
    assert_eq!(bundle.output(), "", "the command never ran");
    drop(bundle);
    leftovers.check();
}

#[test]
fn delete_force_of_what_is_not_there_is_no_error() {
    let bundle = Bundle::new();
    bundle.runner(["delete", "--force", "nobody"]).run().succeeds();
    bundle.runner(["delete", "nobody"]).run().fails(1, "container does not exist");
}

#[test]
fn delete_force_takes_processes_that_left_the_first_one() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    // Without a pid namespace nothing but the cgroup knows them.
    let mut bundle = Bundle::sh("(setsid sleep 61 &) ; exec sleep 62");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "pid");
    let bundle = bundle.set("/process/cwd", json!("/"));
    bundle.create().succeeds();
    bundle.start().succeeds();
    bundle.becomes("running");
    bundle.delete().succeeds();
    drop(bundle);
    leftovers.check();
}

#[test]
fn two_containers_of_one_id_are_refused_and_the_first_lives_on() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    bundle.create().succeeds();
    bundle.create().fails(1, "already exists");
    bundle.start().succeeds();
    bundle.create().fails(1, "already exists");
    assert_eq!(bundle.status(), "running");
}

#[test]
fn of_ten_creates_of_one_id_one_wins() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    let state = bundle.state.path().display();
    let line = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do runner --root {state} create --bundle {} {} >/dev/null 2>&1 </dev/null & done; \
         for j in $(jobs -p); do wait $j && echo won; done",
        bundle.dir(),
        bundle.id
    );
    let out = shell(&line).run();
    assert_eq!(out.stdout, "won\n", "{out:?}");
    bundle.start().succeeds();
    bundle.becomes("running");
    drop(bundle);
    leftovers.check();
}

#[test]
fn a_command_that_is_not_there_fails_the_create_and_leaves_nothing() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    let bundle = Bundle::of(["no-such-program"]);
    bundle.create().fails(1, "cannot run no-such-program");
    bundle.create().fails(1, "No such file or directory (ENOENT)");
    bundle.run().fails(1, "cannot run no-such-program");
    bundle.runner(["state", &bundle.id]).run().fails(1, "container does not exist");
    let bundle = Bundle::of(["/etc/passwd"]);
    bundle.run().fails(1, "Permission denied (EACCES)");
    drop(bundle);
    leftovers.check();
}

/// Docker's client goes by these very words: small letters, in the log's last line.
#[test]
fn the_log_has_the_words_that_engines_look_for() {
    if !requires::root() {
        return;
    }
    for (command, words) in [("no-such-program", "no such file or directory"), ("/etc", "permission denied")]
    {
        let bundle = Bundle::of([command]);
        let log = bundle.state.join("log.json");
        let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
        bundle.runner(["create", "--bundle", bundle.dir(), &bundle.id]).args(flags).run().fails(1, command);
        let text = std::fs::read_to_string(&log).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let message = last["msg"].as_str().unwrap();
        assert!(message.contains(command) && message.contains(words), "{message}");
    }
}

/// Engines give their users 126 for it, but only where it was the create that failed.
#[test]
fn a_command_that_nobody_may_execute_fails_the_create() {
    if !requires::root() {
        return;
    }
    let leftovers = Leftovers::watch();
    for (command, why) in [
        ("/etc", "/etc is a folder"),
        ("etc/", "/etc/ is a folder"),
        ("/etc/passwd", "/etc/passwd has no execute permission"),
        ("tool", "/opt/tool has no execute permission"),
        ("/dev/null", "/dev/null is no file"),
    ] {
        let bundle = Bundle::of([command]).set("/process/env", json!(["PATH=/bin:/opt"]));
        bundle.rootfs.file("opt/tool", "text");
        bundle.create().fails(1, "Permission denied (EACCES)").fails(1, &format!("why: {why}"));
        bundle.runner(["state", &bundle.id]).run().fails(1, "container does not exist");
    }
    // One that may not be is passed over for one that may, and what root cannot tell is left to the kernel.
    let bundle = Bundle::of(["tool"]).set("/process/env", json!(["PATH=/etc:/opt:/none:/bin:/tools"]));
    bundle.rootfs.file("opt/tool", "text");
    let (dir, tools) = (TempDir::new(), bundle.rootfs.path().join("tools"));
    std::fs::create_dir(&tools).unwrap();
    std::fs::rename(dir.program("tool", "#!/bin/sh\necho found\n"), tools.join("tool")).unwrap();
    assert_eq!(bundle.run().succeeds().stdout, "found\n");
    Bundle::of([""]).create().fails(1, "No such file or directory (ENOENT)");
    drop(bundle);
    leftovers.check();
}

#[test]
fn list_shows_all_and_quiet_ids_only() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    assert_eq!(bundle.runner(["list", "-q"]).run().stdout, "");
    assert_eq!(bundle.runner(["list", "-f", "json"]).run().json(), json!([]));
    bundle.create().succeeds();
    assert_eq!(bundle.runner(["list", "-q"]).run().stdout, format!("{}\n", bundle.id));
    let table = bundle.runner(["list"]).run().stdout;
    let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((words[0], words[2], words[3]), (bundle.id.as_str(), "created", bundle.dir()));
    assert_eq!(bundle.runner(["list", "-f", "json"]).run().json()[0]["status"], "created");
}

/// Scripts cut a line of `list --format json` with patterns.
#[test]
fn members_of_a_state_come_in_runcs_order() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/sleep", "60"]).set("/annotations", json!({"key": "value"}));
    bundle.create().succeeds();
    let state = bundle.state();
    let line = format!(
        r#"[{{"ociVersion":{},"id":"{}","pid":{},"status":"created","bundle":"{}","rootfs":{},"created":{},"annotations":{{"key":"value"}},"owner":"root"}}]"#,
        state["ociVersion"],
        bundle.id,
        state["pid"],
        bundle.dir(),
        state["rootfs"],
        state["created"],
    );
    assert_eq!(bundle.runner(["list", "--format", "json"]).run().stdout, line + "\n");
}

#[test]
fn a_named_state_folder_that_is_not_there_is_no_empty_list() {
    let bundle = Bundle::new();
    let nowhere = bundle.rootfs.parent().join("nowhere");
    let list = tool("runner").args(["--root", nowhere.to_str().unwrap(), "list"]);
    list.run().fails(1, "No such file or directory (ENOENT)");
}

#[test]
fn the_pid_file_holds_the_first_process() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    let file = bundle.rootfs.parent().join("pid");
    let line = format!(
        "runner --root {} create --pid-file {} --bundle {} {} >/dev/null 2>&1 </dev/null",
        bundle.state.path().display(),
        file.display(),
        bundle.dir(),
        bundle.id
    );
    shell(&line).run().succeeds();
    let pid: i64 = std::fs::read_to_string(file).unwrap().parse().unwrap();
    assert_eq!(bundle.state()["pid"].as_i64(), Some(pid));
}

#[test]
fn the_bundle_is_not_read_again_after_create() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("echo first");
    bundle.create().succeeds();
    let changed = Bundle::sh("echo second");
    std::fs::copy(changed.rootfs.parent().join("config.json"), bundle.rootfs.parent().join("config.json"))
        .unwrap();
    bundle.start().succeeds();
    bundle.becomes("stopped");
    assert_eq!(bundle.output(), "first\n");
}

#[test]
fn preserved_fds_arrive_and_others_do_not() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::new();
    let file = || std::fs::File::open(bundle.rootfs.path().join("etc/passwd")).unwrap();
    let dir = std::fs::File::open("/").unwrap();
    let run = bundle.runner(["run", "--preserve-fds", "2", "--bundle", bundle.dir(), &bundle.id]);
    let probe = run.fd(file(), 3).fd(file(), 4).fd(dir, 5).run().probe();
    probe.expect_fds(&[0, 1, 2, 3, 4]);
    let missing = bundle.runner(["run", "--preserve-fds", "3", "--bundle", bundle.dir(), &bundle.id]);
    missing.fd(file(), 3).run().fails(1, "cannot preserve fd 4");
}

#[test]
fn keep_leaves_the_stopped_container() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::sh("exit 3");
    bundle.runner(["run", "--keep", "--bundle", bundle.dir(), &bundle.id]).run().exits(3);
    assert_eq!(bundle.status(), "stopped");
    bundle.runner(["delete", &bundle.id]).run().succeeds();
}

#[test]
fn a_detached_run_returns_while_the_command_runs() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/sleep", "60"]);
    let line = format!(
        "runner --root {} run --detach --bundle {} {} >/dev/null 2>&1 </dev/null",
        bundle.state.path().display(),
        bundle.dir(),
        bundle.id
    );
    shell(&line).run().succeeds();
    assert_eq!(bundle.status(), "running");
}

#[test]
fn of_two_values_of_a_variable_the_last_one_counts() {
    if !requires::root() {
        return;
    }
    let env = json!(["A=first", "PATH=/bin", "A=", "HOME=/override", "B=x=y", "HOME="]);
    let bundle = Bundle::of(["/bin/env"]).set("/process/env", env);
    assert_eq!(bundle.run().succeeds().stdout, "PATH=/bin\nA=\nB=x=y\nHOME=/root\n");
}

#[test]
fn the_log_has_the_cause_in_its_last_line() {
    let bundle = Bundle::of(["no-such-program"]);
    let log = bundle.rootfs.parent().join("log.json");
    let logged = |args: [&str; 4]| -> Output {
        let runner = bundle.runner(["--log", log.to_str().unwrap()]).args(args);
        runner.args(["state", "nobody"]).run()
    };
    logged(["--log-format", "json", "--rootless", "auto"]).fails(1, "container does not exist");
    let text = std::fs::read_to_string(&log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().unwrap().contains("container does not exist"), "{last}");
    logged(["--log-format", "text", "--rootless", "auto"]).fails(1, "container does not exist");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.lines().last().unwrap().contains("level=error msg=\"cannot find the container nobody"),
        "{text}"
    );
}

#[test]
fn version_and_help_are_there() {
    assert!(tool("runner").arg("--version").run().stdout.starts_with("runner version "));
    let help = tool("runner").arg("--help").run();
    assert!(help.status == 0 && help.stdout.contains("Example"), "{help:?}");
    tool("runner").args(["run", "--frob", "x"]).run().fails(1, "unknown option --frob");
    tool("runner").args(["frob"]).run().fails(3, "unknown command frob");
    tool("runner").run().fails(1, "no command");
}

/// The link that tells the first process's pid and the one that is ready for the command are two processes: on a machine
/// that is busy, either may come first.
#[test]
fn many_at_once_all_come_to_be() {
    if !requires::root() {
        return;
    }
    let bundle = Bundle::of(["/bin/true"]);
    let (root, dir, id) = (bundle.state.path().display(), bundle.dir(), &bundle.id);
    let line = format!(
        "for i in $(seq 24); do (runner --root {root} run --bundle {dir} {id}-$i 2>&1 || echo $i: $?) & done; wait"
    );
    let out = shell(&line).run();
    let odd: Vec<&str> = out.stdout.lines().filter(|l| !l.contains("warning")).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}
