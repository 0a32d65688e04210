//! `--pid`: the maps of a user namespace that another program made and waits in.

use crate::cli::Args;
use crate::resolve::{Map, Plan};
use crate::{apply, helper, plan, resolve};
use chain::link::Question;
use chain::oci::NamespaceKind;
use chain::spec::Idmap;
use chain::target::Target;
use chain::{Class, Error, Result, proc, supervise};
use std::os::fd::AsFd;

/// Writes them, reads them back, and that is all.
pub(crate) fn map(args: &Args) -> Result<u8> {
    let Some(target) = args.pid else { return Ok(0) };
    if args.disable_userns {
        return Err(Error::usage("read the command line", "--pid and --disable-userns exclude each other"));
    }
    let spec = spec(args)?;
    let plan = resolve::resolve(&spec, &resolve::facts()?)?;
    if args.common.print {
        return crate::answer::answer(Question::Print, args, &spec);
    }
    if args.common.check || args.common.show.is_some() {
        return Err(Error::usage("read the command line", "--pid and a question exclude each other"));
    }
    write(&plan, target)?;
    Ok(0)
}

/// What the flags, and `--oci`, say.
pub(crate) fn spec(args: &Args) -> Result<Idmap> {
    let base = match &args.common.oci {
        Some(path) => {
            let folder = path.parent().unwrap_or(std::path::Path::new("."));
            chain::share::idmap(&chain::oci::read_config(path)?, folder)?
        }
        None => Idmap::default(),
    };
    plan::compose(args, base)
}

fn write(plan: &Plan, target: Target) -> Result<()> {
    let doing = format!("map ids for process {target}");
    // Holds the number: while this is open and says the process lives, it means the same process.
    let pidfd = target.open().map_err(|e| Error { doing: doing.clone(), ..e })?;
    let pid = target.pid()?;
    let who = pid.to_string();
    if proc::namespace(&who, NamespaceKind::User)? == proc::namespace("self", NamespaceKind::User)? {
        return Err(Error::new(Class::Order, doing, "it is in our own user namespace")
            .cure("let it make one first, as unshare(1) -U does"));
    }
    let proc = proc::host()?;
    for map in &plan.maps {
        let path = format!("{who}/{}", map.kind.file());
        if !proc::read_at(proc.as_fd(), &path)?.is_empty() {
            let detail =
                format!("its {} map is written already, and the kernel takes one only", map.kind.noun());
            return Err(Error::new(Class::Conflict, doing, detail));
        }
    }
    if supervise::has_ended(pidfd.as_fd())? {
        return Err(Error::new(Class::Missing, doing, "it has ended"));
    }
    if plan.deny_setgroups {
        proc::write_at(proc.as_fd(), &format!("{who}/setgroups"), b"deny")?;
    }
    plan.maps.iter().try_for_each(|map: &Map| helper::write(map, pid.unsigned_abs()))?;
    if supervise::has_ended(pidfd.as_fd())? {
        return Err(Error::new(Class::Missing, doing, "it ended meanwhile"));
    }
    apply::read_back(plan, proc.as_fd(), &who)
}
