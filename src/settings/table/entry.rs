//! What an entry of the table says of a setting.

pub(super) use Gunicorn::{Differs, Lacks, Same};

use crate::settings::Settings;
use crate::settings::value::{Host, Invalid, Raw, Takes};

pub(super) const K: u64 = 1 << 10;
pub(super) const M: u64 = 1 << 20;
pub(super) const G: u64 = 1 << 30;

/// How a setting stands to Gunicorn's of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gunicorn {
    /// The same name, meaning and default.
    Same,
    /// What is different, and why.
    Differs(&'static str),
    /// Gunicorn has no such setting.
    Lacks,
}

/// One setting.
pub(crate) struct Setting {
    /// Its name in a file, which is Gunicorn's where that has the setting, and that of the field of [`Settings`].
    pub(crate) name: &'static str,
    /// Another name for it in a file.
    pub(crate) alias: Option<&'static str>,
    /// How it is written on the command line, with its dashes; the first long one is the one that is spoken of.
    pub(crate) flags: &'static [&'static str],
    /// What stands for the value in the help.
    pub(crate) metavar: &'static str,
    pub(crate) takes: Takes,
    /// The environment variable that it may come from.
    pub(crate) variable: Option<&'static str>,
    /// What it does: a sentence for the help, and more for the reference.
    pub(crate) doc: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes the reference"))]
    pub(crate) gunicorn: Gunicorn,
    /// Reads a value into the settings.
    pub(crate) assign: fn(&mut Settings, &Raw, Host) -> Result<(), Invalid>,
    /// The value in TOML's notation.
    pub(crate) show: fn(&Settings) -> Option<String>,
}

impl Setting {
    /// The first sentence of the documentation.
    pub(crate) fn summary(&self) -> &'static str {
        self.doc.split_once(". ").map_or(self.doc.trim_end_matches('.'), |(sentence, _)| sentence)
    }

    /// Whether a number may be given for it as such, other than permission bits.
    pub(crate) fn takes_numbers(&self) -> bool {
        ["INT", "SECONDS", "BYTES", "USER", "GROUP"].contains(&self.metavar) || self.metavar.starts_with("INT|")
    }

    pub(super) const fn alias(mut self, name: &'static str) -> Self {
        self.alias = Some(name);
        self
    }

    pub(super) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(super) const fn metavar(mut self, metavar: &'static str) -> Self {
        self.metavar = metavar;
        self
    }
}

/// An entry for the field of that name, whose values are of that kind.
macro_rules! setting {
    ($field:ident: $kind:ty, $flags:expr, $gunicorn:expr, $doc:expr) => {
        $crate::settings::table::entry::Setting {
            name: stringify!($field),
            alias: None,
            flags: &$flags,
            metavar: <$kind as $crate::settings::value::Shape>::METAVAR,
            takes: <$kind as $crate::settings::value::Shape>::TAKES,
            variable: None,
            doc: $doc,
            gunicorn: $gunicorn,
            assign: |settings, raw, host| {
                settings.$field = <$kind as $crate::settings::value::Kind<_>>::read(raw, host)?;
                Ok(())
            },
            show: |settings| <$kind as $crate::settings::value::Kind<_>>::show(&settings.$field),
        }
    };
}

pub(super) use setting;
