//! Files in memory: what a tool writes to `--status-fd`, and states that a test forges.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// A memfd of `content`, sealed against everything or not at all.
pub fn memfd(content: &[u8], sealed: bool) -> OwnedFd {
    let fd = memfd_create("catena-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .expect("memfd_create works");
    let mut file = File::from(fd);
    file.write_all(content).expect("memory takes it");
    if sealed {
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, all).expect("a memfd can be sealed");
    }
    file.into()
}

/// `fd:N:INODE` for a state that is passed as fd `number`.
pub fn state_name(fd: &OwnedFd, number: i32) -> String {
    format!("fd:{number}:{}", fstat(fd).expect("fstat works").st_ino)
}

/// Collects what is written to `--status-fd`.
#[derive(Debug)]
pub struct StatusLog(File);

impl StatusLog {
    /// An empty one.
    pub fn new() -> StatusLog {
        StatusLog(memfd(b"", false).into())
    }

    /// For [`crate::Tool::fd`].
    pub fn fd(&self) -> OwnedFd {
        self.0.try_clone().expect("an fd can be duplicated").into()
    }

    /// Every line so far.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        // Not from the position that all who write share.
        let size = self.0.metadata().expect("fstat works").len();
        let mut text = vec![0; size as usize];
        self.0.read_exact_at(&mut text, 0).expect("memory can be read");
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// The lines of one kind: `error`, `receipt`, `exec`, `warning`.
    #[track_caller]
    pub fn of(&self, event: &str) -> Vec<Value> {
        self.events().into_iter().filter(|e| e["event"] == event).collect()
    }

    /// The one error, of this class.
    #[track_caller]
    pub fn expect_error(&self, class: &str) -> Value {
        let errors = self.of("error");
        assert_eq!(errors.len(), 1, "errors: {:#?}", self.events());
        assert_eq!(errors[0]["class"], class, "{:#}", errors[0]);
        errors[0].clone()
    }
}

impl Default for StatusLog {
    fn default() -> StatusLog {
        StatusLog::new()
    }
}
