//! How long a connection may stay as it is, and how it ends.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

use super::{Connection, Ending, Next, Refusal, Sent, Served, Stage};
use crate::app::Response;
use crate::clock::Moment;
use crate::protocol::http1::Error;
use crate::sys;
use crate::worker::buffers::Filled;
use crate::worker::policy::Policy;
use crate::worker::world::World;

/// How long the peer is given to close its side after we have closed ours (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are read and dropped meanwhile.
const LINGER_BYTES: u64 = 1 << 20;

/// When a response that has met a full socket is looked at first.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// How long a head may take when its connection is needed for others.
const PRESSED: Duration = Duration::from_secs(1);

/// How long a connection that was served is in use, as far as can be guessed: its client may just be about to ask again.
const RESTING: Duration = Duration::from_secs(5);

/// How far a body or a response may be behind its minimum rate then.
const PRESSED_BEHIND: Duration = Duration::from_secs(5);

/// Why a connection is one of the first to go when there are too many, the best reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Burden {
    /// It has been served, and has been idle for a while.
    Idle,
    /// It has not come to a request yet, and could have.
    Unfinished,
    /// What it sends or takes is behind the minimum rate.
    Slow,
    /// It has been served just now.
    Resting,
}

impl Connection {
    /// Whether a draining worker may end it soon.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Proxy) && self.input.is_none()
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.requests == 0 && self.is_idle() && self.closing.is_none() && !self.read_closed
    }

    /// Whether our side is closed and only the peer's is not.
    pub(crate) fn is_lingering(&self) -> bool {
        self.stage == Stage::Lingering
    }

    /// Whether it may be ended to make room, why, and since when or until when that is so: the earliest first.
    pub(crate) fn burden(&mut self, policy: &Policy, now: Moment) -> Option<(Burden, Moment)> {
        if let Some(deadline) = self.inflow.as_ref().and_then(|inflow| inflow.deadline())
            && policy.body.arrears(deadline, now) > PRESSED_BEHIND
        {
            return Some((Burden::Slow, deadline));
        }
        let deadline = self.deadline?;
        match self.stage {
            Stage::Lingering | Stage::Waiting | Stage::Complete => None,
            _ if self.output.is_some() || self.stage == Stage::Sending => {
                self.taken?;
                let deadline = self.credit_taken(policy, deadline, now);
                (policy.send.arrears(deadline, now) > PRESSED_BEHIND).then_some((Burden::Slow, deadline))
            }
            Stage::Body => (policy.body.arrears(deadline, now) > PRESSED_BEHIND).then_some((Burden::Slow, deadline)),
            _ if self.is_idle() && self.requests > 0 => {
                let resting = (now + policy.keepalive).since(deadline) < RESTING;
                Some((if resting { Burden::Resting } else { Burden::Idle }, deadline))
            }
            _ => (now.since(self.since) > PRESSED).then_some((Burden::Unfinished, self.since)),
        }
    }

    /// The worker has begun to drain: an idle connection gets the grace period.
    pub(crate) fn begin_drain(&mut self, deadline: Moment) {
        if self.is_idle() {
            self.deadline = Some(deadline);
        }
    }

    pub(super) fn begin_sending(&mut self, world: &World) {
        (self.moved, self.taken) = (0, None);
        self.deadline = Some(world.now + world.policy.send.patience);
    }

    /// Waits for the next request, or for the rest of its head.
    pub(super) fn begin_idle(&mut self, world: &World) {
        if self.input.is_some() {
            self.stage = Stage::Head;
            self.since = world.now;
            self.deadline = Some(world.now + world.policy.head.patience);
        } else if self.requests > 0 {
            self.deadline = Some(world.now + idle_time(world));
        }
    }

    /// Everything is sent that ever will be.
    pub(super) fn end(&mut self, world: &mut World, ending: Ending) -> Next {
        let unread = self.input.as_ref().is_some_and(|input| !input.is_empty());
        if let Some(input) = self.input.take() {
            world.buffers.take_back(input);
        }
        if self.read_closed || (ending == Ending::Agreed && !unread) {
            return Next::Close;
        }
        if shutdown(self.socket.as_raw_fd(), Shutdown::Write).is_err() {
            return Next::Close;
        }
        self.stage = Stage::Lingering;
        self.deadline = Some(world.now + LINGER);
        self.moved = 0;
        self.linger(world)
    }

    /// Reads and drops until the peer has closed its side.
    pub(super) fn linger(&mut self, world: &mut World) -> Next {
        let mut buffer = world.buffers.lend();
        let next = loop {
            buffer.clear();
            match buffer.fill(self.socket.as_fd()) {
                Ok(Filled::More | Filled::Drained) => {
                    self.moved += buffer.unread().len() as u64;
                    if self.moved > LINGER_BYTES {
                        break Next::Close;
                    }
                }
                Ok(Filled::WouldBlock) => break Next::Wait,
                Ok(Filled::Eof) | Err(_) => break Next::Close,
            }
        };
        world.buffers.take_back(buffer);
        next
    }

    /// The deadline has passed.
    pub(crate) fn expire(&mut self, world: &mut World) -> Next {
        if self.inflow.as_ref().is_some_and(|inflow| inflow.is_late(world.now)) {
            return self.time_out_stream(world);
        }
        match self.stage {
            Stage::Lingering => Next::Close,
            Stage::Waiting if self.deadline.is_some() => self.answer_instead(world),
            Stage::Waiting | Stage::Complete => {
                self.deadline = None;
                Next::Wait
            }
            _ if self.output.is_some() => self.check_taken(world),
            Stage::Sending => self.check_taken(world),
            Stage::Head => {
                // What has come of it buys time up to a limit: a large head on a slow line is no attack.
                let bytes = self.input.as_ref().map_or(0, |input| input.unread().len() as u64);
                let allowed = world.policy.head.allowed(self.since, bytes, world.policy.head_longest);
                if allowed <= world.now {
                    return self.time_out(world, Error::HeadTimeout);
                }
                self.deadline = Some(allowed);
                Next::Wait
            }
            Stage::Body => self.time_out(world, Error::BodyTimeout),
            Stage::Idle | Stage::Proxy => self.end_idle(world),
        }
    }

    /// The application, which had deferred its answer, has not given it within `request_timeout`. What it says later finds
    /// nobody.
    fn answer_instead(&mut self, world: &mut World) -> Next {
        if let (Some(log), Some(limit)) = (&self.log, world.policy.request_timeout) {
            let (method, target) = (log.head.method(), log.head.target());
            log::error!("Request {method} {target} was not answered within request_timeout ({limit:?}): 504");
        }
        self.deadline = None;
        self.answer_later(world, self.ticket, Response::error(504));
        self.drive(world)
    }

    /// It has to make room for others.
    pub(crate) fn give_way(&mut self, world: &mut World) -> Next {
        if self.stage == Stage::Waiting {
            return if self.inflow.is_some() { self.time_out_stream(world) } else { Next::Wait };
        }
        let unfinished = match self.stage {
            Stage::Head => Error::HeadTimeout,
            Stage::Body => Error::BodyTimeout,
            Stage::Idle | Stage::Proxy if self.output.is_none() => return self.end_idle(world),
            _ => return self.abandon(),
        };
        if self.output.is_some() {
            return self.abandon();
        }
        let stage = self.stage;
        let next = self.look_once_more(world);
        let waits = matches!(next, Next::Wait | Next::Offer);
        if waits && self.stage == stage { self.time_out(world, unfinished) } else { next }
    }

    /// Ends it if it is idle: a request may be there that nobody has told us of yet.
    fn end_idle(&mut self, world: &mut World) -> Next {
        let next = self.look_once_more(world);
        match self.stage {
            // A PROXY header that does not come to an end.
            Stage::Proxy if next == Next::Wait => Next::Close,
            _ if next == Next::Wait && self.is_idle() => self.end(world, Ending::Staged),
            _ => next,
        }
    }

    /// Reads without having been told that there is something.
    pub(crate) fn look_once_more(&mut self, world: &mut World) -> Next {
        self.readable = true;
        self.drive(world)
    }

    /// Puts the deadline off by what the peer has taken of the response since this was last asked, and returns it. What
    /// the socket holds back is not taken: a peer may read at its own pace for minutes before there is room for more.
    fn credit_taken(&mut self, policy: &Policy, deadline: Moment, now: Moment) -> Moment {
        let taken = self.taken_now();
        // Bytes of earlier responses are in the socket, too: only how it changes says something.
        let deadline = match self.taken {
            Some(before) => {
                let more = u64::try_from(taken.saturating_sub(before)).unwrap_or(0);
                policy.send.put_off(deadline, more, now)
            }
            None => deadline + (policy.send.patience - FIRST_LOOK.min(policy.send.patience / 2)),
        };
        self.taken = Some(taken);
        self.deadline = Some(deadline);
        deadline
    }

    fn taken_now(&self) -> i64 {
        self.moved.cast_signed().saturating_sub(sys::unsent(self.socket.as_fd()).cast_signed())
    }

    /// The socket has no room: it is the peer's turn.
    pub(super) fn begin_blocked(&mut self, world: &World) {
        self.blocked = true;
        let patience = world.policy.send.patience;
        if self.taken.is_none() {
            // What fits into its kernel's buffers will be taken at once, and is no merit of the peer's.
            self.deadline = Some(world.now + FIRST_LOOK.min(patience / 2));
        } else {
            // A source that had nothing to give was no fault of the peer's.
            self.deadline.get_or_insert(world.now + patience);
        }
    }

    fn check_taken(&mut self, world: &World) -> Next {
        let Some(deadline) = self.deadline else { return Next::Wait };
        if self.credit_taken(&world.policy, deadline, world.now) > world.now {
            return Next::Wait;
        }
        log::debug!("Closing {}: the response is not being read", self.peer.address);
        self.abandon()
    }

    /// Closes it without another word: what the socket still holds for a peer that does not read would stay in the kernel's
    /// memory for many minutes.
    fn abandon(&self) -> Next {
        let _ = setsockopt(&self.socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
        Next::Close
    }

    fn time_out(&mut self, world: &mut World, error: Error) -> Next {
        self.refuse(world, Refusal::from(error));
        match self.send(world, Served::Some) {
            Sent::Stop(next) => next,
            Sent::GoOn => Next::Close,
        }
    }
}

/// How long a connection may stay silent between two requests.
fn idle_time(world: &World) -> Duration {
    if world.draining { world.policy.grace } else { world.policy.keepalive }
}

/// When a connection that has just been accepted must have said something. Proxies open connections ahead, and must not
/// find one closed when they use it.
pub(super) fn first_byte_by(world: &World, proxy: bool) -> Moment {
    let patience = world.policy.first_byte;
    world.now + if proxy { idle_time(world).max(patience) } else { patience }
}
