//! minijail's and Kafel's policies: what a call meets is what they say, and what they cannot say here is refused.

use super::*;
use crate::facts::Facts;
use crate::plan;
use crate::simulate::native;
use chain::spec::{ProfileSource, SeccompLoad};

const MINIJAIL: Language = Language::Minijail;
const KAFEL: Language = Language::Kafel;

fn carried(language: Language, text: &str) -> Result<String> {
    read(text.as_bytes(), language, &Origin::Elsewhere("p"), false)?.carried("p")
}

fn says(language: Language, text: &str, number: i64, args: &[u64]) -> Action {
    let profile = Some(ProfileSource::Own(carried(language, text).unwrap()));
    let spec = SeccompLoad { profile, ..SeccompLoad::default() };
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Action::of_ret(native(
        &plan::resolve(&spec, &Facts::default()).unwrap().filter.unwrap().code,
        number,
        all,
    ))
}

#[test]
fn what_minijail_says() {
    let text = "# cat\nexecve: 1\nread: allow\nwrite: arg0 == 1 || arg0 == 2 && arg2 <= 0x10\n\
        openat: arg2 in O_RDONLY|O_CLOEXEC; return EACCES\nmmap: arg2 & ~(PROT_READ|PROT_EXEC)\n\
        { kill, tkill }: return 1\nioctl[arch=vax]: 1\n@frequency ./f\nsocket: { arg0 == AF_UNIX; allow, \\\n arg0 == 2; return EPERM, trap }\n\
        39: 1\n";
    let of = |number, args: &[u64]| says(MINIJAIL, text, number, args);
    let kill = Action::KillProcess;
    for (number, args, action) in [
        (libc::SYS_read, &[][..], Action::Allow),
        (libc::SYS_write, &[1], Action::Allow),
        (libc::SYS_write, &[2, 0, 0x10], Action::Allow),
        (libc::SYS_write, &[2, 0, 0x11], kill),
        // minijail compares all of an argument.
        (libc::SYS_write, &[1 | 1 << 32], kill),
        (libc::SYS_openat, &[0, 0, 0o2000000], Action::Allow),
        (libc::SYS_openat, &[0, 0, 1], Action::Errno(13)),
        (libc::SYS_mmap, &[0, 0, 5], kill),
        (libc::SYS_mmap, &[0, 0, 7], Action::Allow),
        (libc::SYS_tkill, &[], Action::Errno(1)),
        (libc::SYS_ioctl, &[], kill),
        (libc::SYS_socket, &[1], Action::Allow),
        (libc::SYS_socket, &[2], Action::Errno(1)),
        (libc::SYS_socket, &[3], Action::Trap),
        (libc::SYS_getpid, &[], if cfg!(target_arch = "x86_64") { Action::Allow } else { kill }),
        // It knows of no calls that are too new.
        (999, &[], kill),
    ] {
        assert_eq!(of(number, args), action, "{number} {args:x?}");
    }
    let deny = "@denylist\nadd_key: return 38\n";
    assert_eq!(says(MINIJAIL, deny, libc::SYS_add_key, &[]), Action::Errno(38));
    assert_eq!(says(MINIJAIL, deny, libc::SYS_read, &[]), Action::Allow);
    assert_eq!(says(MINIJAIL, "@default kill-thread\nexecve: 1", libc::SYS_read, &[]), Action::KillThread);
}

#[test]
fn what_minijail_does_not_say_exactly_is_refused() {
    for (text, said) in [
        ("read: 1\nraed: 1", "p:2: 'raed' is not a system call"),
        ("read", "p:1: it ends where : was expected"),
        ("read:", "p:1: it ends where an action"),
        ("read: 2", "p:1: '2' is no action"),
        ("read: allow allow", "p:1: 'allow' behind the end"),
        ("read: arg6 == 1", "p:1: 'arg6' is no argument"),
        ("read: arg0 = 1", "p:1: '=' is no operator"),
        ("read: arg0 == ", "p:1: it ends where a number"),
        ("read: arg0 == NOTHING", "p:1: 'NOTHING' is no number"),
        ("read: arg0 == 09", "p:1: '09' is no number in octal"),
        ("read: arg0 == (1", "p:1: it ends where ) was"),
        ("read: arg0 == 1; kill", "p:1: 'kill' behind a condition is read in two ways"),
        ("read: { allow, kill }", "p:1: nothing behind an action without a condition"),
        ("read: { arg0 == 1", "p:1: it ends where } was"),
        ("read: return EWHAT", "p:1: 'EWHAT' is no errno"),
        ("read: return 4096", "p:1: '4096' is no errno"),
        ("read: 1\n\nread: return 1", "p:3: 'read' stands twice"),
        ("base@minijail: 1", "p:1: 'base@minijail' is a group"),
        ("read[weight=1]: 1", "p:1: 'weight' is nothing that can be said"),
        ("@default allow", "p:1: 'allow' is no default"),
        ("@defualt kill", "p:1: '@defualt kill' is no directive"),
        ("@include nowhere", "p:1: '@include nowhere' is no directive"),
        ("@include ./nowhere", "p:1: './nowhere': an fd lies in no folder"),
        ("@denylist\nread: allow", "p:2: under @denylist"),
        ("read: 1 \\", "cut short behind a backslash"),
        ("9999: 1", "p:1: '9999' is not a system call"),
        ("read: ü", "p:1: 'ü' stands in no policy"),
    ] {
        let error = carried(MINIJAIL, text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let deep = format!("read: arg0 == {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(carried(MINIJAIL, &deep).unwrap_err().to_string().contains("parentheses in each other"));
}

#[test]
fn what_kafel_says() {
    let text = "/* of nsjail */ #define TWO 2 // a comment\nPOLICY files { ALLOW { openat { (flags & (O_WRONLY)) == 0 } } }\n\
        POLICY base {\n  ALLOW { execve, newfstat, write { fd == 1, fd == TWO },\n    mmap(a, b, c) { !(c == 7 || c > 8) && 3 != c },\n\
        getpid ON { vax, x86_64, aarch64, riscv64, loongarch64 }, getuid ON vax },\n  ERRNO(1) { write, kill {} }, TRAP(0) { socket { family != AF_UNIX } }, USE files }\n\
        USE base DEFAULT KILL_PROCESS\n";
    let text = text.replace("(flags & (O_WRONLY))", "(flags & O_WRONLY)");
    let of = |number, args: &[u64]| says(KAFEL, &text, number, args);
    let kill = Action::KillProcess;
    for (number, args, action) in [
        (libc::SYS_execve, &[][..], Action::Allow),
        (libc::SYS_fstat, &[], Action::Allow),
        (libc::SYS_write, &[2], Action::Allow),
        // An fd is an int.
        (libc::SYS_write, &[1 | 1 << 32], Action::Allow),
        (libc::SYS_write, &[3], Action::Errno(1)),
        (libc::SYS_mmap, &[0, 0, 5], Action::Allow),
        (libc::SYS_mmap, &[0, 0, 3], kill),
        (libc::SYS_mmap, &[0, 0, 7], kill),
        (libc::SYS_mmap, &[0, 0, 9], kill),
        (libc::SYS_getpid, &[], Action::Allow),
        (libc::SYS_getuid, &[], kill),
        (libc::SYS_kill, &[], Action::Errno(1)),
        (libc::SYS_socket, &[1], kill),
        (libc::SYS_socket, &[2], Action::Trap),
        (libc::SYS_openat, &[0, 0, 0], Action::Allow),
        (libc::SYS_openat, &[0, 0, 1], kill),
        (999, &[], kill),
    ] {
        assert_eq!(of(number, args), action, "{number} {args:x?}");
    }
    // Without a word on it the thread is killed.
    assert_eq!(says(KAFEL, "ALLOW { execve }", libc::SYS_read, &[]), Action::KillThread);
}

#[test]
fn what_kafel_does_not_say_exactly_is_refused() {
    for (text, said) in [
        ("ALLOW { raed }", "p:1: 'raed' is not a system call"),
        ("ALOW { read }", "p:1: 'ALOW' is no action"),
        ("POLICY a { ALLOW { read } }\nUSE b", "p:2: no policy 'b' stands before"),
        ("POLICY a { USE a }", "p:1: no policy 'a' stands before"),
        ("POLICY a {}\nPOLICY a {}", "the policy 'a' is defined twice"),
        ("DEFAULT KILL DEFAULT KILL", "DEFAULT stands twice"),
        ("#define A 1\n#define A 1", "p:2: 'A' is defined twice"),
        ("#include \"x\"", "p:1: where Kafel looks"),
        ("ALLOW { SYSCALL[7] }", "p:1: 'SYSCALL': a call by its number"),
        ("#define seven 7\nALLOW { seven }", "p:2: 'seven': a call by its number"),
        ("ALLOW { read { fd == buf } }", "compares an argument with a number"),
        ("ALLOW { read { fdd == 1 } }", "p:1: 'read' has no argument 'fdd'"),
        ("ALLOW { getpid { a == 1 } }", "what the arguments of 'getpid' are called"),
        ("ALLOW { getpid(a) { a == 1 } }", "how wide argument 0 of 'getpid' is"),
        ("ALLOW { read { (fd & 1) < 1 } }", "'<' under a mask"),
        ("ALLOW { read { fd } }", "'read' has no argument '}'"),
        ("ALLOW { read { fd == 0x100000000 } }", "more than the argument has"),
        ("ERRNO(4096) { read }", "ERRNO(4096) has no place"),
        ("TRAP(1) { read }", "TRAP(1) has no place"),
        ("ALLOW { read ", "it ends where a system call"),
        ("ALLOW { read { fd == 1 ", "it ends where }"),
        ("ALLOW { read } /* and so on", "'/' is no action"),
    ] {
        let error = carried(KAFEL, text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let deep = |open: &str, close: &str| {
        format!("ALLOW {{ read {{ {}fd == 1{} }} }}", open.repeat(5000), close.repeat(5000))
    };
    assert!(carried(KAFEL, &deep("(", ")")).is_err() && carried(KAFEL, &deep("!", "")).is_err());
    let wide = vec!["(fd == 1 || fd == 2)"; 20].join(" && ");
    assert!(
        carried(KAFEL, &format!("ALLOW {{ read {{ {wide} }} }}"))
            .unwrap_err()
            .to_string()
            .contains("more than 512")
    );
    let double: String = (1..40).map(|n| format!("POLICY p{n} {{ USE p{0}, USE p{0} }}\n", n - 1)).collect();
    let error = carried(KAFEL, &format!("POLICY p0 {{ ALLOW {{ read }} }}\n{double}")).unwrap_err();
    assert!(error.to_string().contains("more than 20000 rules"), "{error}");
}

/// Every prefix of a good one is read or refused, and none of them panics.
#[test]
fn cut_short_anywhere() {
    let minijail =
        "read: { arg0 == ~(1|2) && arg1 in 3; return EPERM, allow }\n@default trap\nwrite[arch=x86_64]: 1";
    let kafel = "#define A 0x1\nPOLICY a { ALLOW { read { (fd & A) == 1 || !(fd > 3) } ON x86_64 } } USE a DEFAULT ERRNO(1)";
    for (language, text) in [(MINIJAIL, minijail), (KAFEL, kafel)] {
        for end in 0..text.len() {
            carried(language, &text[..end]).map_or_else(|error| assert!(!error.to_string().is_empty()), drop);
        }
        assert!(carried(language, text).is_ok());
    }
}
