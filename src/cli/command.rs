//! The command line, made from the tables of settings.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::nearest::{nearest, nearest_value};
use super::{Given, Origin, Program};
use crate::error::Error;
use crate::settings::{Raw, Section, Setting, Settings, Takes, Unsupported};

/// What a command line asked for.
pub(super) enum Asked {
    Settings(Vec<Given>),
    Print(String),
}

/// Reads a command line (with the program's name first).
pub(super) fn read(argv: &[OsString], program: Program, origin: Origin) -> Result<Asked, Error> {
    let name = argv.first().map(Path::new).and_then(Path::file_name).unwrap_or("ferricorn".as_ref());
    let argv = split_optional_values(argv);
    let mut matches = match command(&name.to_string_lossy(), program).try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Asked::Print(error.render().to_string()));
        }
        Err(error) => return Err(Error::usage(explain(&error, &origin, program))),
    };
    for unsupported in Unsupported::ALL {
        let Some(raw) = take(&mut matches, unsupported.name, unsupported.flags, unsupported.takes) else { continue };
        if !unsupported.allows(&raw) {
            let flag = unsupported.flags.iter().find(|flag| flag.starts_with("--")).unwrap_or(&unsupported.name);
            let value = if unsupported.takes == Takes::Nothing { String::new() } else { format!(" {raw}") };
            return Err(Error::usage(format!("{flag}{value} is not supported: {}", unsupported.because)));
        }
    }
    let given = Setting::all().filter_map(|setting| {
        let raw = take(&mut matches, setting.name, setting.flags, setting.takes)?;
        Some(Given { setting, raw, origin: origin.clone() })
    });
    Ok(Asked::Settings(given.collect()))
}

/// Gives an option its value where it has none but is followed by what is not meant for it: in `--proxy-protocol app:app`,
/// the application. (Gunicorn's takes that for the mode, though it was an option without a value until lately.)
fn split_optional_values(argv: &[OsString]) -> Vec<OsString> {
    let mut words = Vec::with_capacity(argv.len());
    let mut rest = argv.iter().peekable();
    while let Some(word) = rest.next() {
        words.push(word.clone());
        if word == "--" {
            words.extend(rest.by_ref().cloned());
        }
        let of = |setting: &&'static Setting| setting.flags.iter().any(|flag| word == flag);
        if let Some(Takes::OneOf(values)) = Setting::all().find(of).map(|setting| setting.takes)
            && let (Some(next), Some(default)) = (rest.peek().and_then(|next| next.to_str()), values.first())
            && !next.starts_with('-')
            && nearest_value(next, values).is_none()
        {
            words.pop();
            words.push(format!("{}={default}", word.to_string_lossy()).into());
        }
    }
    words
}

fn take(matches: &mut ArgMatches, name: &str, flags: &[&str], takes: Takes) -> Option<Raw> {
    match takes {
        Takes::Value | Takes::OneOf(_) => matches.try_remove_one::<String>(name).ok().flatten().map(Raw::Text),
        Takes::Values => {
            matches.try_remove_many::<String>(name).ok().flatten().map(|values| Raw::List(values.collect()))
        }
        Takes::Nothing => {
            let set = matches.try_remove_one::<bool>(name).ok().flatten().unwrap_or_default();
            // `--no-sendfile` sets `sendfile`, but `--no-control-socket` Gunicorn's `control_socket_disable`.
            let off = flags.iter().any(|flag| flag.strip_prefix("--no-").is_some_and(|rest| same(rest, name)));
            set.then_some(Raw::Bool(!off))
        }
    }
}

fn same(flag: &str, name: &str) -> bool {
    flag.bytes().map(|byte| if byte == b'-' { b'_' } else { byte }).eq(name.bytes())
}

/// The columns of the help where no terminal says how many it has.
const COLUMNS: usize = 100;

pub(super) fn command(name: &str, program: Program) -> Command {
    let defaults = Settings::default();
    let usage = match program {
        Program::Command | Program::Hosted => format!("{name} [OPTIONS] [APPLICATION]"),
        Program::OwnApplication => format!("{name} [OPTIONS]"),
    };
    let mut command = Command::new("ferricorn")
        .bin_name(name)
        .version(concat!("(version ", env!("CARGO_PKG_VERSION"), ")"))
        .override_usage(usage)
        .help_template("Usage: {usage}\n\n{all-args}{after-help}")
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .term_width(if cfg!(test) { COLUMNS } else { 0 })
        .max_term_width(COLUMNS)
        .after_help(
            "Settings are read from the environment, a settings file, GUNICORN_CMD_ARGS, FERRICORN_CMD_ARGS and the \
             command line; what comes later counts.",
        );
    if program != Program::OwnApplication {
        let help = match program {
            Program::Hosted => {
                "What to serve: MODULE:CALLABLE is a Python application, files://DIR serves the files in a directory"
            }
            _ => "What to serve: files://DIR serves the files in a directory",
        };
        command = command.arg(Arg::new("application").value_name("APPLICATION").help(help));
    }
    let config = Section::Config.title();
    command = command
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .help("Print this help and exit")
                .help_heading(config),
        )
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version and exit")
                .help_heading(config),
        );
    // Those of Python's are known everywhere, so that it can be said what they need.
    let known = |section| shown(section, program) || section == Section::Python;
    let sections = Section::ALL.into_iter().filter(|section| known(*section));
    for (section, setting) in
        sections.flat_map(|section| section.settings().iter().map(move |setting| (section, setting)))
    {
        if !setting.flags.is_empty() {
            let default = (setting.show)(&defaults).filter(|_| setting.takes != Takes::Nothing);
            let default = default.filter(|value| value != "[]");
            let default = default.map(|value| format!(" [default: {}]", plain(&value))).unwrap_or_default();
            let argument = argument(setting.name, setting.flags, setting.takes)
                .help(format!("{}{default}", setting.summary()))
                .help_heading(section.title())
                .hide(!shown(section, program));
            let argument =
                if setting.takes == Takes::Nothing { argument } else { argument.value_name(setting.metavar) };
            command = command.arg(argument);
        }
    }
    let unsupported = Unsupported::ALL.iter().filter(|entry| !entry.flags.is_empty());
    command.args(unsupported.map(|entry| argument(entry.name, entry.flags, entry.takes).hide(true)))
}

/// Whether the section means anything to the program.
pub(super) fn shown(section: Section, program: Program) -> bool {
    match section {
        Section::Files => program != Program::OwnApplication,
        Section::Python => program == Program::Hosted,
        _ => true,
    }
}

fn argument(name: &'static str, flags: &'static [&'static str], takes: Takes) -> Arg {
    let mut argument = Arg::new(name).allow_negative_numbers(takes != Takes::Nothing);
    let mut long = false;
    for flag in flags {
        argument = match flag.strip_prefix("--") {
            Some(flag) if long => argument.alias(flag),
            Some(flag) => {
                long = true;
                argument.long(flag)
            }
            None => argument.short(flag.chars().nth(1)),
        };
    }
    match takes {
        Takes::Value => argument.action(ArgAction::Set),
        Takes::Values => argument.action(ArgAction::Append),
        Takes::OneOf(values) => {
            let value = values.first().copied().unwrap_or_default();
            argument.action(ArgAction::Set).num_args(0..=1).default_missing_value(value)
        }
        Takes::Nothing => argument.action(ArgAction::SetTrue),
    }
}

/// A value of TOML's without what only TOML needs.
fn plain(value: &str) -> &str {
    let unwrap = |text: &str, open: char, close: char| {
        text.strip_prefix(open).and_then(|text| text.strip_suffix(close)).map(str::len).is_some_and(|length| {
            // Only where the whole value is one.
            !text[1..=length].contains(close)
        })
    };
    let value = if unwrap(value, '[', ']') && !value.contains(", ") { &value[1..value.len() - 1] } else { value };
    let quoted = unwrap(value, '"', '"') || unwrap(value, '\'', '\'');
    if quoted && value.len() > 2 { &value[1..value.len() - 1] } else { value }
}

/// One line for what clap has to say.
fn explain(error: &clap::Error, origin: &Origin, program: Program) -> String {
    let place = if matches!(origin, Origin::ArgumentsVariable(_)) { format!("{origin}: ") } else { String::new() };
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
    {
        if !argument.starts_with('-') {
            return match program {
                Program::Command | Program::Hosted => {
                    format!("{place}only one application can be served, not {argument:?} as well")
                }
                Program::OwnApplication => {
                    format!("{place}this program brings its own application and takes no argument {argument:?}")
                }
            };
        }
        let hint = match nearest(argument).map(|nearest| (nearest.flag(), nearest.name)) {
            Some((Some(flag), _)) => format!("did you mean {flag}?"),
            Some((None, name)) => format!("{name} is set in a file."),
            None => "--help lists them all.".to_owned(),
        };
        return format!("{place}there is no option {argument}; {hint}");
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    format!("{place}{}", first.strip_prefix("error: ").unwrap_or(first))
}
