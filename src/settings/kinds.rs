//! The kinds of values that settings have.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::value::{Host, Invalid, Kind, Raw, Shape, Takes, quoted};
use super::{Bind, HeaderMap, ProxyProtocol, TrustedPeers};
use crate::protocol::Protocol;

pub(super) fn array(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| quoted(&text)).collect();
    format!("[{}]", texts.join(", "))
}

fn text(raw: &Raw, expected: impl Fn() -> Invalid) -> Result<&str, Invalid> {
    match raw {
        Raw::Text(text) if !text.contains('\0') => Ok(text.trim()),
        _ => Err(expected()),
    }
}

/// Several texts, or one with commas in it.
pub(super) fn texts(raw: &Raw, expected: impl Fn() -> Invalid) -> Result<Vec<&str>, Invalid> {
    match raw {
        Raw::List(texts) if texts.iter().all(|text| !text.contains('\0')) => {
            Ok(texts.iter().map(|text| text.trim()).collect())
        }
        Raw::Text(text) if !text.contains('\0') => {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect())
        }
        _ => Err(expected()),
    }
}

/// Text that is not empty.
pub(crate) struct Text;

impl Shape for Text {
    const METAVAR: &'static str = "TEXT";
}

impl Kind<String> for Text {
    fn read(raw: &Raw, _: Host) -> Result<String, Invalid> {
        let expected = || Invalid::new("text");
        Some(text(raw, expected)?).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(expected)
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// Text; empty for none.
pub(crate) struct OptionalText;

impl Shape for OptionalText {
    const METAVAR: &'static str = "TEXT";
}

impl Kind<Option<String>> for OptionalText {
    fn read(raw: &Raw, _: Host) -> Result<Option<String>, Invalid> {
        let text = text(raw, || Invalid::new("text"))?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(str::to_owned))
    }

    fn show(value: &Option<String>) -> Option<String> {
        value.as_deref().map(quoted)
    }
}

/// What a request asks for: a path with or without a query. Empty for none.
pub(crate) struct Target;

impl Shape for Target {
    const METAVAR: &'static str = "PATH";
}

impl Kind<Option<String>> for Target {
    fn read(raw: &Raw, host: Host) -> Result<Option<String>, Invalid> {
        let target = OptionalText::read(raw, host)?;
        let fits = |target: &String| {
            target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        };
        match target {
            Some(target) if !fits(&target) => {
                Err(Invalid::new("a path that begins with / and has no blanks, as `/health`"))
            }
            target => Ok(target),
        }
    }

    fn show(value: &Option<String>) -> Option<String> {
        OptionalText::show(value)
    }
}

/// A log: a path, or `-`.
pub(crate) struct Log;

impl Shape for Log {
    const METAVAR: &'static str = "FILE";
}

impl Kind<String> for Log {
    fn read(raw: &Raw, host: Host) -> Result<String, Invalid> {
        Text::read(raw, host).map_err(|_| Invalid::new("the path of a file, or -"))
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind<Option<String>> for Log {
    fn read(raw: &Raw, host: Host) -> Result<Option<String>, Invalid> {
        OptionalText::read(raw, host).map_err(|_| Invalid::new("the path of a file, or -"))
    }

    fn show(value: &Option<String>) -> Option<String> {
        OptionalText::show(value)
    }
}

/// A path; empty for none.
pub(crate) struct OptionalPath;

impl Shape for OptionalPath {
    const METAVAR: &'static str = "PATH";
}

impl Kind<Option<PathBuf>> for OptionalPath {
    fn read(raw: &Raw, _: Host) -> Result<Option<PathBuf>, Invalid> {
        let text = text(raw, || Invalid::new("a path"))?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn show(value: &Option<PathBuf>) -> Option<String> {
        value.as_ref().map(|path| quoted(&path.to_string_lossy()))
    }
}

/// Yes or no.
pub(crate) struct Switch;

impl Shape for Switch {
    const METAVAR: &'static str = "";
    const TAKES: Takes = Takes::Nothing;
}

impl Kind<bool> for Switch {
    fn read(raw: &Raw, _: Host) -> Result<bool, Invalid> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Raw::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(Invalid::new("true or false")),
        }
    }

    fn show(value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

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
                "a whole number from 1 to {MOST_WORKERS} (without a worker nobody would accept), two of them such as 2:8, the \
                 lower first, or auto"
            ))
        };
        let count = |text: &str| {
            if text.trim().eq_ignore_ascii_case("auto") {
                return Some(host.cpus.clamp(1, MOST_WORKERS));
            }
            let number = whole(text.trim()).and_then(|number| usize::try_from(number).ok());
            number.filter(|number| (1..=MOST_WORKERS).contains(number))
        };
        let text = text(raw, expected)?;
        let (least, most) = text.split_once(':').unwrap_or((text, text));
        count(least).zip(count(most)).filter(|(least, most)| least <= most).ok_or_else(expected)
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

/// Addresses to listen on.
pub(crate) struct Addresses;

impl Shape for Addresses {
    const METAVAR: &'static str = "ADDRESS";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<Bind>> for Addresses {
    fn read(raw: &Raw, _: Host) -> Result<Vec<Bind>, Invalid> {
        let expected = || Invalid::new("HOST, HOST:PORT, :PORT, unix:PATH or fd://N, or a list of these");
        let texts = texts(raw, expected)?;
        if texts.is_empty() {
            return Err(expected());
        }
        let mut addresses: Vec<Bind> = Vec::with_capacity(texts.len());
        for text in texts {
            let address: Bind = text.parse().map_err(|error: Invalid| error.about(text))?;
            if addresses.iter().any(|other| other.address == address.address) {
                return Err(Invalid::new("each address only once").about(text));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn show(value: &Vec<Bind>) -> Option<String> {
        Some(array(value.iter().map(ToString::to_string)))
    }
}

/// A protocol, by its name.
pub(crate) struct Speech;

impl Shape for Speech {
    const METAVAR: &'static str = "PROTOCOL";
    const TAKES: Takes = Takes::Value;
}

impl Kind<Protocol> for Speech {
    fn read(raw: &Raw, _: Host) -> Result<Protocol, Invalid> {
        let expected = || Invalid::new("http, uwsgi, fastcgi or scgi");
        let Raw::Text(text) = raw else { return Err(expected()) };
        Protocol::ALL.into_iter().find(|protocol| text.eq_ignore_ascii_case(protocol.name())).ok_or_else(expected)
    }

    fn show(value: &Protocol) -> Option<String> {
        Some(quoted(value.name()))
    }
}

/// Names, one or several.
pub(crate) struct Names;

impl Shape for Names {
    const METAVAR: &'static str = "NAME";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<String>> for Names {
    fn read(raw: &Raw, _: Host) -> Result<Vec<String>, Invalid> {
        let texts = texts(raw, || Invalid::new("a name, or a list of names"))?;
        if let Some(path) = texts.iter().find(|text| text.is_empty() || text.contains('/')) {
            return Err(Invalid::new("names without a slash").about(path));
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(array(value.iter().cloned()))
    }
}

/// Networks with commas between them.
pub(crate) struct Peers;

impl Shape for Peers {
    const METAVAR: &'static str = "NETWORKS";
}

impl Kind<TrustedPeers> for Peers {
    fn read(raw: &Raw, _: Host) -> Result<TrustedPeers, Invalid> {
        texts(raw, || Invalid::new("addresses and networks with commas between them, or *"))?.join(",").parse()
    }

    fn show(value: &TrustedPeers) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

/// Environment variables, `NAME=VALUE` each.
pub(crate) struct Variables;

impl Shape for Variables {
    const METAVAR: &'static str = "NAME=VALUE";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<(String, String)>> for Variables {
    fn read(raw: &Raw, _: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected = || Invalid::new("NAME=VALUE, or a list of these");
        // One text is one variable: its value may well hold a comma.
        let texts = match raw {
            Raw::Text(text) => std::slice::from_ref(text),
            Raw::List(texts) => texts,
            _ => return Err(expected()),
        };
        let split = |text: &String| {
            let (name, value) = text.split_once('=')?;
            (!name.is_empty() && !text.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
        };
        texts.iter().map(|text| split(text).ok_or_else(|| expected().about(text))).collect()
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        Some(array(value.iter().map(|(name, value)| format!("{name}={value}"))))
    }
}

/// Paths and the applications that answer below them.
pub(crate) struct Mounts;

impl Shape for Mounts {
    const METAVAR: &'static str = "/PREFIX=APP";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<(String, String)>> for Mounts {
    fn read(raw: &Raw, host: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected = || Invalid::new("/PREFIX=APPLICATION, or a list of these");
        let entries = match raw {
            Raw::Table(entries) => entries.clone(),
            _ => <Variables as Kind<Vec<(String, String)>>>::read(raw, host).map_err(|_| expected())?,
        };
        let read = |(prefix, application): (String, String)| {
            let prefix = prefix.trim().trim_end_matches('/');
            let segments = prefix.strip_prefix('/').ok_or_else(|| expected().about(prefix))?;
            if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) || application.trim().is_empty() {
                return Err(expected().about(prefix));
            }
            Ok((prefix.to_owned(), application.trim().to_owned()))
        };
        let mounts = entries.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let twice = |at: usize, prefix: &str| mounts.iter().take(at).any(|(other, _)| other == prefix);
        match mounts.iter().enumerate().find(|(at, (prefix, _))| twice(*at, prefix)) {
            Some((_, (prefix, _))) => Err(Invalid::new("each prefix once").about(prefix)),
            None => Ok(mounts),
        }
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        Some(array(value.iter().map(|(prefix, application)| format!("{prefix}={application}"))))
    }
}

/// Names of header fields and a value for each.
pub(crate) struct FieldValues;

impl Shape for FieldValues {
    const METAVAR: &'static str = "TABLE";
}

impl Kind<Vec<(String, String)>> for FieldValues {
    fn read(raw: &Raw, _: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected =
            || Invalid::new("a table of header fields and values, such as { X-FORWARDED-PROTO = \"https\" }");
        let Raw::Table(entries) = raw else { return Err(expected()) };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let read = |(name, value): &(String, String)| {
            let right = !name.is_empty() && name.bytes().all(token) && !value.contains(char::is_control);
            right.then(|| (name.to_ascii_lowercase(), value.clone())).ok_or_else(|| expected().about(name))
        };
        let mut fields = entries.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // A table has no order.
        fields.sort();
        Ok(fields)
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        let entries: Vec<_> =
            value.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        Some(format!("{{ {} }}", entries.join(", ")))
    }
}

/// Names of header fields with commas between them, in capitals.
pub(crate) struct FieldNames;

impl Shape for FieldNames {
    const METAVAR: &'static str = "NAMES";
}

impl Kind<Vec<String>> for FieldNames {
    fn read(raw: &Raw, _: Host) -> Result<Vec<String>, Invalid> {
        let expected = || Invalid::new("names of header fields with commas between them, or *");
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let name = |text: &str| match text.bytes().all(token) {
            true => Ok(text.to_ascii_uppercase()),
            false => Err(expected().about(text)),
        };
        texts(raw, expected)?.into_iter().map(name).collect()
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(quoted(&value.join(",")))
    }
}

const HEADER_MAPS: [(&str, HeaderMap); 3] =
    [("drop", HeaderMap::Drop), ("refuse", HeaderMap::Refuse), ("dangerous", HeaderMap::Dangerous)];

/// What becomes of ambiguous names.
pub(crate) struct Mapping;

impl Shape for Mapping {
    const METAVAR: &'static str = "MODE";
}

impl Kind<HeaderMap> for Mapping {
    fn read(raw: &Raw, _: Host) -> Result<HeaderMap, Invalid> {
        let expected = || Invalid::new("drop, refuse or dangerous");
        let text = text(raw, expected)?;
        HEADER_MAPS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, map)| *map).ok_or_else(expected)
    }

    fn show(value: &HeaderMap) -> Option<String> {
        HEADER_MAPS.iter().find(|(_, map)| map == value).map(|(name, _)| quoted(name))
    }
}

/// When a PROXY header is expected.
pub(crate) struct ProxyMode;

impl Shape for ProxyMode {
    const METAVAR: &'static str = "MODE";
    const TAKES: Takes = Takes::ValueOr("auto");
}

impl Kind<ProxyProtocol> for ProxyMode {
    fn read(raw: &Raw, _: Host) -> Result<ProxyProtocol, Invalid> {
        match raw {
            Raw::Bool(true) => Ok(ProxyProtocol::Auto),
            Raw::Bool(false) => Ok(ProxyProtocol::Off),
            Raw::Text(text) => text.parse(),
            _ => Err(ProxyProtocol::expected()),
        }
    }

    fn show(value: &ProxyProtocol) -> Option<String> {
        Some(quoted(value.as_str()))
    }
}

impl ProxyProtocol {
    /// Its name among the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Auto => "auto",
        }
    }

    fn expected() -> Invalid {
        Invalid::new("off, v1, v2 or auto")
    }
}

impl FromStr for ProxyProtocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Off, Self::V1, Self::V2, Self::Auto]
            .into_iter()
            .find(|mode| text.eq_ignore_ascii_case(mode.as_str()))
            .ok_or_else(Self::expected)
    }
}

/// Gunicorn's levels. `critical` is what [`log::LevelFilter::Off`] lets through.
pub(crate) struct Level;

impl Shape for Level {
    const METAVAR: &'static str = "LEVEL";
}

const LEVELS: [(&str, log::LevelFilter); 5] = [
    ("debug", log::LevelFilter::Debug),
    ("info", log::LevelFilter::Info),
    ("warning", log::LevelFilter::Warn),
    ("error", log::LevelFilter::Error),
    ("critical", log::LevelFilter::Off),
];

impl Kind<log::LevelFilter> for Level {
    fn read(raw: &Raw, _: Host) -> Result<log::LevelFilter, Invalid> {
        let expected = || Invalid::new("debug, info, warning, error or critical");
        let text = text(raw, expected)?;
        LEVELS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, level)| *level).ok_or_else(expected)
    }

    fn show(value: &log::LevelFilter) -> Option<String> {
        let name = LEVELS.iter().find(|(_, level)| level == value).map_or("debug", |(name, _)| name);
        Some(quoted(name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOST: Host = Host { cpus: 6 };

    fn shown<T, K: Kind<T>>(_: K, text: &str) -> Option<String> {
        K::read(&Raw::Text(text.to_owned()), HOST).ok().map(|value| K::show(&value).unwrap_or_default())
    }

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

    #[test]
    fn a_text_with_commas_is_a_list_where_lists_are_taken() {
        assert_eq!(shown(Addresses, ":80, unix:/s").as_deref(), Some(r#"[":80", "unix:/s"]"#));
        assert_eq!(shown(Addresses, ""), None);
        assert_eq!(shown(Addresses, ":80,:80"), None);
        assert_eq!(shown(Names, "index.html,index.htm").as_deref(), Some(r#"["index.html", "index.htm"]"#));
        assert_eq!(shown(Names, "a/b"), None);
        assert_eq!(shown(Variables, "A=1,2").as_deref(), Some(r#"["A=1,2"]"#));
        assert_eq!(shown(Variables, "=1"), None);
    }

    #[test]
    fn texts_are_shown_as_toml_reads_them() {
        let cases = [
            ("plain", r#""plain""#),
            (r#"%(h)s "%(r)s""#, r#"'%(h)s "%(r)s"'"#),
            (r"a\b", r"'a\b'"),
            ("it's \"so\"", r#""it's \"so\"""#),
            ("a\tb", "\"a\\u0009b\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }
}
