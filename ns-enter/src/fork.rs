//! How the command gets there: by this process, or by a child.

use chain::spec::{NsEnter, Tty};
use chain::{Error, Result};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// This process goes there itself.
    No,
    /// A child goes; this process looks after it.
    Supervise,
    /// A child of our parent goes; this process ends.
    HandOver,
}

/// Which of them `spec` wants: `enters` a pid namespace, or gives network devices back at the end.
pub(crate) fn resolve(spec: &NsEnter, enters: bool, gives_back: bool) -> Result<Fork> {
    let kept = !spec.persist.is_empty();
    let (doing, apart) = ("enter namespaces", matches!(spec.tty, Some(Tty::Pty | Tty::Setsid)));
    // In a session of its own the command hears no ^C of ours, nor a shell of its ^Z.
    let why_stays = match () {
        () if gives_back => Some(("giveBack", "who gives the devices back has to stay")),
        () if kept => Some(("persist", "who takes back what is kept if the chain fails has to stay")),
        () if apart => Some(("tty", "who carries the keys to another session has to stay")),
        () => None,
    };
    match (spec.hand_over, why_stays) {
        (true, _) if spec.no_fork => Err(Error::usage(doing, "noFork and handOver exclude each other")),
        (true, Some((name, why))) => {
            Err(Error::usage(doing, format_args!("{name} and handOver exclude each other")).why(why))
        }
        (false, Some((name, why))) if spec.no_fork => {
            Err(Error::usage(doing, format_args!("noFork and {name} exclude each other")).why(why))
        }
        (true, None) => Ok(Fork::HandOver),
        (false, Some(_)) => Ok(Fork::Supervise),
        (false, None) if enters && !spec.no_fork => Ok(Fork::Supervise),
        (false, None) => Ok(Fork::No),
    }
}
