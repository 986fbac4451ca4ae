//! A connection to a program, and the request that is on it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;
use std::time::Instant;

use super::decoder::Decoder;
use super::request::{Job, Progress};
use crate::app::cgi::head::{self, HeadBuffer};
use crate::app::cgi::lines::Lines;
use crate::app::cgi::output::Collected;
use crate::app::pump::Flow;
use crate::app::{Body, Response};

/// A connection to a program.
pub(super) struct Connection {
    pub(super) serial: u64,
    pub(super) upstream: usize,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) connected: bool,
    /// It is new to the program, which cannot have closed it for having been idle.
    pub(super) fresh: bool,
    pub(super) due: Option<Instant>,
    pub(super) exchange: Option<Exchange>,
}

/// A request on a connection.
pub(super) struct Exchange {
    pub(super) job: Box<Job>,
    pub(super) progress: Progress,
    /// More of the request is ready to be sent than the socket takes.
    pub(super) writing: Arc<AtomicBool>,
    /// All of the request has been sent.
    pub(super) sent: bool,
    /// The rest of the request has not come from the client.
    pub(super) awaits_client: bool,
    /// What is called when more of it has.
    pub(super) waker: Waker,
    pub(super) decoder: Decoder,
    /// Something has come back.
    pub(super) answered: bool,
    pub(super) lines: Option<Lines>,
    pub(super) phase: Phase,
}

/// How far the answer has come.
pub(super) enum Phase {
    /// The head is being read.
    Head(HeadBuffer),
    /// The head is complete, and nothing has had to be waited for since.
    First(Box<Response>, Vec<u8>),
    /// Whoever sends the answer reads.
    Body(Arc<Flow>),
    /// What comes is dropped.
    Dropped,
}

impl Exchange {
    pub(super) fn name(&self) -> &str {
        self.lines.as_ref().map_or(&self.job.name, Lines::name)
    }

    /// Whether it cannot be sent again, as part of its body was given to a program and kept nowhere.
    pub(super) fn has_used_up_body(&self) -> bool {
        self.progress.has_used_up(&self.job.message)
    }

    pub(super) fn take_output(&mut self, bytes: &[u8]) -> Result<(), head::Fault> {
        match &mut self.phase {
            Phase::Head(buffer) => match buffer.push(bytes)? {
                None => {}
                Some(head::Answer::Document(response)) => {
                    let body = std::mem::take(buffer).into_body();
                    self.phase = Phase::First(Box::new(response), body);
                }
                Some(head::Answer::Elsewhere(target)) => {
                    self.phase = Phase::Dropped;
                    if let Some(later) = self.job.later.take() {
                        later.elsewhere(target);
                    }
                }
            },
            Phase::First(_, body) => body.extend_from_slice(bytes),
            Phase::Body(_) | Phase::Dropped => {}
        }
        Ok(())
    }
}

/// An answer that has come whole. The length that the program has given counts, and shows whether everything has come.
pub(super) fn whole(response: Response, body: Vec<u8>) -> Response {
    let given = response.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    let given = given.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
    match given {
        Some(length) if length != body.len() => response.with_body(Body::Source(Box::new(Collected(body)))),
        _ => {
            let mut response = response;
            response.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
            response.with_body(body)
        }
    }
}
