//! Network devices: those of the namespace we come from that move into the one we enter, and pairs made between the two.

mod pair;
mod wanted;

pub(crate) use wanted::{Wanted, end, resolve};

use chain::meet::{self, Message};
use chain::net::{self, Outside};
use chain::{Cannot, Result, report};
use serde_json::Value;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

fn warn(text: String) {
    report::warn("ns-enter", text);
}

/// Looks for all that is to be moved, while we are still outside.
pub(crate) fn look(wanted: &Wanted, proc: BorrowedFd<'_>) -> Result<Option<Outside>> {
    match wanted.is_empty() || wanted.by_runner {
        true => Ok(None),
        false => net::look(&wanted.devices, proc, warn).map(Some),
    }
}

/// Lets the runner, which stays outside, bring in what is wanted. It takes it back itself if nothing comes of the
/// container.
pub(crate) fn ask(wanted: &Wanted, proc: BorrowedFd<'_>, runner: Option<RawFd>) -> Result<()> {
    let (true, Some(runner)) = (wanted.by_runner, runner) else { return Ok(()) };
    let runner = chain::sys::fd::borrow(runner).cannot("reach the runner", "fcntl(meet)")?;
    let here = net::here(proc)?;
    meet::send(runner, &Message::Devices(wanted.devices.clone()), Some(here.as_fd()))?;
    meet::wait_for_go(runner)
}

/// What is inside now.
pub(crate) struct Inside {
    devices: net::Inside,
    pairs: Vec<pair::Made>,
}

/// Moves all of it to the network namespace that we are in by now, and makes the pairs; all or nothing.
pub(crate) fn enter(outside: Outside, wanted: &Wanted, proc: BorrowedFd<'_>) -> Result<Inside> {
    let here = net::here(proc)?;
    let mut inside = Inside { devices: outside.enter(here.as_fd())?, pairs: Vec::new() };
    for pair in &wanted.pairs {
        match pair.make(&inside.devices.outside.socket, &inside.devices.socket, here.as_fd()) {
            Ok(made) => inside.pairs.push(made),
            Err(error) => {
                if let Err(also) = inside.give_back() {
                    report::warn("ns-enter", also);
                }
                return Err(error);
            }
        }
    }
    Ok(inside)
}

impl Inside {
    /// Gives the devices back, and unmakes the pairs: each, whatever becomes of the others.
    pub(crate) fn give_back(&self) -> Result<()> {
        let pairs = self.pairs.iter().map(|pair| pair.unmake(&self.devices.outside.socket));
        let results: Vec<Result<()>> = pairs.chain([self.devices.give_back()]).collect();
        results.into_iter().collect()
    }

    /// For the receipt: the names outside and inside.
    pub(crate) fn told(&self) -> Value {
        self.devices.told()
    }

    /// What has to stay open for [`Inside::give_back`].
    pub(crate) fn fds(&self) -> [RawFd; 3] {
        self.devices.fds()
    }
}
