//! Who answers requests: programs that run somewhere, and programs of the worker's own.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::app::Address;
use crate::app::cgi::lines::Lines;
use crate::sys;

/// How long an upstream is left alone after it has failed, at first and at most.
const PENALTY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// After so many failures on end a program is not waited for.
const HOPELESS: u32 = 3;

/// How long is waited for the exit of a program that has closed its connection.
const EXIT_MILLISECONDS: u8 = 20;

/// A program that has lived so long was no failure.
const SETTLED: Duration = Duration::from_secs(1);

/// What programs of the worker's own are started with.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) program: crate::app::Command,
    /// `NAME=value`.
    pub(super) environment: Vec<CString>,
}

/// One address, and what is known of it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: Address,
    /// Requests that it answers now.
    pub(super) busy: usize,
    /// Not asked before, after failures.
    pub(super) until: Option<Instant>,
    failures: u32,
    pub(super) program: Option<Program>,
}

/// A program of the worker's own.
#[derive(Debug)]
pub(super) struct Program {
    command: Command,
    /// It outlives the program, so that a connection may wait for the next one.
    listener: OwnedFd,
    /// The name of the socket, which no directory has any more.
    _name: OwnedFd,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    stderr: Option<OwnedFd>,
    lines: Lines,
    since: Instant,
    terminated: bool,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Some(program) => program.fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.command.program.path.to_string_lossy())?;
        match &self.running {
            Some(running) => write!(f, " (pid:{})", running.pid),
            None => Ok(()),
        }
    }
}

impl Upstream {
    /// A program that runs somewhere.
    pub(super) fn at(address: Address) -> Self {
        Self { address, busy: 0, until: None, failures: 0, program: None }
    }

    /// Whether it may have another request. An address has `connections` at a time; a program of the worker's own answers
    /// one after the other.
    pub(super) fn has_room(&self, connections: usize) -> bool {
        self.busy < if self.program.is_some() { 1 } else { connections }
    }

    /// A program that is not started yet, and its socket.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn of_program(command: Command) -> io::Result<Self> {
        let (listener, name) = private_listener()?;
        let address = Address::Unix(Some(PathBuf::from(format!("/proc/self/fd/{}", name.as_raw_fd()))));
        let program = Program { command, listener, _name: name, running: None };
        Ok(Self { program: Some(program), ..Self::at(address) })
    }

    /// Whether it may be asked.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
            && self.program.as_ref().is_none_or(|program| program.running.is_some())
    }

    /// Whether it is a program that does not run now, but may be hoped to soon.
    pub(super) fn is_starting(&self) -> bool {
        self.program.as_ref().is_some_and(|program| program.running.is_none()) && self.failures < HOPELESS
    }

    /// It has failed, and is left alone for a while, longer each time.
    pub(super) fn penalize(&mut self, now: Instant) {
        let (first, last) = PENALTY;
        self.until = Some(now + (first * 2_u32.saturating_pow(self.failures.min(10))).min(last));
        self.failures = self.failures.saturating_add(1);
    }

    /// It has answered.
    pub(super) fn forgive(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// Begins to connect; `true` if that is done already.
    pub(super) fn connect(&self) -> io::Result<(OwnedFd, bool)> {
        let (domain, address) = match &self.address {
            Address::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path.as_deref().unwrap_or(Path::new("")))?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(&address) {
            Ok(()) => Ok((socket.into(), true)),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok((socket.into(), false)),
            Err(error) => Err(error),
        }
    }
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&mut self, now: Instant) -> io::Result<()> {
        let (stderr, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let arguments: Vec<&CStr> = self.command.program.arguments.iter().map(CString::as_c_str).collect();
        let environment: Vec<&CStr> = self.command.environment.iter().map(CString::as_c_str).collect();
        let (pid, pidfd) = sys::spawn(&sys::Program {
            path: &self.command.program.path,
            arguments: &arguments,
            environment: &environment,
            directory: &self.command.program.directory,
            standard: [self.listener.as_fd(), theirs.as_fd(), theirs.as_fd()],
            // FastCGI 1.0 §2.1.2: it asks a program to exit.
            death: Signal::SIGTERM,
        })?;
        let name = format!("{} (pid:{pid})", self.command.program.path.to_string_lossy());
        log::info!("{name} runs");
        self.running = Some(Running {
            pid: Pid::from_raw(pid),
            pidfd,
            stderr: Some(stderr),
            lines: Lines::new(name, now),
            since: now,
            terminated: false,
        });
        Ok(())
    }

    /// What is to be watched: its end, and what it writes to its outputs.
    pub(super) fn watched(&self) -> Option<(&OwnedFd, Option<&OwnedFd>)> {
        self.running.as_ref().map(|running| (&running.pidfd, running.stderr.as_ref()))
    }

    /// Reads what it has written to its outputs; whether there may be more later.
    pub(super) fn read_stderr(&mut self, buffer: &mut [u8], now: Instant) -> bool {
        let Some(running) = &mut self.running else { return false };
        while let Some(stderr) = &running.stderr {
            match crate::app::pump::read(stderr.as_fd(), buffer) {
                Ok(count @ 1..) => running.lines.push(buffer.get(..count).unwrap_or_default(), now),
                Err(nix::errno::Errno::EAGAIN) => return true,
                Ok(_) | Err(_) => running.stderr = None,
            }
        }
        false
    }

    /// Whether it has ended; if so, it is reaped, and whether that was a failure is told.
    pub(super) fn reap(&mut self, now: Instant) -> Option<bool> {
        let running = self.running.as_ref()?;
        let status = match waitid(Id::PIDFd(running.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) => return None,
            Ok(status) => status,
            // Somebody else has reaped it.
            Err(_) => WaitStatus::Exited(running.pid, 0),
        };
        let mut running = self.running.take()?;
        running.lines.finish(now);
        let (name, lived) = (running.lines.name(), now.saturating_duration_since(running.since));
        let orderly = match status {
            WaitStatus::Exited(_, 0) => {
                log::info!("{name} has exited");
                true
            }
            WaitStatus::Exited(_, code) => {
                log::error!("{name} exited with {code}");
                false
            }
            _ if running.terminated => true,
            WaitStatus::Signaled(_, signal, _) => {
                log::error!("{name} was ended by {signal}");
                false
            }
            _ => false,
        };
        Some(lived < SETTLED || !orderly)
    }

    /// Whether it has exited as it should, perhaps just now.
    pub(super) fn has_exited_in_order(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let mut polled = [PollFd::new(running.pidfd.as_fd(), PollFlags::POLLIN)];
        // It has closed its connection, so it is exiting if it ever does.
        let _ = poll(&mut polled, EXIT_MILLISECONDS);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(waitid(Id::PIDFd(running.pidfd.as_fd()), flags), Ok(WaitStatus::Exited(_, 0)))
    }

    /// Ends it, because it hangs.
    pub(super) fn kill(&mut self) {
        if let Some(running) = &mut self.running {
            running.terminated = true;
            // It has not been reaped, so the number is its own.
            let _ = killpg(running.pid, Signal::SIGKILL);
        }
    }

    /// Asks it to exit.
    pub(super) fn terminate(&mut self) {
        if let Some(running) = &mut self.running {
            running.terminated = true;
            let _ = kill(running.pid, Signal::SIGTERM);
        }
    }
}

/// A listening unix socket that nobody else finds, and the name by which it is connected to.
///
/// A socket's file can be connected to as long as somebody holds it, so it is unlinked at once: nothing is left behind
/// whatever happens, and no other user can reach the program.
fn private_listener() -> io::Result<(OwnedFd, OwnedFd)> {
    let directory = tempfile::Builder::new().prefix("ferricorn-").tempdir()?;
    let path = directory.path().join("socket");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&path)?)?;
    socket.listen(16)?;
    let name: File = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(&path)?;
    fs::remove_file(&path)?;
    Ok((socket.into(), name.into()))
}
