//! A filter that asks an agent: what it may ask about, and that there is somebody to ask.

use crate::action::Action;
use crate::number::{self, Entry};
use crate::rule::{Asked, Head};
use crate::table::{Call, Calls, Table};
use chain::bytes::Bytes;
use chain::sys::seccomp::{FLAG_NEW_LISTENER, FLAGS_OF_LISTENERS};
use chain::{Error, Result};

const DOING: &str = "filter the command";

/// The agent, if any call of the table is asked about; sets the flag that makes a listener. `named` is the socket of the
/// command line.
pub(crate) fn agent(head: Head, named: Option<Bytes>, table: &mut Table) -> Result<Option<Asked>> {
    if table.default == Action::Notify {
        let detail = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::usage(DOING, detail).cure("name the calls that are to be asked about"));
    }
    let mut asked = table.archs.iter().flat_map(|calls| calls.calls.values()).filter(|call| asks(call));
    if asked.next().is_none() {
        if named.is_some() {
            return Err(Error::usage(DOING, "--notify: no rule asks anybody").cure("-s CALL:notify"));
        }
        // Where nobody is asked, nobody has to wait, in whatever way.
        table.flags &= !FLAGS_OF_LISTENERS;
        return Ok(None);
    }
    // As in every other runtime: what cannot be said between the filter and the exec is why there was no exec.
    if table.archs.iter().filter_map(write).any(asks) {
        return Err(Error::usage(DOING, "SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    }
    let path = named.or(head.agent.path).ok_or_else(|| {
        let at = if head.agent.at.is_empty() { "--notify" } else { &head.agent.at };
        let detail = format!("{at}: missing, and SCMP_ACT_NOTIFY asks whoever listens there");
        Error::usage(DOING, detail).cure("--notify SOCKET")
    })?;
    table.flags |= FLAG_NEW_LISTENER;
    Ok(Some(Asked { path: Some(path), ..head.agent }))
}

fn write(calls: &Calls) -> Option<&Call> {
    let Some(Entry::Direct(number)) = number::entries("write", calls.arch)?[0] else { return None };
    calls.calls.get(&number)
}

fn asks(call: &Call) -> bool {
    call.always == Some(Action::Notify) || call.when.iter().any(|(_, action)| *action == Action::Notify)
}
