//! What the runner does to a container's cgroup: find it again, look at it, empty it, remove it. The work is
//! `chain::cgroup`'s.

use crate::cli::Args;
use crate::globals::Manager;
use crate::systemd;
use chain::bytes::Bytes;
use chain::cgroup::{Group, Hierarchies, Layout};
use chain::oci::{Config, NamespaceKind, Resources};
use chain::rdt::{Rdt, Wanted};
use chain::spec::CgApply;
use chain::state::Receipt;
use chain::{Class, Error, Result};

/// What a chain that did not live to say so may have left of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The cgroup's path; empty for none of ours: a scope of systemd's goes with the chain.
    pub(crate) cgroup: Bytes,
    /// The group of Intel RDT, where one is about to be made.
    pub(crate) rdt: Option<Rdt>,
}

impl Expected {
    /// Before anything is made: what is there now is another's.
    pub(crate) fn of(config: &Config, cgroup: Bytes, id: &str) -> Expected {
        let asked = config.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
        // What is wrong with it is cg-apply's to say.
        let rdt = asked.and_then(|asked| Wanted::of(asked, id).ok()).map(|wanted| wanted.to_make());
        Expected { cgroup, rdt: rdt.filter(|rdt| !rdt.made.is_empty()) }
    }

    /// Removes it. A cgroup that holds others was not made by that chain.
    pub(crate) fn remove(&self) -> Result<()> {
        let cgroup = expected(&self.cgroup).and_then(|folders| Group::at(&folders)?.remove_leaf());
        self.rdt.as_ref().map_or(Ok(()), Rdt::remove_unused).and(cgroup)
    }
}

/// Where a container's cgroup is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Its folders, one in each hierarchy.
    pub(crate) folders: Vec<Bytes>,
    /// The scope that it is of, if systemd made it.
    pub(crate) unit: Option<String>,
    /// Its group of Intel RDT.
    pub(crate) rdt: Option<Rdt>,
}

impl Place {
    /// As cg-apply's receipt tells.
    pub(crate) fn of(receipt: &Receipt) -> Place {
        let unit = receipt.applied["unit"].as_str().map(String::from);
        Place { folders: of_receipt(receipt), unit, rdt: rdt_of_receipt(receipt) }
    }
}

/// The group of Intel RDT that cg-apply's receipt names.
pub(crate) fn rdt_of_receipt(receipt: &Receipt) -> Option<Rdt> {
    receipt.applied.get("intelRdt").and_then(|rdt| serde_json::from_value(rdt.clone()).ok())
}

/// The folders that cg-apply's receipt names.
pub(crate) fn of_receipt(receipt: &Receipt) -> Vec<Bytes> {
    let paths = receipt.applied["cgroup"].as_array().cloned().unwrap_or_default();
    paths.iter().filter_map(|path| serde_json::from_value(path.clone()).ok()).collect()
}

/// The folders that the group `path` would have; none of an empty path, which is that of a container without a group.
pub(crate) fn expected(path: &Bytes) -> Result<Vec<Bytes>> {
    let hierarchies = Hierarchies::detect()?;
    if path.0.is_empty() || hierarchies.layout == Layout::None {
        return Ok(Vec::new());
    }
    Ok(hierarchies.group(Some(path), "")?.paths().cloned().collect())
}

/// Names the container's groups in cg-apply's layer, or takes the cgroup out where there is to be none.
pub(crate) fn name(layer: &mut CgApply, config: &Config, id: &str, args: &Args) -> Result<()> {
    layer.rdt_name = layer.intel_rdt.as_ref().map(|_| id.to_string());
    layer.owner = owner(config).filter(|_| !args.is_rootless());
    let named = layer.cgroups_path.as_ref().map(|path| path.as_path().to_string_lossy().into_owned());
    if args.manager() == Manager::Disabled {
        return leave_out(layer);
    }
    if args.is_rootless() {
        layer.attempt.push("resources.devices".into());
        // Whoever names a group means it.
        layer.attempt.extend(named.is_none().then(|| "cgroupsPath".into()));
    }
    if args.manager() == Manager::Systemd {
        layer.systemd = Some(systemd::scope(config, named.as_deref(), id, args.is_rootless())?);
        layer.cgroups_path = None;
        return Ok(());
    }
    layer.cgroups_path.get_or_insert_with(|| id.into());
    Ok(())
}

/// The user of the container's process, as the host counts, if it is not the host's root: it owns the cgroup where it has
/// a cgroup namespace of its own and may write to it, as the specification has it.
fn owner(config: &Config) -> Option<u32> {
    let linux = config.linux.as_ref()?;
    let own = |kind| linux.namespaces.iter().any(|ns| ns.kind == kind && ns.path.is_none());
    let writable = config.mounts.iter().any(|mount| {
        mount.kind.as_deref() == Some("cgroup")
            && mount.destination.as_path() == std::path::Path::new("/sys/fs/cgroup")
            && !mount.options.iter().any(|option| option == "ro")
    });
    let uid = config.process.as_ref().map_or(0, |process| process.user.uid.0);
    let outside = if linux.namespaces.iter().any(|ns| ns.kind == NamespaceKind::User) {
        let map = linux.uid_mappings.iter().find(|map| uid.wrapping_sub(map.container_id) < map.size)?;
        map.host_id.checked_add(uid.wrapping_sub(map.container_id))?
    } else {
        uid
    };
    Some(outside).filter(|uid| own(NamespaceKind::Cgroup) && writable && *uid != 0)
}

/// Device rules stand in every config that an engine writes; all else is asked for.
fn leave_out(layer: &mut CgApply) -> Result<()> {
    layer.cgroups_path = None;
    let asked = layer.resources.take().map(|resources| Resources { devices: Vec::new(), ..resources });
    let asked = serde_json::to_value(asked.unwrap_or_default()).unwrap_or_default();
    let doing = "carry out config.json with --cgroup-manager disabled";
    match asked
        .as_object()
        .and_then(|fields| fields.iter().find(|(_, value)| !chain::share::says_nothing(value)))
    {
        Some((field, _)) => {
            Err(Error::usage(doing, format_args!("linux.resources.{field}: it needs a cgroup")))
        }
        None => Ok(()),
    }
}

/// Whether its processes stand still. A group that is gone is not frozen.
pub(crate) fn is_frozen(paths: &[Bytes]) -> bool {
    Group::at(paths).and_then(|group| group.is_frozen()).unwrap_or(false)
}

/// Its processes, and those of groups below it.
pub(crate) fn processes(paths: &[Bytes]) -> Result<Vec<i32>> {
    Group::at(paths)?.procs()
}

/// Kills what is in it.
pub(crate) fn empty(paths: &[Bytes]) -> Result<()> {
    let group = Group::at(paths)?;
    if group.procs()?.is_empty() { Ok(()) } else { group.kill() }
}

/// Freezes or thaws what is in it, and comes back when it is so.
pub(crate) fn freeze(paths: &[Bytes], on: bool, doing: String) -> Result<()> {
    if paths.is_empty() {
        return Err(none(doing));
    }
    Group::at(paths)?.freeze_and_wait(on).map_err(|error| Error { doing, ..error })
}

/// The error for what wants a cgroup, of a container that was made without one.
pub(crate) fn none(doing: String) -> Error {
    Error::new(Class::Unsupported, doing, "it has no cgroup")
        .why("it was made with --cgroup-manager disabled, or its cgroup was refused to an ordinary user")
}

/// Lets frozen processes go on, to their end if they were killed.
pub(crate) fn thaw(paths: &[Bytes]) -> Result<()> {
    Group::at(paths)?.thaw_if_frozen()
}

/// Removes it.
pub(crate) fn remove(paths: &[Bytes]) -> Result<()> {
    Group::at(paths)?.remove()
}
