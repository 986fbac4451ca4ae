use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::app::Factory;
use crate::host::{Assignment, HostFile};
use crate::settings::{Bind, BindAddress, TrustedPeers};

/// A directory of its own for a test's files, removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
        let number = NEXT.replace(NEXT.get() + 1);
        let thread = std::thread::current();
        let name = format!("ferricorn-cli-{}-{:?}-{number}", std::process::id(), thread.id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn with(text: &str) -> Self {
        let directory = Self::new();
        fs::write(directory.0.join("ferricorn.toml"), text).unwrap();
        directory
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn argv(arguments: &[&str]) -> Vec<OsString> {
    std::iter::once("ferricorn").chain(arguments.iter().copied()).map(OsString::from).collect()
}

fn parse_in(directory: &Directory, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Error> {
    let variable =
        |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string());
    parse(&argv(arguments), &variable, &directory.0, Program::Command, None)
}

fn parsed(directory: &Directory, arguments: &[&str], environment: &[(&str, &str)]) -> Settings {
    match parse_in(directory, arguments, environment).unwrap() {
        Invocation::Serve(settings) => *settings,
        Invocation::Print(text) => panic!("printed {text}"),
    }
}

fn settings(arguments: &[&str]) -> Settings {
    parsed(&Directory::new(), &[&["app"], arguments].concat(), &[])
}

/// The error for a file with `text` and these arguments and variables.
fn error(text: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Error {
    parse_in(&Directory::with(text), &[&["app"], arguments].concat(), environment)
        .map(|_| panic!("{text:?} {arguments:?} {environment:?} is accepted"))
        .unwrap_err()
}

fn tcp(host: &str, port: u16) -> Bind {
    BindAddress::Tcp { host: host.to_owned(), port }.into()
}

#[test]
fn without_anything_the_defaults_stand() {
    let expected = Settings { application: Some("app".to_owned()), ..Settings::default() };
    assert_eq!(settings(&[]), expected);
}

#[test]
fn the_options_of_gunicorn_are_read() {
    let directory = Directory::new();
    let arguments = [
        "app",
        "-w",
        "3",
        "-b",
        ":81",
        "--bind=unix:s",
        "-t",
        "0",
        "--graceful-timeout",
        "0.5",
        "--keep-alive",
        "5",
        "-D",
        "-p",
        "pid",
        "-n",
        "name",
        "-m",
        "0o27",
        "--access-logfile",
        "-",
        "--log-file",
        "errors",
        "--log-level",
        "WARNING",
        "--limit-request-field_size",
        "0",
        "--no-sendfile",
        "--proxy-protocol",
        "-e",
        "A=1",
        "-e",
        "B=2=3",
        "--forwarded-allow-ips",
        "*",
        "--backlog",
        "64",
        "--capture-output",
    ];
    let settings = parsed(&directory, &arguments, &[]);
    assert_eq!(settings.workers, 3);
    assert_eq!(settings.bind, [tcp("", 81), BindAddress::Unix("s".into()).into()]);
    assert_eq!(settings.timeout, None);
    assert_eq!(settings.graceful_timeout, Duration::from_millis(500));
    assert_eq!(settings.keepalive, Duration::from_secs(5));
    assert!(settings.daemon && settings.capture_output && !settings.sendfile);
    assert_eq!(settings.pidfile, Some("pid".into()));
    assert_eq!(settings.proc_name.as_deref(), Some("name"));
    assert_eq!(settings.umask, Some(0o27));
    assert_eq!(settings.accesslog.as_deref(), Some("-"));
    assert_eq!(settings.errorlog, directory.0.join("errors").to_str().unwrap());
    assert_eq!(settings.loglevel, log::LevelFilter::Warn);
    assert_eq!(settings.limit_request_field_size, settings.limit_request_head);
    assert_eq!(settings.proxy_protocol, crate::settings::ProxyProtocol::Auto);
    assert_eq!(settings.raw_env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2=3".to_owned())]);
    assert_eq!(settings.forwarded_allow_ips, TrustedPeers::All);
    assert_eq!(settings.backlog, 64);
}

#[test]
fn what_comes_later_counts() {
    let directory = Directory::with("workers = 3\nkeepalive = 3\nbacklog = 3\n");
    let environment = [("WEB_CONCURRENCY", "2"), ("FERRICORN_CMD_ARGS", "--keep-alive 4 --backlog 4")];
    let settings = parsed(&directory, &["app", "--backlog", "5"], &environment);
    assert_eq!((settings.workers, settings.keepalive.as_secs(), settings.backlog), (3, 4, 5));

    let other = Directory::new();
    fs::write(other.0.join("other.toml"), "workers = 7\n").unwrap();
    let settings = parsed(&other, &["app", "-c", "other.toml"], &environment);
    assert_eq!((settings.workers, settings.keepalive.as_secs()), (7, 4));
    let environment = [("FERRICORN_CMD_ARGS", "-c other.toml -w 8 files")];
    assert_eq!(parsed(&other, &["app"], &environment).application.as_deref(), Some("app"));
    assert_eq!(parsed(&other, &[], &environment).application.as_deref(), Some("files"));
    assert_eq!(parsed(&other, &[], &environment).workers, 8);
}

#[test]
fn gunicorns_arguments_come_before_our_own() {
    let directory = Directory::with("workers = 3\nkeepalive = 3\nbacklog = 3\n");
    let environment = [("GUNICORN_CMD_ARGS", "--keep-alive 4 --backlog 4"), ("FERRICORN_CMD_ARGS", "--backlog 5")];
    let settings = parsed(&directory, &["app"], &environment);
    assert_eq!((settings.workers, settings.keepalive.as_secs(), settings.backlog), (3, 4, 5));

    let arguments = argv(&[]);
    let variable = |name: &str| (name == "GUNICORN_CMD_ARGS").then(|| "--no-such-thing".to_owned());
    let own = parse(&arguments, &variable, &Directory::new().0, Program::OwnApplication, None);
    assert!(matches!(own, Ok(Invocation::Serve(_))), "a program that was never under Gunicorn has no such variable");
}

#[test]
fn an_option_that_may_have_a_value_takes_no_application_for_it() {
    use crate::settings::ProxyProtocol::{Auto, Off, V1, V2};
    let directory = Directory::new();
    for (arguments, mode) in [
        (&["--proxy-protocol", "site.wsgi:app"][..], Auto),
        (&["--proxy-protocol", "site"], Auto),
        (&["--proxy-protocol", "create('v1')"], Auto),
        (&["--proxy-protocol", "files://v1", "--backlog", "7"], Auto),
        (&["--proxy-protocol", "v1", "site"], V1),
        (&["--proxy-protocol", "V2", "site"], V2),
        (&["--proxy-protocol=off", "site"], Off),
        (&["--proxy-protocol", "False", "site"], Off),
        (&["--proxy-protocol", "true", "site"], Auto),
        (&["--proxy-protocol", "--", "v1"], Auto),
        (&["site", "--proxy-protocol"], Auto),
    ] {
        let settings = parsed(&directory, arguments, &[]);
        assert_eq!(settings.proxy_protocol, mode, "{arguments:?}");
        assert!(settings.application.is_some(), "{arguments:?}");
    }
    for misspelt in ["v3", "atuo", "auot", "of", "V"] {
        let error = error("", &["--proxy-protocol", misspelt], &[]).to_string();
        assert!(error.contains("expected off, v1, v2 or auto") && error.contains(misspelt), "{misspelt}: {error}");
    }
}

/// A host whose files have one setting.
struct Fake(&'static str, Raw);

impl host::Host for Fake {
    fn present_file(&mut self, _: &Path) -> Option<Result<HostFile, Error>> {
        let assignment = Assignment { name: self.0.to_owned(), value: self.1.clone(), line: Some(7) };
        Some(Ok(HostFile { path: "conf.py".into(), assignments: vec![assignment] }))
    }

    fn factory(&mut self, _: &Settings) -> Result<Box<dyn Factory>, Error> {
        unreachable!("nothing is served")
    }
}

#[test]
fn a_hosts_file_is_read_if_there_is_none_in_toml() {
    let read = |directory: &Directory, name, value| {
        parse(&argv(&["app"]), &|_| None, &directory.0, Program::Hosted, Some(&mut Fake(name, value)))
    };
    let settings = |directory: &Directory, name, value| match read(directory, name, value) {
        Ok(Invocation::Serve(settings)) => *settings,
        other => panic!("{other:?}"),
    };
    let empty = Directory::new();
    assert_eq!(settings(&empty, "workers", Raw::Number(3)).workers, 3);
    assert_eq!(settings(&empty, "umask", Raw::Number(0o22)).umask, Some(0o22));
    assert_eq!(settings(&empty, "user", Raw::Number(0)).user.as_deref(), Some("0"));
    assert_eq!(settings(&empty, "workers", Raw::Number(3)).config, Some("conf.py".into()));
    assert_eq!(settings(&Directory::with("workers = 2"), "workers", Raw::Number(3)).workers, 2);

    let wrong: [(&str, Raw, &[&str]); 6] = [
        ("workers", Raw::Number(-1), &["workers = \"-1\" (conf.py:7)", "1 to 4096"]),
        ("umask", Raw::Number(0o1000), &["umask = 512 (conf.py:7)", "octal"]),
        ("pidfile", Raw::Number(7), &["pidfile = 7", "a path"]),
        ("timeout", Raw::Other("<object>".to_owned()), &["timeout = <object> (conf.py:7)", "seconds"]),
        ("certfile", Raw::Text("x".to_owned()), &["conf.py:7", "certfile", "not supported"]),
        ("config", Raw::Text("x".to_owned()), &["conf.py:7", "cannot name another"]),
    ];
    for (name, value, parts) in wrong {
        let error = read(&empty, name, value).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 1, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
    }
}

#[test]
fn a_list_replaces_the_one_before() {
    let directory = Directory::with("bind = [':1', ':2']\n");
    assert_eq!(parsed(&directory, &["app"], &[("PORT", "80")]).bind, [tcp("", 1), tcp("", 2)]);
    assert_eq!(parsed(&directory, &["app", "-b", ":3"], &[]).bind, [tcp("", 3)]);
    assert_eq!(parsed(&Directory::new(), &["app"], &[("PORT", "80")]).bind, [tcp("0.0.0.0", 80)]);
}

#[test]
fn variables_of_the_surroundings_count() {
    let directory = Directory::new();
    let environment = [("FORWARDED_ALLOW_IPS", ""), ("SENDFILE", "no"), ("PORT", ""), ("WEB_CONCURRENCY", "")];
    let settings = parsed(&directory, &["app"], &environment);
    assert_eq!(settings.forwarded_allow_ips, TrustedPeers::Networks(Vec::new()));
    assert!(!settings.sendfile);
    assert_eq!((settings.workers, &settings.bind), (1, &Settings::default().bind));
}

#[test]
fn a_file_holds_every_kind_of_value() {
    let directory = Directory::with(
        r#"
        wsgi_app = "files://."
        bind = "localhost:80,unix:s"
        timeout = 0.25
        graceful_timeout = "2m"
        limit_request_body = "10m"
        socket_mode = 0o600
        umask = "022"
        daemon = true
        raw_env = ["A=1"]
        forwarded_allow_ips = ["10.0.0.0/8", "::1"]
        user = ""
        [secure_scheme_headers]
        X-Forwarded-Proto = "https"
        "#,
    );
    let settings = parsed(&directory, &[], &[]);
    assert_eq!(settings.application.as_deref(), Some("files://."));
    assert_eq!(settings.bind, [tcp("localhost", 80), BindAddress::Unix("s".into()).into()]);
    assert_eq!(settings.timeout, Some(Duration::from_millis(250)));
    assert_eq!(settings.graceful_timeout, Duration::from_secs(120));
    assert_eq!(settings.limit_request_body, 10 << 20);
    assert_eq!((settings.socket_mode, settings.umask), (0o600, Some(0o22)));
    assert!(settings.daemon);
    assert_eq!(settings.forwarded_allow_ips.to_string(), "10.0.0.0/8,::1");
    assert_eq!(settings.user, None);
    assert_eq!(settings.secure_scheme_headers, [("x-forwarded-proto".to_owned(), "https".to_owned())]);
}

#[test]
fn an_error_says_what_is_wrong_where_and_what_would_be_right() {
    // File, arguments, variables; exit code, and what the message must hold.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], u8, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("", &["-w", "many"], &[], 2, &["workers", "\"many\"", "--workers", "1 to 4096"]),
        ("", &["-w", "-1"], &[], 2, &["workers", "\"-1\"", "--workers"]),
        ("", &["--wrokers", "2"], &[], 2, &["--wrokers", "did you mean --workers?"]),
        ("", &["--accesslog", "-"], &[], 2, &["--accesslog", "did you mean --access-logfile?"]),
        ("", &["--frobnicate"], &[], 2, &["--frobnicate", "--help"]),
        ("", &["-Z"], &[], 2, &["-Z"]),
        ("", &["--bind"], &[], 2, &["--bind"]),
        ("", &["--daemon=yes"], &[], 2, &["--daemon"]),
        ("", &["second"], &[], 2, &["one application", "second"]),
        ("", &["--threads", "0"], &[], 2, &["--threads", "\"0\"", "1 to 256"]),
        ("", &["-k", "gevent"], &[], 2, &["--worker-class", "gevent", "threads", "ASGI"]),
        ("", &["--reuse-port"], &[], 2, &["--reuse-port", "not supported", "sockets"]),
        ("", &["--reload"], &[], 2, &["--reload", "pip install ferricorn"]),
        ("", &["-c", "none.toml"], &[], 1, &["config", "none.toml", "No such file"]),
        ("", &["-c", "gunicorn.conf.py"], &[], 1, &["config", "gunicorn.conf.py", "pip install ferricorn"]),
        ("", &["--chdir", "nowhere"], &[], 1, &["chdir", "nowhere", "no such directory"]),
        ("", &["--pid", "nowhere/pid"], &[], 1, &["pidfile", "nowhere"]),
        ("", &["-b", "unix:nowhere/s"], &[], 1, &["bind", "nowhere"]),
        ("", &["-u", "nobody-of-that-name"], &[], 1, &["user", "nobody-of-that-name", "no such user"]),
        ("", &["--initgroups"], &[], 1, &["initgroups", "user"]),
        ("", &["--limit-request-line", "100k"], &[], 1, &["limit_request_line", "limit_request_head"]),
        ("", &[], &[("WEB_CONCURRENCY", "x")], 1, &["workers", "\"x\"", "WEB_CONCURRENCY"]),
        ("", &[], &[("PORT", "http")], 1, &["bind", "0.0.0.0:http", "PORT", "port"]),
        ("", &[], &[("FORWARDED_ALLOW_IPS", "10.0.0.1/8")], 1, &["FORWARDED_ALLOW_IPS", "10.0.0.0/8"]),
        ("", &[], &[("FERRICORN_CMD_ARGS", "-w x")], 2, &["workers", "--workers in FERRICORN_CMD_ARGS"]),
        ("", &[], &[("FERRICORN_CMD_ARGS", "--wrokers x")], 2, &["FERRICORN_CMD_ARGS", "--workers"]),
        ("", &[], &[("FERRICORN_CMD_ARGS", "-n 'x")], 2, &["FERRICORN_CMD_ARGS", "no end"]),
        ("", &[], &[("FERRICORN_CMD_ARGS", "--help")], 2, &["FERRICORN_CMD_ARGS", "--help"]),
        ("\nworkers = 'x'\n", &[], &[], 1, &["workers", "\"x\"", "ferricorn.toml:2"]),
        ("\n\nwrokers = 2", &[], &[], 1, &["ferricorn.toml:3", "wrokers", "did you mean workers?"]),
        ("access_logfile = '-'", &[], &[], 1, &["ferricorn.toml:1", "did you mean accesslog?"]),
        ("threads = 999", &[], &[], 1, &["ferricorn.toml:1", "threads", "1 to 256"]),
        ("post_fork = 'x'", &[], &[], 1, &["ferricorn.toml:1", "post_fork", "pip install ferricorn"]),
        ("workers = 1\nworkers = 2", &[], &[], 1, &["ferricorn.toml:2"]),
        ("bind = [[]]", &[], &[], 1, &["ferricorn.toml:1", "bind"]),
        ("daemon = 1", &[], &[], 1, &["daemon", "true or false"]),
        ("config = 'x'", &[], &[], 1, &["ferricorn.toml:1"]),
        ("[server]\nworkers = 2", &[], &[], 1, &["ferricorn.toml:1", "server"]),
    ];
    for (file, arguments, environment, exit_code, parts) in cases {
        let error = error(file, arguments, environment);
        let text = error.to_string();
        assert_eq!(error.exit_code(), *exit_code, "{text}");
        for part in *parts {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn an_application_must_be_named() {
    let error = parse_in(&Directory::new(), &[], &[]).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().starts_with("No application"));
    assert!(parsed(&Directory::new(), &["--print-config"], &[]).print_config);
}

#[test]
fn a_program_with_its_own_application_takes_none() {
    let directory = Directory::new();
    let parse = |arguments: &[&str]| parse(&argv(arguments), &|_| None, &directory.0, Program::OwnApplication, None);
    assert!(matches!(parse(&["-w", "2"]), Ok(Invocation::Serve(settings)) if settings.workers == 2));
    assert!(parse(&["files://."]).unwrap_err().to_string().contains("brings its own"));
    fs::write(directory.0.join("ferricorn.toml"), "application = 'files://.'").unwrap();
    assert!(parse(&[]).unwrap_err().to_string().contains("brings its own"));
}

#[test]
fn help_and_version_are_printed_whatever_else_is_wrong_with_the_file() {
    let directory = Directory::with("this is no TOML");
    for arguments in [["-v"], ["--version"]] {
        let version = concat!("ferricorn (version ", env!("CARGO_PKG_VERSION"), ")\n");
        assert_eq!(parse_in(&directory, &arguments, &[]), Ok(Invocation::Print(version.to_owned())));
    }
    assert_eq!(parse_in(&directory, &["-h"], &[]), parse_in(&directory, &["--help"], &[]));
}

#[test]
fn values_of_unsupported_settings_that_change_nothing_are_accepted() {
    settings(&["-k", "sync", "--threads", "1", "--max-requests", "0", "--no-control-socket", "--protocol", "http"]);
    parsed(&Directory::with("worker_class = 'gthread'\nreload = false\ncertfile = ''"), &["app"], &[]);
    settings(&["-k", "gunicorn.workers.gthread.ThreadWorker"]);
}

#[test]
fn printed_settings_can_be_read_again() {
    let directory = Directory::with("bind = ['unix:s', '[::1]:80']\ntimeout = 0\nlimit_request_body = 0\n");
    let settings = parsed(&directory, &["app", "--access-logformat", r#"%(h)s "%(r)s" \ '"#, "-m", "077"], &[]);
    let printed = print_config(&settings);
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines.is_sorted() && lines.len() == Setting::all().count(), "{printed}");
    let file: Vec<_> = lines
        .iter()
        .filter(|line| !line.ends_with("= None") && !line.starts_with("config "))
        .map(|line| line.to_string())
        .collect();
    let again = parsed(&Directory::with(&file.join("\n")), &[], &[]);
    assert_eq!(again, settings);
}
