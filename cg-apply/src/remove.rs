//! `--rm`: removes a group.

use crate::cli::Args;
use chain::cgroup::Hierarchies;
use chain::{Class, Error, Result};

/// Removes the group `--rm` names, and those below it. What runs in it is killed only with `--kill`.
pub(crate) fn group(args: &Args) -> Result<u8> {
    let path = args.rm.clone().unwrap_or_default().into();
    let mut group = Hierarchies::detect()?.group(Some(&path), "")?;
    let doing = format!("remove the cgroup {path}");
    if !group.exists()? {
        return Err(Error::new(Class::Missing, doing, "there is no such group in any hierarchy"));
    }
    let procs = group.procs()?;
    match (procs.is_empty(), args.kill) {
        (true, _) => {}
        (false, true) => group.kill()?,
        (false, false) => {
            let detail = format!("{} process(es) are in it: {}", procs.len(), chain::cgroup::list(&procs));
            return Err(
                Error::new(Class::Conflict, doing, detail).cure(format_args!("cg-apply --rm {path} --kill"))
            );
        }
    }
    group.remove()?;
    Ok(0)
}
