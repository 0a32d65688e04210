//! What is to run: the process of the container's config, changed by flags, or that of a file. Everything that can be
//! refused is refused here.

use super::cli::Exec;
use chain::bytes::Bytes;
use chain::ids::{Gid, Uid};
use chain::oci::names::CAPABILITIES;
use chain::oci::{CONFIG_MAX, Config, Process};
use chain::{Cannot, Class, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

/// Puts the process to run in the place of the config's own.
pub(super) fn put_into(config: &mut Config, options: &Exec) -> Result<()> {
    let own = config.process.take().unwrap_or_default();
    let mut process = match &options.process {
        Some(file) => completed(from_file(file, options)?, own),
        None => of_command(own, options)?,
    };
    change(&mut process, options)?;
    process.env = last_of_each(std::mem::take(&mut process.env))?;
    check(&process)?;
    config.process = Some(process);
    Ok(())
}

fn from_file(file: &Path, options: &Exec) -> Result<Process> {
    let doing = format_args!("read {}", file.display());
    if !options.command().is_empty() {
        return Err(Error::usage(doing, "a command is given as well"));
    }
    // Not of the container: trusted as argv is, and perhaps a pipe.
    let fd = openat(CWD, file, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
        .cannot(doing, format_args!("open({})", file.display()))?;
    let mut text = Vec::new();
    std::fs::File::from(fd).take(CONFIG_MAX + 1).read_to_end(&mut text).cannot(doing, "read")?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(Error::usage(doing, format_args!("more than the {CONFIG_MAX} bytes that are read")));
    }
    chain::json::parse(&text, doing)
}

/// What a file says nothing of is the container's, so that a command is never less confined by a word that was forgotten.
/// That no_new_privs is not there says that it is off.
fn completed(process: Process, own: Process) -> Process {
    let mut user = process.user;
    user.umask = user.umask.or(own.user.umask);
    let said = |label: Option<String>, own| label.filter(|label| !label.is_empty()).or(own);
    Process {
        user,
        capabilities: process.capabilities.or(own.capabilities),
        apparmor_profile: said(process.apparmor_profile, own.apparmor_profile),
        selinux_label: said(process.selinux_label, own.selinux_label),
        rlimits: if process.rlimits.is_empty() { own.rlimits } else { process.rlimits },
        oom_score_adj: process.oom_score_adj.or(own.oom_score_adj),
        scheduler: process.scheduler.or(own.scheduler),
        io_priority: process.io_priority.or(own.io_priority),
        exec_cpu_affinity: process.exec_cpu_affinity.or(own.exec_cpu_affinity),
        ..process
    }
}

fn of_command(own: Process, options: &Exec) -> Result<Process> {
    if options.command().is_empty() {
        return Err(Error::usage("read the command line", "exec args cannot be empty: it names no command"));
    }
    let args = options.command().iter().map(|word| Bytes::from(word.as_os_str())).collect();
    Ok(Process { args, terminal: false, ..own })
}

fn change(process: &mut Process, options: &Exec) -> Result<()> {
    process.terminal |= options.tty;
    if let Some(cwd) = options.cwd.as_ref().filter(|cwd| !cwd.is_empty()) {
        process.cwd = Bytes::from(cwd.as_os_str());
    }
    process.env.extend(options.env.iter().map(|entry| Bytes::from(entry.as_os_str())));
    if let Some(user) = options.user.as_ref().filter(|user| !user.is_empty()) {
        become_user(process, user)?;
    }
    for gid in &options.additional_gids {
        let gid = gid.parse::<Gid>().map_err(|e| Error::usage("add a group", e))?;
        process.user.additional_gids.push(gid);
    }
    if let Some(on) = options.no_new_privs {
        process.no_new_privileges = on;
    }
    let label = |given: &Option<String>, own: &mut Option<String>| {
        *own = given.clone().filter(|label| !label.is_empty()).or(own.take());
    };
    label(&options.process_label, &mut process.selinux_label);
    label(&options.apparmor, &mut process.apparmor_profile);
    options.cap.iter().try_for_each(|word| add_capability(process, word))
}

/// Numbers alone: names would be looked up in files that belong to the container. The group stays the container's if
/// none is given.
fn become_user(process: &mut Process, word: &str) -> Result<()> {
    let (uid, gid) = word.split_once(':').map_or((word, None), |(uid, gid)| (uid, Some(gid)));
    let wrong = |e| Error::usage(format_args!("become user '{}'", word.escape_debug()), e);
    process.user.uid = uid.parse::<Uid>().map_err(wrong)?;
    if let Some(gid) = gid {
        process.user.gid = gid.parse::<Gid>().map_err(wrong)?;
    }
    Ok(())
}

/// In ambient only if it is inheritable: the kernel takes no other.
fn add_capability(process: &mut Process, word: &str) -> Result<()> {
    let bare = word.to_ascii_uppercase();
    let name = if bare.starts_with("CAP_") { bare } else { format!("CAP_{bare}") };
    if !CAPABILITIES.contains(&name.as_str()) {
        let detail = format!("'{}' is not known", word.escape_debug());
        return Err(Error::usage("add a capability", detail));
    }
    let sets = process.capabilities.get_or_insert_default();
    if sets.inheritable.contains(&name) {
        sets.ambient.push(name.clone());
    }
    for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective] {
        set.push(name.clone());
    }
    Ok(())
}

/// Of two values of one name the last counts; it stays where it stands.
fn last_of_each(env: Vec<Bytes>) -> Result<Vec<Bytes>> {
    let mut seen = HashSet::with_capacity(env.len());
    let mut kept = Vec::with_capacity(env.len());
    for entry in env.iter().rev() {
        let equals = entry.0.iter().position(|b| *b == b'=');
        let Some(equals) = equals.filter(|at| *at > 0) else {
            let shown: String = entry.to_string().chars().take(80).collect();
            return Err(wrong(&format!("env: '{}' is not KEY=VALUE", shown.escape_debug())));
        };
        if seen.insert(&entry.0[..equals]) {
            kept.push(entry.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

fn check(process: &Process) -> Result<()> {
    if process.args.is_empty() {
        return Err(wrong("args: empty"));
    }
    if !process.cwd.0.starts_with(b"/") {
        return Err(wrong(&format!("cwd: '{}' is not an absolute path", process.cwd)));
    }
    let words = [("args", &process.args), ("env", &process.env)];
    match words.iter().find(|(_, list)| list.iter().any(|word| word.0.contains(&0))) {
        Some((list, _)) => Err(wrong(&format!("{list}: a NUL byte"))),
        None => Ok(()),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(Class::Usage, "carry out the process to exec", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(list: &[&str]) -> Result<Vec<String>> {
        let env = last_of_each(list.iter().map(|e| Bytes::from(*e)).collect())?;
        Ok(env.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        assert_eq!(env(&["A=1", "B=2", "A=3", "C="]).unwrap(), ["B=2", "A=3", "C="]);
        for bad in [&["A"][..], &["=x"], &[""], &["A=1", "B"]] {
            assert!(env(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_user_is_numbers_and_the_group_stays_unless_given() {
        let of = |word: &str| {
            let mut process = Process::default();
            (process.user.uid, process.user.gid) = (Uid(5), Gid(6));
            become_user(&mut process, word).map(|()| (process.user.uid.0, process.user.gid.0))
        };
        assert_eq!(of("7").unwrap(), (7, 6));
        assert_eq!(of("7:8").unwrap(), (7, 8));
        for bad in ["root", "-1", "7:", ":7", "7:x", "4294967295", "7:4294967295", "7:8:9", " 7"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_capability_is_ambient_only_if_it_is_inheritable() {
        let mut process = Process::default();
        process.capabilities.get_or_insert_default().inheritable.push("CAP_KILL".into());
        for word in ["kill", "CAP_SYS_ADMIN", "cap_net_raw"] {
            add_capability(&mut process, word).unwrap();
        }
        let sets = process.capabilities.clone().unwrap();
        assert_eq!(sets.ambient, ["CAP_KILL"]);
        assert_eq!(sets.bounding, ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_NET_RAW"]);
        assert_eq!((&sets.permitted, &sets.effective), (&sets.bounding, &sets.bounding));
        for bad in ["", "CAP_", "all", "CAP_SYS_ADMN", "0"] {
            assert!(add_capability(&mut process, bad).is_err(), "{bad}");
        }
    }
}
