//! What is known about the container that a tree is, or is to be: its root, and the mounts that come from outside.
//! From `--oci config.json`, or from a plan (`--plan`, or standard input if it is a pipe and nobody said `-N`, which is
//! the rule of every tool).

use crate::NAME;
use crate::cli::{Args, Verb};
use chain::bytes::Bytes;
use chain::error::{Class, Error, Result};
use chain::name::ToolName;
use chain::oci;
use chain::plan::Plan;
use chain::spec::RootfsPrep;
use chain::{share, source};
use std::path::{Path, PathBuf};

/// See the module. Nothing of it for a tree that is no container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The folder that is the tree's `/`.
    pub root: Option<Bytes>,
    /// Bind mounts: where inside, and what of the host.
    pub binds: Vec<(Bytes, Bytes)>,
}

/// Reads what the command line and standard input say.
pub(crate) fn gather(args: &Args) -> Result<Known> {
    let common = &args.common;
    if args.verb.is_none_or(|verb| verb == Verb::Check) || common.check {
        return Ok(Known::default());
    }
    let (plan, _) = source::plan(common, NAME)?;
    let told = of_plan(&plan, args.verb == Some(Verb::Restore))?;
    let Some(path) = &common.oci else { return Ok(told.unwrap_or_default()) };
    if told.is_some() {
        return Err(Error::usage("read the command line", "--oci and a plan both say what the root is"));
    }
    let config = oci::read_config(path)?;
    of_layer(&share::rootfs_prep(&config, path.parent().unwrap_or(Path::new(".")))?)
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
    let layer = plan.layers.iter().find(|layer| layer.tool == ToolName::RootfsPrep);
    layer.map(|layer| of_layer(&layer.spec::<RootfsPrep>()?)).transpose()
}

fn of_layer(layer: &RootfsPrep) -> Result<Known> {
    let root = layer.root.as_ref().map(|root| absolute(&root.path)).transpose()?;
    let mut binds = Vec::new();
    for mount in &layer.mounts {
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount.source.as_ref().filter(|_| bind) {
            binds.push((inside(&mount.destination), absolute(source)?));
        }
    }
    Ok(Known { root, binds })
}

/// criu works in another folder, so nothing may be relative to ours.
fn absolute(path: &Bytes) -> Result<Bytes> {
    let absolute = std::path::absolute(path.as_path());
    absolute.map(|p| Bytes::from(p.as_path())).map_err(|e| Error::usage(format_args!("find {path}"), e))
}

/// A destination as mountinfo spells it: from the root, no `.` and no slash too many.
fn inside(destination: &Bytes) -> Bytes {
    Bytes::from(Path::new("/").join(destination.as_path()).components().collect::<PathBuf>().as_path())
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
        assert_eq!(known.binds, [("/data".into(), "/d".into()), ("/x/y".into(), "/e".into())]);
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
