//! All that the connections of one application thread share.

use std::sync::Arc;

use super::buffers::Buffers;
use super::date::Date;
use super::flusher::Flusher;
use super::mailbox::Letterbox;
use super::policy::Policy;
use super::queue::TurnedAway;
use crate::app::{Address, Application};
use crate::clock::Moment;
use crate::logging::access::AccessLog;
use crate::protocol::Head;
use crate::scoreboard::Slot;

/// The application and what serving it takes. Connections are driven with it one at a time.
pub(crate) struct World {
    pub(crate) application: Box<dyn Application>,
    pub(crate) policy: Policy,
    /// Addresses of the listeners, by their index.
    pub(crate) locals: Vec<Address>,
    pub(crate) slot: &'static Slot,
    pub(crate) access: Option<AccessLog>,
    pub(crate) letterbox: Arc<Letterbox>,
    /// Every response says `Connection: close`, and idle connections end soon.
    pub(crate) draining: bool,
    /// The server is about to stop.
    pub(crate) leaving: bool,
    /// As of the last wait.
    pub(crate) now: Moment,
    /// As of the wait before.
    pub(crate) earlier: Moment,
    /// Requests that had waited too long.
    pub(crate) turned_away: TurnedAway,
    pub(crate) date: Date,
    /// The head of the request being read; lent to [`super::intake::Intake`] when a body follows.
    pub(crate) head: Head,
    /// Responses that are collected to leave in one write. Empty between connections.
    pub(crate) out: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) buffers: Buffers,
    pub(crate) flusher: Flusher,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Numbers the requests.
    pub(crate) serial: u64,
}

impl World {
    pub(crate) fn new(
        application: Box<dyn Application>,
        policy: Policy,
        locals: Vec<Address>,
        slot: &'static Slot,
        access: Option<AccessLog>,
        letterbox: Arc<Letterbox>,
    ) -> Self {
        Self {
            application,
            policy,
            locals,
            slot,
            access,
            letterbox,
            draining: false,
            leaving: false,
            now: crate::sys::now(),
            earlier: crate::sys::now(),
            turned_away: TurnedAway::default(),
            date: Date::default(),
            head: Head::default(),
            out: Vec::with_capacity(16 * 1024),
            scratch: Vec::new(),
            buffers: Buffers::default(),
            flusher: Flusher::default(),
            requests: 0,
            serial: 0,
        }
    }

    /// Reads the clocks; called after each wait.
    pub(crate) fn tick(&mut self) {
        self.earlier = self.now;
        self.now = crate::sys::now_coarse();
        self.date.at(crate::sys::unix_time_coarse());
    }
}
