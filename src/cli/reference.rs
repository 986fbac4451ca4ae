//! The reference of all settings and the text of `--help`, made from the tables and compared with what is in `docs/`.
//!
//! `UPDATE=1 cargo test` writes them anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::Program;
use super::command::command;
use crate::settings::{Gunicorn, HOOKS, Section, Setting, Settings, Takes, Unsupported, hook_named};

const BEGINNING: &str = "\
# Settings

<!-- Made from the tables in src/settings by `UPDATE=1 cargo test`; changes made here are lost. -->

A setting comes from one of these places; what comes later counts.

1. Its default.
2. A variable of the environment that other tools set: `PORT`, `WEB_CONCURRENCY`, `FORWARDED_ALLOW_IPS`, `SENDFILE`.
3. The settings file: the one that `--config` names, or else `ferricorn.toml` in the directory where the server is started.
   With the Python package, `ferricorn.conf.py` or `gunicorn.conf.py` if there is no such file.
4. The variables `GUNICORN_CMD_ARGS` and `FERRICORN_CMD_ARGS`, which hold options as the command line does; the latter counts.
5. The command line.

A list replaces the one that came before. In the file, settings have the names below; on the command line, they are the
options. A name that does not exist is an error, and so is a value that a setting cannot have. `ferricorn --check-config`
says what is wrong, and `ferricorn --print-config` what the settings are.

```toml
# ferricorn.toml
application = \"files:///srv/www\"
bind = [\"127.0.0.1:8000\", \"unix:/run/ferricorn.sock\"]
workers = \"auto\"
timeout = \"2m\"
```

Times are in seconds, may have a fraction (`0.5`), and may have a unit: `ms`, `s`, `m`, `h`, `d`. Numbers of bytes may have
a unit, too: `k`, `m`, `g` (1024 of the one before). Permission bits are octal: `0660` or `0o660`. Lists of addresses and
names may be an array or a text with commas.

Names and meanings are Gunicorn's (27.0.1) where it has the setting. Differences are said below, with the reason.
";

const ATOMS: &str = r#"
## Access log format

An atom is written `%(NAME)s`. As in Python, a width and a precision may stand before the `s` (`%(m)-7s`, `%(a).40s`), and a
number may be written with `d` or `f` (`%(D)09d`). `%%` is a percent sign.

| atom | meaning |
|---|---|
| `h` | address of the client; `-` on a unix socket |
| `l` | `-` |
| `u` | user of Basic credentials |
| `t` | time, as `[22/Nov/2026:13:00:25 +0000]` |
| `r` | request line |
| `m` `U` `q` `H` | its method, path (decoded), query and protocol |
| `s` | status |
| `B` `b` | bytes of the response's body that were sent; `b` is `-` if there was no response |
| `f` `a` | the fields `Referer` and `User-Agent` |
| `T` `M` `D` | time that the request took, in whole seconds, milliseconds and microseconds (numbers, as is `B`) |
| `Q` | time that the request waited before it was started, in milliseconds (a number; Gunicorn has no such atom) |
| `L` | the same in seconds with six decimals |
| `p` | process id of the worker, as `<25941>` |
| `{NAME}i` | field of the request |
| `{NAME}o` | field of the response |
| `{NAME}e` | `REMOTE_ADDR`, `REMOTE_PORT`, `REQUEST_METHOD`, `RAW_URI`, `PATH_INFO`, `QUERY_STRING`, `SERVER_PROTOCOL`, `CONTENT_TYPE`, `CONTENT_LENGTH` and `HTTP_…` of the WSGI environ |

What is missing is a `-`. In values, a quote is written `\"`, and control characters, backslashes and bytes from 0x7f up are
written `\xNN`, so that no client can forge a line or a field. A line to a pipe, a terminal or a socket is cut at 4096 bytes, for longer ones could mix
with those of other workers; a line in a file at 64 KiB.

## What happens to lines that cannot be written

Nothing waits for a log. Lines of the access log that a full disk or a full pipe does not take wait in memory, up to 1 MiB a
worker; after that, and in the error log at once, they are lost, and the error log says how many were when it can be
written again.
"#;

fn reference() -> String {
    let defaults = Settings::default();
    let mut text = BEGINNING.to_owned();
    for section in Section::ALL {
        write!(text, "\n## {}\n", section.title()).unwrap();
        for setting in section.settings() {
            entry(&mut text, setting, &defaults);
        }
    }
    text.push_str(ATOMS);
    text.push_str(
        "\n## Gunicorn's settings that do not exist here\n\nThey are refused with the reason, unless the value asks for \
         nothing but what is done anyway.\n\n| setting | accepted | why, and what to do instead |\n|---|---|---|\n",
    );
    for Unsupported { name, flags, harmless, because, .. } in Unsupported::ALL {
        let flags: String = flags.iter().map(|flag| format!(" `{flag}`")).collect();
        let harmless: Vec<_> = harmless.iter().map(|value| format!("`{value}`")).collect();
        writeln!(text, "| `{name}`{flags} | {} | {because} |", harmless.join(", ")).unwrap();
    }
    text
}

fn entry(text: &mut String, setting: &Setting, defaults: &Settings) {
    let Setting { name, flags, metavar, takes, .. } = setting;
    write!(text, "\n### {name}\n\n").unwrap();
    let option = |flag: &&str| match takes {
        Takes::Nothing => format!("`{flag}`"),
        Takes::OneOf(_) => format!("`{flag} [{metavar}]`"),
        Takes::Value | Takes::Values => format!("`{flag} {metavar}`"),
    };
    let mut facts: Vec<String> = flags.iter().map(option).collect();
    facts.extend(setting.variable.map(|variable| format!("`${variable}`")));
    let default = (setting.show)(defaults).map_or("none".to_owned(), |default| format!("`{default}`"));
    facts.push(format!("default: {default}"));
    write!(text, "{}\n\n{}\n", facts.join(" · "), setting.doc).unwrap();
    match setting.gunicorn {
        Gunicorn::Same => {}
        Gunicorn::Differs(difference) => write!(text, "\nUnlike Gunicorn: {difference}\n").unwrap(),
        Gunicorn::Lacks => text.push_str("\nGunicorn has no such setting.\n"),
    }
}

/// Compares `text` with the file, or writes it.
#[track_caller]
fn agree(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    let path = path.display();
    let differing = present.lines().zip(text.lines()).position(|(one, other)| one != other);
    assert!(present == text, "{path} is out of date from line {differing:?}: run `UPDATE=1 cargo test`");
}

const COMPARISON: &str = "\
# Gunicorn's settings

<!-- Made from the tables in src/settings by `UPDATE=1 cargo test`; changes made here are lost. -->

What becomes of each setting of Gunicorn 27.0.1, in the order of its documentation. None is ignored: what is refused is an
error that says why, unless the value asks for nothing but what is done anyway. Values and defaults are in
[Settings](settings.md), and [From Gunicorn](../guide/gunicorn.md) has the way over.

| setting | here | what is different, or why not |
|---|---|---|
";

const HOOKS_BEGIN: &str = "
## Hooks

Functions in `gunicorn.conf.py`, which the Python package calls with the arguments that Gunicorn has for them. The arbiter's
are called in the arbiter's process, where the application is not loaded.

| hook | process | when |
|---|---|---|
";

fn comparison() -> String {
    let mut text = COMPARISON.to_owned();
    for name in GUNICORN.split_ascii_whitespace() {
        let (here, difference) = match (Setting::named(name), hook_named(name), Unsupported::named(name)) {
            (Some(Setting { gunicorn: Gunicorn::Differs(difference), name: own, .. }), ..) => {
                (if *own == name { "differs".to_owned() } else { format!("is `{own}`") }, *difference)
            }
            (Some(_), ..) => ("the same".to_owned(), ""),
            (_, Some(_), _) => ("the same".to_owned(), "see below"),
            (.., Some(unsupported)) => ("refused".to_owned(), unsupported.because),
            _ => ("unknown".to_owned(), ""),
        };
        writeln!(text, "| `{name}` | {here} | {difference} |").unwrap();
    }
    text.push_str(HOOKS_BEGIN);
    for hook in HOOKS {
        writeln!(text, "| `{}({})` | {} | {} |", hook.name, hook.arguments.join(", "), hook.process, hook.when)
            .unwrap();
    }
    text
}

#[test]
fn the_table_of_gunicorns_settings_is_up_to_date() {
    agree("docs/reference/gunicorn.md", &comparison());
}

#[test]
fn the_reference_is_up_to_date() {
    agree("docs/reference/settings.md", &reference());
}

#[test]
fn the_help_is_up_to_date() {
    let help = command("ferricorn", Program::Hosted).render_help().to_string();
    agree("docs/reference/help.txt", &help);
    for setting in Setting::all().filter(|setting| !setting.flags.is_empty()) {
        assert!(help.contains(setting.flags.last().unwrap()) || setting.flags.len() > 1, "{}", setting.name);
    }
    let own = command("hello", Program::OwnApplication).render_help().to_string();
    assert!(own.contains("Usage: hello [OPTIONS]\n") && !own.contains("APPLICATION") && !own.contains("--files-"));
}

#[test]
fn every_setting_is_described_and_named_once() {
    let mut names: Vec<&str> = Setting::all().map(|setting| setting.name).collect();
    names.extend(Setting::all().filter_map(|setting| setting.alias));
    names.extend(Unsupported::ALL.iter().map(|unsupported| unsupported.name));
    let mut flags: Vec<&str> = Setting::all().flat_map(|setting| setting.flags).copied().collect();
    flags.extend(Unsupported::ALL.iter().flat_map(|unsupported| unsupported.flags));
    flags.extend(["-h", "--help", "-v", "--version"]);
    for list in [&mut names, &mut flags] {
        let count = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), count, "{list:?}");
    }
    for Setting { name, doc, flags, takes, .. } in Setting::all() {
        assert!(doc.is_ascii() && doc.ends_with('.') && !doc.contains("  "), "{name}: {doc}");
        let negative = flags.iter().any(|flag| flag.starts_with("--no-"));
        let default = Setting::all().find(|setting| setting.name == *name).and_then(|s| (s.show)(&Settings::default()));
        assert_eq!(negative, *takes == Takes::Nothing && default.as_deref() == Some("true"), "{name}");
    }
}

/// The names of all 120 settings of Gunicorn 27.0.1.
const GUNICORN: &str = "
    config wsgi_app bind backlog workers worker_class threads worker_connections max_requests max_requests_jitter timeout
    graceful_timeout keepalive asgi_loop asgi_lifespan asgi_disconnect_grace_period websocket_max_message_size http_parser
    limit_request_line limit_request_fields limit_request_field_size reload reload_engine reload_extra_files spew
    check_config print_config preload_app sendfile reuse_port chdir daemon raw_env pidfile worker_tmp_dir user group umask
    initgroups tmp_upload_dir secure_scheme_headers forwarded_allow_ips forwarder_headers header_map pythonpath paste
    raw_paste_global_conf proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips permit_obsolete_folding
    strip_header_spaces permit_unconventional_http_method permit_unconventional_http_version casefold_http_method root_path
    accesslog access_log_format disable_redirect_access_to_syslog errorlog loglevel capture_output logger_class logconfig
    logconfig_json logconfig_dict syslog syslog_addr syslog_prefix syslog_facility enable_stdio_inheritance statsd_host
    statsd_prefix dogstatsd_tags enable_backlog_metric proc_name default_proc_name keyfile certfile ca_certs ciphers
    cert_reqs ssl_version suppress_ragged_eofs do_handshake_on_connect http_protocols http2_cleartext
    http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size http2_max_header_list_size dirty_apps
    dirty_workers dirty_timeout dirty_threads dirty_graceful_timeout control_socket control_socket_mode
    control_socket_disable on_starting when_ready on_reload nworkers_changed pre_fork child_exit pre_exec on_exit post_fork
    post_worker_init pre_request post_request worker_int worker_abort worker_exit ssl_context on_dirty_starting
    dirty_post_fork dirty_worker_init dirty_worker_exit";

#[test]
fn every_setting_of_gunicorn_is_known() {
    let names: Vec<&str> = GUNICORN.split_ascii_whitespace().collect();
    assert_eq!(names.len(), 120);
    for name in &names {
        let supported = Setting::named(name);
        let hook = hook_named(name).is_some();
        let ways = [supported.is_some(), hook, Unsupported::named(name).is_some()];
        assert_eq!(ways.into_iter().filter(|way| *way).count(), 1, "{name}");
        assert!(supported.is_none_or(|setting| setting.gunicorn != Gunicorn::Lacks), "{name}");
    }
    for setting in Setting::all().filter(|setting| setting.gunicorn != Gunicorn::Lacks) {
        let known = |name: &str| names.contains(&name);
        assert!(known(setting.name) || setting.alias.is_some_and(known), "{}", setting.name);
    }
}
