//! ps: a container's processes, as numbers or as the host's ps(1) shows them.

use crate::cgroup;
use crate::cli::ListFormat;
use crate::container::StateRoot;
use chain::{Cannot, Class, Error, Result, report};
use clap::Args as Group;
use std::ffi::OsString;
use std::process::{Command, Stdio};

/// Options of ps.
#[derive(Group, Debug)]
pub(crate) struct Ps {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ListFormat,
    /// The container
    pub(crate) id: String,
    /// Options for ps(1), which must print a column PID [default: -ef]
    #[arg(value_name = "PS_OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<OsString>,
}

/// `runner ps`.
pub(crate) fn ps(root: &StateRoot, options: &Ps) -> Result<u8> {
    let container = root.container(&options.id)?;
    if container.record.cgroups.is_empty() {
        return Err(cgroup::none(format!("list the processes of {}", options.id)));
    }
    let pids = cgroup::processes(&container.record.cgroups)?;
    let text = match options.format {
        ListFormat::Json => format!("{}\n", serde_json::json!(pids)),
        ListFormat::Table => table(&pids, &options.options)?,
    };
    report::stdout(text.as_bytes()).map(|()| 0)
}

fn table(pids: &[i32], options: &[OsString]) -> Result<String> {
    let mut command = Command::new("ps");
    match options.is_empty() {
        true => command.arg("-ef"),
        false => command.args(options),
    };
    let output = command.stdin(Stdio::null()).output().cannot("run ps", "execve(ps)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").to_string();
        return Err(Error::new(Class::Usage, "run ps", format_args!("{}: {said}", output.status)));
    }
    rows(pids, &String::from_utf8_lossy(&output.stdout))
}

/// The header and the rows of these pids.
fn rows(pids: &[i32], text: &str) -> Result<String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|word| word == "PID") else {
        let shown: String = header.chars().take(80).collect();
        return Err(Error::usage(
            "read what ps printed",
            format_args!("no column PID in '{}'", shown.escape_debug()),
        ));
    };
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let rows = lines.filter(is_ours);
    Ok(std::iter::once(header).chain(rows).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rows_of_the_containers_pids() {
        let text = "UID PID PPID CMD\nroot 1 0 init\nroot 12 1 sh -c 1\nroot 123 1 12\n\n";
        assert_eq!(rows(&[12], text).unwrap(), "UID PID PPID CMD\nroot 12 1 sh -c 1\n");
        assert_eq!(rows(&[], text).unwrap(), "UID PID PPID CMD\n");
        for bad in ["", "UID PPID\nroot 12\n", "  PIDS\n12\n"] {
            assert!(rows(&[12], bad).is_err(), "{bad}");
        }
    }
}
