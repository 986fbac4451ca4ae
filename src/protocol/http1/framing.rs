//! How the body of a request is framed, and what else its fields say about the connection (RFC 9112 §6).

use super::{Error, target};
use crate::protocol::field::FieldId;
use crate::protocol::grammar;
use crate::protocol::head::{Head, Span, Target, Version};
use crate::protocol::{Limits, Protocol};

/// What the fields say about framing and the connection, gathered while they are copied.
#[derive(Default)]
pub(super) struct Framing<'b> {
    hosts: u32,
    host_index: usize,
    lengths: u32,
    length: &'b [u8],
    codings: u32,
    coding: &'b [u8],
    expectations: u32,
    expectation: &'b [u8],
    close: bool,
    keep_alive: bool,
}

impl<'b> Framing<'b> {
    /// The fields that matter.
    const FIELDS: u64 = FieldId::Host.bit()
        | FieldId::Connection.bit()
        | FieldId::ContentLength.bit()
        | FieldId::Expect.bit()
        | FieldId::TransferEncoding.bit();

    /// Notes the field at `index`, if it is one of those that matter.
    #[inline]
    pub(super) fn note(&mut self, id: FieldId, value: &'b [u8], index: usize) {
        if id.bit() & Self::FIELDS == 0 {
            return;
        }
        match id {
            FieldId::Host => {
                self.hosts += 1;
                self.host_index = index;
            }
            other => self.note_other(other, value),
        }
    }

    fn note_other(&mut self, id: FieldId, value: &'b [u8]) {
        match id {
            FieldId::ContentLength => {
                self.lengths += 1;
                self.length = value;
            }
            FieldId::TransferEncoding => {
                self.codings += 1;
                self.coding = value;
            }
            FieldId::Expect => {
                self.expectations += 1;
                self.expectation = value;
            }
            // Nearly all say this, if anything.
            FieldId::Connection if value == b"keep-alive" => self.keep_alive = true,
            FieldId::Connection => {
                for option in grammar::list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
    }

    /// Judges what was noted, and writes it into `head`, whose bytes and fields are there.
    #[inline]
    pub(super) fn settle(&self, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        let modern = head.version == Version::Http11;
        // The head may have been another protocol's before, whose variables are nobody's now.
        head.protocol = Protocol::Http;
        head.keep_alive = !self.close && (modern || self.keep_alive);
        self.settle_host(modern, head)?;

        head.chunked = false;
        head.content_length = None;
        head.expects_continue = false;
        if self.lengths | self.codings | self.expectations != 0 {
            self.settle_body(modern, limits, head)?;
        }
        Ok(())
    }

    /// RFC 9112 §3.2: exactly one valid `Host`, and in HTTP/1.0 at most one.
    #[inline]
    fn settle_host(&self, modern: bool, head: &mut Head) -> Result<(), Error> {
        if self.hosts > 1 {
            return Err(Error::HostRepeated);
        }
        match head.fields.get(self.host_index).filter(|_| self.hosts == 1).map(|field| field.value) {
            None if modern => return Err(Error::HostMissing),
            None => {}
            Some(host) => {
                let value = head.bytes.get(host.start as usize..host.end as usize).unwrap_or_default();
                if value != head.valid_host {
                    if !target::is_host(value) {
                        return Err(Error::Host);
                    }
                    head.valid_host.clear();
                    head.valid_host.extend_from_slice(value);
                }
                if head.authority.is_none() {
                    head.authority = Some(host);
                }
            }
        }
        if head.form == Target::Absolute {
            self.settle_absolute(head);
        }
        Ok(())
    }

    /// RFC 9112 §3.2.2: the authority of an absolute target is what counts, so nobody may see another in `Host`.
    #[cold]
    fn settle_absolute(&self, head: &mut Head) {
        if let (Some(authority), Some(field), 1) = (head.authority, head.fields.get_mut(self.host_index), self.hosts) {
            field.value = authority;
        }
        if head.path.start == head.path.end {
            let start = head.bytes.len() as u32;
            head.bytes.push(b'/');
            head.path = Span { start, end: start + 1 };
        }
    }

    /// RFC 9112 §6.3, with every doubt refused.
    fn settle_body(&self, modern: bool, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        if self.codings > 0 {
            if !modern {
                return Err(Error::TransferEncodingVersion);
            }
            if self.lengths > 0 {
                return Err(Error::LengthAndCoding);
            }
            if self.codings > 1 {
                return Err(Error::TransferEncodingRepeated);
            }
            check_coding(self.coding)?;
            head.chunked = true;
        }
        if self.lengths > 0 {
            if self.lengths > 1 {
                return Err(Error::ContentLengthRepeated);
            }
            let length = grammar::decimal(self.length).ok_or(Error::ContentLength)?;
            if length > limits.body_size {
                return Err(Error::BodyTooLarge);
            }
            head.content_length = Some(length);
        }
        // RFC 9110 §10.1.1: HTTP/1.0 knows no expectations.
        if self.expectations > 0 && modern {
            if self.expectations > 1 || !self.expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Error::Expectation);
            }
            head.expects_continue = head.has_body();
        }
        Ok(())
    }
}

/// `chunked` alone is understood. RFC 9112 §6.1 and §6.3: other codings under a last `chunked` are a 501, anything else
/// leaves the length in doubt.
fn check_coding(value: &[u8]) -> Result<(), Error> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let tokens = grammar::list(value).all(grammar::is_token_text);
    let last = grammar::list(value).last().is_some_and(is_chunked);
    let count = grammar::list(value).filter(|coding| is_chunked(coding)).count();
    Err(if tokens && last && count == 1 { Error::TransferCoding } else { Error::TransferEncoding })
}
