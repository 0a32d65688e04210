//! A canary: `--check` proves that this host can do a thing by really doing it, in a child that then goes away.

use crate::error::{Cannot, Class, Error, Result};
use crate::state::write_all;
use crate::sys::process::{Forked, exit_now, fork};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

/// Runs `body` in a child and gives its result. Nothing of what it does to itself touches this process.
pub fn canary(body: impl FnOnce() -> Result<()>) -> Result<()> {
    let doing = "try it out";
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).cannot(doing, "pipe2")?;
    match fork(0).cannot(doing, "clone3")? {
        Forked::Child => {
            drop(read);
            tell(&write, &body());
            exit_now(0)
        }
        Forked::Parent(pid, _) => {
            drop(write);
            let told = listen(read);
            reap(pid)?;
            told?
        }
    }
}

/// The child's half: its result as JSON. Nobody listens any more when the parent died, and that is no error here.
pub fn tell(write: &OwnedFd, result: &Result<()>) {
    let mut text = serde_json::to_vec(&result.as_ref().err()).unwrap_or_default();
    text.push(b'\n');
    write_all(write.as_fd(), &text).unwrap_or(());
}

/// The parent's half: what the child told.
pub fn listen(read: OwnedFd) -> Result<Result<()>> {
    let doing = "hear from a child";
    let mut text = Vec::new();
    std::fs::File::from(read).read_to_end(&mut text).cannot(doing, "read")?;
    // A child that forked in turn (into a pid namespace) is told of first by the one that is inside.
    let mut words = serde_json::Deserializer::from_slice(&text).into_iter::<Option<Error>>();
    match words.next() {
        Some(Ok(Some(error))) => Ok(Err(error)),
        Some(Ok(None)) => Ok(Ok(())),
        _ => Err(Error::new(Class::Internal, doing, "it ended without a word")),
    }
}

/// Waits for a child. One that the kernel reaped by itself (the caller ignores SIGCHLD) is gone as well.
pub fn reap(pid: i32) -> Result<()> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::call("wait for a child", format_args!("wait4({pid})"), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_childs_error_comes_back_and_its_deeds_do_not() {
        let here = std::env::current_dir().unwrap();
        canary(|| std::env::set_current_dir("/proc").cannot("go", "chdir")).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), here);
        let error = canary(|| Err(Error::call("x", "y(z)", Errno::EPERM).why("w"))).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.class),
            ("cannot x: y(z): Operation not permitted (EPERM)", Class::Denied)
        );
        assert_eq!(error.why.as_deref(), Some("w"));
        let silent = canary(|| exit_now(0)).unwrap_err();
        assert!(silent.to_string().contains("without a word"), "{silent}");
    }
}
