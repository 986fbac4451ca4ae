//! A connection that carries one request: uwsgi and SCGI.

use std::fmt;

use super::answer::{Answer, Style};
use crate::protocol::http1::ResponseFields;
use crate::protocol::{Error, Event, Head, Length, Limits, Progress, ResponseError, Reuse};

/// What tells uwsgi from SCGI.
pub(in crate::protocol) trait Opening: fmt::Debug + Default {
    /// How its responses begin.
    const STYLE: Style;

    /// The answer to a ping.
    const PONG: &'static [u8] = &[];

    /// The packet in front of the body.
    fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Opened, Error>;
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Opened {
    NeedMore,
    /// A request, whose variables took so many bytes.
    Request(usize),
    /// A question for a sign of life, of so many bytes.
    Ping(usize),
}

/// What of the request comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Inbound {
    #[default]
    Head,
    Body(u64),
    Complete,
    Pinged,
    Closed,
    Refused(Error),
}

/// A connection of one request.
#[derive(Clone, Debug, Default)]
pub(in crate::protocol) struct Single<O> {
    inbound: Inbound,
    answer: Answer,
    opening: std::marker::PhantomData<O>,
}

impl<O: Opening> Single<O> {
    pub(in crate::protocol) fn next_event(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Progress, Error> {
        let need_more = |consumed| Ok(Progress { consumed, event: Event::NeedMore });
        match &mut self.inbound {
            Inbound::Head => match O::parse(input, limits, head) {
                Ok(Opened::NeedMore) => need_more(0),
                Ok(Opened::Request(consumed)) => {
                    self.answer.begin(head);
                    self.inbound = Inbound::Body(head.content_length.unwrap_or(0));
                    Ok(Progress { consumed, event: Event::Request })
                }
                Ok(Opened::Ping(consumed)) => {
                    self.inbound = Inbound::Pinged;
                    Ok(Progress { consumed, event: Event::Reply })
                }
                Err(error) => {
                    self.inbound = Inbound::Refused(error);
                    Err(error)
                }
            },
            Inbound::Body(left) => {
                let end = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= end as u64;
                match end {
                    0 if *left == 0 => {
                        self.inbound = Inbound::Complete;
                        Ok(Progress { consumed: 0, event: Event::End })
                    }
                    0 => need_more(0),
                    end => Ok(Progress { consumed: end, event: Event::Body { start: 0, end } }),
                }
            }
            Inbound::Complete | Inbound::Pinged => need_more(0),
            Inbound::Closed => need_more(input.len()),
            Inbound::Refused(error) => Err(*error),
        }
    }

    pub(in crate::protocol) fn end_without_body(&mut self) -> bool {
        let ends = matches!(self.inbound, Inbound::Body(0));
        if ends {
            self.inbound = Inbound::Complete;
        }
        ends
    }

    pub(in crate::protocol) fn is_idle(&self) -> bool {
        matches!(self.inbound, Inbound::Head)
    }

    pub(in crate::protocol) fn answer(&self) -> &Answer {
        &self.answer
    }

    pub(in crate::protocol) fn reply(&mut self, out: &mut Vec<u8>) -> Reuse {
        if matches!(self.inbound, Inbound::Pinged) {
            out.extend_from_slice(O::PONG);
        }
        self.inbound = Inbound::Closed;
        Reuse::Close
    }

    pub(in crate::protocol) fn respond(
        &mut self,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl ResponseFields,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        self.answer.respond(O::STYLE, status, reason, fields, length, out)
    }

    pub(in crate::protocol) fn frame(&mut self, length: u64) -> u64 {
        self.answer.take(length)
    }

    pub(in crate::protocol) fn finish(&mut self) -> Reuse {
        self.answer.finish();
        if !matches!(self.inbound, Inbound::Refused(_)) {
            self.inbound = Inbound::Closed;
        }
        Reuse::Close
    }

    pub(in crate::protocol) fn refuse_with(&mut self, status: u16, text: &str, out: &mut Vec<u8>) {
        let error = if let Inbound::Refused(error) = self.inbound { Some(error) } else { None };
        self.answer.refuse(O::STYLE, error, status, text, out);
        if error.is_none() {
            self.inbound = Inbound::Closed;
        }
    }
}
