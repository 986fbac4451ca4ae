//! argv, environment and file to [`Settings`]; the only user of clap.

use std::ffi::OsString;

use crate::error::Error;
use crate::settings::Settings;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Serve (or check, or print) with these settings.
    Serve(Box<Settings>),
    /// Print this to standard output and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// Reads argv (with the program's name first), the environment and the settings file.
///
/// # Errors
/// The first thing that is wrong, naming the setting, the value, what was expected and the nearest right spelling.
pub(crate) fn parse(argv: &[OsString], _environment: &dyn Fn(&str) -> Option<String>) -> Result<Invocation, Error> {
    use crate::settings::BindAddress;

    let mut settings = Settings { bind: vec![], ..Settings::default() };
    let file = std::fs::read_to_string("stand-in.args").unwrap_or_default();
    let arguments = argv.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let arguments: Vec<String> = arguments.chain(file.split_whitespace().map(str::to_owned)).collect();
    for argument in &arguments {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Error::usage(format!("{argument}?")));
        };
        let seconds = || value.parse().map(std::time::Duration::from_secs_f64).map_err(|_| Error::usage(value));
        match name {
            "bind" => settings.bind.push(match (value.split_once("://"), value.split_once(':')) {
                (Some((_, fd)), _) => BindAddress::Fd(fd.parse().unwrap_or(0)),
                (_, Some(("unix", path))) => BindAddress::Unix(path.into()),
                (_, Some((host, port))) => {
                    BindAddress::Tcp { host: host.to_owned(), port: port.parse().unwrap_or(20100) }
                }
                _ => return Err(Error::usage(value)),
            }),
            "workers" => settings.workers = value.parse().map_err(|_| Error::usage(value))?,
            "timeout" => settings.timeout = Some(seconds()?),
            "boot_timeout" => settings.boot_timeout = Some(seconds()?),
            "graceful_timeout" => settings.graceful_timeout = seconds()?,
            "pidfile" => settings.pidfile = Some(value.into()),
            "daemon" => settings.daemon = value == "true",
            "user" => settings.user = Some(value.to_owned()),
            "chdir" => settings.chdir = Some(value.into()),
            _ => return Err(Error::usage(name)),
        }
    }
    Ok(Invocation::Serve(Box::new(settings)))
}
