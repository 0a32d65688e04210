//! Config in, layers out: the only compiling there is, since each layer is a share of the config as it stands.

use crate::bundle::Bundle;
use crate::cli::{Args, Create};
use chain::landing::Command;
use chain::oci::NamespaceKind;
use chain::plan::Layer;
use chain::state::State;
use chain::{Error, Result, share};

/// The state that a chain for `bundle` starts with; fds are added at the launch.
pub(crate) fn state(bundle: &Bundle, id: &str, options: &Create, args: &Args) -> Result<State> {
    if args.systemd_cgroup {
        return Err(crate::bundle::unsupported("--systemd-cgroup"));
    }
    let (config, folder) = (&bundle.config, bundle.path.as_path());
    let mut state = State::default();
    let mut cg_apply = share::cg_apply(config, folder)?;
    cg_apply.cgroups_path.get_or_insert_with(|| format!("/{id}").into());
    cg_apply.keep = true;
    cg_apply.exclusive = true;
    state.layers.push(Layer::of(&cg_apply)?);

    let idmap = share::idmap(config, folder)?;
    if !idmap.uid_mappings.is_empty() || !idmap.gid_mappings.is_empty() {
        state.layers.push(Layer::of(&idmap)?);
    }
    let mut ns_enter = share::ns_enter(config, folder)?;
    ns_enter.hand_over = true;
    let has = |kind| ns_enter.namespaces.iter().any(|ns| ns.kind == kind);
    if !has(NamespaceKind::Mount) {
        // Without one, every mount below would be the host's.
        return Err(Error::usage("carry out config.json", "linux.namespaces: no mount namespace"));
    }
    state.layers.push(Layer::of(&ns_enter)?);

    let mut rootfs_prep = share::rootfs_prep(config, folder)?;
    rootfs_prep.no_pivot = options.no_pivot;
    state.layers.push(Layer::of(&rootfs_prep)?);

    let mut cap_drop = share::cap_drop(config, folder)?;
    if !options.no_new_keyring {
        cap_drop.session_keyring = Some(format!("_ses.{id}"));
    }
    state.layers.push(Layer::of(&cap_drop)?);

    let seccomp_load = share::seccomp_load(config, folder)?;
    if seccomp_load.seccomp.is_some() {
        state.layers.push(Layer::of(&seccomp_load)?);
    }
    let process = config.process.clone().unwrap_or_default();
    state.landing.command = Some(Command { args: process.args, env: process.env });
    state.landing.new_session = true;
    Ok(state)
}
