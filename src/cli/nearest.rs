//! The setting that a misspelt name may have meant.

use crate::settings::{Setting, Unsupported};

/// A setting's name and options.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    pub(super) name: &'static str,
    pub(super) flags: &'static [&'static str],
}

impl Spelling {
    /// The option that is spoken of.
    pub(super) fn flag(&self) -> Option<&'static str> {
        self.flags.iter().copied().find(|flag| flag.starts_with("--"))
    }
}

/// The setting whose name or option is most like `name`, if any is like it at all. Options are compared with names, too:
/// people write `access_logfile` in a file and `--accesslog` on the command line.
pub(super) fn nearest(name: &str) -> Option<Spelling> {
    let bare = |text: &str| text.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    let name = bare(name);
    let likeness = |spelling: &Spelling| {
        let spellings = spelling.flags.iter().chain(std::iter::once(&spelling.name));
        spellings.map(|other| strsim::normalized_damerau_levenshtein(&name, &bare(other))).fold(0.0, f64::max)
    };
    let supported = Setting::all().map(|Setting { name, flags, .. }| Spelling { name, flags });
    let unsupported = Unsupported::ALL.iter().map(|Unsupported { name, flags, .. }| Spelling { name, flags });
    let mut best = None;
    let mut most = 0.6;
    for spelling in supported.chain(unsupported) {
        let likeness = likeness(&spelling);
        if likeness > most {
            (best, most) = (Some(spelling), likeness);
        }
    }
    best
}

/// The value that a word is, or was meant for if it is like one: names of applications are not.
pub(super) fn nearest_value<'a>(word: &str, values: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let likeness = |value: &str| match value.len() {
        // Of two letters, one is enough to be told from all others.
        2 if word.len() <= 3 && word.starts_with(&value[..1]) => 1.0,
        _ => strsim::normalized_damerau_levenshtein(&word, value),
    };
    let exact = values.iter().copied().find(|value| *value == word);
    exact.or_else(|| values.iter().copied().find(|value| likeness(value) > 0.6))
}
