//! Requests that are answered without the application: those that have waited for their turn too long, and those that ask
//! whether the server is ready.

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};

use super::{Connection, Ending, Served, Stage, Summary};
use crate::app::{self, Response};
use crate::clock::Moment;
use crate::worker::queue::PERHAPS_GONE;
use crate::worker::world::World;

/// The status with which nginx logs requests whose clients have gone. Nobody is sent it.
const CLIENT_GONE: u16 = 499;

/// Bytes that are read behind a request that waits for its answer, to see whether it is aborted.
const AHEAD: usize = 4 * 1024;

/// What clients are asked to wait that were turned away.
const RETRY_AFTER: &str = "1";

impl Connection {
    /// Whether the request is for the server itself: no application thread is needed to answer it.
    pub(super) fn asks_whether_ready(&self, world: &World) -> bool {
        let head = self.intake.as_deref().map_or(&world.head, |intake| &intake.head);
        world.policy.ready_path.as_deref().is_some_and(|path| path == head.path())
    }

    /// Looks whether the request that has arrived whole, and has waited for its turn for `self.waited`, is still to be
    /// served. If not, it is dealt with, and returned is whether the next one may be parsed at once.
    pub(super) fn turn_away(&mut self, world: &mut World, began: Moment) -> Option<bool> {
        if self.asks_whether_ready(world) {
            let response = if world.leaving || world.draining {
                Response::text("stopping\n").with_status(503)
            } else {
                Response::text("ready\n")
            };
            return Some(self.answer_with(world, &mut response.with_field("Cache-Control", "no-store"), began));
        }
        let limit = world.policy.queue_timeout;
        if limit.is_none() && self.waited < PERHAPS_GONE {
            return None;
        }
        if self.waited >= PERHAPS_GONE && self.is_abandoned() {
            log::debug!("{} has gone after {:?} in the queue", self.peer.address, self.waited);
            self.account(world, began, &Summary { status: CLIENT_GONE, response: None });
            self.closing = Some(Ending::Agreed);
            return Some(false);
        }
        let queued = app::queue_time(&world.head, &self.peer, self.waited);
        let limit = limit.filter(|limit| queued > *limit)?;
        if let Some(count) = world.turned_away.note(world.now) {
            log::warn!(
                "Requests wait for longer than queue_timeout ({limit:?}): {count} answered with 503 since this was last said"
            );
        }
        let mut response = Response::error(503).with_field("Retry-After", RETRY_AFTER);
        Some(self.answer_with(world, &mut response, began))
    }

    /// Looks whether a web server has taken back the request that waits for its answer (`FCGI_ABORT_REQUEST`). It is answered
    /// then, with what nobody reads, and the application can see that nobody wants more.
    pub(super) fn look_for_abort(&mut self, world: &mut World) -> Served {
        if self.stage != Stage::Waiting || !self.readable || !self.machine.knows_aborts() {
            return Served::Nothing;
        }
        let has_room = self.input.as_ref().is_none_or(|input| input.unread().len() < AHEAD);
        if has_room && self.receive(world).is_err() {
            self.read_closed = true;
        }
        if !self.input.as_ref().is_some_and(|input| self.machine.is_aborted(input.unread())) {
            self.give_input_back(world);
            return Served::Nothing;
        }
        self.answer_later(world, self.ticket, Response::new(CLIENT_GONE));
        Served::Some
    }

    /// Whether the peer has closed its side. A client that only says early that it sends nothing more cannot be told from
    /// one that has given up; but it says so with its request, and is nearly never met, while of those who have waited for
    /// a second or more, most that have closed are gone.
    fn is_abandoned(&self) -> bool {
        if self.read_closed {
            return true;
        }
        let mut byte = [0];
        match recv(self.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(count) => count == 0,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => false,
            Err(_) => true,
        }
    }
}
