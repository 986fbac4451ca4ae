//! All settings, one entry each: the command line, the file, the help and the reference are made from them. A chapter of the
//! reference is a file here.

mod config;
mod entry;
mod files;
mod limits;
mod logging;
mod process;
mod programs;
mod proxies;
mod python;
mod socket;
mod timeouts;
mod workers;

#[cfg(test)]
pub(crate) use entry::Gunicorn;
pub(crate) use entry::Setting;

/// Chapters of the help and of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Config,
    Socket,
    Workers,
    Timeouts,
    Limits,
    Proxies,
    Process,
    Logging,
    Python,
    Files,
    Programs,
}

impl Section {
    pub(crate) const ALL: [Self; 11] = [
        Self::Config,
        Self::Socket,
        Self::Workers,
        Self::Timeouts,
        Self::Limits,
        Self::Proxies,
        Self::Process,
        Self::Logging,
        Self::Python,
        Self::Files,
        Self::Programs,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Config => "Configuration",
            Self::Socket => "Server socket",
            Self::Workers => "Worker processes",
            Self::Timeouts => "Timeouts and minimum rates",
            Self::Limits => "Limits",
            Self::Proxies => "Proxies in front",
            Self::Process => "Server process",
            Self::Logging => "Logging",
            Self::Python => "Python applications (the Python package)",
            Self::Files => "Files application",
            Self::Programs => "CGI and FastCGI applications",
        }
    }

    /// Its settings, in the order of the reference.
    pub(crate) const fn settings(self) -> &'static [Setting] {
        match self {
            Self::Config => config::ENTRIES,
            Self::Socket => socket::ENTRIES,
            Self::Workers => workers::ENTRIES,
            Self::Timeouts => timeouts::ENTRIES,
            Self::Limits => limits::ENTRIES,
            Self::Proxies => proxies::ENTRIES,
            Self::Process => process::ENTRIES,
            Self::Logging => logging::ENTRIES,
            Self::Python => python::ENTRIES,
            Self::Files => files::ENTRIES,
            Self::Programs => programs::ENTRIES,
        }
    }
}

impl Setting {
    /// All settings, in the order of the reference.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        Section::ALL.into_iter().flat_map(Section::settings)
    }

    /// The entry of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|setting| setting.name == name || setting.alias == Some(name))
    }
}
