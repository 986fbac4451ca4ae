//! The `Date` of responses, made once a second.

use std::time::{Duration, SystemTime};

/// An IMF-fixdate (RFC 9110 §5.6.7) and the second it is of.
#[derive(Debug, Default)]
pub(crate) struct Date {
    second: u64,
    text: Text,
}

#[derive(Debug)]
struct Text([u8; 29]);

impl Default for Text {
    fn default() -> Self {
        Self(*b"Thu, 01 Jan 1970 00:00:00 GMT")
    }
}

impl Date {
    /// The text for `second` since 1970.
    pub(crate) fn at(&mut self, second: u64) -> &[u8; 29] {
        if second != self.second {
            let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            if let Ok(bytes) = text.into_bytes().try_into() {
                *self = Self { second, text: Text(bytes) };
            }
        }
        self.text()
    }

    /// The text of the second last asked for.
    pub(crate) fn text(&self) -> &[u8; 29] {
        &self.text.0
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn the_text_follows_the_second() {
        let mut date = Date::default();
        assert_eq!(date.at(1_795_352_424), b"Sun, 22 Nov 2026 13:00:24 GMT");
        assert_eq!(date.at(1_795_352_425), b"Sun, 22 Nov 2026 13:00:25 GMT");
    }
}
