//! One of several words.

use std::str::FromStr;

use super::raw::text;
use crate::protocol::Protocol;
use crate::settings::value::{Host, Invalid, Kind, Raw, Shape, Takes, quoted};
use crate::settings::{HeaderMap, ProxyProtocol};

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
    const TAKES: Takes = Takes::OneOf(&["auto", "off", "v1", "v2", "true", "false", "none", "1", "0"]);
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
        match text.to_ascii_lowercase().as_str() {
            "off" | "false" | "none" | "0" => Ok(Self::Off),
            "auto" | "true" | "1" => Ok(Self::Auto),
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(Self::expected()),
        }
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
