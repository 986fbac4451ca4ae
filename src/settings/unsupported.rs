//! Gunicorn's settings that do not exist here: each is refused with the reason, none is ignored.

use super::value::{Raw, Takes};

/// One of Gunicorn's settings that is not supported.
pub(crate) struct Unsupported {
    pub(crate) name: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) takes: Takes,
    /// Values that ask for nothing but what is done anyway.
    pub(crate) harmless: &'static [&'static str],
    /// Why, and what to do instead.
    pub(crate) because: &'static str,
}

impl Unsupported {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = ALL;

    /// The entry of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|entry| entry.name == name)
    }

    /// Whether the value asks for nothing but what is done anyway, so that a file may go on saying so.
    pub(crate) fn allows(&self, raw: &Raw) -> bool {
        match raw {
            Raw::Bool(value) => self.harmless.contains(&if *value { "true" } else { "false" }),
            Raw::Text(text) => text.is_empty() || self.harmless.contains(&text.as_str()),
            Raw::List(texts) => texts.is_empty(),
            Raw::Table(entries) => entries.is_empty(),
            Raw::Number(number) => self.harmless.contains(&number.to_string().as_str()),
            Raw::Other(_) => false,
        }
    }
}

const ASGI: &str = "ASGI is not served yet; let such an application stay where it is";
const TLS: &str = "TLS is not served; put nginx or another proxy in front";
const HTTP2: &str = "HTTP/2 is not served; put nginx or another proxy in front";
const DIRTY: &str = "there are no dirty workers; run such work as a service of its own";
const SYSLOG: &str = "logs go to files and standard streams; pipe them into logger(1), or have systemd pass them on";
const LOGGING: &str = "the server writes its logs itself, so that no request waits for them: use `errorlog`, `loglevel`, `accesslog` and `access_log_format`; the application's own loggers are its own to configure";
const PASTE: &str = "PasteDeploy files are not read; name a factory that does, as in `module:create(\"site.ini\")`";
const STATSD: &str = "there is no StatsD client yet; count the lines of the access log instead";
const STRICT: &str = "requests are read strictly, as every leniency is a way to smuggle one; correct the client";
const CONTROL: &str = "there is no control socket; use signals";

const fn refused(
    name: &'static str,
    flags: &'static [&'static str],
    takes: Takes,
    harmless: &'static [&'static str],
    because: &'static str,
) -> Unsupported {
    Unsupported { name, flags, takes, harmless, because }
}

use Takes::{Nothing, Value, Values};

const ALL: &[Unsupported] = &[
    refused(
        "worker_class",
        &["-k", "--worker-class"],
        Value,
        &[
            "sync",
            "gthread",
            "gunicorn.workers.sync.SyncWorker",
            "gunicorn.workers.gthread.ThreadWorker",
            "egg:gunicorn#sync",
            "egg:gunicorn#gthread",
        ],
        "a worker has one engine, which serves keep-alive connections as `gthread` does and calls the application in as many threads as `threads` says, which is what takes the place of gevent and its like; ASGI is not served yet",
    ),
    refused("asgi_loop", &["--asgi-loop"], Value, &["auto"], ASGI),
    refused("asgi_lifespan", &["--asgi-lifespan"], Value, &["auto"], ASGI),
    refused("asgi_disconnect_grace_period", &["--asgi-disconnect-grace-period"], Value, &["3"], ASGI),
    refused("websocket_max_message_size", &["--websocket-max-message-size"], Value, &["16777216"], ASGI),
    refused("http_parser", &["--http-parser"], Value, &["auto", "fast"], "there is one parser"),
    refused(
        "spew",
        &["--spew"],
        Nothing,
        &["false"],
        "a trace of every line helps nobody in a server; `kill -USR2` to a worker logs its stacks",
    ),
    refused(
        "reuse_port",
        &["--reuse-port"],
        Nothing,
        &["false"],
        "all workers share the arbiter's sockets, since the connections that wait at a socket of its own are lost when a worker goes",
    ),
    refused(
        "tmp_upload_dir",
        &[],
        Value,
        &[],
        "Gunicorn has no use for it either; `worker_tmp_dir` is where large request bodies go",
    ),
    refused("paste", &["--paste", "--paster"], Value, &[], PASTE),
    refused("raw_paste_global_conf", &["--paste-global"], Values, &[], PASTE),
    refused("permit_obsolete_folding", &["--permit-obsolete-folding"], Nothing, &["false"], STRICT),
    refused("strip_header_spaces", &["--strip-header-spaces"], Nothing, &["false"], STRICT),
    refused("permit_unconventional_http_method", &["--permit-unconventional-http-method"], Nothing, &["false"], STRICT),
    refused(
        "permit_unconventional_http_version",
        &["--permit-unconventional-http-version"],
        Nothing,
        &["false"],
        STRICT,
    ),
    refused("casefold_http_method", &["--casefold-http-method"], Nothing, &["false"], STRICT),
    refused("root_path", &["--root-path"], Value, &[], ASGI),
    refused(
        "disable_redirect_access_to_syslog",
        &["--disable-redirect-access-to-syslog"],
        Nothing,
        &["false", "true"],
        SYSLOG,
    ),
    refused("logger_class", &["--logger-class"], Value, &["gunicorn.glogging.Logger"], LOGGING),
    refused("logconfig", &["--log-config"], Value, &[], LOGGING),
    refused("logconfig_json", &["--log-config-json"], Value, &[], LOGGING),
    refused("logconfig_dict", &[], Value, &[], LOGGING),
    refused("syslog", &["--log-syslog"], Nothing, &["false"], SYSLOG),
    refused("syslog_addr", &["--log-syslog-to"], Value, &["udp://localhost:514"], SYSLOG),
    refused("syslog_prefix", &["--log-syslog-prefix"], Value, &[], SYSLOG),
    refused("syslog_facility", &["--log-syslog-facility"], Value, &["user"], SYSLOG),
    refused(
        "enable_stdio_inheritance",
        &["-R", "--enable-stdio-inheritance"],
        Nothing,
        &["false"],
        "a daemon's standard streams go to /dev/null; use `errorlog` and `capture_output`",
    ),
    refused("statsd_host", &["--statsd-host"], Value, &[], STATSD),
    refused("statsd_prefix", &["--statsd-prefix"], Value, &[], STATSD),
    refused("dogstatsd_tags", &["--dogstatsd-tags"], Value, &[], STATSD),
    refused("enable_backlog_metric", &["--enable-backlog-metric"], Nothing, &["false"], STATSD),
    refused("default_proc_name", &[], Value, &[], "it is what Gunicorn calls itself without `proc_name`; use that"),
    refused("keyfile", &["--keyfile"], Value, &[], TLS),
    refused("certfile", &["--certfile"], Value, &[], TLS),
    refused("ca_certs", &["--ca-certs"], Value, &[], TLS),
    refused("ciphers", &["--ciphers"], Value, &[], TLS),
    refused("cert_reqs", &["--cert-reqs"], Value, &["0"], TLS),
    refused("ssl_version", &["--ssl-version"], Value, &["2"], TLS),
    refused("suppress_ragged_eofs", &["--suppress-ragged-eofs"], Nothing, &["true"], TLS),
    refused("do_handshake_on_connect", &["--do-handshake-on-connect"], Nothing, &["false"], TLS),
    refused("http_protocols", &["--http-protocols"], Value, &["h1"], HTTP2),
    refused("http2_cleartext", &["--http2-cleartext"], Value, &["off"], HTTP2),
    refused("http2_max_concurrent_streams", &["--http2-max-concurrent-streams"], Value, &["100"], HTTP2),
    refused("http2_initial_window_size", &["--http2-initial-window-size"], Value, &["65535"], HTTP2),
    refused("http2_max_frame_size", &["--http2-max-frame-size"], Value, &["16384"], HTTP2),
    refused("http2_max_header_list_size", &["--http2-max-header-list-size"], Value, &["65536"], HTTP2),
    refused("dirty_apps", &["--dirty-app"], Values, &[], DIRTY),
    refused("dirty_workers", &["--dirty-workers"], Value, &["0"], DIRTY),
    refused("dirty_timeout", &["--dirty-timeout"], Value, &["300"], DIRTY),
    refused("dirty_threads", &["--dirty-threads"], Value, &["1"], DIRTY),
    refused("dirty_graceful_timeout", &["--dirty-graceful-timeout"], Value, &["30"], DIRTY),
    refused("control_socket", &["--control-socket"], Value, &[], CONTROL),
    refused("control_socket_mode", &["--control-socket-mode"], Value, &["384"], CONTROL),
    refused("control_socket_disable", &["--no-control-socket"], Nothing, &["true", "false"], CONTROL),
    refused("ssl_context", &[], Value, &[], TLS),
    refused("on_dirty_starting", &[], Value, &[], DIRTY),
    refused("dirty_post_fork", &[], Value, &[], DIRTY),
    refused("dirty_worker_init", &[], Value, &[], DIRTY),
    refused("dirty_worker_exit", &[], Value, &[], DIRTY),
];
