//! A body that the application takes while it arrives.
//!
//! The request is answered meanwhile, so its connection is `Waiting` or `Sending`; what is received goes to the
//! application until it has enough, and then stays in the socket until it has taken some.

use super::answering::address_of;
use super::{Connection, Event, Next, Request, RequestBody, Sent, Served, Stage, gateway};
use crate::app::BodyFault;
use crate::app::streamed::{BodyFeed, streamed};
use crate::clock::Moment;
use crate::protocol::Reuse;
use crate::protocol::http1::Error;
use crate::worker::buffers::Filled;
use crate::worker::exchange;
use crate::worker::world::World;

/// Reads of the socket before others have their turn.
const READS: usize = 16;

/// Where the rest of a body goes.
#[derive(Debug)]
pub(super) struct Inflow {
    feed: BodyFeed,
    /// When the client has been too slow; not while the application is what is waited for.
    deadline: Option<Moment>,
    /// The client waits for `100 Continue`, which is sent when the application asks for the body.
    expects_continue: bool,
}

impl Inflow {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    pub(super) fn is_late(&self, now: Moment) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl Connection {
    /// Whether the application wants the body that is arriving as a stream. It is asked once.
    pub(super) fn is_to_stream(&mut self, world: &World) -> bool {
        let Some(intake) = self.intake.as_deref_mut().filter(|_| world.calls) else { return false };
        if !intake.is_to_be_offered() {
            return false;
        }
        if self.machine.is_gateway() {
            self.peer = gateway::client(&intake.head, || address_of(&self.socket), &world.policy);
        }
        let request = Request::new(&intake.head, &RequestBody::Empty, &self.peer, &self.local);
        exchange::asks_for_stream(world.application.as_ref(), &request)
    }

    /// Calls the application, which takes the rest of the body from a stream.
    pub(super) fn begin_stream(&mut self, world: &mut World) -> Served {
        let Some(intake) = self.intake.take() else { return Served::Some };
        let (head, received) = intake.into_stream();
        let (feed, body) = streamed(head.content_length());
        feed.push(&received);
        let expects_continue = head.expects_continue() && received.is_empty();
        world.head = head;
        self.inflow = Some(Box::new(Inflow { feed, deadline: self.deadline.take(), expects_continue }));
        self.call(world, &RequestBody::Stream(body));
        if self.closing.is_some() {
            self.inflow = None;
        }
        if self.inflow.is_some() { self.feed(world) } else { Served::Some }
    }

    /// Gives the application what has arrived and what can be received, as far as it has room.
    pub(super) fn feed(&mut self, world: &mut World) -> Served {
        for _ in 0..READS {
            let Some(inflow) = self.inflow.as_deref_mut() else { return Served::Nothing };
            let (letterbox, ticket) = (&world.letterbox, self.ticket);
            let waker = || letterbox.waker(ticket);
            if inflow.expects_continue && inflow.feed.is_asked(waker) {
                inflow.expects_continue = false;
                self.machine.continue_body(&mut world.out);
            }
            while let Some(input) = self.input.as_deref_mut() {
                if !inflow.feed.has_room(waker) {
                    inflow.deadline = None;
                    return Served::Nothing;
                }
                let limits = &world.policy.limits;
                let progress = match self.machine.next_event(input.unread(), limits, &mut world.head) {
                    Ok(progress) => progress,
                    Err(error) => return self.break_stream(world, error),
                };
                match progress.event {
                    Event::NeedMore => {
                        input.consume(progress.consumed);
                        break;
                    }
                    Event::Body { start, end } => {
                        let bytes = input.unread().get(start..end).unwrap_or_default();
                        inflow.feed.push(bytes);
                        inflow.expects_continue = false;
                        let pace = world.policy.body;
                        let deadline = inflow.deadline.unwrap_or(world.now + pace.patience);
                        inflow.deadline = Some(pace.put_off(deadline, bytes.len() as u64, world.now));
                        input.consume(progress.consumed);
                    }
                    Event::End => {
                        input.consume(progress.consumed);
                        inflow.feed.end(Ok(()));
                        self.inflow = None;
                        return Served::Nothing;
                    }
                    Event::Reply => {
                        input.consume(progress.consumed);
                        if self.machine.reply(world.policy.gateway_connections, &mut world.out) == Reuse::Close {
                            return Served::Drop;
                        }
                    }
                    // Given up by a web server in the middle: the answer may have begun, so the connection is of no use.
                    Event::Aborted | Event::Request => return Served::Drop,
                }
            }
            if !self.readable {
                inflow.deadline = if inflow.expects_continue {
                    None
                } else {
                    inflow.deadline.or(Some(world.now + world.policy.body.patience))
                };
                if let Some(input) = self.input.take_if(|input| input.is_empty()) {
                    world.buffers.take_back(input);
                }
                return Served::Nothing;
            }
            match self.receive(world) {
                Ok(Filled::More | Filled::Drained | Filled::WouldBlock) => {}
                Ok(Filled::Eof) if self.output.is_some() => {
                    // The application learns of it, and may still have something to say.
                    self.inflow = None;
                    return Served::Nothing;
                }
                Ok(Filled::Eof) | Err(_) => return Served::Drop,
            }
        }
        // There is more, and nothing else would wake it.
        world.letterbox.waker(self.ticket).wake();
        Served::Nothing
    }

    /// The rest of the body will not come. The client is told why, unless the answer has begun.
    fn break_stream(&mut self, world: &mut World, error: Error) -> Served {
        if let Some(inflow) = self.inflow.take() {
            inflow.feed.end(Err(match error.status() {
                413 => BodyFault::TooLarge,
                408 => BodyFault::TooSlow,
                _ => BodyFault::Malformed,
            }));
        }
        if self.stage != Stage::Waiting {
            return Served::Nothing;
        }
        // What the application answers now comes too late.
        self.log = None;
        self.refuse(world, error);
        self.stage = Stage::Body;
        Served::Some
    }

    /// The client is too slow, or there is no room for one that is.
    pub(super) fn time_out_stream(&mut self, world: &mut World) -> Next {
        let served = self.break_stream(world, Error::BodyTimeout);
        match self.send(world, served) {
            Sent::Stop(next) => next,
            Sent::GoOn => Next::Again,
        }
    }
}
