//! The lower rungs of the ladder that a call climbs which takes too long: it is shown in the log, then interrupted.
//!
//! The last rung, the end of the worker, is the arbiter's. Here is a thread that sleeps for as long as no call can have
//! become too old: it reads the scoreboard, so that calls cost no more for it than a note of what is called for.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::exit::Exit;
use crate::app::Watcher;
use crate::clock::Moment;
use crate::logging::TRACEBACK;
use crate::protocol::{Head, Machine};
use crate::scoreboard::{Call, Slot};
use crate::settings::Settings;
use crate::{signals, sys};

/// How often a call is interrupted that has not ended.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a call that was interrupted has to answer by itself.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// It sleeps at least so long.
const SHORTEST: Duration = Duration::from_millis(1);

/// Bytes of a request line that are shown.
const SHOWN: usize = 512;

/// What an application thread is called for.
#[derive(Debug, Default)]
pub(crate) struct Note(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Tells requests apart.
    serial: u64,
    line: Vec<u8>,
    exit: Option<Exit>,
}

impl Note {
    /// Its thread is about to call the application.
    pub(crate) fn write(&self, serial: u64, head: &Head) {
        let mut noted = self.noted();
        noted.serial = serial;
        noted.line.clear();
        let line = head.raw_line();
        for part in [line.method, b" ", line.target] {
            let room = SHOWN.saturating_sub(noted.line.len()).min(part.len());
            noted.line.extend_from_slice(part.get(..room).unwrap_or_default());
        }
    }

    /// The call's answer goes there: behind `earlier`, or to what has been `begun`.
    pub(crate) fn open_exit(&self, socket: RawFd, machine: &Machine, earlier: &[u8], begun: bool) {
        let mut noted = self.noted();
        noted.exit = Some(Exit { socket, machine: machine.clone(), begun, earlier: earlier.to_vec(), taken: false });
    }

    /// What was to leave ahead of the response has left in part, or the response has been begun.
    pub(crate) fn move_exit(&self, earlier: &[u8], begun: bool) {
        if let Some(exit) = &mut self.noted().exit {
            exit.earlier = earlier.to_vec();
            exit.begun = begun;
        }
    }

    /// The call is over. Whether its client was answered without it.
    pub(crate) fn close_exit(&self) -> bool {
        self.noted().exit.take().is_some_and(|exit| exit.taken)
    }

    /// Answers in the place of the call, if that is going on.
    fn take_exit(&self, still: &dyn Fn() -> bool) {
        if let Some(exit) = self.noted().exit.as_mut().filter(|_| still()) {
            exit.take();
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a call has become too old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    slow: Option<Duration>,
    limit: Option<Duration>,
}

impl Ladder {
    /// `None` if it has no rungs.
    pub(crate) fn from(settings: &Settings) -> Option<Self> {
        let ladder = Self { slow: settings.slow_request_timeout, limit: settings.request_timeout };
        (ladder.slow.is_some() || ladder.limit.is_some()).then_some(ladder)
    }

    /// Watches the application threads of `slot` from now on, which have these `notes`.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub(crate) fn start(
        self,
        slot: &'static Slot,
        notes: Vec<Arc<Note>>,
        watcher: Option<Box<dyn Watcher>>,
    ) -> io::Result<()> {
        let threads = notes.into_iter().map(|note| Watched { note, shown: 0, ended: None }).collect();
        let mut watchdog = Watchdog { ladder: self, slot, threads, watcher };
        // Signals are for the thread that was there first.
        let _blocked = signals::block_all()?;
        let run = move || {
            loop {
                std::thread::sleep(watchdog.look().max(SHORTEST));
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(run).map(drop)
    }

    /// A call that has begun right now is not too old before that.
    fn first(self) -> Duration {
        self.slow.into_iter().chain(self.limit).min().unwrap_or(AGAIN)
    }
}

struct Watchdog {
    ladder: Ladder,
    slot: &'static Slot,
    threads: Vec<Watched>,
    watcher: Option<Box<dyn Watcher>>,
}

/// An application thread.
struct Watched {
    note: Arc<Note>,
    /// The last request of which was said that it is slow.
    shown: u64,
    /// The beginning of the last call that was interrupted.
    ended: Option<Moment>,
}

impl Watchdog {
    /// Does what is due, and says how long nothing will be.
    fn look(&mut self) -> Duration {
        let now = sys::now();
        let mut next = now + self.ladder.first();
        for thread in 0..self.threads.len() {
            if let Some(due) = self.look_at(thread, now) {
                next = next.min(due);
            }
        }
        next.since(sys::now())
    }

    /// Looks at one thread, and says when to look again if it is in a call.
    fn look_at(&mut self, thread: usize, now: Moment) -> Option<Moment> {
        let call = self.slot.call(thread);
        let began = call.began()?;
        let watched = self.threads.get_mut(thread)?;
        // It is written before the call begins.
        let (serial, line) = {
            let noted = watched.note.noted();
            (noted.serial, noted.line.clone())
        };
        let still = || call.began() == Some(began);
        let line = line.escape_ascii();
        let seconds = now.since(began).as_secs_f64();
        let watcher = self.watcher.as_deref();
        let mut next = None;
        if let Some(slow) = self.ladder.slow.filter(|_| watched.shown != serial) {
            if began + slow > now {
                next = Some(began + slow);
            } else if still() {
                watched.shown = serial;
                log::warn!("SLOW REQUEST (pid:{}): {line} has taken {seconds:.1} s so far", std::process::id());
                if let Some(stack) = watcher.and_then(|watcher| watcher.stack(thread, &still)) {
                    log::warn!(target: TRACEBACK, "Stack of {line} (most recent call last):\n{stack}");
                }
            }
        }
        if let Some(limit) = self.ladder.limit {
            let due = if began + limit > now {
                began + limit
            } else {
                let first = watched.ended.replace(began) != Some(began);
                if first && still() {
                    log::error!("REQUEST TIMEOUT (pid:{}): {line} has taken {seconds:.1} s", std::process::id());
                    answer_soon(&watched.note, call, began);
                    if let Some(stack) = watcher.and_then(|watcher| watcher.stack(thread, &still)) {
                        log::error!(target: TRACEBACK, "Stack of {line} (most recent call last):\n{stack}");
                    }
                }
                let interrupted = watcher.is_some_and(|watcher| watcher.interrupt(thread, &still));
                if first && !interrupted && still() {
                    watched.note.take_exit(&still);
                    log::error!("{line} cannot be interrupted: it goes on until `timeout` ends the worker");
                }
                now + AGAIN
            };
            next = next.into_iter().chain([due]).min();
        }
        next
    }
}

/// Answers in the place of a call that is not over by then: whoever interrupts it may have to wait for it, as for an
/// interpreter's lock, so that is for another thread.
fn answer_soon(note: &Arc<Note>, call: &'static Call, began: Moment) {
    let their = Arc::clone(note);
    let run = move || {
        std::thread::sleep(LAST_WORDS);
        their.take_exit(&|| call.began() == Some(began));
    };
    if std::thread::Builder::new().name("exit".to_owned()).spawn(run).is_err() {
        note.take_exit(&|| call.began() == Some(began));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what it is asked for.
    #[derive(Clone, Default)]
    struct Counting(Arc<[AtomicUsize; 2]>);

    impl Watcher for Counting {
        fn stack(&self, _: usize, still: &dyn Fn() -> bool) -> Option<String> {
            assert!(still());
            self.0[0].fetch_add(1, Ordering::Relaxed);
            None
        }

        fn interrupt(&self, _: usize, _: &dyn Fn() -> bool) -> bool {
            self.0[1].fetch_add(1, Ordering::Relaxed);
            true
        }
    }

    fn counting(slow: u64, limit: u64) -> (Watchdog, Counting, &'static Slot) {
        let slot: &'static Slot = sys::shared_slots(1).unwrap().first().unwrap();
        slot.begin_threads(2);
        let watched = || Watched { note: Arc::default(), shown: 0, ended: None };
        let seconds = |count| Some(Duration::from_secs(count)).filter(|duration| !duration.is_zero());
        let counting = Counting::default();
        let watchdog = Watchdog {
            ladder: Ladder { slow: seconds(slow), limit: seconds(limit) },
            slot,
            threads: vec![watched(), watched()],
            watcher: Some(Box::new(counting.clone())),
        };
        watchdog.threads.iter().for_each(|watched| watched.note.noted().serial = 1);
        (watchdog, counting, slot)
    }

    impl Counting {
        fn counts(&self) -> (usize, usize) {
            (self.0[0].load(Ordering::Relaxed), self.0[1].load(Ordering::Relaxed))
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_slow_request_is_shown_once_and_a_slower_one_is_interrupted_until_it_ends() {
        let (mut watchdog, counting, slot) = counting(10, 20);
        assert_eq!(watchdog.look_at(1, at(100)), None, "it is in no call");
        slot.call(1).begin(at(100));
        assert_eq!(watchdog.look_at(0, at(100)), None, "that is another thread");
        assert_eq!(watchdog.look_at(1, at(105)), Some(at(110)));
        assert_eq!(watchdog.look_at(1, at(110)), Some(at(120)));
        assert_eq!(watchdog.look_at(1, at(115)), Some(at(120)));
        assert_eq!(counting.counts(), (1, 0));
        assert_eq!(watchdog.look_at(1, at(120)), Some(at(121)));
        assert_eq!(watchdog.look_at(1, at(121)), Some(at(122)));
        assert_eq!(counting.counts(), (2, 2));
        slot.call(1).end();
        assert_eq!(watchdog.look_at(1, at(122)), None);
        assert_eq!(counting.counts(), (2, 2));
    }

    #[test]
    fn pieces_of_one_response_are_one_slow_request_and_the_next_is_another() {
        let (mut watchdog, counting, slot) = counting(10, 0);
        for (began, serial, shown) in [(100, 1, 1), (200, 1, 1), (300, 2, 2)] {
            watchdog.threads[0].note.noted().serial = serial;
            slot.call(0).begin(at(began));
            watchdog.look_at(0, at(began + 50));
            assert_eq!(counting.counts(), (shown, 0), "{began}");
            slot.call(0).end();
        }
    }

    #[test]
    fn a_call_whose_deadline_was_put_off_is_left_alone_until_then() {
        let (mut watchdog, counting, slot) = counting(0, 20);
        slot.call(0).begin(at(100));
        slot.call(0).put_off(Duration::from_secs(20), at(500));
        slot.call(0).put_off(Duration::from_secs(20), at(130));
        assert_eq!(watchdog.look_at(0, at(499)), Some(at(500)));
        assert_eq!(counting.counts(), (0, 0));
        watchdog.look_at(0, at(500));
        assert_eq!(counting.counts(), (1, 1));
    }

    #[test]
    fn it_sleeps_for_as_long_as_no_call_can_be_too_old() {
        let (mut watchdog, _, slot) = counting(0, 100);
        assert!(watchdog.look() > Duration::from_secs(90));
        // The clock begins with the machine, which may have been up for less than a minute or two.
        slot.call(0).begin(Moment::from_nanos(sys::now().as_nanos().saturating_sub(30_000_000_000)));
        let next = watchdog.look();
        assert!((30..=70).contains(&next.as_secs()), "{next:?}");
    }
}
