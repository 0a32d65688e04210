//! Config in, layers out: the only compiling there is, since each layer is a share of the config as it stands.

use crate::bundle::Bundle;
use crate::cli::{Args, Create};
use crate::{activation, cgroup, late, notify as service};
use chain::landing::Command;
use chain::link;
use chain::oci::Mount;
use chain::plan::{Layer, Plan};
use chain::state::State;
use chain::{Error, Result, share};

/// `runner --plan PLAN -- COMMAND`: the plan's chain, as any tool would run it, in this process.
pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.common.plan.is_none() {
        return Err(Error::usage("read the command line", "no command").cure("runner --help"));
    }
    match link::run_plan(&args.common, &args.command)? {}
}

/// `--print`: the layers as a plan that tools can read, and nothing happens.
pub(crate) fn print(state: &State) -> Result<()> {
    let plan = Plan { layers: state.layers.clone(), ..Plan::default() };
    chain::report::stdout(&plan.to_json()?)
}

/// The state that a chain for `bundle` starts with; fds are added at the launch.
pub(crate) fn state(
    bundle: &Bundle,
    id: &str,
    options: &Create,
    args: &Args,
    notify: Option<Mount>,
) -> Result<State> {
    if args.common.block_fd.is_some() {
        return Err(Error::usage(
            "read the command line",
            "--block-fd belongs to --plan; a container waits for start",
        ));
    }
    let (config, folder) = (&bundle.config, bundle.path.as_path());
    let mut state = State::default();
    let mut cg_apply = share::cg_apply(config, folder)?;
    cgroup::name(&mut cg_apply, config, id, args)?;
    // A plan that is printed is for tools without a runner: nobody meets its chain or removes its cgroup later.
    let met = !args.common.print;
    cg_apply.keep = met;
    cg_apply.exclusive = true;
    // What the runner was bound to is nothing to the container, as runc has it.
    cg_apply.reset_cpu_affinity = met;
    if met {
        late::loosen(&mut cg_apply);
    }
    state.layers.push(Layer::of(&cg_apply)?);

    let idmap = share::idmap(config, folder)?;
    if !idmap.uid_mappings.is_empty() || !idmap.gid_mappings.is_empty() {
        state.layers.push(Layer::of(&idmap)?);
    }
    let mut ns_enter = share::ns_enter(config, folder)?;
    ns_enter.hand_over = met;
    state.layers.push(Layer::of(&ns_enter)?);

    let mut rootfs_prep = share::rootfs_prep(config, folder)?;
    rootfs_prep.no_pivot = options.no_pivot;
    rootfs_prep.terminal &= met;
    let notified = notify.is_some();
    rootfs_prep.mounts.extend(notify);
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
    let mut process = config.process.clone().unwrap_or_default();
    activation::tell(&mut process.env);
    if notified {
        service::tell(&mut process.env);
    }
    state.landing.command = Some(Command { args: process.args, env: process.env });
    state.landing.new_session = true;
    state.hooks = crate::hooks::of_chain(bundle, id);
    Ok(state)
}
