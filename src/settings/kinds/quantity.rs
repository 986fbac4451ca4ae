//! Numbers: of things, of seconds, of bytes, and permission bits.

use std::fmt;
use std::time::Duration;

use super::raw::text;
use crate::settings::value::{Host, Invalid, Kind, Raw, Shape, quoted};

/// A number from `MIN` to `MAX`.
pub(crate) struct Count<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Shape for Count<MIN, MAX> {
    const METAVAR: &'static str = "INT";
}

impl<T, const MIN: u64, const MAX: u64> Kind<T> for Count<MIN, MAX>
where
    T: TryFrom<u64> + fmt::Display,
{
    fn read(raw: &Raw, _: Host) -> Result<T, Invalid> {
        let expected = || Invalid::new(format!("a whole number from {MIN} to {MAX}"));
        let number = whole(text(raw, expected)?).filter(|number| (MIN..=MAX).contains(number));
        number.and_then(|number| number.try_into().ok()).ok_or_else(expected)
    }

    fn show(value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// A number in digits only: `parse` alone takes a plus sign too.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number of processes: more than this is a slip of the finger.
const MOST_WORKERS: usize = 4096;

/// A number of worker processes.
pub(crate) struct Workers;

impl Shape for Workers {
    const METAVAR: &'static str = "INT|MIN:MAX|auto";
}

impl Kind<(usize, usize)> for Workers {
    fn read(raw: &Raw, host: Host) -> Result<(usize, usize), Invalid> {
        let expected = || {
            Invalid::new(format!(
                "a whole number from 1 to {MOST_WORKERS}, two of them such as 2:8, the lower first and perhaps 0, or auto"
            ))
        };
        let count = |text: &str| {
            if text.trim().eq_ignore_ascii_case("auto") {
                return Some(host.cpus.clamp(1, MOST_WORKERS));
            }
            let number = whole(text.trim()).and_then(|number| usize::try_from(number).ok());
            number.filter(|number| *number <= MOST_WORKERS)
        };
        let text = text(raw, expected)?;
        let (least, most) = text.split_once(':').unwrap_or((text, text));
        count(least).zip(count(most)).filter(|(least, most)| *most > 0 && least <= most).ok_or_else(expected)
    }

    fn show(value: &(usize, usize)) -> Option<String> {
        let (least, most) = value;
        Some(if most > least { quoted(&format!("{least}:{most}")) } else { least.to_string() })
    }
}

/// Permission bits, in octal.
pub(crate) struct Mode;

impl Shape for Mode {
    const METAVAR: &'static str = "MODE";
}

impl Kind<u32> for Mode {
    fn read(raw: &Raw, _: Host) -> Result<u32, Invalid> {
        if let Raw::Number(number) = raw
            && let Some(mode) = u32::try_from(*number).ok().filter(|mode| *mode <= 0o777)
        {
            return Ok(mode);
        }
        let expected = || Invalid::new("permission bits in octal, from 0 to 0777, such as 022 or 0o022");
        let text = text(raw, expected)?;
        let octal = text.strip_prefix("0o").unwrap_or(text);
        // `22` may mean 18 (Gunicorn) or 022 (chmod): only what can be read in one way is taken.
        let clear = octal.len() < text.len() || text.starts_with('0') || text.len() == 3;
        let digits = !octal.is_empty() && octal.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(octal, 8).ok().filter(|mode| clear && digits && *mode <= 0o777);
        mode.ok_or_else(expected)
    }

    fn show(value: &u32) -> Option<String> {
        Some(format!("0o{value:03o}"))
    }
}

impl Kind<Option<u32>> for Mode {
    fn read(raw: &Raw, host: Host) -> Result<Option<u32>, Invalid> {
        Self::read(raw, host).map(Some)
    }

    fn show(value: &Option<u32>) -> Option<String> {
        value.as_ref().and_then(Self::show)
    }
}

const LONGEST: Duration = Duration::from_secs(1_000_000_000);

fn seconds(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    let number = number.trim_end();
    // No signs, exponents or infinities.
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = plain.then(|| number.parse::<f64>().ok()).flatten()? * factor;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST)
}

fn show_seconds(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 { duration.as_secs().to_string() } else { duration.as_secs_f64().to_string() }
}

/// A time; 0 is for ever where it may be missing.
pub(crate) struct Seconds;

impl Shape for Seconds {
    const METAVAR: &'static str = "SECONDS";
}

impl Kind<Duration> for Seconds {
    fn read(raw: &Raw, _: Host) -> Result<Duration, Invalid> {
        let expected = || Invalid::new("seconds such as 30 or 0.5, or a number with ms, s, m, h or d");
        seconds(text(raw, expected)?).ok_or_else(expected)
    }

    fn show(value: &Duration) -> Option<String> {
        Some(show_seconds(*value))
    }
}

impl Kind<Option<Duration>> for Seconds {
    fn read(raw: &Raw, host: Host) -> Result<Option<Duration>, Invalid> {
        let duration: Duration = Self::read(raw, host)?;
        Ok(Some(duration).filter(|duration| !duration.is_zero()))
    }

    fn show(value: &Option<Duration>) -> Option<String> {
        Some(show_seconds(value.unwrap_or_default()))
    }
}

/// A time that is more than none.
pub(crate) struct SomeSeconds;

impl Shape for SomeSeconds {
    const METAVAR: &'static str = "SECONDS";
}

impl Kind<Duration> for SomeSeconds {
    fn read(raw: &Raw, host: Host) -> Result<Duration, Invalid> {
        let duration: Duration = Seconds::read(raw, host)?;
        Some(duration)
            .filter(|duration| *duration >= Duration::from_millis(1))
            .ok_or_else(|| Invalid::new("a time of more than 0 seconds, such as 30 or 0.5"))
    }

    fn show(value: &Duration) -> Option<String> {
        Some(show_seconds(*value))
    }
}

fn bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    whole(number.trim_end())?.checked_mul(1 << shift)
}

fn show_bytes(number: u64) -> String {
    let unit =
        [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)].into_iter().find(|(_, unit)| number.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) if number > 0 => quoted(&format!("{}{name}", number / unit)),
        _ => number.to_string(),
    }
}

/// A number of bytes from `MIN` to `MAX`.
pub(crate) struct Bytes<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Shape for Bytes<MIN, MAX> {
    const METAVAR: &'static str = "BYTES";
}

impl<T, const MIN: u64, const MAX: u64> Kind<T> for Bytes<MIN, MAX>
where
    T: TryFrom<u64> + TryInto<u64> + Copy,
{
    fn read(raw: &Raw, _: Host) -> Result<T, Invalid> {
        let expected =
            || Invalid::new(format!("a number of bytes from {MIN} to {MAX}; k, m and g may stand behind it"));
        let number = bytes(text(raw, expected)?).filter(|number| (MIN..=MAX).contains(number));
        number.and_then(|number| number.try_into().ok()).ok_or_else(expected)
    }

    fn show(value: &T) -> Option<String> {
        (*value).try_into().ok().map(show_bytes)
    }
}

/// A number of bytes; 0 is no limit, held as the largest number there is.
pub(crate) struct BytesOrAny;

impl Shape for BytesOrAny {
    const METAVAR: &'static str = "BYTES";
}

impl Kind<u64> for BytesOrAny {
    fn read(raw: &Raw, host: Host) -> Result<u64, Invalid> {
        let bytes = Bytes::<0, { i64::MAX as u64 }>::read(raw, host)?;
        Ok(if bytes == 0 { u64::MAX } else { bytes })
    }

    fn show(value: &u64) -> Option<String> {
        Some(show_bytes(if *value == u64::MAX { 0 } else { *value }))
    }
}

impl Kind<usize> for BytesOrAny {
    fn read(raw: &Raw, host: Host) -> Result<usize, Invalid> {
        let bytes = Bytes::<0, { 16 << 20 }>::read(raw, host)?;
        Ok(if bytes == 0 { usize::MAX } else { bytes })
    }

    fn show(value: &usize) -> Option<String> {
        Some(show_bytes(if *value == usize::MAX { 0 } else { *value as u64 }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::kinds::raw::{HOST, shown};

    #[test]
    fn times_have_fractions_and_units() {
        let cases = [
            ("30", Some("30")),
            ("0.5", Some("0.5")),
            ("2m", Some("120")),
            ("1.5h", Some("5400")),
            ("250ms", Some("0.25")),
            ("10 s", Some("10")),
            ("1d", Some("86400")),
            ("0", Some("0")),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("inf", None),
            ("nan", None),
            ("1.2.3", None),
            ("30 parsecs", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(shown::<Duration, _>(Seconds, text).as_deref(), expected, "{text}");
        }
        assert_eq!(<Seconds as Kind<Option<Duration>>>::read(&Raw::Text("0".into()), HOST), Ok(None));
        assert_eq!(shown::<Duration, _>(SomeSeconds, "0"), None);
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        let cases = [
            ("8190", Some("8190")),
            ("64k", Some("\"64k\"")),
            ("1M", Some("\"1m\"")),
            ("1 MiB", Some("\"1m\"")),
            ("0", None),
            ("2g", None),
            ("1t", None),
            ("-1", None),
            ("18446744073709551615k", None),
        ];
        for (text, expected) in cases {
            assert_eq!(shown::<u64, _>(Bytes::<1, { 1 << 30 }>, text).as_deref(), expected, "{text}");
        }
        assert_eq!(<BytesOrAny as Kind<u64>>::read(&Raw::Text("0".into()), HOST), Ok(u64::MAX));
        assert_eq!(shown::<u64, _>(BytesOrAny, "0").as_deref(), Some("0"));
    }

    #[test]
    fn modes_are_taken_only_where_they_can_be_read_in_one_way() {
        let cases = [
            ("0660", Some("0o660")),
            ("660", Some("0o660")),
            ("0o660", Some("0o660")),
            ("022", Some("0o022")),
            ("0", Some("0o000")),
            ("18", None),
            ("22", None),
            ("999", None),
            ("01000", None),
            ("0o", None),
            ("+77", None),
            ("0x1ff", None),
        ];
        for (text, expected) in cases {
            assert_eq!(shown::<u32, _>(Mode, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn workers_are_a_number_or_as_many_as_processors() {
        let cases =
            [("1", Some("1")), ("auto", Some("6")), ("AUTO", Some("6")), ("0", None), ("-1", None), ("4097", None)];
        for (text, expected) in cases {
            assert_eq!(shown(Workers, text).as_deref(), expected, "{text}");
        }
    }
}
