//! argv, environment and file to [`Settings`]; the only user of clap.

mod check;
mod command;
mod file;
mod nearest;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod reference;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::host;
use crate::settings::{Host, Raw, Section, Setting, Settings};
use crate::words;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Serve (or check, or print) with these settings.
    Serve(Box<Settings>),
    /// Print this to standard output and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// Which program it is that reads its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The command `ferricorn`: the application is named on the command line or in the file.
    Command,
    /// The same, run by an interpreter whose applications it serves, too.
    Hosted,
    /// A program that brings its own application.
    OwnApplication,
}

/// Reads argv (with the program's name first), the environment and the settings file, which is looked for in
/// `directory`: where the server was started, wherever it has gone since. `host` may know other kinds of files.
///
/// # Errors
/// The first thing that is wrong, naming the setting, the value, where it came from, what was expected and the nearest
/// right spelling.
pub(crate) fn parse(
    argv: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    directory: &Path,
    program: Program,
    mut host: Option<&mut dyn host::Host>,
) -> Result<Invocation, Error> {
    if let Some(own) = host.as_mut().and_then(|host| host.own_settings()) {
        let mut given = from_environment(environment);
        given.extend(file::assigned(own?, None, program)?);
        return settle(given, None, directory, program);
    }
    let command_line = match command::read(argv, program, Origin::CommandLine)? {
        command::Asked::Settings(given) => given,
        command::Asked::Print(text) => return Ok(Invocation::Print(text)),
    };
    let mut variables = Vec::new();
    for name in ARGUMENTS.into_iter().filter(|name| *name == OWN_ARGUMENTS || program != Program::OwnApplication) {
        variables.extend(from_variable(name, argv, environment, program)?);
    }
    let mut named = command_line.iter().rev().chain(variables.iter().rev());
    let config = named.find(|given| given.setting.name == "config");
    let file = match config {
        Some(Given { raw: Raw::Text(path), .. }) if !path.is_empty() => {
            Some(file::named(path, directory, program, host)?)
        }
        Some(_) => None,
        None => file::present(directory, program, host)?,
    };
    let mut given = from_environment(environment);
    let path = file.map(|file::Read { path, given: read }| {
        given.extend(read);
        path
    });
    given.extend(variables);
    given.extend(command_line);
    settle(given, path, directory, program)
}

/// The settings of a program that runs no command, from what it says and nothing else.
///
/// # Errors
/// As for the command's.
pub fn program_settings(assignments: Vec<host::Assignment>) -> Result<Settings, Error> {
    let given = file::assigned(assignments, None, Program::Hosted)?;
    let directory =
        std::env::current_dir().map_err(|error| Error::configuration(format!("working directory: {error}")))?;
    match settle(given, None, &directory, Program::Hosted)? {
        Invocation::Serve(settings) => Ok(*settings),
        Invocation::Print(text) => Err(Error::configuration(text)),
    }
}

/// Makes settings of all that was given, what comes later counts, and checks them.
fn settle(given: Vec<Given>, config: Option<PathBuf>, directory: &Path, program: Program) -> Result<Invocation, Error> {
    let mut settings = Settings { config, ..Settings::default() };
    let machine = Host { cpus: std::thread::available_parallelism().map_or(1, usize::from) };
    let read = settings.config.clone();
    for given in &given {
        (given.setting.assign)(&mut settings, &given.raw, machine)
            .map_err(|invalid| given.origin.error(format!("{given}: {invalid}")))?;
    }
    let defaults = Settings::default();
    let unavailable = |given: &&Given| {
        let setting = given.setting;
        let of_python = Section::Python.settings().iter().any(|known| known.name == setting.name);
        of_python && (setting.show)(&settings) != (setting.show)(&defaults)
    };
    if let Some(given) = given.iter().find(unavailable).filter(|_| program != Program::Hosted) {
        let needs = "it is a setting of the Python package: pip install ferricorn";
        return Err(given.origin.error(format!("{given}: {needs}")));
    }
    if read.is_some() {
        // That which was read, even if the name came by way of a variable.
        settings.config = read;
    }
    let origin = |name: &str| given.iter().rev().find(|given| given.setting.name == name);
    let blame = |conflict: check::Conflict| match origin(conflict.setting) {
        Some(given) => Error::configuration(format!("{given}: {}", conflict.problem)),
        None => Error::configuration(format!("{}: {}", conflict.setting, conflict.problem)),
    };
    check::settle(&mut settings, &|name| origin(name).is_some()).map_err(blame)?;
    check::surroundings(&mut settings, directory).map_err(blame)?;
    let serves_nothing = settings.application.is_none() && settings.mount.is_empty();
    if program != Program::OwnApplication && serves_nothing && !settings.print_config {
        return Err(Error::configuration(
            "No application was named: say what to serve, such as files://DIR, or try --help.",
        ));
    }
    Ok(Invocation::Serve(Box::new(settings)))
}

/// All settings as `name = value`, sorted, the values in TOML's notation.
pub(crate) fn print_config(settings: &Settings) -> String {
    let mut lines: Vec<_> = Setting::all()
        .map(|setting| {
            let value = (setting.show)(settings).unwrap_or_else(|| "None".to_owned());
            format!("{:<24} = {value}\n", setting.name)
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// A value for a setting, and where it came from.
struct Given {
    setting: &'static Setting,
    raw: Raw,
    origin: Origin,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, raw, origin } = self;
        let name = setting.name;
        match (origin, setting.flags.iter().find(|flag| flag.starts_with("--"))) {
            (Origin::CommandLine, Some(flag)) => write!(f, "{name} = {raw} ({flag})"),
            (Origin::CommandLine, None) => write!(f, "{name} = {raw}"),
            (Origin::ArgumentsVariable(_), Some(flag)) => write!(f, "{name} = {raw} ({flag} in {origin})"),
            _ => write!(f, "{name} = {raw} ({origin})"),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    CommandLine,
    /// One of [`ARGUMENTS`].
    ArgumentsVariable(&'static str),
    Variable(&'static str),
    Line {
        file: String,
        line: usize,
    },
    /// A file whose lines are not known.
    File(String),
    /// A program that runs the server, in its own words.
    Program,
}

impl Origin {
    /// What cannot be read on a command line exits with 2, all else with 1, as Gunicorn does.
    fn error(&self, message: String) -> Error {
        match self {
            Self::CommandLine | Self::ArgumentsVariable(_) => Error::usage(message),
            Self::Variable(_) | Self::Line { .. } | Self::File(_) | Self::Program => Error::configuration(message),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("the command line"),
            Self::ArgumentsVariable(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Program => f.write_str("the program"),
        }
    }
}

/// The variable with more arguments, which go before those of the command line.
const OWN_ARGUMENTS: &str = "FERRICORN_CMD_ARGS";

/// The same and Gunicorn's; the latter counts.
const ARGUMENTS: [&str; 2] = ["GUNICORN_CMD_ARGS", OWN_ARGUMENTS];

fn from_variable(
    variable: &'static str,
    argv: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    program: Program,
) -> Result<Vec<Given>, Error> {
    let Some(text) = environment(variable) else { return Ok(Vec::new()) };
    let words = words::split(&text).map_err(|problem| Error::usage(format!("{variable}: {problem}")))?;
    let name = argv.first().cloned().unwrap_or_default();
    let arguments: Vec<_> = std::iter::once(name).chain(words.into_iter().map(OsString::from)).collect();
    match command::read(&arguments, program, Origin::ArgumentsVariable(variable))? {
        command::Asked::Settings(given) => Ok(given),
        command::Asked::Print(_) => Err(Error::usage(format!("{variable}: --help and --version do not belong there"))),
    }
}

/// What the variables say that other tools set, which is below everything else.
fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Vec<Given> {
    let given = |setting: &'static Setting| {
        let variable = setting.variable?;
        let text = environment(variable)?;
        let raw = match variable {
            // An empty list of trusted peers means something; elsewhere an empty variable is no variable.
            "FORWARDED_ALLOW_IPS" => Raw::Text(text),
            _ if text.is_empty() => return None,
            "PORT" => Raw::List(vec![format!("0.0.0.0:{text}")]),
            "SENDFILE" => Raw::Bool(["y", "1", "yes", "true"].contains(&text.to_ascii_lowercase().as_str())),
            _ => Raw::Text(text),
        };
        Some(Given { setting, raw, origin: Origin::Variable(variable) })
    };
    Setting::all().filter_map(given).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
