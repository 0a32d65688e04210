//! Which call of which process, as the tracer counts and names them.

use super::NEVER_FAIL;

/// One call: of which process, which, and how many like it came before.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) who: String,
    pub(crate) call: String,
    pub(crate) nth: usize,
}

impl Call {
    pub(crate) fn parse(line: &str) -> Option<Call> {
        let words: Vec<&str> = line.split(':').collect();
        let [who, call, nth] = words[..] else { return None };
        Some(Call { who: who.into(), call: call.into(), nth: nth.parse().unwrap_or(0) })
    }

    pub(crate) fn fault(&self, what: &str) -> String {
        format!("{}:{}:{}:{what}", self.who, self.call, self.nth)
    }

    /// As the kernel's header calls it.
    pub(crate) fn name(&self) -> String {
        let header = include_str!("/usr/include/x86_64-linux-gnu/asm/unistd_64.h");
        let number = self.call.split('.').next().unwrap_or_default();
        let name = |line: &str| {
            let (name, value) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            (value.trim() == number).then(|| name.to_string())
        };
        let name = header.lines().find_map(name).unwrap_or_else(|| number.into());
        self.call.split_once('.').map_or(name.clone(), |(_, which)| format!("{name}.{which}"))
    }

    /// Not the shell's, and one that can fail.
    pub(crate) fn is_ours(&self) -> bool {
        self.who != "0" && !NEVER_FAIL.contains(&self.name().as_str())
    }
}
