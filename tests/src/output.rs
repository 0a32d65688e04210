//! What a run left: status, stdout, stderr; and what must be true of it.

use crate::probe::Probe;

/// What a run left.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128+n when the front process itself died of signal n.
    pub status: i32,
    /// The signal that the front process itself died of.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// For messages: the payload's document is long.
impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clip = |text: &str| match text.char_indices().nth(1500) {
            Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
            None => text.to_string(),
        };
        writeln!(f, "status {} (signal {:?})", self.status, self.signal)?;
        write!(f, "stdout: {}\nstderr: {}", clip(&self.stdout), clip(&self.stderr))
    }
}

const TOOLS: [&str; 8] =
    ["cg-apply", "idmap", "ns-enter", "rootfs-prep", "cap-drop", "seccomp-load", "criu-ctl", "runner"];

impl Output {
    /// It failed as a tool of ours must: this status, on stderr one sentence `TOOL: cannot …` with at most one `why:`
    /// and one `try:` line, `text` somewhere in them, and nothing on stdout: no command ran, no plan was passed on.
    #[track_caller]
    pub fn refuses(&self, status: i32, text: &str) -> &Output {
        self.fails(status, text);
        let kind = |line: &str| {
            let (tool, rest) = line.split_once(": ")?;
            let known = ["cannot ", "why: ", "try: ", "warning: "].into_iter().find(|k| rest.starts_with(k));
            if TOOLS.contains(&tool) { known } else { None }
        };
        let kinds: Vec<_> = self.stderr.lines().map(kind).collect();
        let said: Vec<_> = kinds.iter().flatten().filter(|k| **k != "warning: ").copied().collect();
        let allowed: [&[&str]; 4] =
            [&["cannot "], &["cannot ", "why: "], &["cannot ", "try: "], &["cannot ", "why: ", "try: "]];
        assert!(!kinds.contains(&None), "a line of stderr is not a tool's sentence:\n{self:#?}");
        assert!(allowed.contains(&said.as_slice()), "not one sentence, then why, then try:\n{self:#?}");
        assert!(self.stdout.is_empty(), "something ran, or was written:\n{self:#?}");
        self
    }

    /// It ended with this status and said `text` on stderr.
    #[track_caller]
    pub fn fails(&self, status: i32, text: &str) -> &Output {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(self.stderr.contains(text), "stderr does not say '{text}':\n{self:#?}");
        self
    }

    /// It ended with 0 and nothing on stderr.
    #[track_caller]
    pub fn succeeds(&self) -> &Output {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:#?}");
        self
    }

    /// It ended with this status and nothing on stderr.
    #[track_caller]
    pub fn exits(&self, status: i32) -> &Output {
        assert_eq!((self.status, self.stderr.as_str()), (status, ""), "{self:#?}");
        self
    }

    /// The payload's document on stdout.
    #[track_caller]
    pub fn probe(&self) -> Probe {
        assert_eq!(self.status, 0, "{self:#?}");
        serde_json::from_str(self.stdout.trim())
            .unwrap_or_else(|e| panic!("the payload printed no document: {e}\n{self:#?}"))
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{self:#?}"))
    }
}
