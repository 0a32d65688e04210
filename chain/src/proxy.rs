//! Between our own terminal, or whatever standard input and output are, and the command's: bytes, the window's size, and
//! the end of either.

use crate::error::{Cannot, Error, Result};
use crate::state::write_all;
use crate::supervise::Supervised;
use crate::sys::process::{set_window_size, window_size};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{isatty, tcgetattr, tcgetpgrp, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// PIPE_BUF: what poll(2) calls writable takes as much without blocking.
const CHUNK: usize = 4096;

/// How often it is looked whether a shell put us in the foreground, while we are not: none says so.
const LOOK: u16 = 250;

/// What else is listened to meanwhile.
pub trait Beside {
    /// Readable when there is something to do.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Does what there is to do, which may be nothing.
    fn attend(&self) -> Result<()>;
}

/// What is between.
#[derive(Default)]
pub struct Between<'a> {
    /// See [`Beside`].
    pub beside: Option<&'a dyn Beside>,
    /// Our input and our output are one terminal, which then does nothing to what the other has written for a terminal;
    /// and we stop when the command stops.
    pub terminals: bool,
}

/// Our own terminal, in raw mode while it is ours to read, for as long as this value lives.
struct Raw {
    before: Option<Termios>,
    modes: Option<Termios>,
    in_force: bool,
}

impl Raw {
    fn enter(between: &Between<'_>) -> Result<Raw> {
        if !isatty(stdin()) {
            return Ok(Raw { before: None, modes: None, in_force: false });
        }
        let before = tcgetattr(stdin()).cannot("put the terminal in raw mode", "tcgetattr(0)")?;
        let mut modes = before.clone();
        modes.make_raw();
        if !between.terminals {
            // Its lines still want their carriage returns: the container's own terminal adds none.
            modes.output_modes = before.output_modes;
        }
        Ok(Raw { before: Some(before), modes: Some(modes), in_force: false })
    }

    /// A shell lends its terminal to the group in the foreground; who changes its modes from the background changes them
    /// for the shell. One that controls another session, or none, is lent by nobody.
    fn is_lent(&self) -> bool {
        self.before.is_none() || tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
    }

    /// Raw while it is lent. What was taken away was put in order by the shell.
    fn follow_shell(&mut self) -> Result<bool> {
        let lent = self.is_lent();
        match &self.modes {
            Some(modes) if lent && !self.in_force => tcsetattr(stdin(), OptionalActions::Now, modes)
                .cannot("put the terminal in raw mode", "tcsetattr(0)")?,
            _ => {}
        }
        let comes = lent && !self.in_force;
        self.in_force = lent;
        Ok(comes)
    }

    fn leave(&mut self) {
        if let (Some(before), true) = (&self.before, self.in_force) {
            // A terminal that hung up needs no mode any more.
            tcsetattr(stdin(), OptionalActions::Now, before).unwrap_or(());
        }
        self.in_force = false;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Carries bytes until the command ends; its status.
pub fn run(master: &OwnedFd, child: &mut Supervised, between: &Between<'_>) -> Result<u8> {
    let flags = rustix::fs::fcntl_getfl(master).cannot("use the terminal", "fcntl(F_GETFL)")?;
    rustix::fs::fcntl_setfl(master, flags | OFlags::NONBLOCK).cannot("use the terminal", "fcntl(F_SETFL)")?;
    if between.terminals {
        child.tell_of_stops();
    }
    let raw = Raw::enter(between)?;
    follow_size(master);
    let mut proxy = Proxy {
        master,
        beside: between.beside,
        raw,
        typed: Vec::new(),
        last: b'\n',
        input_open: true,
        output_open: true,
        full: false,
    };
    proxy.carry(child)
}

/// The command's window is as large as ours.
pub fn follow_size(master: &OwnedFd) {
    if let Ok((rows, columns)) = window_size(stdin()) {
        // A master whose other end is closed has no window.
        set_window_size(master.as_fd(), rows, columns).unwrap_or(());
    }
}

/// Neither direction waits for the other: a command that reads nothing while it writes, or the other way round, as
/// `cat` of something long does, would else stand still with us for ever.
struct Proxy<'a> {
    master: &'a OwnedFd,
    beside: Option<&'a dyn Beside>,
    raw: Raw,
    /// Read from our input, not yet taken by the terminal.
    typed: Vec<u8>,
    /// The last byte of it.
    last: u8,
    input_open: bool,
    output_open: bool,
    /// There is output, and ours does not take it.
    full: bool,
}

/// What can be done without waiting.
#[derive(Clone, Copy, Default)]
struct Ready {
    signals: bool,
    terminal_in: bool,
    terminal_out: bool,
    input: bool,
    output: bool,
}

impl Proxy<'_> {
    fn carry(&mut self, child: &mut Supervised) -> Result<u8> {
        // What ended before its signal was ours to read is told by no signal any more.
        let mut ended = child.has_ended()?;
        loop {
            if let Some(status) = ended {
                self.drain()?;
                return Ok(status);
            }
            // Once a round: were it asked again further down, a terminal lent in between would be waited for without an
            // end, and in modes that are not ours.
            if self.raw.follow_shell()? {
                follow_size(self.master);
            }
            let ready = self.wait(child.signal_fd())?;
            if ready.output {
                self.full = false;
            }
            if let Some(beside) = self.beside {
                beside.attend()?;
            }
            if ready.terminal_in {
                self.give_output()?;
            }
            if ready.input {
                self.take_input()?;
            }
            if ready.terminal_out {
                self.type_in()?;
            }
            if ready.signals {
                let mut resized = false;
                ended = child.handle_signals(|signal| resized |= signal == libc::SIGWINCH)?;
                if resized {
                    follow_size(self.master);
                }
                if child.has_stopped() {
                    self.stop()?;
                }
            }
        }
    }

    /// An end that hung up is always ready, asked for or not, so only what could be done now is asked for.
    fn wait(&self, signals: BorrowedFd<'_>) -> Result<Ready> {
        let mut terminal = PollFlags::empty();
        terminal.set(PollFlags::POLLIN, self.output_open && !self.full);
        terminal.set(PollFlags::POLLOUT, !self.typed.is_empty());
        let input = self.input_open && self.typed.is_empty() && self.raw.in_force;
        let asked = [
            (true, signals, PollFlags::POLLIN),
            (!terminal.is_empty(), self.master.as_fd(), terminal),
            (input, stdin(), PollFlags::POLLIN),
            (self.full, stdout(), PollFlags::POLLOUT),
        ];
        let mut fds: Vec<PollFd<'_>> =
            asked.iter().filter(|(ask, ..)| *ask).map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        fds.extend(self.beside.map(|beside| PollFd::new(beside.fd(), PollFlags::POLLIN)));
        match poll(&mut fds, if self.raw.in_force { PollTimeout::NONE } else { PollTimeout::from(LOOK) }) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(Ready::default()),
            Err(e) => return Err(Error::call("carry the terminal's bytes", "poll", e)),
        }
        let mut found = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = |(ask, ..): &(bool, BorrowedFd<'_>, PollFlags)| match ask {
            true => found.next().unwrap_or(PollFlags::empty()),
            false => PollFlags::empty(),
        };
        let [signals, master, input, output] = [0, 1, 2, 3].map(|n| next(&asked[n]));
        // A hang-up is for whoever reads, and for whoever writes.
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        Ok(Ready {
            signals: !signals.is_empty(),
            terminal_in: terminal.contains(PollFlags::POLLIN) && master.intersects(PollFlags::POLLIN | gone),
            terminal_out: terminal.contains(PollFlags::POLLOUT)
                && master.intersects(PollFlags::POLLOUT | gone),
            input: !input.is_empty(),
            output: !output.is_empty(),
        })
    }

    /// The shell that waits for us goes on; the signal that wakes us up again is passed on to the command.
    fn stop(&mut self) -> Result<()> {
        self.raw.leave();
        raise(Signal::SIGSTOP).cannot("stop with the command", "raise(SIGSTOP)")
    }

    /// The command's words, one chunk, if our output takes it at once.
    fn give_output(&mut self) -> Result<()> {
        let mut fds = [PollFd::new(stdout(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            self.full = true;
            return Ok(());
        }
        self.pass_output()
    }

    fn pass_output(&mut self) -> Result<()> {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(self.master, &mut buffer) {
            // A pty whose other end is closed answers EIO.
            Ok(0) | Err(Errno::IO) => self.output_open = false,
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => {
                let n = other.cannot("read from the command's terminal", "read(terminal)")?;
                write_all(stdout(), &buffer[..n]).cannot("write the command's output", "write(1)")?;
            }
        }
        Ok(())
    }

    fn take_input(&mut self) -> Result<()> {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(stdin(), &mut buffer) {
            // Taken away in between.
            Err(Errno::IO) if !self.raw.is_lent() => {}
            // A terminal of ours that hung up gives no more.
            Ok(0) | Err(Errno::IO) => {
                self.input_open = false;
                self.typed = self.end_of_file();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => {
                let n = other.cannot("read what is for the command's terminal", "read(0)")?;
                self.typed.extend_from_slice(&buffer[..n]);
                self.last = buffer[n - 1];
            }
        }
        Ok(())
    }

    /// The terminal's own way to say that there is no more: VEOF at the start of a line. In the middle of one it only
    /// ends the wait for the rest, so it is said twice. A terminal that is raw has no way.
    fn end_of_file(&self) -> Vec<u8> {
        match tcgetattr(self.master) {
            Ok(modes) if modes.local_modes.contains(LocalModes::ICANON) => {
                let times = if self.last == b'\n' { 1 } else { 2 };
                vec![modes.special_codes[SpecialCodeIndex::VEOF]; times]
            }
            _ => Vec::new(),
        }
    }

    fn type_in(&mut self) -> Result<()> {
        match rustix::io::write(self.master, &self.typed) {
            Ok(n) => drop(self.typed.drain(..n)),
            // Nobody is there to read it.
            Err(Errno::IO) => self.typed.clear(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(Error::call("type into the command's terminal", "write(terminal)", e)),
        }
        Ok(())
    }

    /// What the command wrote before it ended is still in the pty.
    fn drain(&mut self) -> Result<()> {
        while self.output_open {
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
                break;
            }
            self.pass_output()?;
        }
        Ok(())
    }
}
