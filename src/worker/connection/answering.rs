//! From a complete request to an answer, by the application or in its place.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{Connection, Ending, Logged, Stage};
use crate::app::reply::Ticket;
use crate::app::{Address, Request, RequestBody, Response};
use crate::clock::Moment;
use crate::logging::access::{Entry, SharedAccessLog};
use crate::protocol::Reuse;
use crate::worker::exchange::{Outcome, Summary, Turn};
use crate::worker::gateway;
use crate::worker::output::Output;
use crate::worker::queue;
use crate::worker::refusal::Refusal;
use crate::worker::world::World;

/// How often one request may be redirected before it is answered.
const REDIRECTS: u8 = 10;

/// A [`Turn`] of a connection in a world. It is no function, for it lends out only the parts of both that it names: the
/// application and the head of the request are lent to the call beside it.
macro_rules! turn {
    ($connection:ident, $world:ident, $outcome:ident) => {
        Turn {
            machine: &mut $connection.machine,
            out: &mut $world.out,
            date: $world.date.text(),
            letterbox: &$world.letterbox,
            after: &mut $world.after,
            ticket: &$connection.ticket,
            logs_fields: $world.access.as_ref().is_some_and(SharedAccessLog::uses_response),
            lead: &$world.lead,
            socket: $connection.socket.as_fd(),
            call: $world.call,
            note: $world.note.as_deref(),
            pace: $world.policy.send,
            outcome: &mut $outcome,
        }
    };
}

impl Connection {
    /// Answers a request that has arrived whole. Returns whether the next one may be parsed at once.
    pub(super) fn answer(&mut self, world: &mut World) -> bool {
        let (body, _share) = match self.intake.take() {
            Some(intake) => {
                let (head, body, share) = intake.finish();
                world.head = head;
                (body, share)
            }
            None => (RequestBody::Empty, None),
        };
        self.call(world, &body)
    }

    /// Answers the request whose head is the world's. Returns whether the next one may be parsed at once.
    #[inline]
    pub(super) fn call(&mut self, world: &mut World, body: &RequestBody) -> bool {
        world.serial += 1;
        self.ticket.serial = world.serial;
        world.head.number = world.serial;
        self.requests += 1;
        let last = world.policy.requests > 0 && u64::from(self.requests) >= world.policy.requests;
        if world.draining || last || world.policy.keepalive.is_zero() {
            self.machine.close_after_response();
        }
        if self.machine.is_gateway() {
            self.peer = gateway::client(&world.head, || address_of(&self.socket), &world.policy);
        }
        if self.peer.trusted && !self.forwarded(world) {
            return false;
        }
        let began = if world.access.is_some() { crate::sys::now() } else { Moment::default() };
        let start = crate::sys::now_coarse();
        self.waited = queue::waited(self.socket.as_fd(), world.earlier, world.now, start);
        if self.held != Moment::default() {
            self.waited = self.waited.max(start.since(std::mem::take(&mut self.held)));
        }
        if let Some(goes_on) = self.turn_away(world, began) {
            return goes_on;
        }
        world.begin_call(start);
        world.open_exit(self.socket.as_raw_fd(), &self.machine);
        let local = &*self.local;
        let mut outcome = Outcome::Unanswered;
        let mut turn = turn!(self, world, outcome);
        let request = Request::new(&world.head, body, &self.peer, local).after(self.waited);
        turn.call(world.application.as_mut(), &request);
        world.end_call();
        if world.close_exit() {
            return self.discard(world, began);
        }
        self.take_outcome(world, &mut outcome, began)
    }

    /// Believes what a trusted peer says of its client; answers by itself if that contradicts itself.
    pub(super) fn forwarded(&mut self, world: &mut World) -> bool {
        match world.policy.secure_schemes.is_secure(&world.head) {
            Ok(secure) => {
                self.peer.secure = secure || (self.machine.is_gateway() && world.head.is_secure());
                true
            }
            Err(error) => {
                self.refuse(world, error);
                false
            }
        }
    }

    /// Files away what a call came to; the request's head is the world's. Returns whether the next request may be parsed at
    /// once.
    #[inline]
    pub(super) fn take_outcome(&mut self, world: &mut World, outcome: &mut Outcome, began: Moment) -> bool {
        if let Outcome::Finished(reuse, summary) = outcome {
            self.account(world, began, summary);
            return self.finished(world, *reuse);
        }
        self.take_unfinished(world, std::mem::replace(outcome, Outcome::Unanswered), began);
        false
    }

    /// The client was answered in the place of the call, which comes too late.
    #[cold]
    pub(super) fn discard(&mut self, world: &mut World, began: Moment) -> bool {
        world.out.clear();
        self.account(world, began, &Summary { status: 504, response: None });
        self.stage = Stage::Idle;
        self.closing = Some(Ending::Staged);
        false
    }

    pub(super) fn take_unfinished(&mut self, world: &mut World, outcome: Outcome, began: Moment) {
        let head = std::mem::take(&mut world.head);
        let (summary, claim) = match outcome {
            Outcome::Streaming(rest, summary) => {
                let body = std::mem::take(&mut world.out);
                self.output = Some(Box::new(Output::new(body, 0, *rest)));
                self.stage = Stage::Sending;
                self.begin_sending(world);
                (Some(summary), None)
            }
            outcome => {
                self.stage = Stage::Waiting;
                // What a client takes to send its body is not the application's time.
                let limit = world.policy.request_timeout.filter(|_| self.inflow.is_none());
                self.deadline = limit.map(|limit| world.now + limit);
                match outcome {
                    Outcome::Deferred(claim) => (None, Some(claim)),
                    _ => (None, None),
                }
            }
        };
        self.log = Some(Box::new(Logged { head, began, summary, redirects: 0, claim }));
    }

    pub(super) fn finished(&mut self, world: &World, reuse: Reuse) -> bool {
        self.stage = Stage::Idle;
        if reuse == Reuse::Close {
            // What is left of a body that streams in is read and dropped.
            let staged = self.inflow.take().is_some() || world.head.keep_alive;
            self.closing = Some(if staged { Ending::Staged } else { Ending::Agreed });
        }
        self.closing.is_none()
    }

    /// Counts and logs an answered request, whose head is the world's.
    #[inline]
    pub(super) fn account(&mut self, world: &mut World, began: Moment, summary: &Summary) {
        self.record(world, began, summary, self.machine.sent());
    }

    /// Counts and logs a response that was begun and does not come to its end, as the connection is to be closed.
    #[cold]
    pub(crate) fn break_off(&mut self, world: &mut World) {
        let Some(log) = self.log.take() else { return };
        let Logged { head, began, summary: Some(summary), .. } = *log else { return };
        let unsent = self.output.as_ref().map_or(0, |output| output.unsent());
        world.head = head;
        self.record(world, began, &summary, self.machine.sent().saturating_sub(unsent));
    }

    #[inline]
    fn record(&mut self, world: &mut World, began: Moment, summary: &Summary, sent: u64) {
        world.requests += 1;
        if let Some(access) = &mut world.access {
            access.line(&Entry {
                head: &world.head,
                peer: &self.peer.address,
                status: summary.status,
                sent: Some(sent),
                duration: crate::sys::now().since(began),
                queued: &|| crate::app::queue_time(&world.head, &self.peer, self.waited),
                response_field: &|name| {
                    let mut fields = summary.response.as_ref()?.fields();
                    fields.find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
                },
            });
        }
    }

    /// The answer that was deferred has come.
    pub(crate) fn answer_later(&mut self, world: &mut World, ticket: Ticket, mut response: Response) {
        if self.stage != Stage::Waiting || ticket != self.ticket {
            return;
        }
        let Some(log) = self.log.take() else { return };
        if world.draining {
            self.machine.close_after_response();
        }
        let log = *log;
        world.head = log.head;
        self.answer_with(world, &mut response, log.began);
    }

    /// Answers without the application the request whose head is the world's. Returns whether the next one may be parsed.
    pub(super) fn answer_with(&mut self, world: &mut World, response: &mut Response, began: Moment) -> bool {
        let mut outcome = Outcome::Unanswered;
        let mut turn = turn!(self, world, outcome);
        turn.answer(response);
        self.take_outcome(world, &mut outcome, began)
    }

    /// The application, which had deferred its answer, wants to be called for another target of this server instead.
    pub(crate) fn go_elsewhere(&mut self, world: &mut World, ticket: Ticket, target: &str) {
        if self.stage != Stage::Waiting || ticket != self.ticket {
            return;
        }
        let Some(log) = &self.log else { return };
        let redirects = log.redirects + 1;
        let head = log.head.redirected(target);
        let (Some(head), false) = (head, redirects > REDIRECTS) else {
            log::error!("Error handling request {}: it cannot be redirected to {target:?}", log.head.target());
            return self.answer_later(world, ticket, Response::error(502));
        };
        let Some(log) = self.log.take() else { return };
        world.begin_call(crate::sys::now_coarse());
        if let Some(note) = &world.note {
            note.write(ticket.serial, &head);
        }
        world.open_exit(self.socket.as_raw_fd(), &self.machine);
        let local = &*self.local;
        let mut outcome = Outcome::Unanswered;
        let mut turn = turn!(self, world, outcome);
        turn.call(world.application.as_mut(), &Request::new(&head, &RequestBody::Empty, &self.peer, local));
        world.end_call();
        // The access log shows what the client has asked for.
        world.head = log.head;
        if world.close_exit() {
            self.discard(world, log.began);
            return;
        }
        self.take_outcome(world, &mut outcome, log.began);
        if let Some(log) = &mut self.log {
            log.redirects = redirects;
        }
    }

    /// Answers a request that breaks the rules, and stops listening to its sender.
    pub(super) fn refuse(&mut self, world: &mut World, refusal: impl Into<Refusal>) {
        let refusal = refusal.into();
        refusal.log(&self.peer.address);
        self.machine.refuse_with(refusal.status, &refusal.text, Some(world.date.text()), &mut world.out);
        (self.intake, self.inflow) = (None, None);
        self.closing = Some(Ending::Staged);
        world.requests += 1;
    }
}

/// The address at the other end of a socket.
pub(super) fn address_of(socket: &OwnedFd) -> Address {
    match crate::sys::peer_address(socket.as_fd()) {
        Some(address) => Address::Ip(address),
        None => Address::Unix(None),
    }
}
