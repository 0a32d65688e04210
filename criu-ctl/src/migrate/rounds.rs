//! When another round of memory is worth it, and when the rest is small enough to stop for. Pure.

use serde_json::{Value, json};
use std::time::Duration;

/// What the user set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// At most so many rounds while the tree runs.
    pub rounds: u32,
    /// Pages: less than this is no reason for another one.
    pub few: u64,
}

/// A round that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub pages: u64,
    /// From its beginning to its end.
    pub took: Duration,
    /// From the beginning of the round before, which is when its pages began to be written to.
    pub since: Option<Duration>,
}

impl Round {
    /// Pages written to in a second.
    pub(crate) fn dirty_rate(&self) -> Option<u64> {
        let seconds = self.since?.as_secs_f64();
        Some((self.pages as f64 / seconds.max(0.001)) as u64)
    }

    /// For programs.
    pub(crate) fn to_json(self) -> Value {
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({"pages": self.pages, "ms": ms(self.took), "dirty_pages_per_s": self.dirty_rate()})
    }
}

/// What comes after some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another round.
    Round,
    /// The last, for which the tree stands still; and why.
    Last(&'static str),
}

/// Decides.
pub(crate) fn next(limits: &Limits, done: &[Round]) -> Next {
    match done {
        _ if done.len() >= limits.rounds as usize => Next::Last("that was the last of --max-rounds"),
        [.., last] if last.pages <= limits.few => Next::Last("what is left is small enough"),
        [.., before, last] if last.pages >= before.pages => {
            Next::Last("it writes to its memory as fast as that is sent")
        }
        _ => Next::Round,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rounds: 4, few: 100 };

    fn after(pages: &[u64]) -> Next {
        let round = |pages: &u64| Round { pages: *pages, took: Duration::from_secs(1), since: None };
        next(&LIMITS, &pages.iter().map(round).collect::<Vec<_>>())
    }

    #[test]
    fn rounds_go_on_while_each_is_smaller_and_end_when_little_is_left() {
        assert_eq!(after(&[]), Next::Round);
        assert_eq!(after(&[9000]), Next::Round);
        assert_eq!(after(&[9000, 700]), Next::Round);
        assert_eq!(after(&[9000, 700, 100]), Next::Last("what is left is small enough"));
        // A tree that is that small from the start.
        assert_eq!(after(&[100]), Next::Last("what is left is small enough"));
    }

    #[test]
    fn no_tree_is_chased_for_ever() {
        assert_eq!(after(&[9000, 9000]), Next::Last("it writes to its memory as fast as that is sent"));
        assert_eq!(after(&[9000, 800, 700, 600]), Next::Last("that was the last of --max-rounds"));
        assert_eq!(
            next(&Limits { rounds: 0, ..LIMITS }, &[]),
            Next::Last("that was the last of --max-rounds")
        );
    }

    #[test]
    fn the_dirty_rate_is_over_the_time_in_which_pages_were_written_to() {
        let round = Round { pages: 500, took: Duration::from_secs(9), since: Some(Duration::from_secs(2)) };
        assert_eq!(round.dirty_rate(), Some(250));
        // The first round sends all of it, whenever it was written to.
        assert_eq!(Round { since: None, ..round }.dirty_rate(), None);
        let at_once = Round { since: Some(Duration::ZERO), ..round };
        assert_eq!(at_once.dirty_rate(), Some(500_000));
    }
}
