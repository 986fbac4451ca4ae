//! The chunked coding (RFC 9112 §7.1), decoded strictly and byte by byte: nothing waits for a whole line, so each byte is
//! looked at once however the input is split.

use super::{Error, request, work};
use crate::protocol::grammar;
use crate::protocol::{Event, Limits, Progress};

/// Hexadecimal digits of a chunk size, leading zeros included.
const SIZE_DIGITS: u8 = 16;
/// Bytes of one chunk's line.
const LINE_SIZE: u16 = 4096;
/// Bytes of all extensions of one body.
const EXTENSIONS_SIZE: u16 = 16 * 1024;
/// Bytes of the trailer section.
const TRAILERS_SIZE: u16 = 16 * 1024;

/// Which byte comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// A digit of the size, or what ends it.
    #[default]
    Size,
    /// After `;`: blanks, or the first byte of a name.
    NameStart,
    Name,
    /// Blanks after a name.
    NameEnd,
    /// After `=`: blanks, or the first byte of a value.
    ValueStart,
    Value,
    Quoted,
    /// After a backslash in quotes.
    QuotedPair,
    /// After a closing quote.
    QuotedEnd,
    /// Blanks after a value.
    ValueEnd,
    /// The LF of the chunk's line.
    LineFeed,
    Data,
    /// The CR after the data.
    DataCr,
    /// The LF after the data.
    DataLf,
    /// A line of the trailer section.
    Trailer,
}

/// Where in a chunked body the connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoder {
    /// Bytes left of the current chunk, or its size so far; in the trailer section, how much of its line was scanned.
    size: u64,
    /// Body bytes of all chunks so far, the current one whole.
    received: u64,
    line: u16,
    extensions: u16,
    trailers: u16,
    digits: u8,
    step: Step,
}

impl Decoder {
    /// The next piece of the body in `input`, or its end.
    pub(super) fn next_event(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, Error> {
        for (index, &byte) in input.iter().enumerate() {
            match self.step {
                Step::Data => return Ok(self.data(index, input.len())),
                Step::Trailer => return self.trailer(index, input),
                _ => {
                    work::looked_at(1);
                    self.step = self.step_over(byte, limits)?;
                }
            }
        }
        Ok(Progress { consumed: input.len(), event: Event::NeedMore })
    }

    fn data(&mut self, start: usize, available: usize) -> Progress {
        let length = self.size.min((available - start) as u64);
        self.size -= length;
        if self.size == 0 {
            self.step = Step::DataCr;
        }
        let end = start + length as usize;
        Progress { consumed: end, event: Event::Body { start, end } }
    }

    #[inline]
    fn step_over(&mut self, byte: u8, limits: &Limits) -> Result<Step, Error> {
        match (self.step, byte) {
            (Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            // RFC 9112 §7.1.1 would have blanks before the semicolon skipped; peers disagree about them, so none may stand here.
            (Step::Size, b'\r') if self.digits > 0 => Ok(Step::LineFeed),
            (Step::Size, b';') if self.digits > 0 => self.extension(Step::NameStart),
            (Step::Size, b'\n') if self.digits > 0 => Err(Error::ChunkLine),
            (Step::Size, _) => Err(Error::ChunkSize),
            (Step::LineFeed, b'\n') => self.begin(limits),
            (Step::LineFeed, _) => Err(Error::ChunkLine),
            (Step::DataCr, b'\r') => Ok(Step::DataLf),
            (Step::DataLf, b'\n') => Ok(Step::Size),
            (Step::DataCr | Step::DataLf, _) => Err(Error::ChunkEnd),
            (Step::Name | Step::Value | Step::QuotedEnd, b'\r') => Ok(Step::LineFeed),
            (Step::Name | Step::Value | Step::QuotedEnd, b'\n') => Err(Error::ChunkLine),
            (step, byte) => {
                let step = extension_step(step, byte).ok_or(Error::ChunkExtension)?;
                self.extension(step)
            }
        }
    }

    #[inline]
    fn digit(&mut self, byte: u8) -> Result<Step, Error> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.digits += 1;
        self.line += 1;
        if self.digits > SIZE_DIGITS || self.size > (i64::MAX as u64) >> 4 {
            return Err(Error::ChunkSize);
        }
        self.size = self.size << 4 | u64::from(digit);
        Ok(Step::Size)
    }

    fn extension(&mut self, step: Step) -> Result<Step, Error> {
        self.line += 1;
        self.extensions += 1;
        if self.line > LINE_SIZE || self.extensions > EXTENSIONS_SIZE {
            return Err(Error::ChunkExtensionsTooLarge);
        }
        Ok(step)
    }

    fn begin(&mut self, limits: &Limits) -> Result<Step, Error> {
        self.digits = 0;
        self.line = 0;
        if self.size == 0 {
            return Ok(Step::Trailer);
        }
        self.received = self.received.saturating_add(self.size);
        if self.received > limits.body_size {
            return Err(Error::BodyTooLarge);
        }
        Ok(Step::Data)
    }

    /// Lines of the trailer section, from `start` on, each dropped once it is checked.
    fn trailer(&mut self, mut start: usize, input: &[u8]) -> Result<Progress, Error> {
        loop {
            let room = usize::from(TRAILERS_SIZE - self.trailers);
            let rest = input.get(start..).unwrap_or_default();
            let window = rest.get(..room).unwrap_or(rest);
            let newline = memchr::memchr(b'\n', window.get(self.size as usize..).unwrap_or_default());
            work::looked_at(newline.unwrap_or(window.len().saturating_sub(self.size as usize)));
            let Some(offset) = newline else {
                self.size = window.len() as u64;
                if rest.len() > window.len() {
                    return Err(Error::TrailersTooLarge);
                }
                return Ok(Progress { consumed: start, event: Event::NeedMore });
            };
            let end = self.size as usize + offset;
            let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Error::BareLf)?;
            start += end + 1;
            if line.is_empty() {
                return Ok(Progress { consumed: start, event: Event::End });
            }
            request::check_trailer(line)?;
            self.size = 0;
            self.trailers += end as u16 + 1;
        }
    }
}

/// `*( ";" BWS name [ BWS "=" BWS value ] )`; the step after `byte`.
fn extension_step(step: Step, byte: u8) -> Option<Step> {
    Some(match (step, byte) {
        (Step::NameStart | Step::ValueStart, b' ' | b'\t') => step,
        (Step::NameStart | Step::Name, byte) if grammar::is_token(byte) => Step::Name,
        (Step::Name | Step::NameEnd, b'=') => Step::ValueStart,
        (Step::Name | Step::NameEnd, b' ' | b'\t') => Step::NameEnd,
        (Step::ValueStart, b'"') => Step::Quoted,
        (Step::ValueStart | Step::Value, byte) if grammar::is_token(byte) => Step::Value,
        (Step::Value | Step::QuotedEnd | Step::ValueEnd, b' ' | b'\t') => Step::ValueEnd,
        (Step::Name | Step::NameEnd | Step::Value | Step::QuotedEnd | Step::ValueEnd, b';') => Step::NameStart,
        (Step::Quoted, b'"') => Step::QuotedEnd,
        (Step::Quoted, b'\\') => Step::QuotedPair,
        (Step::Quoted | Step::QuotedPair, b'\t' | b' '..=b'~' | 0x80..) => Step::Quoted,
        _ => return None,
    })
}
