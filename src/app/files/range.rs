//! Ranges of bytes (RFC 9110 §14).

/// Bytes `start` to `end - 1`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What a field `Range` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Everything: there was no such field, or it is one to ignore (§14.2).
    Whole,
    /// One range is left.
    One(ByteRange),
    /// Several that neither overlap nor touch, in the order that they were asked for.
    Several(Vec<ByteRange>),
    /// Nothing that there is.
    Unsatisfiable,
}

impl ByteRange {
    /// All bytes of a file.
    pub(super) const fn all(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    pub(super) const fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The value of `Content-Range`.
    pub(super) fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.end.saturating_sub(1))
    }

    const fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

impl Ranges {
    /// Reads the value of `Range` for a file of `size` bytes.
    ///
    /// Another unit, a malformed set, and one of more than [`MAX_RANGES`] are ignored. Ranges that overlap are made one,
    /// so no request gets more than the file.
    pub(super) fn parse(value: &[u8], size: u64) -> Self {
        // An empty file has no range to name in `Content-Range`; clients that ask for a first part of everything are
        // well served with all of it.
        let Some(set) = bytes_set(value).filter(|_| size > 0) else { return Self::Whole };
        let mut ranges: Vec<ByteRange> = Vec::new();
        let mut specs = 0;
        for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
            specs += 1;
            if specs > MAX_RANGES {
                return Self::Whole;
            }
            match Spec::parse(spec) {
                Some(spec) => add(&mut ranges, spec.within(size)),
                None => return Self::Whole,
            }
        }
        match ranges.as_slice() {
            [] if specs == 0 => Self::Whole,
            [] => Self::Unsatisfiable,
            [range] => Self::One(*range),
            _ => Self::Several(ranges),
        }
    }
}

/// The set of a field that has the unit `bytes`, in any case (§14.1).
fn bytes_set(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

fn add(ranges: &mut Vec<ByteRange>, range: Option<ByteRange>) {
    let Some(mut range) = range else { return };
    let mut place = ranges.len();
    // What grows by one range may now touch another; there are few.
    while let Some(index) = ranges.iter().position(|other| other.touches(range)) {
        let other = ranges.remove(index);
        range = ByteRange { start: range.start.min(other.start), end: range.end.max(other.end) };
        place = place.min(index);
    }
    ranges.insert(place.min(ranges.len()), range);
}

/// One range as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

impl Spec {
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', spec)?;
        let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
        match (first, last) {
            (b"", b"") => None,
            (b"", last) => number(last).map(Self::Last),
            (first, b"") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    fn within(self, size: u64) -> Option<ByteRange> {
        let (start, end) = match self {
            Self::From(first) => (first, size),
            Self::FromTo(first, last) => (first, last.saturating_add(1).min(size)),
            Self::Last(length) => (size.saturating_sub(length), size),
        };
        (start < end).then_some(ByteRange { start, end })
    }
}

/// Digits; a number that is too large is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let more = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(*digit - b'0'));
    Some(digits.iter().fold(0, more))
}

/// A field that asks for more ranges than this is ignored: no client that means well sends one.
const MAX_RANGES: usize = 16;

#[cfg(test)]
mod tests {
    use super::{ByteRange, MAX_RANGES, Ranges};

    #[test]
    fn ranges_of_a_file_of_a_hundred_bytes() {
        let one = |start, end| Ranges::One(ByteRange { start, end });
        let several = |ranges: &[(u64, u64)]| {
            Ranges::Several(ranges.iter().map(|&(start, end)| ByteRange { start, end }).collect())
        };
        let cases = [
            ("bytes=0-0", one(0, 1)),
            ("bytes=0-99", one(0, 100)),
            ("bytes=0-", one(0, 100)),
            ("bytes=99-", one(99, 100)),
            ("bytes=90-1000", one(90, 100)),
            ("bytes=90-99999999999999999999999999", one(90, 100)),
            ("bytes=-1", one(99, 100)),
            ("bytes=-100", one(0, 100)),
            ("bytes=-99999999999999999999999999", one(0, 100)),
            ("Bytes=0-0", one(0, 1)),
            ("bytes= 0-0 , ", one(0, 1)),
            ("bytes=0-0,200-300", one(0, 1)),
            ("bytes=0-1,4-5", several(&[(0, 2), (4, 6)])),
            ("bytes=4-5,0-1", several(&[(4, 6), (0, 2)])),
            ("bytes=0-1,\t-1", several(&[(0, 2), (99, 100)])),
            ("bytes=0-1,2-3", one(0, 4)),
            ("bytes=0-10,5-20", one(0, 21)),
            ("bytes=50-60,0-9,55-70", several(&[(50, 71), (0, 10)])),
            ("bytes=0-9,20-29,9-20", one(0, 30)),
            ("bytes=80-89,0-9,20-29,9-20", several(&[(80, 90), (0, 30)])),
            ("bytes=0-,0-,0-,-100", one(0, 100)),
            ("bytes=100-", Ranges::Unsatisfiable),
            ("bytes=100-200,-0", Ranges::Unsatisfiable),
            ("bytes=99999999999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=0-0,5-4", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=,", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=0x1-2", Ranges::Whole),
            ("bytes=1 - 2", Ranges::Whole),
            ("bytes=1-2-3", Ranges::Whole),
            ("bytes 0-0", Ranges::Whole),
            ("lines=0-0", Ranges::Whole),
            ("0-0", Ranges::Whole),
            ("", Ranges::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(Ranges::parse(value.as_bytes(), 100), expected, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_are_ignored_and_an_empty_file_has_none() {
        let field = |count: usize| {
            let specs: Vec<_> = (0..count).map(|nr| format!("{}-{}", nr * 3, nr * 3)).collect();
            format!("bytes={}", specs.join(","))
        };
        let Ranges::Several(ranges) = Ranges::parse(field(MAX_RANGES).as_bytes(), 1000) else { panic!("not several") };
        assert_eq!(ranges.len(), MAX_RANGES);
        assert_eq!(Ranges::parse(field(MAX_RANGES + 1).as_bytes(), 1000), Ranges::Whole);
        assert_eq!(Ranges::parse(b"bytes=0-0", 0), Ranges::Whole);
        assert_eq!(Ranges::parse(b"bytes=-5", 0), Ranges::Whole);
    }
}
