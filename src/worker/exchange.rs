//! One call of the application: from a complete request to bytes in the output.

use std::any::Any;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::gateway::Copied;
use super::lead::Lead;
use super::mailbox::Letterbox;
use super::output::Rest;
use super::pace::Pace;
use super::watchdog::Note;
use crate::app::body::Disconnected;
use crate::app::reply::{Deferred, Exchange, Mailbox, Reply, Ticket};
use crate::app::{Application, Body, Parts, Request, Response, Segment};
use crate::protocol::{Length, Machine, ResponseError, Reuse};
use crate::scoreboard::Call;
use crate::signals::{self, Signal};

/// A body up to this many bytes is copied behind its head, so that both leave in one write.
const COPIED: usize = 16 * 1024;

/// A call that writes its body itself waits until the socket has taken all but so many bytes.
const LITTLE: usize = 32 * 1024;

/// How long it waits without looking whether the worker is to stop.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Where the answer of one request goes.
pub(crate) struct Turn<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) date: &'a [u8; 29],
    pub(crate) letterbox: &'a Arc<Letterbox>,
    pub(crate) ticket: &'a Ticket,
    /// What is dropped when the output was offered to the socket.
    pub(crate) after: &'a mut Vec<Box<dyn Send>>,
    /// Whether the access log shows fields of the response.
    pub(crate) logs_fields: bool,
    /// Whether the worker drains, which may have begun during the call.
    pub(crate) lead: &'a Lead,
    /// For what cannot wait until the output is sent.
    pub(crate) socket: BorrowedFd<'a>,
    /// Where the call is noted, which a wait for the peer is no part of.
    pub(crate) call: &'static Call,
    /// What the watchdog knows of it.
    pub(crate) note: Option<&'a Note>,
    /// How fast the peer has to be.
    pub(crate) pace: Pace,
    /// What has become of it. Not moved about: it is written in parts, and what is read in one must have been stored first.
    pub(crate) outcome: &'a mut Outcome,
}

/// What has become of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Unanswered,
    /// The answer is in the output, whole.
    Finished(Reuse, Summary),
    /// The head of the answer is in the output, and this follows.
    Streaming(Box<Rest>, Summary),
    /// The head and perhaps more is in the output or sent, and the call goes on to write the body.
    Begun(Summary),
    /// The answer will come by the letterbox; kept as long as it is wanted.
    Deferred(Arc<()>),
}

/// What the access log wants to know of a response.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) status: u16,
    /// The response without its body, if the access log shows its fields.
    pub(crate) response: Option<Box<Response>>,
}

/// Whether the application wants the body of that request as a stream. One that panics does not.
pub(crate) fn asks_for_stream(application: &dyn Application, request: &Request<'_>) -> bool {
    catch_unwind(AssertUnwindSafe(|| application.streams(request))).unwrap_or_else(|panic| {
        log_panic(request, panic.as_ref());
        false
    })
}

#[cold]
fn log_panic(request: &Request<'_>, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    log::error!("Error handling request {} {}: panicked: {message}", request.method(), request.target());
}

impl Turn<'_> {
    /// Calls the application. A panic is logged and answered with 500.
    pub(crate) fn call(&mut self, application: &mut dyn Application, request: &Request<'_>) {
        let called = catch_unwind(AssertUnwindSafe(|| application.call(request, Reply::new(self))));
        if let Err(panic) = called {
            log_panic(request, panic.as_ref());
        }
        match self.outcome {
            Outcome::Unanswered => self.answer(&mut Response::error(500)),
            Outcome::Begun(_) => self.break_off(),
            _ => {}
        }
    }

    /// A response that was begun comes to no good end: the peer is to see that.
    fn break_off(&mut self) {
        if let Outcome::Begun(summary) = std::mem::replace(self.outcome, Outcome::Unanswered) {
            *self.outcome = Outcome::Streaming(Box::new(Rest::Missing), summary);
        }
    }

    fn is_begun(&self) -> bool {
        matches!(self.outcome, Outcome::Begun(_))
    }

    /// Puts the response into the output; 500 if it cannot be sent as it is.
    pub(crate) fn answer(&mut self, response: &mut Response) {
        self.heed_drain();
        if let Err(error) = self.encode(response) {
            let reason = error.reason();
            log::error!("Error handling request: the application's response cannot be sent: {error} ({reason})");
            if self.encode(&mut Response::error(500)).is_err() {
                *self.outcome = Outcome::Finished(Reuse::Close, Summary { status: 500, response: None });
            }
        }
    }

    fn heed_drain(&mut self) {
        // The worker was told to drain during the call, and will only hear of it after this.
        if signals::is_pending(Signal::Term) || self.lead.is_draining() {
            self.machine.close_after_response();
        }
    }

    /// As [`answer`](Self::answer), for a response in parts; whoever gave them says what is wrong with them.
    fn answer_parts(&mut self, parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        let summary = self.head(parts)?;
        if !parts.first.is_empty() {
            self.machine.body(parts.first, self.out);
        }
        self.follow(&mut parts.rest, summary);
        Ok(())
    }

    /// The head of a response in parts. If it cannot be sent, the answer is 500.
    fn head(&mut self, parts: &mut Parts<'_, '_>) -> Result<Summary, ResponseError> {
        let Parts { status, reason, fields, lines, length, rest, after, .. } = parts;
        let (status, reason, length) = (*status, *reason, *length);
        self.heed_drain();
        let mut kept = None;
        let responded = if self.logs_fields {
            let kept = kept.insert(Box::new(Response::new(status)));
            kept.fields = fields.filter_map(kept_field).collect();
            self.machine.respond(status, reason, kept.fields(), length, self.date, self.out)
        } else if let Some(lines) = lines {
            self.machine.respond(status, reason, *lines, length, self.date, self.out)
        } else {
            self.machine.respond(status, reason, &mut **fields, length, self.date, self.out)
        };
        if let Some(after) = after.take() {
            self.after.push(after);
        }
        if let Err(error) = responded {
            *rest = Body::Empty;
            self.answer(&mut Response::error(500));
            return Err(error);
        }
        Ok(Summary { status, response: kept })
    }

    /// Sends what the socket takes of the output, and returns how much that was.
    fn flush(&mut self) -> Result<usize, Disconnected> {
        match send(self.socket.as_raw_fd(), self.out, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) if count >= self.out.len() => {
                self.out.clear();
                Ok(count)
            }
            Ok(count) => {
                self.out.drain(..count);
                Ok(count)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(0),
            Err(_) => {
                self.out.clear();
                self.break_off();
                Err(Disconnected)
            }
        }
    }

    /// Flushes until little is left, as long as the peer keeps the pace and the worker is not to stop.
    fn flush_most(&mut self) -> Result<(), Disconnected> {
        let mut deadline = crate::sys::now() + self.pace.patience;
        loop {
            let moved = self.flush()? as u64;
            if self.out.len() <= LITTLE {
                return Ok(());
            }
            let now = crate::sys::now();
            deadline = self.pace.put_off(deadline, moved, now);
            if now >= deadline {
                break;
            }
            if [Signal::Int, Signal::Quit].into_iter().any(signals::is_pending) {
                break;
            }
            // A signal that comes right before this is only heeded when the wait ends.
            let wait = deadline.since(now).min(LONGEST_WAIT);
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            // Whatever it says, the next attempt to send tells more.
            let _ = poll(&mut [PollFd::new(self.socket, PollFlags::POLLOUT)], timeout);
        }
        self.out.clear();
        self.break_off();
        Err(Disconnected)
    }

    fn encode(&mut self, response: &mut Response) -> Result<(), ResponseError> {
        let small = match &response.body {
            Body::Bytes(bytes) if bytes.len() <= COPIED => Some(bytes.as_ref()),
            _ => None,
        };
        let length = match small {
            Some(bytes) => Length::Known(bytes.len() as u64),
            None => response.body.len().map_or(Length::Unknown, Length::Known),
        };
        self.machine.respond(
            response.status,
            response.reason.as_deref().map(str::as_bytes),
            response.fields(),
            length,
            self.date,
            self.out,
        )?;
        let status = response.status;
        if let Some(bytes) = small
            && !self.logs_fields
        {
            self.machine.body(bytes, self.out);
            *self.outcome = Outcome::Finished(self.machine.finish(self.out), Summary { status, response: None });
            return Ok(());
        }
        let mut body = std::mem::take(&mut response.body);
        let response = self.logs_fields.then(|| Box::new(std::mem::take(response)));
        self.follow(&mut body, Summary { status, response });
        Ok(())
    }

    /// Puts the body, or what is left of it, behind the head.
    #[inline]
    fn follow(&mut self, body: &mut Body, summary: Summary) {
        // Not moved about, as it is large, and most have none.
        match body {
            Body::Empty => *self.outcome = Outcome::Finished(self.machine.finish(self.out), summary),
            body => self.follow_with(std::mem::take(body), summary),
        }
    }

    fn follow_with(&mut self, body: Body, summary: Summary) {
        let rest = match body {
            Body::Bytes(bytes) if bytes.len() <= COPIED => {
                self.machine.body(&bytes, self.out);
                Rest::None
            }
            Body::Empty => Rest::None,
            _ if !self.machine.sends_body() => Rest::None,
            Body::Bytes(bytes) => self.segments([Segment::Bytes(bytes)].into()),
            Body::Segments(segments) => self.segments(segments.into()),
            Body::Source(source) => Rest::Source(source, self.letterbox.waker(*self.ticket)),
        };
        *self.outcome = match rest {
            Rest::None => Outcome::Finished(self.machine.finish(self.out), summary),
            rest => Outcome::Streaming(Box::new(rest), summary),
        };
    }

    fn segments(&mut self, segments: VecDeque<Segment>) -> Rest {
        if !self.machine.frames_in_place() {
            return Rest::Source(Box::new(Copied(segments)), self.letterbox.waker(*self.ticket));
        }
        let allowed = self.machine.frame(segments.iter().map(Segment::len).sum(), self.out);
        Rest::Segments(segments, allowed)
    }
}

/// A field as the access log keeps it. A name that is no text cannot be sent, either.
fn kept_field((name, value): (&[u8], &[u8])) -> Option<(Cow<'static, str>, Cow<'static, [u8]>)> {
    Some((std::str::from_utf8(name).ok()?.to_owned().into(), value.to_owned().into()))
}

impl Exchange for Turn<'_> {
    fn send(&mut self, response: &mut Response) {
        if self.is_begun() {
            return self.break_off();
        }
        self.answer(response);
    }

    fn send_parts(&mut self, parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        if self.is_begun() {
            self.break_off();
            return Err(ResponseError::OutOfTurn);
        }
        self.answer_parts(parts)
    }

    fn begin(&mut self, parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        if self.is_begun() {
            self.break_off();
            return Err(ResponseError::OutOfTurn);
        }
        let summary = self.head(parts)?;
        *self.outcome = Outcome::Begun(summary);
        if let Some(note) = self.note {
            note.move_exit(&[], true);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Disconnected> {
        if !self.is_begun() {
            return Err(Disconnected);
        }
        self.machine.body(bytes, self.out);
        self.flush()?;
        Ok(self.out.len())
    }

    fn wait_for_room(&mut self) -> Result<(), Disconnected> {
        if !self.is_begun() {
            return Err(Disconnected);
        }
        // The application is not what takes long now.
        self.call.end();
        let waited = self.flush_most();
        self.call.begin(crate::sys::now_coarse());
        waited
    }

    fn finish(&mut self, first: &[u8], mut rest: Body) {
        if !first.is_empty() && self.is_begun() {
            self.machine.body(first, self.out);
        }
        match std::mem::replace(self.outcome, Outcome::Unanswered) {
            Outcome::Begun(summary) => self.follow(&mut rest, summary),
            // The peer has gone, or nothing was begun.
            other => *self.outcome = other,
        }
    }

    fn early_hints<'f>(&mut self, fields: &mut dyn Iterator<Item = (&'f [u8], &'f [u8])>) -> Result<(), ResponseError> {
        self.machine.interim(103, fields, self.out)?;
        // They are worth something only while the application is still at work. What the socket does not take follows.
        if let Ok(sent) = send(self.socket.as_raw_fd(), self.out, MsgFlags::MSG_NOSIGNAL) {
            self.out.drain(..sent.min(self.out.len()));
        }
        if let Some(note) = self.note {
            note.move_exit(self.out, false);
        }
        Ok(())
    }

    fn defer(&mut self) -> Deferred {
        let claim = Arc::default();
        let wanted = Arc::downgrade(&claim);
        if self.is_begun() {
            // Nobody waits for what comes later.
            self.break_off();
        } else {
            *self.outcome = Outcome::Deferred(claim);
        }
        Deferred { mailbox: Arc::clone(self.letterbox) as Arc<dyn Mailbox>, ticket: *self.ticket, wanted }
    }
}
