//! Resource limits, setrlimit(2). They are set exactly by the landing; a hard limit that is to be higher is raised
//! here, where CAP_SYS_RESOURCE is still at hand.

use chain::oci::Rlimit;
use chain::sys::process::prlimit;
use chain::{Cannot, Error, Result, near};
use nix::errno::Errno;

/// The sixteen names, by the numbers of asm-generic/resource.h (which only sparc and mips differ from).
const NAMES: [(&str, u32); 16] = [
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
];

/// What /proc/PID/limits calls them, in the order of [`NAMES`] (proc_pid_limits of fs/proc/base.c).
const TITLES: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

/// The limits in the text of /proc/PID/limits, which, unlike prlimit(2) of another's process, wants no privilege.
pub(crate) fn in_text(text: &str) -> Vec<Rlimit> {
    let one = |(title, (name, _)): (&&str, &(&str, u32))| {
        let mut words = text.lines().find_map(|line| line.strip_prefix(title))?.split_whitespace();
        let mut value = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            word => word.parse().ok(),
        };
        Some(Rlimit { kind: (*name).into(), soft: value()?, hard: value()? })
    };
    TITLES.iter().zip(&NAMES).filter_map(one).collect()
}

/// The number of a limit's name.
pub(crate) fn number(name: &str) -> std::result::Result<u32, String> {
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => {
            let near = near::nearest(name, NAMES.iter().map(|(known, _)| *known));
            let meant = near.map(|n| format!(", did you mean {n}?")).unwrap_or_default();
            Err(format!("unknown resource limit {}{meant}", name.escape_debug()))
        }
    }
}

/// The name of a number.
pub(crate) fn name(number: u32) -> &'static str {
    NAMES.iter().find(|(_, n)| *n == number).map_or("RLIMIT_?", |(name, _)| name)
}

/// Numbers for names; refuses unknown ones, one that comes twice, and a soft limit above the hard one.
pub(crate) fn resolve(limits: &[Rlimit]) -> Result<Vec<(u32, u64, u64)>> {
    let mut resolved: Vec<(u32, u64, u64)> = Vec::with_capacity(limits.len());
    for (i, limit) in limits.iter().enumerate() {
        let wrong =
            |what: String| Err(Error::usage("set resource limits", format_args!("rlimits[{i}]: {what}")));
        let number = match number(&limit.kind) {
            Ok(number) => number,
            Err(what) => return wrong(what),
        };
        if resolved.iter().any(|(n, _, _)| *n == number) {
            return wrong(format!("{} is there twice", limit.kind));
        }
        if limit.soft > limit.hard {
            return wrong(format!(
                "{}: the soft limit {} is above the hard one {}",
                limit.kind, limit.soft, limit.hard
            ));
        }
        resolved.push((number, limit.soft, limit.hard));
    }
    Ok(resolved)
}

/// Raises the hard limit where the present one is lower. The soft one stays for now: the landing sets it.
pub(crate) fn raise(resource: u32, hard: u64) -> Result<()> {
    let name = name(resource);
    let doing = format_args!("raise the hard limit {name} to {}", word(hard));
    let (soft, present) = prlimit(0, resource, None).cannot(doing, format_args!("prlimit({name})"))?;
    if hard <= present {
        return Ok(());
    }
    match prlimit(0, resource, Some((soft, hard))) {
        Ok(_) => Ok(()),
        Err(e) => {
            let error = Error::call(doing, format_args!("prlimit({name})"), e);
            Err(explain(error, resource, present))
        }
    }
}

/// Sets them exactly, as the landing does.
pub(crate) fn set(limits: &[(u32, u64, u64)]) -> Result<()> {
    for (resource, soft, hard) in limits {
        let name = name(*resource);
        let doing = format_args!("set {name} to {}:{}", word(*soft), word(*hard));
        prlimit(0, *resource, Some((*soft, *hard))).cannot(doing, format_args!("prlimit({name})"))?;
    }
    Ok(())
}

fn explain(error: Error, resource: u32, present: u64) -> Error {
    if error.errno() != Some(Errno::EPERM) {
        return error;
    }
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    let present = word(present);
    if resource == libc::RLIMIT_NOFILE {
        return error.why(format_args!(
            "it is {present}; raising it needs CAP_SYS_RESOURCE, and fs.nr_open is {} at most",
            most.trim()
        ));
    }
    error.why(format_args!("it is {present}, and raising it needs CAP_SYS_RESOURCE"))
}

/// A limit for people.
pub(crate) fn word(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".into() } else { limit.to_string() }
}

/// What the landing can set: where raising was forgiven, the hard limit that there is.
pub(crate) fn within_reach(limits: &[(u32, u64, u64)], degraded: &[String]) -> Result<Vec<(u32, u64, u64)>> {
    if !degraded.iter().any(|d| d.starts_with("rlimits: ")) {
        return Ok(limits.to_vec());
    }
    let cut = |(resource, soft, hard): &(u32, u64, u64)| {
        let (_, most) = prlimit(0, *resource, None).cannot("read resource limits", "prlimit")?;
        Ok((*resource, (*soft).min(most), (*hard).min(most)))
    };
    limits.iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str, soft: u64, hard: u64) -> Rlimit {
        Rlimit { kind: kind.into(), soft, hard }
    }

    #[test]
    fn names_as_the_kernel_counts_them() {
        for (name, expected) in [("RLIMIT_CPU", 0), ("RLIMIT_NOFILE", 7), ("RLIMIT_RTTIME", 15)] {
            assert_eq!(number(name), Ok(expected));
        }
        let mut numbers: Vec<u32> = NAMES.iter().map(|(_, n)| *n).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn the_kernels_table_is_read_whole() {
        let limits = in_text(&std::fs::read_to_string("/proc/self/limits").unwrap());
        assert_eq!(limits.len(), 16);
        for limit in limits {
            let number = number(&limit.kind).unwrap();
            assert_eq!(prlimit(0, number, None).unwrap(), (limit.soft, limit.hard), "{}", limit.kind);
        }
        assert!(in_text("Max cpu time nonsense\nMax file size 1\n").is_empty());
    }

    #[test]
    fn unknown_doubled_and_upside_down_limits_are_refused() {
        for bad in [
            vec![limit("RLIMIT_NOFLE", 1, 1)],
            vec![limit("NOFILE", 1, 1)],
            vec![limit("", 1, 1)],
            vec![limit("RLIMIT_CORE", 2, 1)],
            vec![limit("RLIMIT_CORE", 1, 1), limit("RLIMIT_AS", 1, 1), limit("RLIMIT_CORE", 1, 1)],
        ] {
            assert!(resolve(&bad).is_err(), "{bad:?}");
        }
        let error = resolve(&[limit("RLIMIT_AS", 1, 1), limit("RLIMIT_NOFLE", 1, 1)]).unwrap_err();
        assert!(error.to_string().contains("rlimits[1]"), "{error}");
        assert!(error.to_string().contains("did you mean RLIMIT_NOFILE?"), "{error}");
    }
}
