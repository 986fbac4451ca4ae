//! The access log.

mod format;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

pub(crate) use format::{Entry, Format};

use super::sink::{Destination, Owner, Sink, Standard};
use crate::clock::Moment;
use crate::error::Error;
use crate::settings::Settings;
use crate::sys;

/// Bytes that wait for a disk or a pipe that takes nothing; what comes after is lost.
const MOST_WAITING: usize = 1 << 20;

/// Bytes of memory that are kept from one turn to the next.
const KEPT: usize = 64 * 1024;

/// How often a worker that ends offers its last lines, and the time in between.
const LAST_TRIES: u32 = 25;
const BETWEEN_LAST_TRIES: Duration = Duration::from_millis(10);

/// How often it is said that lines were lost.
const REPORTS: Duration = Duration::from_secs(1);

/// The access log of one worker: lines are gathered, and written together at the end of a turn.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    destination: Destination,
    owner: Option<Owner>,
    sink: Sink,
    waiting: Vec<u8>,
    lost: u64,
    reported: (u64, Option<Moment>),
}

impl AccessLog {
    /// Opens the access log, if there is to be one. To be called in the worker (its pid may stand in each line), before it
    /// gives up its privileges if it has any.
    ///
    /// # Errors
    /// The format is wrong, or the file cannot be opened.
    pub(crate) fn open(settings: &Settings) -> Result<Option<Self>, Error> {
        let Some(name) = &settings.accesslog else { return Ok(None) };
        let wrong = |error: io::Error| Error::configuration(format!("accesslog = {name:?}: {error}"));
        let format = Format::parse(&settings.access_log_format)
            .map_err(|error| Error::configuration(format!("access_log_format: {error}")))?;
        let destination = Destination::named(name, Standard::Output).map_err(wrong)?;
        let owner = Owner::of(settings);
        let sink = Sink::open(&destination, owner).map_err(wrong)?;
        Ok(Some(Self { format, destination, owner, sink, waiting: Vec::new(), lost: 0, reported: (0, None) }))
    }

    /// Where it goes.
    pub(super) fn into_destination(self) -> Destination {
        self.destination
    }

    /// Whether fields of the response stand in its lines, so that they have to be kept until the request is logged.
    pub(crate) fn uses_response(&self) -> bool {
        self.format.uses_response()
    }

    /// Adds the line of a request.
    pub(crate) fn line(&mut self, entry: &Entry<'_>) {
        let start = self.waiting.len();
        if start >= MOST_WAITING {
            self.lost += 1;
            return;
        }
        self.format.render(entry, &mut self.waiting);
        self.waiting.truncate(start + self.sink.longest() - 1);
        self.waiting.push(b'\n');
    }

    /// Whether lines wait to be written: somebody should flush again soon, even if no request comes.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits, as far as it is taken without waiting.
    pub(crate) fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut done = 0;
        while let Some(lines @ [_, ..]) = self.waiting.get(done..) {
            match self.sink.write(lines) {
                Ok(written) => {
                    done += written.bytes;
                    self.lost += written.lost;
                }
                // These pass: a reader catches up, somebody clears the disk.
                Err(Errno::EAGAIN | Errno::ENOSPC | Errno::EDQUOT | Errno::ENOBUFS | Errno::ENOMEM) => break,
                Err(_) => {
                    self.lost += memchr::memchr_iter(b'\n', lines).count() as u64;
                    done = self.waiting.len();
                }
            }
        }
        self.waiting.drain(..done.min(self.waiting.len()));
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT);
        }
        if done > 0 && self.lost > self.reported.0 {
            self.report();
        }
    }

    #[cold]
    fn report(&mut self) {
        let now = sys::now_coarse();
        let (before, last) = self.reported;
        if last.is_none_or(|last| now.since(last) >= REPORTS) {
            self.reported = (self.lost, Some(now));
            log::warn!("{} lines of the access log were lost", self.lost - before);
        }
    }

    /// Writes what waits before the worker ends, and waits for a slow reader, but not for long.
    pub(crate) fn finish(&mut self) {
        for _ in 0..LAST_TRIES {
            self.flush();
            if self.waiting.is_empty() {
                return;
            }
            std::thread::sleep(BETWEEN_LAST_TRIES);
        }
        self.lost += memchr::memchr_iter(b'\n', &self.waiting).count() as u64;
        self.waiting.clear();
        log::warn!("{} lines of the access log were lost", self.lost - self.reported.0);
    }

    /// Opens the file again (somebody has moved it away). If that fails, the old one is kept, and the error log says why.
    pub(crate) fn reopen(&mut self) {
        if matches!(self.destination, Destination::Standard(_)) {
            return;
        }
        self.flush();
        match Sink::open(&self.destination, self.owner) {
            Ok(sink) => self.sink = sink,
            Err(error) => log::error!("cannot reopen the access log: {error}"),
        }
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

/// An access log that several threads write to.
#[derive(Clone, Debug)]
pub(crate) struct SharedAccessLog {
    log: Arc<Mutex<AccessLog>>,
    uses_response: bool,
}

impl SharedAccessLog {
    pub(crate) fn new(log: AccessLog) -> Self {
        Self { uses_response: log.uses_response(), log: Arc::new(Mutex::new(log)) }
    }

    /// The log itself. It never blocks, so that nobody waits long for it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, AccessLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`AccessLog::uses_response`].
    pub(crate) fn uses_response(&self) -> bool {
        self.uses_response
    }

    /// As [`AccessLog::line`].
    pub(crate) fn line(&self, entry: &Entry<'_>) {
        self.lock().line(entry);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
