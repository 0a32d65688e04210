//! A session keyring of the command's own, so that the caller's keys stay outside.

use crate::error::{Cannot, Result};
use crate::next::cstring;
use crate::{report, sys};
use nix::errno::Errno;
use serde_json::json;

/// KEY_SPEC_SESSION_KEYRING of linux/keyctl.h: the one in force.
const SESSION: i64 = -3;

/// A kernel without keyrings has none of the caller's to hide. By name the kernel gives one of that name that is there,
/// if its owner lets others search it: keys shared with whoever made it. A new one has the permissions of its making, so
/// where they are others, the command gets a new one without a name.
pub(super) fn make(name: &str) -> Result<()> {
    let doing = "make a session keyring";
    let join = |name: &str| {
        let call = format!("keyctl(JOIN_SESSION_KEYRING, {name})");
        match sys::process::join_session_keyring(&cstring(name)) {
            Err(Errno::ENOSYS) => Ok(None),
            // A filter around us that refuses keyctl(2), as containers have, refuses it to the command too.
            Err(Errno::EPERM) if sys::process::describe_key(SESSION) == Err(Errno::EPERM) => {
                let text = "no session keyring of its own: keyctl(2) is refused here, to the command as well";
                report::status(&json!({"event": "warning", "text": text}));
                Ok(None)
            }
            other => other.map(Some).cannot(doing, call).map_err(|e| e.cure("--no-keyring")),
        }
    };
    let Some(key) = join(name)?.filter(|_| !name.is_empty()) else { return Ok(()) };
    // KEY_POS_ALL and KEY_USR_VIEW, READ, LINK of linux/key.h: join_session_keyring() in security/keys/process_keys.c.
    let ours = format!("keyring;{};{};3f130000;", rustix::process::geteuid(), rustix::process::getegid());
    let found = sys::process::describe_key(key).unwrap_or_default();
    if !found.starts_with(ours.as_bytes()) {
        join("")?;
        let text =
            format!("the session keyring has no name, for others can reach the one that is called {name}");
        report::status(&json!({"event": "warning", "text": text}));
    }
    Ok(())
}
