//! One run of a program.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};

use super::head::{Answer, HeadBuffer};
use super::input::Input;
use super::lines::Lines;
use super::order::Job;
use super::output::{Collected, is_unsent, unsent};
use crate::app::pump::{self, Flow};
use crate::app::{Body, Later, Response};
use crate::sys;

/// The most that is collected before an answer begins, in the hope that the program has ended by then.
const COLLECTED: usize = 256 * 1024;

/// A program, from its start until nobody waits for it any more.
pub(super) struct Run {
    pub(super) serial: u64,
    pub(super) name: String,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) phase: Phase,
    /// The rest of the request's body, if it is still arriving.
    pub(super) input: Option<Input>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) lines: Lines,
    /// When it has been silent for too long, or is to be killed.
    pub(super) due: Option<Instant>,
    /// When it is looked whether its client has gone, as long as nothing has come of it.
    pub(super) look: Option<Instant>,
    /// When its answer begins, complete or not.
    pub(super) begin: Option<Instant>,
    pub(super) terminated: bool,
    /// Its output has been read to its end by whoever sends it.
    pub(super) ended: bool,
    pub(super) exit: Option<WaitStatus>,
    pub(super) bodiless: bool,
}

pub(super) enum Phase {
    /// Its head is being read.
    Head {
        later: Later,
        stdout: OwnedFd,
        head: HeadBuffer,
    },
    /// Its head is complete, and the output has not had to be waited for since.
    First {
        later: Later,
        stdout: OwnedFd,
        response: Response,
        body: Vec<u8>,
    },
    /// Everything has been read, and its exit is waited for.
    Whole {
        later: Later,
        response: Response,
        body: Vec<u8>,
    },
    /// Whoever sends the answer reads the output.
    Body(Arc<Flow>),
    /// What it writes is dropped.
    Dropped(OwnedFd),
    Over,
}

impl Run {
    pub(super) fn new(job: Job, spawned: Spawned, serial: u64, now: Instant) -> Self {
        let Spawned { pid, pidfd, stdout, stderr, .. } = spawned;
        let name = job.name();
        log::debug!("{name} runs (pid:{pid})");
        Self {
            serial,
            lines: Lines::new(format!("{name} (pid:{pid})"), now),
            name,
            pid,
            pidfd,
            phase: Phase::Head { later: job.later, stdout, head: HeadBuffer::default() },
            input: None,
            stderr: Some(stderr),
            due: None,
            look: Some(now + pump::PERHAPS_GONE),
            begin: None,
            terminated: false,
            ended: false,
            exit: None,
            bodiless: job.bodiless,
        }
    }

    /// Takes output; `false` if it makes no sense.
    pub(super) fn take_output(&mut self, bytes: &[u8], due: Instant) -> bool {
        if !self.terminated {
            self.due = Some(due);
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Head { later, stdout, mut head } => match head.push(bytes) {
                Ok(None) => self.phase = Phase::Head { later, stdout, head },
                Ok(Some(Answer::Document(response))) => {
                    self.phase = Phase::First { later, stdout, response, body: head.into_body() };
                }
                Ok(Some(Answer::Elsewhere(target))) => {
                    self.phase = Phase::Dropped(stdout);
                    later.elsewhere(target);
                }
                Err(fault) => {
                    log::error!("{} (pid:{}): {fault}", self.name, self.pid);
                    self.phase = Phase::Head { later, stdout, head };
                    return false;
                }
            },
            Phase::First { later, stdout, response, mut body } => {
                body.extend_from_slice(bytes);
                self.phase = Phase::First { later, stdout, response, body };
            }
            other => self.phase = other,
        }
        true
    }

    pub(super) fn has_collected_enough(&self) -> bool {
        matches!(&self.phase, Phase::First { body, .. } if body.len() >= COLLECTED)
    }

    /// How the program has ended is known, or has not been found out in time: what has been read may go.
    pub(super) fn conclude(&mut self) {
        let orderly = self.exit.is_none_or(is_orderly);
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Whole { later, .. } if !orderly => {
                later.send(Response::error(502));
            }
            Phase::Whole { later, response, .. } if is_unsent(&response, self.bodiless) => later.send(unsent(response)),
            Phase::Whole { later, response, body } => {
                // The length that it has given counts, and shows whether everything has come.
                let says_length = response.fields().any(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
                let body = if says_length { Body::Source(Box::new(Collected(body))) } else { Body::from(body) };
                later.send(response.with_body(body));
            }
            Phase::Body(flow) => {
                flow.conclude(orderly);
                self.phase = Phase::Body(flow);
            }
            other => self.phase = other,
        }
    }

    /// Whether nobody waits for its answer any more; if somebody does, that is looked at again after a while.
    pub(super) fn is_abandoned(&mut self, now: Instant) -> bool {
        if self.look.is_none_or(|look| look > now) {
            return false;
        }
        let Phase::Head { later, .. } = &self.phase else {
            self.look = None;
            return false;
        };
        self.look = Some(now + pump::PERHAPS_GONE);
        !self.terminated && !later.is_wanted()
    }

    /// Drops what the program writes, as nobody wants it.
    pub(super) fn abandon(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Head { later, stdout, .. } => {
                self.phase = Phase::Dropped(stdout);
                later.send(pump::to_nobody());
            }
            other => self.phase = other,
        }
    }

    /// Answers with an error, if nothing has been answered, and drops what the program writes.
    pub(super) fn give_up(&mut self, status: u16) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Head { later, stdout, .. } | Phase::First { later, stdout, .. } => {
                self.phase = Phase::Dropped(stdout);
                later.send(Response::error(status));
            }
            Phase::Whole { later, .. } => later.send(Response::error(status)),
            Phase::Body(flow) => {
                flow.conclude(false);
                self.phase = Phase::Body(flow);
            }
            other => self.phase = other,
        }
    }

    /// To all that it has started as well.
    pub(super) fn signal(&self, signal: Signal) {
        // It has not been reaped, so the number is its own. Whoever has left the group is on his own.
        let _ = killpg(self.pid, signal);
    }
}

/// A program that has been started.
pub(super) struct Spawned {
    pid: Pid,
    pidfd: OwnedFd,
    /// Our end of its standard input, if that is a pipe.
    pub(super) stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Starts a program; without a body it reads from `nothing`.
pub(super) fn spawn(job: &Job, nothing: &File) -> io::Result<Spawned> {
    let stdin = job.stdin.ends(nothing)?;
    let (stdout, their_stdout) = output_pipe()?;
    let (stderr, their_stderr) = output_pipe()?;
    let arguments: Vec<_> = job.arguments.iter().map(CString::as_c_str).collect();
    let (pid, pidfd) = sys::spawn(&sys::Program {
        path: &job.path,
        arguments: &arguments,
        environment: &job.variables.texts(),
        directory: &job.directory,
        standard: [stdin.theirs(), their_stdout.as_fd(), their_stderr.as_fd()],
        death: Signal::SIGKILL,
    })?;
    Ok(Spawned { pid: Pid::from_raw(pid), pidfd, stdin: stdin.ours(), stdout, stderr })
}

/// A pipe whose reading end does not block.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

pub(super) fn is_orderly(status: WaitStatus) -> bool {
    !matches!(status, WaitStatus::Signaled(..))
}
