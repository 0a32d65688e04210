//! Without a mount namespace of its own: the root is made in one of ours, which is left again. What is taken along is the
//! finished tree, attached nowhere: nobody finds it in the caller's mounts, nobody mounts in it, and it goes away with
//! the last process that has it for a root.

use crate::options::Propagation;
use crate::place::Place;
use crate::plan::{NewRoot, Plan, Step};
use crate::root::Root;
use chain::proc::host;
use chain::spec::RootfsPrep;
use chain::{Cannot, Class, Error, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{chdir, chroot, fchdir};
use std::os::fd::{AsFd, OwnedFd};

/// What becomes of a plan whose mounts nobody outside shares.
pub(crate) fn plan(spec: &RootfsPrep, plan: &mut Plan) -> Result<()> {
    if !spec.no_mount_namespace {
        return Ok(());
    }
    let doing = "prepare the root";
    if plan.root == NewRoot::Present {
        let detail = "without a mount namespace of its own it wants a root: every mount would be the host's";
        return Err(Error::usage(doing, detail).cure("--root DIR, or ns-enter -m"));
    }
    let asked = spec.rootfs_propagation.iter().filter_map(|name| Propagation::named(name));
    let asked = asked.map(|propagation| ("rootfsPropagation".to_string(), propagation));
    let of_mounts = plan.steps.iter().filter_map(|step| match step {
        Step::Mount(step) => Some(step),
        _ => None,
    });
    let of_mounts = of_mounts.flat_map(|step| {
        step.options.propagation.iter().map(|propagation| (step.at.to_string(), *propagation))
    });
    let mut less = Vec::new();
    for (whose, propagation) in asked.chain(of_mounts) {
        match propagation.flag {
            libc::MS_PRIVATE | libc::MS_UNBINDABLE => {}
            libc::MS_SLAVE => {
                less.push(format!(
                    "{whose}: what the host mounts later does not come in: no mount namespace"
                ));
            }
            _ => {
                let detail = format!("{whose}: without a mount namespace of its own nothing is shared");
                return Err(Error::new(Class::Unsupported, doing, detail));
            }
        }
    }
    plan.degraded.extend(less);
    plan.propagation = crate::options::RPRIVATE;
    plan.carried = true;
    Ok(())
}

/// The caller's mount namespace.
pub(crate) struct Home(OwnedFd);

/// Goes from the caller's mount namespace into a copy of it, if there is a way back.
pub(crate) fn leave() -> Result<Home> {
    let doing = "make the root aside";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home = openat(host()?, "self/ns/mnt", flags, Mode::empty()).cannot(doing, "open(self/ns/mnt)")?;
    there_and_back(&home)?;
    unshare(CloneFlags::CLONE_NEWNS).cannot(doing, "unshare(CLONE_NEWNS)")?;
    Ok(Home(home))
}

/// setns(2) sets root and working directory anew; they are put back.
fn there_and_back(home: &OwnedFd) -> Result<()> {
    let doing = "come back to the caller's mount namespace";
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open =
        |path: &str| openat(CWD, path, folder, Mode::empty()).cannot(doing, format_args!("open({path})"));
    let (root, cwd) = (open("/")?, open(".")?);
    setns(home.as_fd(), CloneFlags::CLONE_NEWNS).cannot(doing, "setns(mnt)").map_err(|e| {
        match e.errno() {
            Some(Errno::EPERM) => {
                e.class(Class::Unsupported).why("it belongs to a more privileged user namespace").cure(
                    "a mount namespace of its own: ns-enter -m, or {\"type\": \"mount\"} in linux.namespaces",
                )
            }
            _ => e,
        }
    })?;
    fchdir(&root).cannot(doing, "fchdir(root)")?;
    chroot(".").cannot(doing, "chroot(.)")?;
    fchdir(&cwd).cannot(doing, "fchdir(cwd)")
}

impl Home {
    /// Goes back with the finished root, which is all that is left of the namespace it was made in.
    pub(crate) fn carry(self, place: &mut Place) -> Result<()> {
        let doing = "enter the new root";
        let tree = crate::build::clone(place.root.fd(), true, doing)?;
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNS).cannot(doing, "setns(mnt)")?;
        fchdir(&tree).cannot(doing, "fchdir(root)")?;
        chroot(".").cannot(doing, "chroot(.)")?;
        chdir("/").cannot(doing, "chdir(/)")?;
        place.root = Root::new(tree);
        Ok(())
    }
}
