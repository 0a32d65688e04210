//! `--learn`: what a command does becomes a profile that lets it do just that.
#![allow(clippy::unwrap_used, reason = "tests")]

use catena_tests::{Output, Stdin, TempDir, TerminalSession, Tool, requires, shell, tool, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn learn(file: &Path) -> Tool {
    tool("seccomp-load").args(["-N", "--learn"]).arg(file)
}

fn under(file: &Path) -> Tool {
    tool("seccomp-load").arg("-N").arg(file)
}

fn document(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Whether a rule for any arguments names the call.
fn has(file: &Path, name: &str) -> bool {
    let rules = document(file)["syscalls"].as_array().unwrap().clone();
    let plain = rules.iter().filter(|rule| rule.get("args").is_none());
    plain.flat_map(|rule| rule["names"].as_array().unwrap()).any(|n| n == name)
}

/// The command's own status and output, and nothing but what was learned on stderr.
#[track_caller]
fn learned(out: &Output, status: i32) {
    let told = out.stderr.starts_with("seccomp-load: learned ") && out.stderr.lines().count() == 1;
    assert!(out.status == status && told && out.stderr.contains("observed only"), "{out:?}");
}

#[test]
fn the_same_command_runs_behind_what_was_learned_of_it() {
    let dir = TempDir::new();
    let file = dir.join("ls.json");
    let command = ["sh", "-c", "ls / >/dev/null && echo done"];
    let out = learn(&file).command(command).run();
    learned(&out, 0);
    assert_eq!(out.stdout, "done\n");
    let comment = document(&file)["comment"].to_string();
    assert!(comment.contains("Observed only: what 1 run of"), "{comment}");
    let again = under(&file).command(command).run();
    assert_eq!(again.succeeds().stdout, "done\n");
}

#[test]
fn what_it_did_not_do_it_may_not_do() {
    let dir = TempDir::new();
    let (file, made) = (dir.join("p.json"), dir.join("made"));
    learned(&learn(&file).verb(["stat", "/"]).run(), 0);
    assert!(!has(&file, "mkdir"));
    let mkdir = || ["mkdir", made.to_str().unwrap()];
    assert_eq!(under(&file).verb(mkdir()).run().stdout, "EPERM\n");
    assert!(!made.exists());
    // A second run is added to the first.
    let out = learn(&file).verb(mkdir()).run();
    assert!(out.status == 0 && out.stdout == "ok\n" && out.stderr.contains("learned 1 new of "), "{out:?}");
    std::fs::remove_dir(&made).unwrap();
    assert_eq!(under(&file).verb(mkdir()).run().stdout, "ok\n");
    assert_eq!(under(&file).verb(["stat", "/"]).run().status, 0);
    assert!(document(&file)["comment"].to_string().contains("what 2 runs of"));
}

#[test]
fn arguments_are_learned_where_they_matter() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    let made = |how: Tool, words: &[&str]| {
        let words = ["try-syscall"].iter().chain(words);
        how.verb(words).run().stdout
    };
    assert!(made(learn(&file), &["socket", "1", "1", "0"]).starts_with("ok"));
    assert!(made(under(&file), &["socket", "1", "1", "0"]).starts_with("ok"));
    // The upper half of an int is anything.
    assert!(made(under(&file), &["socket", "0x500000001", "1", "0"]).starts_with("ok"));
    assert_eq!(made(under(&file), &["socket", "2", "1", "0"]), "EPERM\n");
    made(learn(&file), &["socket", "2", "1", "0"]);
    assert!(made(under(&file), &["socket", "2", "1", "0"]).starts_with("ok"));
    assert!(made(under(&file), &["socket", "1", "1", "0"]).starts_with("ok"));
    assert_eq!(made(under(&file), &["socket", "16", "3", "0"]), "EPERM\n");
}

#[test]
fn the_status_is_the_commands() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    learned(&learn(&file).verb(["exit", "3"]).run(), 3);
    assert!(has(&file, "exit_group") && has(&file, "execve"));
    for signal in [libc::SIGKILL, libc::SIGABRT, libc::SIGTERM] {
        let out = learn(&file).verb(["suicide", &signal.to_string()]).run();
        learned(&out, 128 + signal);
        assert!(has(&file, "kill"));
    }
    let out = learn(&dir.join("none.json")).command(["/nonexistent/program"]).run();
    out.fails(127, "seccomp-load: cannot run /nonexistent/program: execve(");
    // By a signal that it is sent from outside.
    let mut running = learn(&file).verb(["sleep"]).spawn();
    assert_eq!(running.line(), "ready");
    running.signal(Signal::SIGTERM);
    learned(&running.wait(), 128 + libc::SIGTERM);
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before_anything_runs() {
    let dir = TempDir::new();
    let good = dir.file("good.json", "");
    symlink(&good, dir.join("link.json")).unwrap();
    std::fs::create_dir(dir.join("folder.json")).unwrap();
    dir.file("broken.json", r#"{"defaultAction":"SCMP_ACT_ERRNO""#);
    dir.file("other.json", r#"{"defaultAction":"SCMP_ACT_ALLOW","comment":"mine"}"#);
    let listed = || {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = listed();
    for (file, said) in [
        ("nowhere/p.json", "(ENOENT)"),
        ("good.json/p.json", "(ENOTDIR)"),
        ("link.json", "it is a symbolic link"),
        ("folder.json", "it is no file"),
        ("broken.json", "cut short"),
        ("other.json", "it was not written by --learn"),
        ("folder.json/", "it names no file"),
        ("..", "it names no file"),
    ] {
        learn(&dir.join(file)).verb(["ran"]).run().refuses(125, said);
    }
    learn(Path::new("/proc/p.json")).verb(["ran"]).run().refuses(125, "cannot write /proc/p.json: open(");
    assert_eq!(listed(), before, "something was left behind");
    for (words, said) in [
        (&["@default"][..], "exclude each other"),
        (&["--deny", "mount"], "exclude each other"),
        (&["--explain"], "exclude each other"),
    ] {
        learn(&good).args(words).verb(["ran"]).run().refuses(125, said);
    }
    assert_eq!(std::fs::read(&good).unwrap(), b"");
}

#[test]
fn a_file_of_somebody_else_is_not_added_to() {
    if !requires::root() {
        return;
    }
    let dir = TempDir::new();
    let file = dir.join("p.json");
    learned(&learn(&file).verb(["exit"]).run(), 0);
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    learn(&file).verb(["ran"]).run().refuses(125, "it belongs to user 65534");
}

#[test]
fn what_stood_in_the_file_stays_there() {
    let dir = TempDir::new();
    let file = dir.file("p.json", "");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    learned(&learn(&file).verb(["exit"]).run(), 0);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "its mode");
    let mut text = document(&file);
    let rules = text["syscalls"].as_array_mut().unwrap();
    rules.push(
        serde_json::from_str(r#"{"names":["add_key"],"action":"SCMP_ACT_ERRNO","errnoRet":18}"#).unwrap(),
    );
    text["defaultErrnoRet"] = 38.into();
    std::fs::write(&file, text.to_string()).unwrap();
    learned(&learn(&file).verb(["try-syscall", "add_key"]).run(), 1);
    // By hand it is refused, and that holds, though it was seen.
    assert_eq!(under(&file).verb(["try-syscall", "add_key"]).run().stdout, "EXDEV\n");
    assert_eq!(under(&file).verb(["try-syscall", "request_key"]).run().stdout, "ENOSYS\n");
    let next_to_it = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(next_to_it, 1, "something was left behind");
}

/// Two runs at once into one file: neither is lost.
#[test]
fn runs_at_the_same_time_are_all_added() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    let calls = ["add_key", "request_key", "swapon", "umount2"];
    let running: Vec<_> = calls.iter().map(|call| learn(&file).verb(["try-syscall", call]).spawn()).collect();
    for run in running {
        run.wait();
    }
    for call in calls {
        assert!(has(&file, call), "{call}: {}", document(&file));
    }
    assert!(document(&file)["comment"].to_string().contains("what 4 runs of"));
}

/// A program of 32 bits that ends with the status 7.
fn program_of_32_bits(dir: &TempDir) -> PathBuf {
    let code: [u8; 19] = [0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80];
    let base = 0x0804_8000_u32;
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    let words = |elf: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|w| elf.extend(w.to_le_bytes()));
    let halves = |elf: &mut Vec<u8>, halves: &[u16]| halves.iter().for_each(|h| elf.extend(h.to_le_bytes()));
    // Executable, i386; entry, program headers, none of sections; one program header.
    halves(&mut elf, &[2, 3]);
    words(&mut elf, &[1, base + 84, 52, 0, 0]);
    halves(&mut elf, &[52, 32, 1, 0, 0, 0]);
    words(&mut elf, &[1, 0, base, base, 84 + 19, 84 + 19, 5, 0x1000]);
    elf.extend(code);
    dir.program("i386", elf)
}

#[test]
fn a_program_of_32_bits_is_seen_and_told() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let dir = TempDir::new();
    let (file, program) = (dir.join("p.json"), program_of_32_bits(&dir));
    if shell(&format!("exec {}", program.display())).run().status != 7 {
        requires::skip("needs a kernel that runs 32-bit programs");
        return;
    }
    let out = learn(&file).command([&program]).run();
    assert!(out.status == 7 && out.stderr.contains("it made calls of SCMP_ARCH_X86, too"), "{out:?}");
    assert!(
        has(&file, "getpid") && document(&file)["architectures"].to_string().contains("\"SCMP_ARCH_X86\"")
    );
    assert_eq!(under(&file).command([&program]).run().exits(7).stdout, "");
    // Without having been seen it is killed.
    learned(&learn(&dir.join("q.json")).verb(["exit"]).run(), 0);
    assert_eq!(under(&dir.join("q.json")).command([&program]).run().status, 128 + libc::SIGSYS);
}

#[test]
fn what_the_command_leaves_behind_is_watched_to_its_end() {
    let dir = TempDir::new();
    let (file, fifo, made) = (dir.join("p.json"), dir.join("fifo"), dir.join("made"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let line = format!("{{ read x <'{}'; mkdir '{}'; }} & echo off; exit 5", fifo.display(), made.display());
    let mut running = learn(&file).command(["bash", "-c", &line]).spawn();
    assert_eq!(running.line(), "off");
    std::fs::write(&fifo, "go\n").unwrap();
    let out = running.wait();
    learned(&out, 5);
    assert!(made.exists() && has(&file, "mkdir"), "{out:?}");
}

#[test]
fn nothing_goes_on_when_the_one_who_watches_is_killed() {
    let dir = TempDir::new();
    let (file, fifo, made) = (dir.join("p.json"), dir.join("fifo"), dir.join("made"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let line = format!(
        "{{ echo $BASHPID; read x <'{}'; mkdir '{}'; }} & echo $$; read y",
        fifo.display(),
        made.display()
    );
    let mut running = learn(&file).command(["bash", "-c", &line]).stdin(Stdin::Pipe).spawn();
    let pids: Vec<String> = (0..2).map(|_| running.line()).collect();
    running.signal(Signal::SIGKILL);
    let ended = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    };
    // For its reader, if it is there: else nobody would be woken.
    let write = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    std::io::Write::write_all(&mut &write, b"go\n").unwrap();
    until("both end", || pids.iter().all(ended));
    assert!(!made.exists() && !file.exists());
}

#[test]
fn it_is_a_part_of_every_chain() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    let shown = file.display();
    for line in [
        format!(
            "cap-drop -N --all --try bounding -- seccomp-load --learn {shown} -- \"$PROBE\" try-syscall getppid"
        ),
        format!(
            "cap-drop --all --try bounding | seccomp-load --learn {shown} -- \"$PROBE\" try-syscall getpid"
        ),
    ] {
        let out = shell(&line).run();
        let ended = out.status == 0 && out.stdout.starts_with("ok ");
        assert!(ended && out.stderr.contains("seccomp-load: learned "), "{line}: {out:?}");
    }
    assert!(has(&file, "getppid") && has(&file, "getpid"));
    let probe = learn(&file).probe();
    probe.expect_only_std_fds().expect_filters(1).expect_no_new_privs(true);
}

#[test]
fn where_nobody_may_listen_nothing_runs() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    // As a kernel without it says it.
    let line =
        format!("seccomp-load -N -s seccomp:ENOSYS -- seccomp-load -N --learn {} -- true", file.display());
    let out = shell(&line.replace("-- seccomp-load", "-- bash -c 'exec \"$@\"' - seccomp-load")).run();
    out.refuses(125, "this kernel gives out no listeners for filters");
    // There is one listener at most.
    let other = dir.join("q.json");
    let inner = format!("exec seccomp-load -N --learn {} -- \"$PROBE\" ran", other.display());
    let out = learn(&file).command(["bash", "-c", &inner]).run();
    assert!(out.status == 125 && out.stdout.is_empty() && out.stderr.contains("(EBUSY)"), "{out:?}");
    assert!(!other.exists() || !has(&other, "write"));
}

/// Who watches is of the command's job, and stops and goes on with it.
#[test]
fn a_command_that_is_stopped_at_the_terminal_goes_on_and_is_learned_from() {
    let dir = TempDir::new();
    let file = dir.join("p.json");
    let bash = "bash --norc --noprofile --noediting -i";
    let mut session = TerminalSession::start(&format!("PS1='outer> ' exec {bash}"));
    session.expect("outer> ");
    let job = "trap 'echo a\"\"wake; exit 5' CONT; echo up$((40+2)); while :; do sleep 0.05; done";
    let script = dir.file("job", job);
    session.type_in(&format!("seccomp-load -N --learn {} -- bash {}\n", file.display(), script.display()));
    session.expect("up42");
    session.type_in("\x1a");
    session.expect("Stopped");
    session.expect("outer> ");
    session.type_in("fg\n");
    session.expect("awake");
    session.expect("learned ");
    session.expect("outer> ");
    session.type_in("echo status $?.\n");
    session.expect("status 5.");
    session.type_in("exit 0\n");
    assert_eq!(session.end(), 0);
    assert!(has(&file, "rt_sigaction"), "{}", document(&file));
}
