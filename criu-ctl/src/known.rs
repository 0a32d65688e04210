//! What is known about the container that a tree is, or is to be: its root, and the mounts that come from outside.
//! From `--oci config.json`, or from a plan (`--plan`, or standard input if it is a pipe and nobody said `-N`, which is
//! the rule of every tool).

use crate::NAME;
use crate::cli::{Args, Verb};
use chain::bytes::Bytes;
use chain::error::{Class, Error, Result};
use chain::name::ToolName;
use chain::oci::{self, NamespaceKind};
use chain::plan::Plan;
use chain::spec::{NsEnter, RootfsPrep};
use chain::{share, source};
use std::path::{Component, Path, PathBuf};

/// See the module. Nothing of it for a tree that is no container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The folder that is the tree's `/`.
    pub root: Option<Bytes>,
    /// Bind mounts.
    pub binds: Vec<Bind>,
    /// Where the other mounts are, which are the container's own.
    pub made: Vec<Bytes>,
    /// Where cgroup file systems are.
    pub cgroups: Vec<Bytes>,
    /// Devices that may come from the host.
    pub devices: Vec<Bytes>,
    /// Covered paths.
    pub masked: Vec<Bytes>,
    /// Namespaces that it shares with others, by their kind and path.
    pub shared: Vec<(NamespaceKind, Bytes)>,
    /// It has a network namespace of its own.
    pub own_network: bool,
}

/// A bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Where inside.
    pub inside: Bytes,
    /// What of the host.
    pub source: Bytes,
    /// With all that is mounted below it.
    pub tree: bool,
}

/// Reads what the command line and standard input say.
pub(crate) fn gather(args: &Args) -> Result<Known> {
    let common = &args.common;
    let of_trees = [Verb::Dump, Verb::PreDump, Verb::Restore, Verb::Migrate];
    let of_a_tree = args.verb.is_some_and(|verb| of_trees.contains(&verb)) && !common.check;
    if !of_a_tree && args.for_tree.is_none() {
        return Ok(Known::default());
    }
    let (plan, _) = source::plan(common, NAME)?;
    let told = of_plan(&plan, matches!(args.verb, Some(Verb::Restore | Verb::Migrate)))?;
    let Some(path) = &common.oci else { return Ok(told.unwrap_or_default()) };
    if told.is_some() {
        return Err(Error::usage("read the command line", "--oci and a plan both say what the root is"));
    }
    let config = oci::read_config(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut known = Known::default();
    known.learn_of_root(&share::rootfs_prep(&config, folder)?)?;
    known.learn_of_namespaces(&share::ns_enter(&config, folder)?)?;
    Ok(known)
}

/// What a plan says. A dump leaves the layers as they are, so all are welcome; at restore criu itself brings back
/// namespaces, credentials and filters, but a limit would be lost without a word.
fn of_plan(plan: &Plan, restore: bool) -> Result<Option<Known>> {
    if restore && plan.layers.iter().any(|layer| layer.tool == ToolName::CgApply) {
        return Err(Error::new(
            Class::Order,
            "restore under this plan",
            "criu-ctl does not carry out the layer of cg-apply",
        )
        .cure("cg-apply … -- criu-ctl restore …"));
    }
    let mut known = None;
    for layer in &plan.layers {
        match layer.tool {
            ToolName::RootfsPrep => known.get_or_insert_with(Known::default).learn_of_root(&layer.spec()?)?,
            ToolName::NsEnter => {
                known.get_or_insert_with(Known::default).learn_of_namespaces(&layer.spec()?)?
            }
            _ => {}
        }
    }
    Ok(known)
}

/// What the specification puts into /dev: in a user namespace they are binds of the host's.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

impl Known {
    fn learn_of_root(&mut self, layer: &RootfsPrep) -> Result<()> {
        self.root = layer.root.as_ref().map(|root| absolute(&root.path)).transpose()?;
        for mount in &layer.mounts {
            let at = inside(&mount.destination);
            let option = |word: &str| mount.options.iter().any(|o| o == word);
            let bind = mount.kind.as_deref() == Some("bind") || option("bind") || option("rbind");
            match mount.source.as_ref().filter(|_| bind) {
                Some(source) => {
                    self.binds.push(Bind { inside: at, source: absolute(source)?, tree: option("rbind") });
                }
                None if matches!(mount.kind.as_deref(), Some("cgroup" | "cgroup2")) => self.cgroups.push(at),
                None => self.made.push(at),
            }
        }
        if layer.default_devices {
            self.devices.extend(DEVICES.map(|name| Bytes::from(format!("/dev/{name}").as_str())));
        }
        self.devices.extend(layer.devices.iter().map(|device| inside(&device.path)));
        self.masked.extend(layer.masked_paths.iter().map(inside));
        Ok(())
    }

    fn learn_of_namespaces(&mut self, layer: &NsEnter) -> Result<()> {
        for namespace in &layer.namespaces {
            match &namespace.path {
                Some(path) => self.shared.push((namespace.kind, absolute(path)?)),
                None => self.own_network |= namespace.kind == NamespaceKind::Network,
            }
        }
        Ok(())
    }
}

/// criu works in another folder, so nothing may be relative to ours.
fn absolute(path: &Bytes) -> Result<Bytes> {
    let absolute = std::path::absolute(path.as_path());
    absolute.map(|p| Bytes::from(p.as_path())).map_err(|e| Error::usage(format_args!("find {path}"), e))
}

/// A destination as mountinfo spells it: from the root, no `.`, no `..`, and no slash too many.
fn inside(destination: &Bytes) -> Bytes {
    let mut path = PathBuf::from("/");
    for component in destination.as_path().components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    Bytes::from(path.as_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{"catena":1,"layers":[LAYERS{"tool":"rootfs-prep","spec":{"root":{"path":"/r"},"mounts":[
        {"destination":"/proc","type":"proc","source":"proc"},{"destination":"data/","source":"/d","options":["rbind","ro"]},
        {"destination":"/x/./y","type":"bind","source":"/e"}]}}],"complete":true}"#;

    fn plan(layers: &str) -> Plan {
        Plan::parse(PLAN.replace("LAYERS", layers).as_bytes(), "a test").unwrap()
    }

    #[test]
    fn root_and_binds_are_found_and_other_mounts_are_criu_s_own() {
        let known = of_plan(&plan(""), true).unwrap().unwrap();
        assert_eq!(known.root, Some("/r".into()));
        let bind =
            |inside: &str, source: &str, tree| Bind { inside: inside.into(), source: source.into(), tree };
        assert_eq!(known.binds, [bind("/data", "/d", true), bind("/x/y", "/e", false)]);
        assert_eq!(known.made, ["/proc".into()]);
    }

    #[test]
    fn a_limit_is_not_lost_at_restore() {
        let limited = plan(r#"{"tool":"cg-apply","spec":{}},"#);
        assert!(of_plan(&limited, false).is_ok());
        let error = of_plan(&limited, true).unwrap_err();
        assert_eq!(
            (error.class, error.cure.as_deref()),
            (Class::Order, Some("cg-apply … -- criu-ctl restore …"))
        );
    }
}
