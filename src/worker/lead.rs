//! Who waits for readiness: one application thread at a time, or the relief thread for want of one.
//!
//! Architecture invariant: nothing here knows of sockets, connections or applications, so that a model checker can run all
//! interleavings of it (see the tests).

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// From this on, a call is worth the two thread switches of a lead that is passed on.
const LONG: Duration = Duration::from_micros(500);

/// So many quick calls in a row, and the lead is not passed on any more.
const QUICK: u32 = 64;

/// One call in so many is measured while the lead is not passed on.
pub(crate) const SAMPLED: u64 = 64;

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Nobody,
    /// The application thread of that number.
    Thread(usize),
    Relief,
}

#[derive(Debug)]
struct State {
    leader: Leader,
    /// The leader waits for readiness.
    waiting: bool,
    /// Threads that sleep until they may lead.
    sleeping: usize,
    /// The relief thread is awake, or its timer is set.
    watched: bool,
}

/// The lead of a worker's engine, and the mode in which it is handled.
#[derive(Debug)]
pub(crate) struct Lead {
    state: Mutex<State>,
    vacant: Condvar,
    /// The relief thread leads; as `state` has it, for a glance.
    relieved: AtomicBool,
    /// Calls take long: the lead is passed on before each.
    parallel: AtomicBool,
    /// Quick calls in a row.
    quick: AtomicU32,
    /// The worker accepts no more, and ends its connections.
    draining: AtomicBool,
    /// The server is about to stop.
    leaving: AtomicBool,
}

/// What the relief thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relieved {
    /// Somebody waits for readiness.
    NotNeeded,
    /// A thread that slept leads now.
    Passed,
    /// The relief thread leads itself.
    Leads,
}

impl Lead {
    /// Nobody leads, and calls are taken to be quick. `watched` for good if there is no relief thread.
    pub(crate) fn new(watched: bool) -> Self {
        Self {
            state: Mutex::new(State { leader: Leader::Nobody, waiting: false, sleeping: 0, watched }),
            vacant: Condvar::new(),
            relieved: AtomicBool::new(false),
            parallel: AtomicBool::new(false),
            quick: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether thread `me` may wait for readiness now, and nobody else; and whether it takes the lead from the relief thread.
    pub(crate) fn begin_wait(&self, me: usize) -> (bool, bool) {
        let mut state = self.state();
        if matches!(state.leader, Leader::Thread(other) if other != me) {
            return (false, false);
        }
        let relieved = state.leader == Leader::Relief;
        self.lead(&mut state, Leader::Thread(me));
        state.waiting = true;
        (true, relieved)
    }

    /// The wait is over. Whether the relief thread's timer must be set, if there is something to do.
    pub(crate) fn end_wait(&self, something: bool) -> bool {
        let mut state = self.state();
        state.waiting = false;
        something && !std::mem::replace(&mut state.watched, true)
    }

    /// Sleeps until nobody leads, and leads.
    pub(crate) fn sleep(&self, me: usize) {
        let mut state = self.state();
        state.sleeping += 1;
        while state.leader != Leader::Nobody {
            state = self.vacant.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeping -= 1;
        self.lead(&mut state, Leader::Thread(me));
    }

    /// Thread `me` is about to be busy for long: if it leads, somebody else may.
    pub(crate) fn pass(&self, me: usize) {
        let mut state = self.state();
        if state.leader == Leader::Thread(me) {
            self.lead(&mut state, Leader::Nobody);
            if state.sleeping > 0 {
                self.vacant.notify_one();
            }
        }
    }

    /// Thread `me` is back: the relief thread need not lead any more. Whether it did.
    pub(crate) fn come_back(&self, me: usize) -> bool {
        let mut state = self.state();
        let relieved = state.leader == Leader::Relief;
        if relieved {
            self.lead(&mut state, Leader::Thread(me));
        }
        relieved
    }

    /// Relief: no call has begun or ended for a while.
    pub(crate) fn relieve(&self) -> Relieved {
        let mut state = self.state();
        if state.waiting {
            return Relieved::NotNeeded;
        }
        self.parallel.store(true, Ordering::Relaxed);
        self.quick.store(0, Ordering::Relaxed);
        if state.sleeping > 0 {
            self.lead(&mut state, Leader::Nobody);
            self.vacant.notify_one();
            return Relieved::Passed;
        }
        self.lead(&mut state, Leader::Relief);
        Relieved::Leads
    }

    /// Relief: whether it may sleep until its timer is set anew, as nothing is in flight.
    pub(crate) fn rest(&self) -> bool {
        let mut state = self.state();
        if state.waiting {
            state.watched = false;
        }
        state.waiting
    }

    /// Whether thread `me` leads.
    pub(crate) fn is_led_by(&self, me: usize) -> bool {
        self.state().leader == Leader::Thread(me)
    }

    /// Relief: whether it leads still.
    pub(crate) fn relief_leads(&self) -> bool {
        self.state().leader == Leader::Relief
    }

    fn lead(&self, state: &mut State, leader: Leader) {
        state.leader = leader;
        self.relieved.store(leader == Leader::Relief, Ordering::Relaxed);
    }

    /// Whether the relief thread leads, at a glance.
    #[inline]
    pub(crate) fn is_relieved(&self) -> bool {
        self.relieved.load(Ordering::Relaxed)
    }

    /// Whether the lead is passed on before calls.
    #[inline]
    pub(crate) fn is_parallel(&self) -> bool {
        self.parallel.load(Ordering::Relaxed)
    }

    /// A call has taken so long.
    pub(crate) fn measured(&self, duration: Duration) {
        if duration >= LONG {
            self.quick.store(0, Ordering::Relaxed);
            self.parallel.store(true, Ordering::Relaxed);
        } else if self.is_parallel() && self.quick.fetch_add(1, Ordering::Relaxed) + 1 >= QUICK {
            self.parallel.store(false, Ordering::Relaxed);
        }
    }

    /// The worker drains.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it does. Connections find out one by one, so that no order is needed.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The server is about to stop.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

/// All interleavings: `make loom`.
#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// Waits as an engine does, and sees to it that nobody else does meanwhile.
    fn wait(lead: &Lead, waiting: &AtomicUsize, me: usize) -> bool {
        let (leads, _) = lead.begin_wait(me);
        if leads {
            assert_eq!(waiting.fetch_add(1, Ordering::Relaxed), 0, "two threads wait for readiness");
            waiting.fetch_sub(1, Ordering::Relaxed);
            lead.end_wait(true);
        }
        leads
    }

    #[test]
    fn whoever_sleeps_leads_once_the_lead_is_passed_on() {
        loom::model(|| {
            let (lead, waiting) = (Arc::new(Lead::new(true)), Arc::new(AtomicUsize::new(0)));
            let other = {
                let (lead, waiting) = (Arc::clone(&lead), Arc::clone(&waiting));
                thread::spawn(move || {
                    // If the wake-up were lost, this would not end.
                    lead.sleep(1);
                    lead.is_led_by(1).then(|| wait(&lead, &waiting, 1))
                })
            };
            if wait(&lead, &waiting, 0) {
                lead.pass(0);
                // A call, and back: somebody leads, or this thread does.
                if wait(&lead, &waiting, 0) {
                    lead.pass(0);
                }
            }
            other.join().unwrap();
        });
    }

    #[test]
    fn relief_leads_only_while_nobody_waits_and_gives_way_to_who_comes_back() {
        loom::model(|| {
            let (lead, waiting) = (Arc::new(Lead::new(true)), Arc::new(AtomicUsize::new(0)));
            let relief = {
                let lead = Arc::clone(&lead);
                thread::spawn(move || {
                    if lead.relieve() == Relieved::Leads {
                        // One look of its loop.
                        let _ = lead.relief_leads();
                    }
                    lead.rest()
                })
            };
            assert!(wait(&lead, &waiting, 0), "nobody else could lead");
            lead.come_back(0);
            assert!(wait(&lead, &waiting, 0), "it takes the lead back");
            relief.join().unwrap();
            lead.come_back(0);
            assert!(!lead.relief_leads(), "relief leads beside a thread that is back");
        });
    }

    #[test]
    fn a_thread_that_relief_wakes_leads() {
        loom::model(|| {
            let (lead, waiting) = (Arc::new(Lead::new(true)), Arc::new(AtomicUsize::new(0)));
            assert!(wait(&lead, &waiting, 0));
            // Thread 0 is in a long call from here on.
            let other = {
                let (lead, waiting) = (Arc::clone(&lead), Arc::clone(&waiting));
                thread::spawn(move || {
                    lead.sleep(1);
                    wait(&lead, &waiting, 1)
                })
            };
            let relieved = lead.relieve();
            if relieved == Relieved::Leads {
                // It has come too late to be seen: relief looks again, and finds it.
                thread::yield_now();
                lead.come_back(0);
                lead.pass(0);
            }
            other.join().unwrap();
        });
    }

    #[test]
    fn an_alarm_is_set_whenever_relief_rests_and_something_comes() {
        loom::model(|| {
            let lead = Arc::new(Lead::new(false));
            assert!(lead.begin_wait(0).0);
            assert!(lead.end_wait(true), "the first event sets it");
            let relief = {
                let lead = Arc::clone(&lead);
                thread::spawn(move || lead.rest())
            };
            assert!(lead.begin_wait(0).0);
            let set = lead.end_wait(true);
            let rests = relief.join().unwrap();
            assert_eq!(set, rests, "relief sleeps exactly if the alarm was set anew");
        });
    }
}
