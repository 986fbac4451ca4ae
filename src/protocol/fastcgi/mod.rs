//! FastCGI 1.0, the application's side: responder and authorizer, one request at a time.
//!
//! ```text
//!              Request          Body*, End             finish: KeepAlive (FCGI_KEEP_CONN)
//!   Head ------------------> Body --------> Complete ----------------------------------> Head
//!    |  ^ Reply: values asked for, a second      \
//!    +--+ request, a role that is not played      `-- finish: Close ------------------> Closed
//! ```
//!
//! Nothing of a head is used up before all of it is there: where its records lie is remembered instead. A second request
//! that begins before the body of the first has ended is declined (`FCGI_CANT_MPX_CONN`); one that comes after it is the
//! next one.

mod intake;
pub mod record;

use super::gateway::answer::{Answer, Style, spoken};
use super::http1::ResponseFields;
use super::{Error, Event, Head, Length, Limits, Progress, ResponseError, Reuse};
use intake::{Found, Intake, Note};
use record::{End, Kind, ProtocolStatus};

/// One FastCGI connection.
#[derive(Clone, Debug, Default)]
pub(super) struct FastCgi {
    intake: Intake,
    answer: Answer,
    /// The request that is being answered; [`record::MANAGEMENT`] while there is none.
    id: u16,
    /// The web server wants to go on using its connection.
    keep: bool,
    /// What is to be said beside it.
    note: Option<Note>,
    /// The next response that is finished shall be the last one.
    closing: bool,
    refused: Option<Error>,
}

impl FastCgi {
    pub(super) fn next_event(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let (consumed, found) = match self.intake.next(input, limits, head) {
            Ok(found) => found,
            Err(error) => {
                self.refused = Some(error);
                return Err(error);
            }
        };
        let event = match found {
            Found::NeedMore => Event::NeedMore,
            Found::Request(begun) => {
                (self.id, self.keep) = (begun.id, begun.keep);
                head.keep_alive = begun.keep;
                self.answer.begin(head);
                Event::Request
            }
            Found::Body { start, end } => Event::Body { start, end },
            Found::End => Event::End,
            Found::Note(note) => {
                self.note = Some(note);
                Event::Reply
            }
            Found::Aborted(note) => {
                self.note = Some(note);
                (self.answer, self.id) = (Answer::default(), record::MANAGEMENT);
                Event::Aborted
            }
        };
        Ok(Progress { consumed, event })
    }

    pub(super) fn end_without_body(&mut self) -> bool {
        self.intake.end_without_body()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.refused.is_none() && self.intake.is_fresh()
    }

    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Whether the request that waits for its answer is aborted by a record in `input`, which follows it.
    pub(super) fn is_aborted(&self, mut input: &[u8]) -> bool {
        while let Ok(Some(header)) = record::Header::parse(input) {
            match header.kind {
                Kind::AbortRequest if header.request == self.id => return self.id != record::MANAGEMENT,
                Kind::BeginRequest => return false,
                _ => {}
            }
            let Some(rest) = input.get(header.record_size()..) else { return false };
            input = rest;
        }
        false
    }

    pub(super) fn close_after_response(&mut self) {
        self.closing = true;
    }

    /// Appends what was asked for beside the requests; `connections` is how many a web server may make.
    pub(super) fn reply(&mut self, connections: usize, out: &mut Vec<u8>) -> Reuse {
        let keep = match self.note.take() {
            None => true,
            Some(Note::Values(asked)) => {
                let mut content = Vec::new();
                for (name, value) in
                    [("FCGI_MAX_CONNS", connections), ("FCGI_MAX_REQS", connections), ("FCGI_MPXS_CONNS", 0)]
                {
                    if asked.contains(name) {
                        record::pair(name.as_bytes(), value.to_string().as_bytes(), &mut content);
                    }
                }
                record::record(Kind::GetValuesResult, record::MANAGEMENT, &content, out);
                true
            }
            Some(Note::UnknownType(number)) => {
                record::record(Kind::UnknownType, record::MANAGEMENT, &[number, 0, 0, 0, 0, 0, 0, 0], out);
                true
            }
            Some(Note::End { id, status, keep }) => {
                End { application: 0, status }.write(id, out);
                keep
            }
        };
        if keep {
            return Reuse::KeepAlive;
        }
        self.intake.close();
        Reuse::Close
    }

    pub(super) fn respond(
        &mut self,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl ResponseFields,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        let start = out.len();
        out.extend_from_slice(&[0; record::HEADER_SIZE]);
        let responded = self.answer.respond(Style::StatusField, status, reason, fields, length, out);
        match responded {
            Ok(()) => seal(Kind::Stdout, self.id, start, out),
            Err(_) => out.truncate(start),
        }
        responded
    }

    pub(super) fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = self.answer.take(bytes.len() as u64);
        record::stream(Kind::Stdout, self.id, bytes.get(..length as usize).unwrap_or(bytes), out);
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Reuse {
        let complete = self.answer.finish();
        if complete {
            self.end(0, out);
            if self.closing {
                self.warn_of_close(out);
            }
        }
        if complete && self.keep && !self.closing && self.refused.is_none() && self.intake.renew() {
            self.id = record::MANAGEMENT;
            return Reuse::KeepAlive;
        }
        self.intake.close();
        Reuse::Close
    }

    /// FastCGI cannot say that a connection is about to be closed, and nginx would send the next request in the moment
    /// before it sees that. It keeps no connection on which something comes behind the end.
    fn warn_of_close(&self, out: &mut Vec<u8>) {
        if self.keep {
            record::record(Kind::GetValuesResult, record::MANAGEMENT, &[], out);
        }
    }

    fn end(&self, application: u32, out: &mut Vec<u8>) {
        record::end_stream(Kind::Stdout, self.id, out);
        End { application, status: ProtocolStatus::Complete }.write(self.id, out);
    }

    /// Appends the answer to a refused request: for the client on the standard output, for the web server's log on the
    /// standard error.
    pub(super) fn refuse_with(&mut self, status: u16, text: &str, out: &mut Vec<u8>) {
        // A refusal is answered if it is known to whom, although the head is not complete yet.
        if let Some(begun) = self.intake.begun() {
            (self.id, self.keep) = (begun.id, begun.keep);
        }
        let (style, reason) = (Style::StatusField, self.refused);
        if reason.and_then(spoken).is_some() {
            self.answer.refuse(style, reason, status, text, out);
        } else if self.id != record::MANAGEMENT {
            let mut page = Vec::new();
            let free = self.answer.refuse(style, reason, status, text, &mut page);
            if free {
                let message = format!("ferricorn: {text}");
                record::stream(Kind::Stderr, self.id, message.as_bytes(), out);
                record::end_stream(Kind::Stderr, self.id, out);
                record::stream(Kind::Stdout, self.id, &page, out);
                self.end(1, out);
                self.warn_of_close(out);
            }
        }
        self.intake.close();
    }
}

/// Makes what was appended from `start` on, a header's room in front of it, one record; several if it is too much for one.
fn seal(kind: Kind, id: u16, start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start - record::HEADER_SIZE;
    if length > record::CONTENT_SIZE {
        let content = out.split_off(start + record::HEADER_SIZE);
        out.truncate(start);
        return record::stream(kind, id, &content, out);
    }
    if let Some(header) = out.get_mut(start..start + record::HEADER_SIZE) {
        header.copy_from_slice(&record::Header::new(kind, id, length as u16).to_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
