//! The error log: what the server and the application have to say.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use log::{Level, LevelFilter, Record};

use super::access::AccessLog;
use super::sink::{Destination, Owner, PIECE, Sink, Standard};
use crate::clock::Moment;
use crate::error::Error;
use crate::settings::Settings;
use crate::sys;

/// The target of a `log` record whose message may have several lines, such as Python's traceback. Those after the first are
/// indented, so that none looks like a line of the log.
pub const TRACEBACK: &str = "traceback";

/// Bytes of a record with several lines at most.
const LONGEST: usize = 64 * 1024;

/// How often it is said that lines were lost.
const REPORTS: Duration = Duration::from_secs(1);

/// Lines that this process could not write, in whichever log.
static LOST: AtomicU64 = AtomicU64::new(0);

static ERROR_LOG: Mutex<ErrorLog> = Mutex::new(ErrorLog::new());

/// Lines of the error log that this process could not write.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Opens the error log and makes it `log`'s. May be called again with other settings; if it fails then, the log is left as
/// it was. The access log is opened, too, so that a mistake shows before any worker is started.
///
/// # Errors
/// A log cannot be opened.
pub(crate) fn init(settings: &Settings) -> Result<(), Error> {
    let name = &settings.errorlog;
    let wrong = |error: io::Error| Error::configuration(format!("errorlog = {name:?}: {error}"));
    let destination = Destination::named(name, Standard::Error).map_err(wrong)?;
    let owner = Owner::of(settings);
    let sink = Sink::open(&destination, owner).map_err(wrong)?;
    let access = AccessLog::open(settings)?.map(AccessLog::into_destination);

    let capture = settings.capture_output && matches!(destination, Destination::File(_));
    let mut log = error_log();
    *log = ErrorLog { destination: Some(destination), access, owner, sink: Some(sink), capture, ..*log };
    log.capture_output();
    drop(log);
    install();
    log::set_max_level(settings.loglevel);
    Ok(())
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let mut builder = env_logger::Builder::new();
        builder
            // The level is `log`'s own maximum, which can be set again.
            .filter_level(LevelFilter::Trace)
            // What the event loop does is not the operator's business.
            .filter_module("mio", LevelFilter::Warn)
            .write_style(env_logger::WriteStyle::Never)
            .target(env_logger::Target::Pipe(Box::new(Pipe)))
            .format(format);
        // A program of the user's may have installed a logger of its own: then that has our records, too.
        let _ = builder.try_init();
    });
}

/// Opens the error log's file again (somebody has moved it away). If that fails, the old one is kept, and says why. Called
/// by the arbiter before its workers hear of it: where they have no right to make the access log's file, it makes it.
pub(crate) fn reopen() {
    let result = error_log().reopen();
    if let Err(error) = result {
        log::error!("cannot reopen the error log: {error}");
    }
}

/// Another descriptor for the error log, for what must be written by a signal handler. After [`Factory::reopened`] it is
/// that of the old file.
///
/// # Errors
/// The process has no descriptors left.
///
/// [`Factory::reopened`]: crate::Factory::reopened
pub fn error_log_descriptor() -> io::Result<OwnedFd> {
    match &error_log().sink {
        Some(sink) => sink.as_fd().try_clone_to_owned(),
        None => io::stderr().as_fd().try_clone_to_owned(),
    }
}

struct ErrorLog {
    destination: Option<Destination>,
    access: Option<Destination>,
    owner: Option<Owner>,
    /// `None` until [`init`]: standard error then.
    sink: Option<Sink>,
    /// Standard output and error go to this log, too.
    capture: bool,
    unreported: u64,
    reported: Option<Moment>,
}

fn error_log() -> MutexGuard<'static, ErrorLog> {
    ERROR_LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ErrorLog {
    const fn new() -> Self {
        Self { destination: None, access: None, owner: None, sink: None, capture: false, unreported: 0, reported: None }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let (Some(access), Some(_)) = (&self.access, self.owner) {
            drop(Sink::open(access, self.owner)?);
        }
        if let Some(destination @ Destination::File(_)) = &self.destination {
            self.sink = Some(Sink::open(destination, self.owner)?);
            self.capture_output();
        }
        Ok(())
    }

    fn capture_output(&self) {
        if let Some(sink) = self.sink.as_ref().filter(|_| self.capture) {
            // Cannot fail: both descriptors are open.
            let _ = nix::unistd::dup2_stdout(sink).and_then(|()| nix::unistd::dup2_stderr(sink));
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if self.put(lines) {
            self.report();
        }
    }

    /// Whether they were written.
    fn put(&mut self, mut lines: &[u8]) -> bool {
        if self.sink.is_none() {
            self.sink = Sink::open(&Destination::Standard(Standard::Error), None).ok();
        }
        while !lines.is_empty() {
            let written = self.sink.as_mut().map(|sink| sink.write(lines));
            let Some(Ok(written)) = written else {
                self.lose(memchr::memchr_iter(b'\n', lines).count() as u64);
                return false;
            };
            self.lose(written.lost);
            lines = lines.get(written.bytes..).unwrap_or_default();
        }
        true
    }

    fn lose(&mut self, lines: u64) {
        self.unreported = self.unreported.saturating_add(lines);
        LOST.fetch_add(lines, Ordering::Relaxed);
    }

    fn report(&mut self) {
        if self.unreported == 0 {
            return;
        }
        let now = sys::now_coarse();
        if self.reported.is_some_and(|last| now.since(last) < REPORTS) {
            return;
        }
        self.reported = Some(now);
        let lost = std::mem::take(&mut self.unreported);
        let mut line = Vec::new();
        line_start(&mut line, "WARNING");
        // Into memory, which cannot fail.
        let _ = writeln!(line, "{lost} log lines were lost");
        if !self.put(&line) {
            // The line that says so is not one of them.
            LOST.fetch_sub(1, Ordering::Relaxed);
            self.unreported = lost;
        }
    }
}

/// Passes what `env_logger` has formatted on to the log, one record a call.
struct Pipe;

impl Write for Pipe {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        error_log().write(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line of the level `critical`, which no setting leaves out.
pub fn log_critical(message: &str) {
    write_critical(format_args!("{message}"));
}

pub(crate) fn write_critical(message: fmt::Arguments<'_>) {
    let mut line = Vec::with_capacity(256);
    line_start(&mut line, "CRITICAL");
    escape(&mut line, &message.to_string(), false);
    error_log().write(&line);
}

fn format(out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let level = match record.level() {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    };
    let mut line = Vec::with_capacity(256);
    line_start(&mut line, level);
    let several = record.target() == TRACEBACK;
    match record.args().as_str() {
        Some(message) => escape(&mut line, message, several),
        None => escape(&mut line, &record.args().to_string(), several),
    }
    out.write_all(&line)
}

/// `[2026-11-22 13:00:24 +0000] [25941] [INFO] `
fn line_start(line: &mut Vec<u8>, level: &str) {
    let time = sys::local_time(sys::unix_time_coarse());
    let sys::LocalTime { year, month, day, hour, minute, second, offset } = time;
    let (sign, offset) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let (zone_hours, zone_minutes) = (offset / 3600, offset / 60 % 60);
    let pid = std::process::id();
    // Into memory, which cannot fail.
    let _ = write!(
        line,
        "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}] [{pid}] \
         [{level}] "
    );
}

/// Appends the message and ends the line, with control characters escaped and what is too long cut off.
fn escape(line: &mut Vec<u8>, message: &str, several: bool) {
    let message = message.trim_end();
    if !several {
        escape_part(line, message, 0);
    } else {
        let mut start = 0;
        for (index, part) in message.split('\n').enumerate() {
            if index > 0 {
                line.push(b'\n');
                start = line.len();
                line.extend_from_slice(b"  ");
            }
            if start > LONGEST {
                line.extend_from_slice(CUT);
                break;
            }
            escape_part(line, part, start);
        }
    }
    line.push(b'\n');
}

/// Stands for what was cut off.
const CUT: &[u8] = b"[...]";

/// Appends to the line that began at `start` what it can have.
fn escape_part(line: &mut Vec<u8>, text: &str, start: usize) {
    // The longest escape is `\u{10ffff}`, and the line must end.
    const LAST: usize = PIECE - CUT.len() - 11;
    let mut utf8 = [0; 4];
    for character in text.chars() {
        if line.len() - start > LAST {
            line.extend_from_slice(CUT);
            return;
        }
        match character {
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.push(b'\t'),
            control if control.is_ascii_control() => {
                // Into memory, which cannot fail.
                let _ = write!(line, "\\x{:02x}", u32::from(control));
            }
            // Besides control characters, the two that some viewers take for the end of a line.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                line.extend(control.escape_unicode().map(|escaped| escaped as u8));
            }
            plain => line.extend_from_slice(plain.encode_utf8(&mut utf8).as_bytes()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
