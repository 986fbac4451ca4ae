//! Validators, and the conditions that requests make with them (RFC 9110 §8.8, §13).

use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;
use nix::sys::stat::FileStat;

use super::encoding::Coding;
use super::values;
use crate::app::Request;
use crate::protocol::FieldId;

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent; only if `ranges`, the field `Range` counts.
    Send { ranges: bool },
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// What tells one state of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    /// With its quotes; a strong one.
    etag: String,
    /// Seconds since 1970; `None` if HTTP cannot express it.
    modified: Option<u64>,
}

impl Validators {
    /// Those of a file, stored in `coding`, at the time `now`.
    ///
    /// The entity tag consists of the time of modification in nanoseconds and the size, so that it is the same on all
    /// machines that a site was copied to with its times. It is strong as long as nobody changes a file twice, without
    /// changing its size, within one tick of the file system's clock.
    pub(super) fn new(stat: &FileStat, coding: Option<Coding>, now: u64) -> Self {
        let nanoseconds = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
        let (mark, coding) = coding.map_or(("", ""), |coding| ("-", coding.token()));
        let etag = format!("\"{nanoseconds:x}-{:x}{mark}{coding}\"", stat.st_size);
        // RFC 9110 §8.8.2.1: it must not be later than `Date`. httpdate would panic over anything outside its years,
        // and a file may have any time.
        let modified =
            u64::try_from(stat.st_mtime).ok().map(|seconds| seconds.min(now)).filter(|time| *time < YEAR_9999);
        Self { etag, modified }
    }

    /// The value of `ETag`.
    pub(super) fn into_etag(self) -> String {
        self.etag
    }

    /// The value of `Last-Modified`.
    pub(super) fn last_modified(&self) -> Option<String> {
        self.modified.map(http_date)
    }

    /// Evaluates the conditions in the order of RFC 9110 §13.2.2.
    pub(super) fn judge(&self, request: &Request<'_>) -> Verdict {
        if request.known(FieldId::IfMatch).is_some() {
            if !self.matches(request, FieldId::IfMatch, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if self.compare_date(request, FieldId::IfUnmodifiedSince, |modified, date| modified > date) {
            return Verdict::Failed;
        }
        if request.known(FieldId::IfNoneMatch).is_some() {
            if self.matches(request, FieldId::IfNoneMatch, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if self.compare_date(request, FieldId::IfModifiedSince, |modified, date| modified <= date) {
            return Verdict::NotModified;
        }
        Verdict::Send { ranges: request.known(FieldId::IfRange).is_none_or(|value| self.same_range(value)) }
    }

    /// Whether one of the tags in the fields `id` is ours, or they say `*`.
    fn matches(&self, request: &Request<'_>, id: FieldId, comparison: Comparison) -> bool {
        values(request, id)
            .any(|value| value.trim_ascii() == b"*" || Tags { rest: value }.any(|tag| self.is(tag, comparison)))
    }

    fn is(&self, tag: Tag<'_>, comparison: Comparison) -> bool {
        (comparison == Comparison::Weak || !tag.weak) && tag.opaque == self.etag.as_bytes()
    }

    /// RFC 9110 §13.1.5: a tag compares strongly, a date exactly.
    fn same_range(&self, value: &[u8]) -> bool {
        match date(value) {
            Some(date) => self.modified == Some(date),
            None => {
                let mut tags = Tags { rest: value };
                tags.next().is_some_and(|tag| self.is(tag, Comparison::Strong)) && tags.next().is_none()
            }
        }
    }

    /// Whether `holds` for our date and the one in the field; false if either is missing, or the field's is no date.
    fn compare_date(&self, request: &Request<'_>, id: FieldId, holds: fn(u64, u64) -> bool) -> bool {
        match (self.modified, request.known(id).and_then(date)) {
            (Some(modified), Some(date)) => holds(modified, date),
            _ => false,
        }
    }
}

/// RFC 9110 §8.8.3.2
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// An entity tag: its quoted part, and whether `W/` stood before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    opaque: &'a [u8],
    weak: bool,
}

/// Takes entity tags off the front of a list; ends at the first thing that is none.
struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let list = self.rest.get(start..)?;
        let (weak, quoted) = list.strip_prefix(b"W/").map_or((false, list), |quoted| (true, quoted));
        let inside = quoted.strip_prefix(b"\"")?;
        let opaque = quoted.get(..memchr::memchr(b'"', inside)? + 2)?;
        self.rest = quoted.get(opaque.len()..)?;
        Some(Tag { opaque, weak })
    }
}

/// Reads any of the three formats of RFC 9110 §5.6.7.
fn date(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Writes a time before the year 9999.
pub(super) fn http_date(seconds: u64) -> String {
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_9999 - 1))).to_string()
}

/// The first second of the year 9999, which is about as far as HTTP's dates go.
const YEAR_9999: u64 = 253_370_764_800;
