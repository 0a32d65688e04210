//! What is set once inside, and read back.

use crate::apply::{own_file, why};
use crate::net;
use crate::resolve::{Plan, make};
use crate::sysctl;
use chain::net::Outside;
use chain::oci::NamespaceKind;
use chain::state::State;
use chain::sys::namespaces::{loopback_up, set_domain_name};
use chain::userns::settle;
use chain::{Cannot, Error, Result, proc, sys};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::utsname::uname;
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::{AsFd, BorrowedFd};

/// In the order the kernel lets it be done. `proc` shows this process; `leaving` are the network devices to bring in.
pub(crate) fn set_up(
    plan: &Plan,
    proc: BorrowedFd<'_>,
    leaving: Option<Outside>,
    state: &mut State,
) -> Result<Option<net::Inside>> {
    // While the files below /proc/self are still ours to write: a change of user gives them to root.
    if plan.makes(NamespaceKind::Time) {
        time(plan, proc)?;
    }
    let makes_user = plan.makes(NamespaceKind::User) && !plan.nest;
    if makes_user || plan.join.contains(&NamespaceKind::User) {
        settle(proc, state)?;
    }
    // The copies of the host's mounts are its peers: without this, what is mounted in here appears out there.
    if plan.private_mounts {
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)
            .cannot("make all mounts private", "mount(/, MS_REC|MS_PRIVATE)")?;
    }
    if plan.loopback {
        let flags = loopback_up().cannot("bring lo up", "ioctl(SIOCSIFFLAGS)")?;
        if flags & libc::IFF_UP == 0 {
            return Err(Error::readback("lo", "up", "down"));
        }
    }
    names(plan)?;
    plan.personality.map_or(Ok(()), personality)?;
    // Before the parameters, for a device has some of its own.
    net::ask(&plan.net, proc, state.fds.meet)?;
    let devices = leaving.map(|leaving| net::enter(leaving, &plan.net, proc)).transpose()?;
    match (sysctls(plan, proc), devices) {
        (Err(error), Some(devices)) => {
            devices.give_back()?;
            Err(error)
        }
        (result, devices) => result.map(|()| devices),
    }
}

fn sysctls(plan: &Plan, proc: BorrowedFd<'_>) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    // One that nobody can mount over; where mounting is not permitted, the host's, proven to be one.
    let private = proc::private().ok();
    let proc = private.as_ref().map_or(proc, AsFd::as_fd);
    plan.sysctls.iter().try_for_each(|s| sysctl::set(proc, s))
}

fn names(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).cannot("set the host name", format_args!("sethostname({name})"))?;
    }
    if let Some(name) = &plan.domainname {
        set_domain_name(name.as_bytes())
            .cannot("set the domain name", format_args!("setdomainname({name})"))?;
    }
    if plan.hostname.is_none() && plan.domainname.is_none() {
        return Ok(());
    }
    let found = uname().cannot("prove the host name", "uname")?;
    for (object, asked, found) in [
        ("the host name", &plan.hostname, found.nodename()),
        ("the domain name", &plan.domainname, found.domainname()),
    ] {
        if let Some(asked) = asked.as_ref().filter(|asked| found != asked.as_str()) {
            return Err(Error::readback(object, asked, found.display()));
        }
    }
    Ok(())
}

/// A new time namespace takes offsets until its first process enters it, and unshare(2) leaves the caller outside.
/// setns(2) to it enters without a fork.
fn time(plan: &Plan, proc: BorrowedFd<'_>) -> Result<()> {
    let doing = "enter the new time namespace";
    make(NamespaceKind::Time.clone_flag()).map_err(why)?;
    if let Some(offsets) = &plan.time_offsets {
        proc::write_at(proc, "self/timens_offsets", offsets.as_bytes())
            .map_err(|e| offset_why(e, offsets))?;
    }
    let fd = openat(proc, "self/ns/time_for_children", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .cannot(doing, "open(time_for_children)")?;
    setns(&fd, CloneFlags::from_bits_retain(NamespaceKind::Time.clone_flag()))
        .cannot(doing, "setns(time_for_children)")?;
    let Some(offsets) = &plan.time_offsets else { return Ok(()) };
    let found = own_file(proc, "timens_offsets")?;
    let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    let found: Vec<_> = found.lines().map(words).collect();
    match offsets.lines().find(|line| !found.contains(&words(line))) {
        Some(line) => Err(Error::readback("the clock offsets", line, format_args!("{found:?}"))),
        None => Ok(()),
    }
}

fn offset_why(error: Error, offsets: &str) -> Error {
    let doing = format!("set the clocks to {}", offsets.trim_end().replace('\n', ", "));
    let error = Error { doing, ..error };
    match error.errno() {
        Some(Errno::ERANGE) => error.why("the clock would be negative, or beyond 146 years"),
        // Who joins is hidden from those inside, and the files below /proc/PID of a hidden process are root's.
        Some(Errno::EACCES) => error
            .why("beside a user namespace that is joined, only root may set clocks")
            .cure("ns-enter -t PID -U -- env ns-enter -T …"),
        _ => error,
    }
}

fn personality(persona: u64) -> Result<()> {
    let doing = "set the personality";
    sys::process::personality(persona).cannot(doing, format_args!("personality({persona:#x})"))?;
    let found = sys::process::personality(0xffff_ffff).cannot(doing, "personality(0xffffffff)")?;
    if found as u64 != persona {
        return Err(Error::readback(
            "the personality",
            format_args!("{persona:#x}"),
            format_args!("{found:#x}"),
        ));
    }
    Ok(())
}
