//! The life of a worker that serves nothing itself: it keeps a program alive, which has the listening socket as its
//! standard input (FastCGI 1.0 §2.2, what spawn-fcgi and multiwatch do).
//!
//! To the arbiter it is a worker like any other: it is ready when the program has run for a moment, drains by asking the
//! program to exit (SIGTERM, §2.1.2), and ends when the program does. So a reload starts new programs beside the old ones,
//! and one that crashes is replaced, with back-off.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal as Unix, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2};

use super::{LISTENED, Surroundings};
use crate::app::{Command, Lines, LoadError};
use crate::channel::{Message, Received};
use crate::logging;
use crate::signals::{Signal, Signals};
use crate::sys;

/// A program that has run so long is taken for ready.
const READY: Duration = Duration::from_millis(100);

/// How often the accept queue is looked at when everything in it is to be served before the end.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The end of a program that had never been ready.
const BOOT_FAILED: i32 = 3;

/// Runs the program until it ends or is ended; returns the worker's exit code.
///
/// # Errors
/// It cannot be started.
pub(super) fn run(surroundings: &Surroundings<'_>, command: &Command) -> Result<i32, LoadError> {
    let failed = |error: io::Error| {
        let message = format!("{} cannot be run: {error}", command.path.to_string_lossy());
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => LoadError::application(message),
            _ => LoadError::boot(message),
        }
    };
    let mut signals = Signals::install(&LISTENED).map_err(failed)?;
    let mut program = Kept::start(surroundings, command).map_err(failed)?;
    loop {
        let mut polled = [
            PollFd::new(program.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(surroundings.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(program.stderr.as_ref().map_or(program.pidfd.as_fd(), AsFd::as_fd), PollFlags::POLLIN),
        ];
        match poll(&mut polled, program.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        program.read_stderr();
        if let Some(code) = program.exited() {
            if code == 0 && !program.ready {
                // It has done what it was asked to, however short that was: programs may count their requests.
                let _ = surroundings.channel.send(Message::Ready);
            }
            return Ok(code);
        }
        program.heed(&mut signals);
        program.hear(surroundings);
        program.look(surroundings);
    }
}

struct Kept {
    pid: Pid,
    pidfd: OwnedFd,
    stderr: Option<OwnedFd>,
    lines: Lines,
    started: Instant,
    ready: bool,
    /// It has been asked to exit.
    leaving: bool,
    /// The accept queue is to be empty first.
    emptying: bool,
}

impl Kept {
    fn start(surroundings: &Surroundings<'_>, command: &Command) -> io::Result<Self> {
        let listener: BorrowedFd<'_> = surroundings.listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?.as_fd();
        // Programs wait in accept, as they would on a socket of spawn-fcgi's.
        let flags = OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL)?);
        fcntl(listener, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        let (stderr, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let environment: Vec<CString> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let mut text = name.into_vec();
                text.push(b'=');
                text.extend(value.into_vec());
                CString::new(text).ok()
            })
            .collect();
        let environment: Vec<_> = environment.iter().map(CString::as_c_str).collect();
        let arguments: Vec<_> = command.arguments.iter().map(CString::as_c_str).collect();
        let (pid, pidfd) = sys::spawn(&sys::Program {
            path: &command.path,
            arguments: &arguments,
            environment: &environment,
            directory: &command.directory,
            standard: [listener, theirs.as_fd(), theirs.as_fd()],
            death: Unix::SIGKILL,
        })?;
        let name = format!("{} (pid:{pid})", command.path.to_string_lossy());
        log::debug!("{name} runs");
        let started = Instant::now();
        Ok(Self {
            pid: Pid::from_raw(pid),
            pidfd,
            stderr: Some(stderr),
            lines: Lines::new(name, started),
            started,
            ready: false,
            leaving: false,
            emptying: false,
        })
    }

    fn patience(&self) -> PollTimeout {
        let wait = if self.emptying && !self.leaving {
            BETWEEN_LOOKS
        } else if self.ready {
            return PollTimeout::NONE;
        } else {
            READY.saturating_sub(self.started.elapsed()) + Duration::from_millis(1)
        };
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO)
    }

    fn read_stderr(&mut self) {
        let mut buffer = [0; 4096];
        let now = Instant::now();
        while let Some(stderr) = &self.stderr {
            match nix::unistd::read(stderr, &mut buffer) {
                Ok(count @ 1..) => self.lines.push(buffer.get(..count).unwrap_or_default(), now),
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Ok(_) | Err(_) => self.stderr = None,
            }
        }
    }

    /// The worker's exit code, if the program has ended.
    fn exited(&mut self) -> Option<i32> {
        let status = match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) => return None,
            Ok(status) => status,
            Err(_) => WaitStatus::Exited(self.pid, 0),
        };
        self.read_stderr();
        self.lines.finish(Instant::now());
        let name = self.lines.name();
        match status {
            _ if self.leaving => {}
            WaitStatus::Exited(_, 0) => log::info!("{name} has exited"),
            WaitStatus::Exited(_, code) => log::error!("{name} exited with {code}"),
            WaitStatus::Signaled(_, signal, _) => log::error!("{name} was ended by {signal}"),
            _ => {}
        }
        Some(match status {
            _ if self.leaving => 0,
            WaitStatus::Exited(_, 0) => 0,
            // It ended before it could serve anybody, and that again and again helps nobody.
            _ if !self.ready => BOOT_FAILED,
            WaitStatus::Exited(_, code) => code,
            _ => 1,
        })
    }

    fn heed(&mut self, signals: &mut Signals) {
        for (signal, _) in signals.take() {
            match signal {
                Signal::Term => self.leave(),
                Signal::Int | Signal::Quit => self.kill(),
                Signal::Usr1 => logging::reopen(),
                _ => {}
            }
        }
    }

    fn hear(&mut self, surroundings: &Surroundings<'_>) {
        loop {
            match surroundings.channel.receive() {
                Received::Message(Message::Drain | Message::DrainAlone) => self.leave(),
                Received::Message(Message::DrainQueue) => self.emptying = true,
                Received::Message(Message::Stop) | Received::Closed => return self.kill(),
                Received::Message(_) => {}
                Received::Nothing => return,
            }
        }
    }

    fn look(&mut self, surroundings: &Surroundings<'_>) {
        if !self.ready && self.started.elapsed() >= READY {
            self.ready = true;
            // A channel that cannot be written to belongs to an arbiter that is gone.
            let _ = surroundings.channel.send(Message::Ready);
        }
        if self.emptying && surroundings.listeners.iter().all(|listener| is_empty(listener.as_fd())) {
            self.leave();
        }
    }

    /// Asks it to finish what it does, and to exit.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            let _ = kill(self.pid, Unix::SIGTERM);
        }
    }

    fn kill(&mut self) {
        self.leaving = true;
        // It has not been reaped, so the number is its own.
        let _ = killpg(self.pid, Unix::SIGKILL);
    }
}

/// Whether nobody waits to be accepted.
fn is_empty(listener: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::POLLIN)];
    !matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1..))
}
