//! What a worker does, said by signal handlers: the request, and the stack of every thread of Python's.
//!
//! `SIGUSR2` asks for it, and goes on; with `SIGABRT` the arbiter ends a call that takes too long. Python's `faulthandler`
//! writes the stacks, even if the interpreter is stuck in a function written in C. [`crate::watchdog`] looks here, too.

use std::fmt::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::slice;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use ferricorn::Request;
use ferricorn::app::call;
use ferricorn::protocol::head::RawLine;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use signal_hook::consts::{SIGABRT, SIGUSR2};

use crate::calls::Calls;
use crate::ffi_signals::{self, Handler};

/// Bytes of a request line that are shown.
const SHOWN: usize = 512;

/// Application threads whose requests are shown.
const PLACES: usize = 256;

/// The request that an application thread is working on, in words of eight bytes, and how many count.
///
/// Handlers of another thread may see parts of two requests; that is the worst that can happen.
pub(crate) struct Place {
    words: [AtomicU64; SHOWN / 8],
    length: AtomicUsize,
    /// How many times [`Place::begin`] was called.
    requests: AtomicU64,
    /// Whether the thread may be interrupted.
    pub(crate) calls: Calls,
}

static ALL: [Place; PLACES] = [const {
    Place {
        words: [const { AtomicU64::new(0) }; SHOWN / 8],
        length: AtomicUsize::new(0),
        requests: AtomicU64::new(0),
        calls: Calls::new(),
    }
}; PLACES];
/// Places up to the last that was used.
static USED: AtomicUsize = AtomicUsize::new(0);
static LOG: AtomicI32 = AtomicI32::new(2);
/// Seconds that local time is ahead of UTC.
static OFFSET: AtomicI32 = AtomicI32::new(0);

/// How many requests there were.
pub(crate) fn requests() -> u64 {
    ALL.iter().take(USED.load(Ordering::Relaxed)).map(|place| place.requests.load(Ordering::Relaxed)).sum()
}

impl Place {
    /// That of this thread. A thread that is none of a worker's shares the first.
    pub(crate) fn here() -> &'static Self {
        let index = call::thread().unwrap_or(0).min(PLACES - 1);
        USED.fetch_max(index + 1, Ordering::Relaxed);
        &ALL[index]
    }

    /// That of an application thread.
    pub(crate) fn of(thread: usize) -> Option<&'static Self> {
        ALL.get(thread)
    }

    /// Takes note of the request that is about to be handled.
    #[inline]
    pub(crate) fn begin(&self, request: &Request<'_>) {
        self.length.store(0, Ordering::Relaxed);
        // No other thread writes it: a load and a store are enough.
        self.requests.store(self.requests.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let RawLine { method, target, .. } = request.head().raw_line();
        let mut words = self.words.iter();
        put_words(method, &mut words);
        put_words(b" ", &mut words);
        put_words(target, &mut words);
        self.length.store(self.words.len() - words.len(), Ordering::Release);
    }

    /// Takes note of the request whose response is about to be asked for its next piece.
    #[inline]
    pub(crate) fn go_on(&self, line: &[u8]) {
        let mut words = self.words.iter();
        put_words(line, &mut words);
        self.length.store(self.words.len() - words.len(), Ordering::Release);
    }

    /// It has been handled.
    #[inline]
    pub(crate) fn end(&self) {
        self.length.store(0, Ordering::Relaxed);
    }
}

/// Stores a text in words, with zeros behind it.
#[inline]
fn put_words(text: &[u8], words: &mut slice::Iter<'_, AtomicU64>) {
    let (chunks, rest) = text.as_chunks::<8>();
    for (chunk, word) in chunks.iter().zip(&mut *words) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if !rest.is_empty()
        && let Some(word) = words.next()
    {
        let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte));
        word.store(last, Ordering::Relaxed);
    }
}

/// Writes lines with the requests to the log, from a signal handler: no memory is allocated, no lock taken.
fn write_request(signal: i32) {
    let places = || ALL.iter().take(USED.load(Ordering::Relaxed));
    let busy = |place: &&Place| place.length.load(Ordering::Acquire) > 0;
    places().filter(busy).for_each(|place| write_line(signal, Some(place)));
    if !places().any(|place| busy(&place)) {
        write_line(signal, None);
    }
}

fn write_line(signal: i32, place: Option<&Place>) {
    let mut line = Line { bytes: [0; SHOWN + 128], length: 0 };
    let level = if signal == SIGABRT { "ERROR" } else { "INFO" };
    let what = if place.is_none() { "In no request" } else { "In request " };
    // What is too long is cut off.
    let _ = line.start(level).and_then(|()| line.write_str(what));
    let words = place.map_or(0, |place| place.length.load(Ordering::Acquire));
    for word in place.iter().flat_map(|place| &place.words).take(words) {
        // Zeros fill the last word of each part up.
        word.load(Ordering::Relaxed)
            .to_le_bytes()
            .into_iter()
            .filter(|byte| *byte != 0)
            .for_each(|byte| line.put(byte));
    }
    line.put(b'\n');
    ffi_signals::write(LOG.load(Ordering::Relaxed), line.bytes.get(..line.length).unwrap_or_default());
}

/// A line of the log, made without any memory but its own.
struct Line {
    bytes: [u8; SHOWN + 128],
    length: usize,
}

impl Line {
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// What all lines of the error log begin with.
    fn start(&mut self, level: &str) -> fmt::Result {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let offset = OFFSET.load(Ordering::Relaxed);
        let local = since.saturating_add_signed(offset.into());
        let (year, month, day) = date(local / 86_400);
        let (hour, minute, second) = (local / 3600 % 24, local / 60 % 60, local % 60);
        let (sign, offset) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
        let (zone_hours, zone_minutes, pid) = (offset / 3600, offset / 60 % 60, std::process::id());
        write!(
            self,
            "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}] \
             [{pid}] [{level}] "
        )
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar: localtime(3) may take locks.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have the day that is not always there at their end; 400 of them are one cycle.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

/// Keeps the descriptor open that handlers write to.
pub(crate) struct Watch(#[expect(dead_code, reason = "for its drop")] OwnedFd);

impl Watch {
    /// Has signals answered from now on, into the error log. Who handles `SIGABRT` already is called after that.
    pub(crate) fn install(py: Python<'_>) -> PyResult<Self> {
        let usr2 = Handler::of(SIGUSR2)?;
        let watch = Self::renew(py)?;
        ffi_signals::stand_before_usr2(write_request, usr2)?;
        ffi_signals::stand_before_abrt(write_request)?;
        Ok(watch)
    }

    /// The same, after the log was opened again.
    pub(crate) fn renew(py: Python<'_>) -> PyResult<Self> {
        let log = ferricorn::error_log_descriptor()?;
        LOG.store(log.as_raw_fd(), Ordering::Relaxed);
        let now = py.import("time")?.call_method0("localtime")?;
        OFFSET.store(now.getattr("tm_gmtoff")?.extract()?, Ordering::Relaxed);
        let handler = py.import("faulthandler")?;
        let named = PyDict::new(py);
        named.set_item("file", log.as_raw_fd())?;
        named.set_item("all_threads", true)?;
        handler.call_method("enable", (), Some(&named))?;
        handler.call_method("register", (SIGUSR2,), Some(&named))?;
        Ok(Self(log))
    }
}
