//! Connections that an engine gives to other workers, and those that it takes over from them.
//!
//! Nothing travels of which a part was given to the application or answered.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::connection::{Connection, Next, Watched};
use super::core::{Accepting, HANDED};
use super::engine::Engine;
use super::handover::{Handover, UNREAD};
use super::world::World;
use crate::scoreboard::Slot;

/// What became of an attempt.
enum Attempt {
    Gone,
    /// It cannot go, now or ever.
    Kept(Box<Connection>),
    /// The channel is full.
    Full(Box<Connection>),
}

impl Engine {
    /// Takes what siblings hand over.
    pub(super) fn enter_outlet(&self) -> io::Result<()> {
        let Some(handover) = &self.handover else { return Ok(()) };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        match self.epoll.add(handover.outlet(), EpollEvent::new(flags, HANDED)) {
            Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a connection away that is checked out.
    fn hand_over(&self, handover: &Handover, mut connection: Box<Connection>) -> Attempt {
        let Some(parcel) = connection.parcel(UNREAD) else { return Attempt::Kept(connection) };
        // First, or this worker would hear of it for as long as another has it.
        let watched = std::mem::replace(&mut connection.watched, Watched::Nothing);
        if watched != Watched::Nothing && self.epoll.delete(connection.as_fd()).is_err() {
            return Attempt::Kept(connection);
        }
        match handover.send(&parcel, connection.as_fd()) {
            Ok(()) => {
                self.forget(connection.key());
                Attempt::Gone
            }
            Err(nix::Error::EAGAIN) => Attempt::Full(connection),
            Err(error) => {
                log::debug!("A connection stays, as it cannot be handed over: {error}");
                Attempt::Kept(connection)
            }
        }
    }

    /// Relief: gives away what waits for an application thread. Whether the channel is full.
    pub(super) fn hand_over_held(&self, world: &mut World) -> bool {
        let Some(handover) = &self.handover else { return false };
        let count = self.core().held();
        if count == 0 || self.core().stops || !handover.has_siblings() {
            return false;
        }
        for _ in 0..count {
            let Some(connection) = self.core().next_held() else { break };
            match self.hand_over(handover, connection) {
                Attempt::Gone => {}
                Attempt::Kept(connection) => self.check_in(world, connection, Next::Hold),
                Attempt::Full(connection) => {
                    let key = connection.key();
                    self.check_in(world, connection, Next::Wait);
                    self.core().hold_first(key);
                    return true;
                }
            }
        }
        false
    }

    /// Draining: gives an idle connection away, or gives it back.
    pub(super) fn hand_over_idle(&self, connection: Box<Connection>) -> Option<Box<Connection>> {
        let Some(handover) = &self.handover else { return Some(connection) };
        if !connection.is_portable() {
            return Some(connection);
        }
        match self.hand_over(handover, connection) {
            Attempt::Gone => None,
            Attempt::Kept(connection) | Attempt::Full(connection) => Some(connection),
        }
    }

    /// Gives one of several connections with something to do to a sibling that has nothing to do and fewer of them. Looked at
    /// once in a tick of the coarse clock; not by a worker that drains, as its siblings may do so, too, and its connections
    /// end soon.
    pub(super) fn balance(&self, world: &mut World) {
        let Some(handover) = &self.handover else { return };
        if world.draining || !handover.is_balance_due(world.now) {
            return;
        }
        let own = self.core().serving();
        let fewest = handover.siblings().filter_map(Slot::idle_connections).min();
        if fewest.is_none_or(|fewest| fewest.saturating_add(1) >= own) {
            return;
        }
        let Some(connection) = self.core().last_idle() else { return };
        match self.hand_over(handover, connection) {
            Attempt::Gone => {}
            Attempt::Kept(connection) | Attempt::Full(connection) => {
                self.check_in(world, connection, Next::Again);
            }
        }
    }

    /// Takes one connection from a sibling, if there is one, and serves it.
    pub(super) fn take_over(&self, world: &mut World) -> bool {
        let Some(handover) = &self.handover else { return false };
        // The place is there before the connection is: a worker that drains on another thread waits for it.
        let key = self.core().insert();
        let (parcel, socket) = match handover.take() {
            Ok(Some(taken)) => taken,
            none => {
                self.forget(key);
                if let Err(error) = none {
                    self.starve(world, &error);
                }
                return false;
            }
        };
        let known = world.locals.iter().find(|local| ***local == parcel.local).cloned();
        // Settings have changed since it was accepted.
        let local = known.unwrap_or_else(|| Arc::new(parcel.local.clone()));
        let mut connection = Box::new(Connection::taken_over(socket, parcel, local, key, world));
        let next = connection.drive(world);
        self.check_in(world, connection, next);
        self.stay_below_limit(world);
        true
    }

    /// Whether a draining worker may go: it has no connections, and nobody waits for it in the channel.
    pub(crate) fn is_finished(&self, world: &mut World) -> bool {
        let (idle, stops) = {
            let core = self.core();
            (core.count() == 0 && core.asked.is_none() && core.accepting == Accepting::Ended, core.stops)
        };
        if !idle || !stops {
            return idle;
        }
        while self.take_over(world) {}
        let core = self.core();
        let work = core.has_work();
        let idle = core.count() == 0;
        drop(core);
        if work {
            self.ring();
        }
        idle
    }
}
