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
    /// How long the rest may take to be sent, which counts instead of its pages.
    pub downtime: Option<Duration>,
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

/// How long the rest would take: what the last round sent, for about as much was written to meanwhile, at the rate of all
/// rounds together. A short round alone would say little of it.
pub(crate) fn rest(done: &[Round]) -> Option<Duration> {
    let last = done.last()?;
    let (pages, took) = done
        .iter()
        .fold((0, 0.0), |(pages, took), round| (pages + round.pages, took + round.took.as_secs_f64()));
    Some(Duration::from_secs_f64(if pages == 0 { 0.0 } else { took * last.pages as f64 / pages as f64 }))
}

/// Decides.
pub(crate) fn next(limits: &Limits, done: &[Round]) -> Next {
    match done {
        _ if limits.downtime.zip(rest(done)).is_some_and(|(most, rest)| rest <= most) => {
            Next::Last("what is left can be sent within --max-downtime")
        }
        _ if done.len() >= limits.rounds as usize => Next::Last("that was the last of --max-rounds"),
        // What is written to may be less the next time; and the user set how often to try.
        _ if limits.downtime.is_some() => Next::Round,
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

    const LIMITS: Limits = Limits { rounds: 4, few: 100, downtime: None };

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

    /// Rounds of so many pages and milliseconds.
    fn within(ms: u64, rounds: &[(u64, u64)]) -> Next {
        let round =
            |(pages, ms): &(u64, u64)| Round { pages: *pages, took: Duration::from_millis(*ms), since: None };
        let limits = Limits { downtime: Some(Duration::from_millis(ms)), ..LIMITS };
        next(&limits, &rounds.iter().map(round).collect::<Vec<_>>())
    }

    #[test]
    fn rounds_go_on_until_the_rest_fits_into_the_downtime() {
        let fits = Next::Last("what is left can be sent within --max-downtime");
        assert_eq!(within(300, &[]), Next::Round);
        // All of it fits, or does not.
        assert_eq!(within(300, &[(9000, 300)]), fits);
        assert_eq!(within(300, &[(9000, 301)]), Next::Round);
        // 1000 of 10000 pages in 1 s: 100 ms.
        assert_eq!(within(100, &[(9000, 900), (1000, 100)]), fits);
        assert_eq!(within(99, &[(9000, 900), (1000, 100)]), Next::Round);
        // A round with few pages takes its time too, and the rate is that of all.
        assert_eq!(within(20, &[(9900, 1000), (100, 500)]), fits);
        // How few they are does not count, nor that there were fewer before.
        assert_eq!(within(1, &[(9000, 9000), (50, 50)]), Next::Round);
        assert_eq!(within(1, &[(9000, 9000), (50, 50), (60, 60)]), Next::Round);
        assert_eq!(within(1, &[(0, 10)]), fits);
    }

    #[test]
    fn a_downtime_that_cannot_be_had_ends_with_the_rounds() {
        let many = [(9000, 900); 4];
        assert_eq!(within(100, &many[..3]), Next::Round);
        assert_eq!(within(100, &many), Next::Last("that was the last of --max-rounds"));
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
