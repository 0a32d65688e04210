//! Policies of several lines, and what goes from one language into another.

use super::*;
use crate::facts::Facts;
use crate::plan::{self, Plan};
use crate::simulate::{Made, native, run};
use crate::{default, dump};
use chain::oci::Profile;
use chain::spec::{ProfileSource, SeccompLoad};

const HERE: Facts = Facts { caps: 0, kernel: (6, 1), no_new_privs: false, sys_admin: false };

fn carried(text: &str) -> Result<String> {
    read(text.as_bytes(), Language::Lines, &Origin::Elsewhere("p"), false)?.carried("p")
}

fn spec(text: &str) -> SeccompLoad {
    SeccompLoad { profile: Some(ProfileSource::Own(text.into())), ..SeccompLoad::default() }
}

fn plan(text: &str) -> Plan {
    plan::resolve(&spec(text), &HERE).unwrap()
}

fn says(text: &str, number: i64, args: &[u64]) -> Action {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Action::of_ret(native(&plan(text).filter.unwrap().code, number, all))
}

#[test]
fn the_first_line_that_fits_decides() {
    let text = "# a comment\n\ndefault allow   # and one behind\nEXDEV ioctl if cmd == TIOCSTI\nallow ioctl if fd == 0\n\
        EPERM ioctl\nENOSYS socket if family == AF_ALG or family == AF_VSOCK\nkill socket if family > 40,\n";
    let text = text.trim_end_matches(",\n");
    let ioctl = |args: &[u64]| says(text, libc::SYS_ioctl, args);
    let tiocsti = libc::TIOCSTI;
    assert_eq!(ioctl(&[0, tiocsti]), Action::Errno(18));
    // The kernel looks at the lower half of both.
    assert_eq!(ioctl(&[1 << 32, tiocsti | 1 << 32]), Action::Errno(18));
    assert_eq!(ioctl(&[1 << 32, 1]), Action::Allow);
    assert_eq!(ioctl(&[1, 1]), Action::Errno(1));
    let socket = |family| says(text, libc::SYS_socket, &[family]);
    assert_eq!(
        [socket(38), socket(40), socket(41), socket(39)],
        [Action::Errno(38), Action::Errno(38), Action::KillProcess, Action::Allow]
    );
    assert_eq!(says(text, libc::SYS_read, &[]), Action::Allow);
}

#[test]
fn sets_exceptions_and_what_is_newer() {
    let text = "default kill\nEPERM ptrace\nallow @system-service @debug !@chown, !kcmp\nnewest statmount";
    let of = |name: &str| match number::entries(name, arch::native()) {
        Some([Some(number::Entry::Direct(number)), _]) => says(text, number.into(), &[]),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(of("execve"), Action::Allow);
    assert_eq!(of("ptrace"), Action::Errno(1));
    assert_eq!(of("fchown"), Action::KillProcess);
    assert_eq!(of("kcmp"), Action::KillProcess);
    assert_eq!(of("perf_event_open"), Action::Allow);
    // mseal, 462, and getxattrat, 464, stand in the set; what is between and above the newest of all is not there.
    assert_eq!(of("mseal"), Action::Allow);
    assert_eq!(says(text, 999, &[]), Action::Errno(38));
    let short = "default kill\nallow execve exit_group\nnewest exit_group";
    assert_eq!([says(short, 0, &[]), says(short, 302, &[])], [Action::KillProcess, Action::Errno(38)]);
    let plain = "default kill\nallow execve exit_group";
    assert_eq!(
        [says(plain, 302, &[]), says(plain, 469, &[]), says(plain, 470, &[])],
        [Action::KillProcess, Action::KillProcess, Action::Errno(38)]
    );
}

#[test]
fn what_is_wrong_is_named_by_line_with_what_was_expected() {
    for (text, said, cure) in [
        ("allow read", "p: it does not say what becomes of other calls", "default EPERM"),
        ("default EPERM\nalow read", "p:2: 'alow' is no action", "allow?"),
        ("default EPREM", "p:1: 'EPREM' is no action", "EPERM?"),
        ("defualt EPERM", "p:1: 'defualt' is no action", "default?"),
        ("default", "p:1: nothing stands behind 'default'", "default EPERM"),
        ("default EPERM allow", "p:1: 'EPERM allow' is no action", ""),
        ("default EPERM\ndefault kill", "p:2: the default stands twice, and p:1 has EPERM", ""),
        ("default EPERM\n\nallow raed", "p:3: 'raed' is not a system call", "read?"),
        ("default EPERM\nallow @mounts", "p:2: there is no set '@mounts'", "@mount?"),
        ("default EPERM\nallow", "p:2: no call", "allow read write"),
        ("default EPERM\nallow read read", "p:2: 'read' stands twice in this line", ""),
        ("default EPERM\nallow @mount !read", "p:2: '!read' takes nothing out", ""),
        ("default EPERM\nallow read if", "p:2: the line ends where an argument", ""),
        ("default EPERM\nallow read if fd = 1", "p:2: '=' is no operator", "=="),
        ("default EPERM\nallow read if arg7 == 1", "p:2: 'arg7' is no argument", ""),
        ("default EPERM\nallow read write if buff == 1", "p:2: 'read' has no argument 'buff'", "buf?"),
        ("default EPERM\nallow read if arg0 == -1", "p:2: -1 is below zero", "int0"),
        ("default EPERM\narch i386", "p:2: 'i386' is no architecture", "all, "),
        ("default EPERM\nflags logg", "p:2: 'logg' is no flag", "none, log"),
        ("default EPERM\nnewest @mount", "p:2: '@mount' is not one call", ""),
        ("default EPERM\nlistener /a\nlistener /b", "p:3: listener stands twice", ""),
        ("default EPERM\ninclude other", "p:2: 'other': an fd lies in no folder", "--dump=text"),
        (
            "default EPERM\nallow read\nkill read",
            "p:3: 'read' never gets here: p:2 says allow to it",
            "in front of p:2",
        ),
        (
            "default EPERM\nallow @system-service\ndeny @chown",
            "p:3: 'chown' never gets here: p:2 says allow",
            "",
        ),
        ("default EPERM\nallow @system-service\ndeny chown if user == 0", "p:3: 'chown' never gets here", ""),
        ("default EPERM\nallow read\u{1b}[2J", "p:2: it is no text", "--format bpf"),
        ("default trace:70000", "'trace:70000' is no action", ""),
    ] {
        let error = carried(text).expect_err(text);
        assert!(error.to_string().contains(said), "{text}: {error}");
        assert!(error.cure.as_ref().is_some_and(|c| c.contains(cure)), "{text}: {error:?}");
    }
    // What says the same again, or less of what is refused already, is no error.
    for text in [
        "default EPERM\nallow read\nallow read",
        "default EPERM\ndeny ptrace\nallow @debug\nallow ptrace if arg0 == 1",
    ] {
        let error = carried(text).err().map(|error| error.to_string());
        assert!(error.is_none() || error.is_some_and(|e| e.contains("'ptrace' never gets here")), "{text}");
    }
    let lenient =
        read(b"default EPERM\nallow frobnicate execve", Language::Lines, &Origin::Elsewhere("p"), true)
            .unwrap()
            .carried("p");
    assert!(lenient.unwrap().contains("allow frobnicate execve"));
}

#[test]
fn a_hostile_policy_ends_soon() {
    let big = "allow @known if arg0 == 1\n".repeat(200);
    assert!(
        carried(&("default EPERM\n".to_string() + &big))
            .unwrap_err()
            .to_string()
            .contains("more than 20000 names")
    );
    assert!(carried(&"#".repeat(2 << 20)).unwrap_err().to_string().contains("longer than 1 MiB"));
    for odd in [
        "\0",
        "\u{feff}default EPERM",
        "default \u{202e}",
        "allow read if (((((((((",
        "if",
        "if if if",
        "allow if",
        "allow , , if ,",
    ] {
        assert!(carried(odd).is_err(), "{odd:?}");
    }
    assert!(read(b"default EPERM\n\xff\xfe", Language::Lines, &Origin::Elsewhere("p"), false).is_err());
    // Every prefix of a good one is read or refused.
    let good = "default EPERM\narch x86\nflags log spec-allow\nallow @default write if int0 & 0x3|4 != -1 or arg2 < 0b11 and arg1 only 7\n";
    for end in 0..good.len() {
        carried(&good[..end]).map_or_else(|e| assert!(!e.to_string().is_empty()), drop);
    }
}

/// Those of the page for users, each a paragraph that is set in.
#[test]
fn the_policies_of_the_documentation_are_read() {
    let page = include_str!("../../../docs/seccomp.md");
    let policies: Vec<String> = page
        .split("\n\n")
        .filter(|part| part.lines().all(|line| line.starts_with("    ")) && part.contains("    default "))
        .map(|part| part.replace("include site-rules", ""))
        .collect();
    assert!(policies.len() >= 3, "{policies:?}");
    for policy in policies {
        plan::resolve(&spec(&carried(&policy).unwrap()), &HERE).unwrap();
    }
}

/// Values at which any comparison of this text changes its mind.
fn interesting(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let numbers = words.filter_map(|w| u64::from_str_radix(w.strip_prefix("0x")?, 16).ok());
    let mut values: Vec<u64> = numbers
        .flat_map(|n| [n, n.wrapping_sub(1), n.wrapping_add(1), n | 1 << 32, n & n.wrapping_neg()])
        .chain([0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32])
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Every call of every architecture, with every value in the first three arguments.
fn same(one: &SeccompLoad, other: &SeccompLoad, values: &[u64], facts: &Facts) {
    let code = |spec| plan::resolve(spec, facts).unwrap().filter.unwrap().code;
    let (one, other) = (code(one), code(other));
    for arch in arch::all_of_this_kernel() {
        for n in (0..480).chain([999]) {
            for (i, value) in values.iter().enumerate() {
                let args = [*value, values[(i * 7 + n as usize) % values.len()], *value, 0, 0, 0];
                let made = Made { number: arch.base + n, audit: arch.audit, args };
                assert_eq!(run(&one, made), run(&other, made), "{} {n} {args:x?}", arch.name);
            }
        }
    }
}

/// From JSON to lines and back, with no capability and with all.
fn there_and_back(profile: &Profile) {
    for caps in [0, u64::MAX] {
        let facts = Facts { caps, ..HERE };
        let json = SeccompLoad {
            profile: Some(ProfileSource::Document(Box::new(profile.clone()))),
            ..SeccompLoad::default()
        };
        let lines = dump::text(&json, &facts).unwrap();
        let values = interesting(&lines);
        same(&json, &spec(&lines), &values, &facts);
        assert_eq!(carried(&lines).unwrap(), lines);
        let back: Profile = serde_json::from_str(&dump::json(&spec(&lines), &facts).unwrap()).unwrap();
        let back =
            SeccompLoad { profile: Some(ProfileSource::Document(Box::new(back))), ..SeccompLoad::default() };
        same(&json, &back, &values, &facts);
    }
}

#[test]
fn the_default_profile_goes_there_and_back() {
    there_and_back(&default::profile());
}

#[test]
fn podmans_profile_goes_there_and_back() {
    let Ok(text) = std::fs::read("/usr/share/containers/seccomp.json") else {
        eprintln!("SKIP: needs /usr/share/containers/seccomp.json of containers-common");
        return;
    };
    there_and_back(&serde_json::from_slice(&text).unwrap());
}

#[test]
fn lines_that_oci_can_say_decide_the_same_there() {
    let text = "default ENOSYS\nflags none\narch x86\nEPERM ioctl if cmd == TIOCSTI\nallow ioctl\nallow socket if family >= 1 and family <= 2\n\
        log clone if arg0 & 0x7e020000 == 0\nEXDEV clone\nallow @default\nkill mmap if prot has PROT_WRITE|PROT_EXEC";
    let text = &text.replace(
        "\nallow @default\nkill mmap if prot has PROT_WRITE|PROT_EXEC",
        "\nkill mmap if prot has PROT_WRITE|PROT_EXEC\nallow @default",
    );
    let lines = carried(text).unwrap();
    let json: Profile = serde_json::from_str(&dump::json(&spec(&lines), &HERE).unwrap()).unwrap();
    assert_eq!(json.flags, Some(Vec::new()));
    let json =
        SeccompLoad { profile: Some(ProfileSource::Document(Box::new(json))), ..SeccompLoad::default() };
    // The other kind of program makes socket(2) through a call whose arguments nobody sees.
    let values = interesting(&lines);
    let code = |spec: &SeccompLoad| plan::resolve(spec, &HERE).unwrap().filter.unwrap().code;
    let (one, other) = (code(&spec(&lines)), code(&json));
    for n in 0..480 {
        for (i, value) in values.iter().enumerate() {
            let args = [*value, values[(i * 7 + n as usize) % values.len()], *value, 0, 0, 0];
            assert_eq!(native(&one, n, args), native(&other, n, args), "{n} {args:x?}");
        }
    }
    // 64 bits of a mask and a row at once: not to be said, and nothing else is said instead.
    let refused = spec("default EPERM\nallow execve\nallow read if arg0 & 0x10 == 0x10 and arg0 < 0x15");
    assert!(dump::json(&refused, &HERE).unwrap_err().to_string().contains("cannot be said exactly"));
}

/// A profile, and rules on top of it that name a newer call.
#[test]
fn rules_on_top_make_what_is_written_down_no_newer() {
    let rule = chain::oci::SyscallRule {
        names: vec!["file_setattr".into()],
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(18),
        args: Vec::new(),
    };
    for profile in ["@default", "default EPERM\nallow execve read\nnewest mseal\n"] {
        let top = SeccompLoad { rules: vec![rule.clone()], ..spec(profile) };
        let values = [0, 1];
        same(&top, &spec(&dump::text(&top, &HERE).unwrap()), &values, &HERE);
        let back: Profile = serde_json::from_str(&dump::json(&top, &HERE).unwrap()).unwrap();
        same(
            &top,
            &SeccompLoad { profile: Some(ProfileSource::Document(Box::new(back))), ..SeccompLoad::default() },
            &values,
            &HERE,
        );
    }
    let other = chain::oci::SyscallRule {
        action: "SCMP_ACT_KILL_PROCESS".into(),
        ..chain::oci::SyscallRule::default()
    };
    let with = SeccompLoad { default: Some(other), ..spec("default EPERM\nallow execve read") };
    let code = plan::resolve(&with, &HERE).unwrap().filter.unwrap().code;
    assert_eq!(
        [native(&code, 469, [0; 6]), native(&code, 470, [0; 6])].map(Action::of_ret),
        [Action::KillProcess, Action::Errno(38)]
    );
}
