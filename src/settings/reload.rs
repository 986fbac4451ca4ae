//! Reloading when the source changes.

use std::str::FromStr;

use super::kinds::raw::{array, texts};
use super::value::{Host, Invalid, Kind, Raw, Shape, Takes, quoted};

/// How changes of files are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadEngine {
    /// By inotify if it can be had, else by looking.
    #[default]
    Auto,
    /// By looking at them each second.
    Poll,
    /// By inotify.
    Inotify,
}

impl ReloadEngine {
    /// Its name among the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Poll => "poll",
            Self::Inotify => "inotify",
        }
    }
}

impl FromStr for ReloadEngine {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Auto, Self::Poll, Self::Inotify]
            .into_iter()
            .find(|engine| engine.as_str() == text)
            .ok_or_else(|| Invalid::new("auto, poll or inotify"))
    }
}

/// The name of one.
pub(crate) struct Engine;

impl Shape for Engine {
    const METAVAR: &'static str = "ENGINE";
}

impl Kind<ReloadEngine> for Engine {
    fn read(raw: &Raw, _: Host) -> Result<ReloadEngine, Invalid> {
        let Raw::Text(text) = raw else { return Err(Invalid::new("auto, poll or inotify")) };
        text.parse()
    }

    fn show(value: &ReloadEngine) -> Option<String> {
        Some(quoted(value.as_str()))
    }
}

/// Paths and patterns of paths.
pub(crate) struct Patterns;

impl Shape for Patterns {
    const METAVAR: &'static str = "FILES";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<String>> for Patterns {
    fn read(raw: &Raw, _: Host) -> Result<Vec<String>, Invalid> {
        let expected = || Invalid::new("a path or a pattern such as data/*.json, or a list of these");
        let texts = texts(raw, expected)?;
        if texts.iter().any(|text| text.is_empty() || text.contains('\0')) {
            return Err(expected());
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(array(value.iter().cloned()))
    }
}
