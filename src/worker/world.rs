//! All that the connections that one thread drives share.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use super::attempts::Attempts;
use super::buffers::Buffers;
use super::burst::Burst;
use super::date::Date;
use super::flusher::Flusher;
use super::lead::{Lead, SAMPLED};
use super::mailbox::Letterbox;
use super::output::Spare;
use super::policy::Policy;
use super::queue::TurnedAway;
use super::watchdog::Note;
use crate::app::{Address, Application, Reply, Request, call};
use crate::clock::Moment;
use crate::logging::access::SharedAccessLog;
use crate::protocol::{Head, Machine};
use crate::scheduling::Scheduling;
use crate::scoreboard::{Call, MAX_THREADS, Slot};

/// What all threads of a worker have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) policy: Policy,
    /// Addresses of the listeners, by their index.
    pub(crate) locals: Vec<Arc<Address>>,
    pub(crate) slot: &'static Slot,
    pub(crate) access: Option<SharedAccessLog>,
    pub(crate) letterbox: Arc<Letterbox>,
    pub(crate) lead: Arc<Lead>,
    /// Wakes the relief thread, if there is one.
    pub(crate) alarm: Option<Arc<Alarm>>,
    /// Application threads.
    pub(crate) threads: usize,
}

/// The application and what serving it takes. Connections are driven with it one at a time.
pub(crate) struct World {
    pub(crate) application: Box<dyn Application>,
    /// Whether the application may be called; the relief thread's is not.
    pub(crate) calls: bool,
    /// The number of the application thread.
    pub(crate) thread: usize,
    pub(crate) policy: Policy,
    /// Addresses of the listeners, by their index.
    pub(crate) locals: Vec<Arc<Address>>,
    pub(crate) slot: &'static Slot,
    pub(crate) call: &'static Call,
    pub(crate) access: Option<SharedAccessLog>,
    pub(crate) letterbox: Arc<Letterbox>,
    pub(crate) lead: Arc<Lead>,
    alarm: Option<Arc<Alarm>>,
    /// There are other application threads.
    shared: bool,
    /// The application was left idle at that time last, and there was much to do then.
    idled: Option<Moment>,
    /// What the watchdog is told of calls, if there is one.
    pub(crate) note: Option<Arc<Note>>,
    /// One of the two: calls are more than a place on the scoreboard.
    attended: bool,
    /// When the present call began, if it is measured.
    measured: Option<Moment>,
    /// How many requests are worked at together.
    pub(crate) burst: Burst,
    /// Other requests wait, so that an answer may leave together with theirs.
    pub(crate) crowded: bool,
    /// Every response says `Connection: close`, and idle connections end soon.
    pub(crate) draining: bool,
    /// The server is about to stop.
    pub(crate) leaving: bool,
    /// As of the last wait.
    pub(crate) now: Moment,
    /// As of the wait before.
    pub(crate) earlier: Moment,
    /// Looks for another connection behind one that was accepted.
    pub(crate) further: Attempts,
    /// Turns that were left to the peers of new connections.
    pub(crate) yields: Attempts,
    /// If this thread may have others go first.
    scheduling: Option<Scheduling>,
    /// Requests that had waited too long.
    pub(crate) turned_away: TurnedAway,
    pub(crate) date: Date,
    /// The head of the request being read; lent to [`super::intake::Intake`] when a body follows.
    pub(crate) head: Head,
    /// Responses that are collected to leave in one write. Empty between connections.
    pub(crate) out: Vec<u8>,
    /// For answers that are kept to leave together.
    pub(crate) spare: Spare,
    pub(crate) scratch: Vec<u8>,
    /// What is dropped when they have left.
    pub(crate) after: Vec<Box<dyn Send>>,
    pub(crate) buffers: Buffers,
    pub(crate) flusher: Flusher,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Numbers the requests.
    pub(crate) serial: u64,
}

impl World {
    /// That of the application thread of that number.
    pub(crate) fn new(application: Box<dyn Application>, thread: usize, common: Common) -> Self {
        let Common { policy, locals, slot, access, letterbox, lead, alarm, threads } = common;
        let mut date = Date::default();
        date.at(crate::sys::unix_time_coarse());
        Self {
            application,
            calls: true,
            thread,
            policy,
            locals,
            slot,
            call: slot.call(thread),
            access,
            letterbox,
            lead,
            alarm,
            shared: threads > 1,
            idled: None,
            note: None,
            attended: threads > 1,
            measured: None,
            burst: Burst::default(),
            crowded: false,
            draining: false,
            leaving: false,
            now: crate::sys::now(),
            earlier: crate::sys::now(),
            further: Attempts::default(),
            yields: Attempts::default(),
            scheduling: None,
            turned_away: TurnedAway::default(),
            date,
            head: Head::default(),
            out: Vec::with_capacity(16 * 1024),
            spare: Spare::default(),
            scratch: Vec::new(),
            after: Vec::new(),
            buffers: Buffers::default(),
            flusher: Flusher::default(),
            requests: 0,
            // No two threads give a request the same number.
            serial: (thread as u64) << 48,
        }
    }

    /// That of the relief thread.
    pub(crate) fn relief(common: Common) -> Self {
        Self { calls: false, ..Self::new(Box::new(Nobody), MAX_THREADS, common) }
    }

    /// A wait has ended `now`, by the coarse clock.
    pub(crate) fn tick(&mut self, now: Moment) {
        self.earlier = self.now;
        // The clock of the day moves together with this one.
        if now != self.now {
            self.now = now;
            self.date.at(crate::sys::unix_time_coarse());
            if self.scheduling.as_mut().is_some_and(|scheduling| !scheduling.look(now)) {
                self.scheduling = None;
            }
        }
    }

    /// Whether more may be looked for without leaving the application idle: that was done within this tick of the clock.
    pub(crate) fn spares_idling(&self) -> bool {
        self.idled == Some(self.now)
    }

    /// The application was idle, and there is `much` to do now.
    pub(crate) fn has_idled(&mut self, much: bool) {
        self.idled = (much && !self.shared && self.application.idles_dearly()).then_some(self.now);
    }

    /// The application is about to be called.
    #[inline]
    pub(crate) fn begin_call(&mut self, now: Moment) {
        if self.attended {
            self.begin_attended_call();
        }
        if self.serial.is_multiple_of(SAMPLED) {
            self.measured = Some(crate::sys::now());
        }
        self.call.begin(now);
    }

    /// This is its application thread.
    pub(crate) fn serve_here(&mut self) {
        call::serve_here(self.thread, self.call, self.policy.call_limit);
        self.scheduling = self.policy.batch_scheduling.then(|| Scheduling::here(self.now)).flatten();
    }

    /// Has the watchdog be told of calls.
    pub(crate) fn note_calls(&mut self) -> Arc<Note> {
        self.attended = true;
        Arc::clone(self.note.insert(Arc::default()))
    }

    /// The call that has begun answers there, as far as the watchdog is concerned.
    #[inline]
    pub(crate) fn open_exit(&self, socket: RawFd, machine: &Machine) {
        if let Some(note) = &self.note {
            note.open_exit(socket, machine, &self.out, false);
        }
    }

    /// The call is over. Whether its client was answered without it.
    #[inline]
    pub(crate) fn close_exit(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.close_exit())
    }

    fn begin_attended_call(&mut self) {
        if let Some(note) = &self.note {
            note.write(self.serial, &self.head);
        }
        if !self.shared {
            return;
        }
        if self.lead.is_parallel() {
            self.measured = Some(crate::sys::now());
            self.lead.pass(self.thread);
        }
    }

    /// The call is over.
    #[inline]
    pub(crate) fn end_call(&mut self) {
        if let Some(call) = self.end_any_call() {
            self.burst.measured(call);
        }
    }

    /// Does what the application has left for after its response: it is a call of the application, which may hang.
    pub(crate) fn end_after(&mut self) {
        self.begin_call(crate::sys::now_coarse());
        self.after.clear();
        self.end_any_call();
    }

    /// Returns how long it took, if that was measured.
    #[inline]
    fn end_any_call(&mut self) -> Option<Duration> {
        self.call.end();
        let call = self.measured.take().map(|began| crate::sys::now().since(began));
        if let Some(call) = call {
            self.lead.measured(call);
        }
        if self.lead.is_relieved() {
            self.come_back();
        }
        call
    }

    #[cold]
    fn come_back(&mut self) {
        if self.lead.come_back(self.thread)
            && let Some(alarm) = &self.alarm
        {
            // It waits for what will not come now.
            alarm.set();
        }
        // It was a long call.
        self.tick(crate::sys::now_coarse());
    }
}

/// In place of an application that is never called.
struct Nobody;

impl Application for Nobody {
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        debug_assert!(false, "the relief thread has called for {}", request.target());
        drop(reply);
    }
}
