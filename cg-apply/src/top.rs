//! `top`: a table of what groups use, for people.

use crate::verbs::{Top, named};
use chain::bytes::Bytes;
use chain::cgroup::{Group, Hierarchies};
use chain::report::stdout;
use chain::{Cannot, Result, size};
use nix::poll::{PollTimeout, poll};
use rustix::termios::{isatty, tcgetwinsize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    tasks: usize,
    /// Of one processor.
    percent: f64,
    memory: u64,
    peak: Option<u64>,
    limit: Option<u64>,
    oom_kills: u64,
}

/// Prints tables until it is interrupted, or as many as are asked for.
pub(crate) fn run(options: &Top) -> Result<()> {
    let screen = isatty(rustix::stdio::stdout());
    let mut before: BTreeMap<String, Duration> = BTreeMap::new();
    let mut since = Instant::now();
    // Rates need two looks.
    look(options, &mut before, Duration::MAX)?;
    let mut left = options.iterations.unwrap_or(u64::MAX);
    while left > 0 {
        sleep(options.delay)?;
        let passed = since.elapsed();
        since = Instant::now();
        let rows = look(options, &mut before, passed)?;
        let lines = if screen {
            tcgetwinsize(rustix::stdio::stdout()).map_or(24, |size| size.ws_row)
        } else {
            u16::MAX
        };
        let home = if screen { "\x1b[H\x1b[2J" } else { "" };
        stdout(format!("{home}{}", table(&rows, usize::from(lines.saturating_sub(2)))).as_bytes())?;
        left -= 1;
    }
    Ok(())
}

fn sleep(time: Duration) -> Result<()> {
    match poll(&mut [], PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
        Err(nix::errno::Errno::EINTR) => Ok(()),
        other => other.cannot("wait for the next table", "poll").map(drop),
    }
}

/// All of the groups now; run time is compared with `before`.
fn look(options: &Top, before: &mut BTreeMap<String, Duration>, passed: Duration) -> Result<Vec<Row>> {
    let hierarchies = Hierarchies::detect()?;
    let mut groups = Vec::new();
    for path in &options.groups {
        let path = Bytes::from(path.clone());
        let group = named(&hierarchies, &path)?;
        groups.extend(group.below()?.into_iter().map(|(name, group)| (format!("{path}/{name}"), group)));
        groups.push((path.to_string(), group));
    }
    if options.groups.is_empty() {
        let below = hierarchies.roots().below()?;
        groups.extend(below.into_iter().map(|(name, group)| (format!("/{name}"), group)));
    }
    let mut now = BTreeMap::new();
    let mut rows = Vec::new();
    for (name, group) in groups {
        let tasks = group.procs()?.len();
        let time = group.cpu_time()?.map_or(Duration::ZERO, |time| time.total);
        let used = time.saturating_sub(before.get(&name).copied().unwrap_or(time));
        now.insert(name.clone(), time);
        rows.extend(row(name, tasks, used.as_secs_f64() / passed.as_secs_f64() * 100.0, &group)?);
    }
    *before = now;
    rows.sort_by(|a, b| b.percent.total_cmp(&a.percent).then(b.memory.cmp(&a.memory)));
    Ok(rows)
}

/// None of an empty group, which uses nothing.
fn row(name: String, tasks: usize, percent: f64, group: &Group) -> Result<Option<Row>> {
    if tasks == 0 {
        return Ok(None);
    }
    let (memory, used) = (group.memory()?, group.memory_used()?);
    let (peak, limit, oom_kills) = (memory.peak, memory.limit, memory.oom_kills);
    Ok(Some(Row { name, tasks, percent, memory: used.unwrap_or(0), peak, limit, oom_kills }))
}

fn table(rows: &[Row], most: usize) -> String {
    let mut text = format!(
        "{:>6} {:>6} {:>10} {:>10} {:>10} {:>4}  GROUP\n",
        "TASKS", "CPU%", "MEMORY", "PEAK", "LIMIT", "OOM"
    );
    for row in rows.iter().take(most) {
        let or_none = |n: Option<u64>| n.map_or("-".into(), size::words);
        text += &format!(
            "{:>6} {:>6.1} {:>10} {:>10} {:>10} {:>4}  {}\n",
            row.tasks,
            row.percent,
            size::words(row.memory),
            or_none(row.peak),
            or_none(row.limit),
            row.oom_kills,
            row.name.escape_debug()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_control_characters() {
        let row = Row {
            name: "/a\x1b[2J".into(),
            tasks: 3,
            percent: 150.25,
            memory: 8 << 20,
            peak: Some(9 << 20),
            limit: None,
            oom_kills: 0,
        };
        let text = table(&[row.clone(), row], 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words, ["3", "150.2", "8", "MiB", "9", "MiB", "-", "0", "/a\\u{1b}[2J"]);
    }
}
