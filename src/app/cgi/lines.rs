//! What programs write to standard error, as lines of the error log.

use std::time::{Duration, Instant};

/// Bytes of a line that are shown.
const LINE: usize = 4096;

/// Lines that one program may write in each [`WINDOW`].
const LINES: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// The standard error of one program.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Who writes them.
    name: String,
    /// The line that has not ended yet.
    line: Vec<u8>,
    window: Instant,
    written: u32,
    dropped: u64,
}

impl Lines {
    pub(crate) fn new(name: String, now: Instant) -> Self {
        Self { name, line: Vec::new(), window: now, written: 0, dropped: 0 }
    }

    /// Who writes them.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Logs the lines that end in `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                self.end_line(now);
            }
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.end_line(now);
        self.report();
    }

    fn end_line(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        if now.saturating_duration_since(self.window) > WINDOW {
            self.report();
            (self.window, self.written) = (now, 0);
        }
        if self.written == LINES {
            self.dropped += 1;
            return;
        }
        self.written += 1;
        log::warn!("{}: {}", self.name, printable(line));
    }

    fn report(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log::warn!("{}: {dropped} more lines were not logged", self.name);
        }
    }
}

/// As text without control characters, so that no program forges a line of the log.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}
