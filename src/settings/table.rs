//! All settings, one entry each: the command line, the file, the help and the reference are made from this table.

use super::Settings;
use super::kinds::{
    Addresses, Bytes, BytesOrAny, Count, FieldNames, FieldValues, Level, Log, Mapping, Mode, Mounts, Names,
    OptionalPath, OptionalText, Peers, ProxyMode, Seconds, SomeSeconds, Speech, Switch, Target, Text, Variables,
    Workers,
};
use super::reload::{Engine, Patterns};
use super::value::{Host, Invalid, Kind, Raw, Shape, Takes};
use crate::scoreboard::MAX_THREADS;

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
}

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
    pub(crate) section: Section,
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
    /// The entry of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|setting| setting.name == name || setting.alias == Some(name))
    }

    /// The first sentence of the documentation.
    pub(crate) fn summary(&self) -> &'static str {
        self.doc.split_once(". ").map_or(self.doc.trim_end_matches('.'), |(sentence, _)| sentence)
    }

    /// Whether a number may be given for it as such, other than permission bits.
    pub(crate) fn takes_numbers(&self) -> bool {
        ["INT", "SECONDS", "BYTES", "USER", "GROUP"].contains(&self.metavar) || self.metavar.starts_with("INT|")
    }

    const fn alias(mut self, name: &'static str) -> Self {
        self.alias = Some(name);
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn metavar(mut self, metavar: &'static str) -> Self {
        self.metavar = metavar;
        self
    }
}

/// An entry for the field of that name, whose values are of that kind.
macro_rules! setting {
    ($field:ident: $kind:ty, $section:ident, $flags:expr, $gunicorn:expr, $doc:expr) => {
        Setting {
            name: stringify!($field),
            alias: None,
            section: Section::$section,
            flags: &$flags,
            metavar: <$kind>::METAVAR,
            takes: <$kind>::TAKES,
            variable: None,
            doc: $doc,
            gunicorn: $gunicorn,
            assign: |settings, raw, host| {
                settings.$field = <$kind>::read(raw, host)?;
                Ok(())
            },
            show: |settings| <$kind>::show(&settings.$field),
        }
    };
}

use Gunicorn::{Differs, Lacks, Same};

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

/// Every setting, in the order of the reference.
pub(crate) static TABLE: &[Setting] = &[
    setting!(
        application: OptionalText,
        Config,
        [],
        Differs("Gunicorn's name for it, `wsgi_app`, is read as well."),
        "The application, if the command line does not name one. `files://DIR` serves the files in a directory, \
         `cgi://PATH` runs a program for each request, `fastcgi-exec://php-cgi` runs PHP, and \
         `fastcgi://ADDRESS` and `exec://COMMAND` are for other FastCGI programs."
    )
    .alias("wsgi_app"),
    setting!(
        mount: Mounts,
        Config,
        ["--mount"],
        Lacks,
        "An application of any kind that answers below a path; may be given several times. The longest prefix that ends \
         where a segment of the path does counts; what it has matched is the application's `SCRIPT_NAME`. The application \
         that is named otherwise answers for everything else, and 404 is answered if there is none."
    ),
    setting!(
        config: OptionalPath,
        Config,
        ["-c", "--config"],
        Differs("TOML is new, and in it a name that is no setting is an error. The file may have any other name."),
        "The settings file. One whose name ends in `.toml` is TOML; `FILE`, `file:FILE` and `python:MODULE` are Python, as \
         Gunicorn has it, for which the Python package is needed. If none is named, the first of `ferricorn.toml`, \
         `ferricorn.conf.py` and `gunicorn.conf.py` is read that is in the current directory. It is read again on HUP."
    )
    .metavar("FILE"),
    setting!(
        check_config: Switch,
        Config,
        ["--check-config"],
        Same,
        "Check the settings and the application, and exit. The exit code is 0 if all is well and 1 if not."
    ),
    setting!(
        print_config: Switch,
        Config,
        ["--print-config"],
        Differs("Values are printed as TOML, so that a line can be copied into `ferricorn.toml`."),
        "Print all settings as they are after every source was read, then check them as `check_config` does."
    ),
    setting!(
        bind: Addresses,
        Socket,
        ["-b", "--bind"],
        Differs("`fd://N` and other addresses go together; Gunicorn drops the others."),
        "An address to listen on; may be given several times. One of `HOST`, `HOST:PORT`, `:PORT` (every address), \
         `[::1]:PORT`, `unix:PATH` and `fd://N`, which is a listening socket that was inherited as descriptor N. The \
         port is 8000 if none is given. `http://`, `uwsgi://`, `fastcgi://` or `scgi://` in front of it says what is \
         spoken there, `protocol` if none does: `uwsgi://unix:/run/app.sock`. If standard input is a listening socket, \
         as for a program that spawn-fcgi or mod_fcgid starts, the default is `fastcgi://fd://0`. With `PORT` in the environment the default is `0.0.0.0:$PORT`."
    )
    .variable("PORT"),
    setting!(
        protocol: Speech,
        Socket,
        ["--protocol"],
        Differs("`fastcgi` and `scgi` are new."),
        "What is spoken on every `bind` that does not say. `http`, `uwsgi`, `fastcgi` or `scgi`."
    ),
    setting!(
        gateway_allow_ips: Peers,
        Socket,
        ["--gateway-allow-from", "--uwsgi-allow-from"],
        Differs("It is called `uwsgi_allow_ips` there, which is read as well, and knows no networks; here it counts for FastCGI and SCGI, too."),
        "Addresses and networks of the web servers that may speak uwsgi, FastCGI or SCGI, with commas between them; the \
         connections of others are closed. What such a web server says about its client is believed. Peers on unix \
         sockets always may."
    )
    .alias("uwsgi_allow_ips")
    .variable("FCGI_WEB_SERVER_ADDRS"),
    setting!(
        backlog: Count<1, { i32::MAX as u64 }>,
        Socket,
        ["--backlog"],
        Same,
        "How many connections may wait to be accepted. The kernel takes no more than `net.core.somaxconn`."
    ),
    setting!(
        socket_mode: Mode,
        Socket,
        ["--socket-mode"],
        Lacks,
        "Permission bits of unix sockets. Gunicorn has `umask` decide, whose default there lets everybody connect."
    ),
    Setting {
        name: "workers",
        alias: None,
        section: Section::Workers,
        flags: &["-w", "--workers"],
        metavar: Workers::METAVAR,
        takes: Workers::TAKES,
        variable: Some("WEB_CONCURRENCY"),
        doc: "The number of worker processes. `auto` is one for each processor that the server may use. With MIN:MAX there \
              are as many as the load asks for: more when all are in a call or connections wait to be accepted, fewer when \
              some have been idle for `worker_idle_timeout`.",
        gunicorn: Differs("`auto` and `MIN:MAX` are new. 0 workers serve nobody and are refused, also as MIN."),
        assign: |settings, raw, host| {
            (settings.workers, settings.workers_most) = Workers::read(raw, host)?;
            Ok(())
        },
        show: |settings| Workers::show(&(settings.workers, settings.workers_most)),
    },
    setting!(
        worker_idle_timeout: SomeSeconds,
        Workers,
        ["--worker-idle-timeout"],
        Lacks,
        "With `workers = MIN:MAX`, how long two workers must have had nothing to do before one of them goes."
    ),
    setting!(
        max_requests: Count<0, { i64::MAX as u64 }>,
        Workers,
        ["--max-requests"],
        Differs("The replacement is ready before the worker goes, and only `recycle_share` are replaced at a time."),
        "The number of requests after which a worker is replaced, against applications that leak. It serves on until its \
         replacement is ready. 0 is never."
    ),
    setting!(
        max_requests_jitter: Count<0, { i64::MAX as u64 }>,
        Workers,
        ["--max-requests-jitter"],
        Same,
        "Up to so many requests more, at random for each worker, so that they are not replaced together."
    ),
    setting!(
        worker_lifetime: Seconds,
        Workers,
        ["--worker-lifetime"],
        Lacks,
        "The age at which a worker is replaced, or up to a tenth later. 0 is never."
    ),
    setting!(
        worker_memory: BytesOrAny,
        Workers,
        ["--worker-memory"],
        Lacks,
        "Bytes of memory (resident, so with all that it shares) over which a worker is replaced, when it has finished the \
         request that it is at. It is looked at once a second. 0 is no limit."
    ),
    setting!(
        worker_memory_hard: BytesOrAny,
        Workers,
        ["--worker-memory-hard"],
        Lacks,
        "Bytes of memory over which the arbiter kills a worker, whatever it is doing. It is looked at once a second. 0 is \
         no limit."
    ),
    setting!(
        recycle_share: Count<1, 100>,
        Workers,
        ["--recycle-share"],
        Lacks,
        "How many of a hundred workers are replaced at a time at most, when they have reached `max_requests`, \
         `worker_lifetime` or `worker_memory`. It is always one at least."
    ),
    setting!(
        threads: Count<1, { MAX_THREADS as u64 }>,
        Workers,
        ["--threads"],
        Differs("Each worker is as `gthread` makes it, with any number. Threads are used only while calls take long."),
        "How many threads of each worker call the application. More than one is for applications that wait: for a \
         database, another service, a disk."
    ),
    setting!(
        relief: Switch,
        Workers,
        ["--no-relief"],
        Lacks,
        "Leave a worker's connections alone while all its application threads are busy. In the environment and in a file it \
         says whether another thread sends responses, reads requests and keeps deadlines meanwhile, and hands requests \
         over to workers that have time for them."
    ),
    setting!(
        preload_app: Switch,
        Workers,
        ["--preload"],
        Differs(
            "A process of its own loads the application, not the arbiter: HUP loads new code, and code that cannot be \
             loaded leaves the old in service."
        ),
        "Load the application once, in a template process from which workers are forked: they share its memory, and \
         start within milliseconds. Threads and connections that the application opens while it is loaded are not the \
         workers' to use."
    ),
    setting!(
        warmup: Target,
        Workers,
        ["--warmup"],
        Lacks,
        "A path that the application is asked for (with GET, before it serves anybody) where it is loaded: in the template \
         with `preload_app`, else in each worker before it is ready. What the first request loads or fills is shared, \
         or at least not waited for. An answer of 500 or more is logged and changes nothing."
    )
    .metavar("PATH"),
    setting!(
        worker_connections: Count<1, { M }>,
        Workers,
        ["--worker-connections"],
        Differs("It counts every open connection, whatever the worker does with it."),
        "How many connections a worker holds at most. Others wait in the accept queue, or are taken by other workers. A \
         worker that is nearly full ends idle connections, then those whose heads take more than a second, then those \
         that are far behind the minimum rates, then those that were served just now."
    ),
    setting!(
        timeout: Seconds,
        Timeouts,
        ["-t", "--timeout"],
        Differs(
            "It bounds one call of the application: a slow client does not use it up, and booting has `boot_timeout`."
        ),
        "How long the application may take for one request before its worker is killed and replaced. 0 is for ever."
    ),
    setting!(
        slow_request_timeout: Seconds,
        Timeouts,
        ["--slow-request-timeout"],
        Lacks,
        "When a request has kept the application for so long, the error log says which one it is and where the application \
         is, once. Nothing else happens. 0 is never."
    ),
    setting!(
        request_timeout: Seconds,
        Timeouts,
        ["--request-timeout"],
        Lacks,
        "When a request has kept the application for so long, the error log says where it is, and the call is ended: \
         `ferricorn.RequestTimeout` is raised in the thread that it runs in, the client gets 504, or sees its response cut \
         off if that has begun, and the worker goes on. What cannot be interrupted, such as code in C or Rust, goes on until \
         `timeout`, which should be longer. 0 is never."
    ),
    setting!(
        queue_timeout: Seconds,
        Timeouts,
        ["--queue-timeout"],
        Lacks,
        "How long a request may wait before the application is called. What has waited for longer is answered with 503 and \
         `Retry-After` instead of being run: its client has given up as a rule. It counts from the moment that the request \
         was there, or from the one that a believed proxy names in `X-Request-Start`. 0 is for ever."
    ),
    setting!(
        boot_timeout: Seconds,
        Timeouts,
        ["--boot-timeout"],
        Lacks,
        "How long a worker may take to load the application. 0 is for ever."
    ),
    setting!(
        graceful_timeout: Seconds,
        Timeouts,
        ["--graceful-timeout"],
        Same,
        "How long a stopping worker may take to finish its requests before it is killed."
    ),
    setting!(
        shutdown_delay: Seconds,
        Timeouts,
        ["--shutdown-delay"],
        Lacks,
        "How long the server goes on serving after SIGTERM, so that load balancers can learn that it stops: systemd is told \
         at once, and `ready_path` answers 503. A second SIGTERM ends the delay."
    ),
    setting!(
        ready_path: OptionalText,
        Timeouts,
        ["--ready-path"],
        Lacks,
        "A path, such as `/-/ready`, that workers answer themselves: with 200, and with 503 when the server is about to \
         stop. The application does not see requests for it."
    )
    .metavar("PATH"),
    setting!(
        keepalive: Seconds,
        Timeouts,
        ["--keep-alive"],
        Differs(
            "The default is 75 instead of 2: a server that closes before the load balancer in front of it does causes \
             502 answers there, and an idle connection costs next to nothing here."
        ),
        "How long an idle connection is kept open for the next request. 0 closes after each response."
    ),
    setting!(
        keepalive_grace: Seconds,
        Timeouts,
        ["--keep-alive-grace"],
        Lacks,
        "How long a stopping worker keeps its idle connections. A request that arrives late is answered with \
         `Connection: close`."
    ),
    setting!(
        first_byte_timeout: SomeSeconds,
        Timeouts,
        ["--first-byte-timeout"],
        Lacks,
        "How long a new connection may stay silent before it is closed. Proxies open connections ahead, so peers in \
         `forwarded_allow_ips` and on unix sockets have as long as `keepalive`."
    ),
    setting!(
        header_timeout: SomeSeconds,
        Timeouts,
        ["--header-timeout"],
        Lacks,
        "How long a request's head may take from its first byte. What has come of it by then buys more time, by \
         `header_min_rate`; over that the answer is 408."
    ),
    setting!(
        header_min_rate: Bytes<0, { G }>,
        Timeouts,
        ["--header-min-rate"],
        Lacks,
        "Bytes of a head that buy it one second more. 0 buys nothing: `header_timeout` is all there is."
    ),
    setting!(
        header_longest: SomeSeconds,
        Timeouts,
        ["--header-longest"],
        Lacks,
        "How long a request's head may take at most, whatever its rate."
    ),
    setting!(
        body_timeout: SomeSeconds,
        Timeouts,
        ["--body-timeout"],
        Lacks,
        "How long a request's body may stand still, and how far it may fall behind `body_min_rate`. Over it the answer \
         is 408."
    ),
    setting!(
        body_min_rate: Bytes<0, { G }>,
        Timeouts,
        ["--body-min-rate"],
        Lacks,
        "Bytes a second with which a request's body must arrive. 0 is no minimum."
    ),
    setting!(
        send_timeout: SomeSeconds,
        Timeouts,
        ["--send-timeout"],
        Lacks,
        "How long a client may take no byte of a response, and how far it may fall behind `send_min_rate`."
    ),
    setting!(
        send_min_rate: Bytes<0, { G }>,
        Timeouts,
        ["--send-min-rate"],
        Lacks,
        "Bytes a second with which a response must be taken. 0 is no minimum."
    ),
    setting!(
        limit_request_line: BytesOrAny,
        Limits,
        ["--limit-request-line"],
        Differs("The default is 8190 instead of 4094, as RFC 9112 asks for 8000 at least, and there is no cap at 8190."),
        "Bytes of the request line at most. Over it the answer is 414. 0 leaves only `limit_request_head`."
    ),
    setting!(
        limit_request_fields: Count<0, 32768>,
        Limits,
        ["--limit-request-fields"],
        Same,
        "Header fields of a request at most. Over it the answer is 431. 0 is the most that can be set, 32768."
    ),
    setting!(
        limit_request_field_size: BytesOrAny,
        Limits,
        ["--limit-request-field-size", "--limit-request-field_size"],
        Differs("The option can be written without its odd underscore."),
        "Bytes of a header field at most, name and value. Over it the answer is 431. 0 leaves only \
         `limit_request_head`."
    ),
    setting!(
        limit_request_head: Bytes<{ K }, { 16 * M }>,
        Limits,
        ["--limit-request-head"],
        Lacks,
        "Bytes of a request's head at most: the request line and all fields. Over it the answer is 431."
    ),
    setting!(
        limit_request_body: BytesOrAny,
        Limits,
        ["--limit-request-body"],
        Lacks,
        "Bytes of a request's body at most. Over it the answer is 413. 0 is no limit."
    ),
    setting!(
        body_memory: Bytes<0, { G }>,
        Limits,
        ["--body-memory"],
        Lacks,
        "Bytes of a request's body that are kept in memory. A larger one goes to an unlinked file in `worker_tmp_dir`."
    ),
    setting!(
        body_disk: Bytes<0, { i64::MAX as u64 }>,
        Limits,
        ["--body-disk"],
        Lacks,
        "Bytes of request bodies that a worker keeps in files at once. Over it the answer is 503. The files are in \
         `worker_tmp_dir`; where that is in memory, this is memory, too."
    ),
    setting!(
        peer_connections: Count<0, { M }>,
        Limits,
        ["--peer-connections"],
        Lacks,
        "How many connections one address may have in a worker; more are closed. 0 is no limit. A /64 of IPv6 is one \
         address. Loopback addresses and the proxies in `forwarded_allow_ips` and `proxy_allow_ips` have no limit, and \
         unix sockets have no addresses."
    ),
    setting!(
        keepalive_requests: Count<0, { i64::MAX as u64 }>,
        Limits,
        ["--keep-alive-requests"],
        Lacks,
        "Requests that are served on one connection before it is closed. 0 is no limit."
    ),
    setting!(
        forwarded_allow_ips: Peers,
        Proxies,
        ["--forwarded-allow-ips"],
        Same,
        "Addresses and networks of the proxies whose forwarded header fields are believed, with commas between them. `*` \
         believes everybody, nothing believes nobody. Peers on unix sockets always are believed."
    )
    .variable("FORWARDED_ALLOW_IPS"),
    setting!(
        secure_scheme_headers: FieldValues,
        Proxies,
        [],
        Same,
        "Header fields, and for each the value with which a believed proxy says that the client came by https."
    ),
    setting!(
        proxy_protocol: ProxyMode,
        Proxies,
        ["--proxy-protocol"],
        Same,
        "The versions of the PROXY header that are read at the start of a connection. `off`, `v1`, `v2` or `auto`; the \
         option alone is `auto`."
    ),
    setting!(
        proxy_allow_ips: Peers,
        Proxies,
        ["--proxy-allow-from"],
        Same,
        "Addresses and networks of the peers that may send a PROXY header, with commas between them."
    ),
    setting!(
        chdir: OptionalPath,
        Process,
        ["--chdir"],
        Same,
        "Change to this directory before the application is loaded."
    )
    .metavar("DIR"),
    setting!(
        daemon: Switch,
        Process,
        ["-D", "--daemon"],
        Same,
        "Detach from the terminal and run in the background. Supervisors such as systemd and supervisord want it off."
    ),
    setting!(
        raw_env: Variables,
        Process,
        ["-e", "--env"],
        Same,
        "An environment variable for the application; may be given several times."
    ),
    setting!(
        pidfile: OptionalPath,
        Process,
        ["-p", "--pid"],
        Same,
        "A file that holds the arbiter's process id while it runs."
    )
    .metavar("FILE"),
    setting!(
        worker_tmp_dir: OptionalPath,
        Process,
        ["--worker-tmp-dir"],
        Differs("Gunicorn's heartbeat files do not exist here; large request bodies go there."),
        "A directory for request bodies that are too large for memory. The system's own is used if none is named."
    )
    .metavar("DIR"),
    setting!(
        user: OptionalText,
        Process,
        ["-u", "--user"],
        Same,
        "The user that workers run as, by name or number. Only root can set it."
    )
    .metavar("USER"),
    setting!(
        group: OptionalText,
        Process,
        ["-g", "--group"],
        Same,
        "The group that workers run as, by name or number. Only root can set it."
    )
    .metavar("GROUP"),
    setting!(
        initgroups: Switch,
        Process,
        ["--initgroups"],
        Same,
        "Give the workers every group that their user belongs to. They have only their own otherwise."
    ),
    setting!(
        umask: Mode,
        Process,
        ["-m", "--umask"],
        Differs("Without it the mask stays as the server inherited it; Gunicorn sets 0, and everybody may write."),
        "Permission bits that new files do not get, in octal."
    ),
    setting!(
        sendfile: Switch,
        Process,
        ["--no-sendfile"],
        Differs("In a file, `sendfile = true` means just that; in Gunicorn's it switches it off."),
        "Do not send files by sendfile(2). In the environment and in a file it says whether to."
    )
    .variable("SENDFILE"),
    setting!(
        proc_name: OptionalText,
        Process,
        ["-n", "--name"],
        Differs("The titles need no further package."),
        "The name in the titles of the processes, as `ps` shows them. The application is named there otherwise."
    )
    .metavar("NAME"),
    setting!(
        errorlog: Log,
        Logging,
        ["--error-logfile", "--log-file"],
        Same,
        "The error log. `-` is standard error. The file is opened again on USR1."
    ),
    setting!(
        loglevel: Level,
        Logging,
        ["--log-level"],
        Differs("An unknown level is an error instead of `info`."),
        "The least level that goes to the error log. One of `debug`, `info`, `warning`, `error` and `critical`."
    ),
    setting!(
        accesslog: Log,
        Logging,
        ["--access-logfile"],
        Same,
        "The access log. `-` is standard output; there is none by default. The file is opened again on USR1."
    ),
    setting!(
        access_log_format: Text,
        Logging,
        ["--access-logformat"],
        Differs(
            "Values are escaped so that no client can forge a line, and an atom that does not exist is an error instead \
             of a `-`."
        ),
        "The format of the access log. Its atoms are described below."
    )
    .metavar("FORMAT"),
    setting!(
        capture_output: Switch,
        Logging,
        ["--capture-output"],
        Same,
        "Send what the application writes to standard output and standard error to the error log."
    ),
    setting!(
        pythonpath: OptionalText,
        Python,
        ["--pythonpath"],
        Same,
        "Directories that are put in front of Python's module path, with commas between them."
    )
    .metavar("DIRS"),
    setting!(
        reload: Switch,
        Python,
        ["--reload"],
        Differs("The last code that could be loaded serves on until the new one is ready."),
        "Reload when the application's source changes; for development. Watched are the files of all modules that are not \
         installed ones, new files beside them, directories called `templates` beside them and in the working directory, \
         and the settings file. What happens is what HUP does: code that cannot be loaded is shown in the log, and the \
         last good one serves on. If there is none, every request is answered with the traceback until the next save."
    ),
    setting!(
        reload_engine: Engine,
        Python,
        ["--reload-engine"],
        Same,
        "How changes are noticed: `inotify`, `poll`, which looks once a second and works on every file system, or `auto`, \
         which is the first of them that can be had."
    ),
    setting!(
        reload_extra_files: Patterns,
        Python,
        ["--reload-extra-file"],
        Differs("A directory may be named, too, and stands for all that is in it."),
        "A file to watch besides; may be given several times. It may be a directory or a pattern such as `data/*.json`."
    ),
    setting!(
        header_map: Mapping,
        Python,
        ["--header-map"],
        Same,
        "What becomes of a header field with an underscore in its name, which an environ cannot tell from one with a \
         hyphen. `drop` hides it from the application, `refuse` answers with 400, and with `dangerous` the application \
         sees it, whatever a proxy in front has checked."
    ),
    setting!(
        forwarder_headers: FieldNames,
        Python,
        ["--forwarder-headers"],
        Same,
        "Header fields with an underscore in their name that a believed proxy may send all the same, with commas between \
         them; `*` is all. `SCRIPT_NAME` is the application's place in the site."
    ),
    setting!(
        files_index: Names,
        Files,
        ["--files-index"],
        Lacks,
        "A file that answers for its directory; may be given several times, and the first that exists is taken."
    ),
    setting!(
        files_listing: Switch,
        Files,
        ["--files-listing"],
        Lacks,
        "Answer for a directory that has no index file with a list of its files."
    ),
    setting!(
        files_dotfiles: Switch,
        Files,
        ["--files-dotfiles"],
        Lacks,
        "Serve files and directories whose name begins with a dot, too."
    ),
    setting!(
        files_cache_control: OptionalText,
        Files,
        ["--files-cache-control"],
        Lacks,
        "The value of `Cache-Control` on every file. No such field is sent otherwise."
    )
    .metavar("VALUE"),
    setting!(
        files_precompressed: Switch,
        Files,
        ["--no-files-precompressed"],
        Lacks,
        "Do not send `NAME.br`, `NAME.zst` or `NAME.gz` in place of `NAME` to clients that take it. In a file it says \
         whether to."
    ),
    setting!(
        cgi_interpreter: Variables,
        Programs,
        ["--cgi-interpreter"],
        Lacks,
        "What runs files that are no programs of their own, by how their names end: `.py=python3`. May be given several \
         times."
    )
    .metavar(".EXT=PROGRAM"),
    setting!(
        cgi_programs: Count<1, 65535>,
        Programs,
        ["--cgi-programs"],
        Lacks,
        "How many CGI programs a worker runs at a time. Other requests wait for their turn."
    ),
    setting!(
        cgi_backlog: Count<0, 65535>,
        Programs,
        ["--cgi-backlog"],
        Lacks,
        "How many requests wait for their turn in a worker. Others are answered with 503."
    ),
    setting!(
        cgi_timeout: SomeSeconds,
        Programs,
        ["--cgi-timeout"],
        Lacks,
        "How many seconds a CGI program may write nothing before it is ended, with all that it has started: SIGTERM first, \
         and SIGKILL two seconds later. Its request is answered with 504. As long a request waits for its turn."
    ),
    setting!(
        cgi_authorization: Switch,
        Programs,
        ["--cgi-authorization"],
        Lacks,
        "Pass the field `Authorization` to CGI programs. Other users may be able to see the environment of a program."
    ),
    setting!(
        document_root: OptionalPath,
        Programs,
        ["--document-root"],
        Lacks,
        "Where the scripts of a FastCGI application are, and files that are served as they are. Without it the application \
         answers for every path by itself. For one of several, `?root=DIR` behind the application's name does the same."
    )
    .metavar("DIR"),
    setting!(
        script_extension: Text,
        Programs,
        ["--script-extension"],
        Lacks,
        "How the names of scripts below the document root end."
    )
    .metavar(".EXT"),
    setting!(
        script_index: Text,
        Programs,
        ["--script-index"],
        Lacks,
        "The script that answers for its directory."
    )
    .metavar("NAME"),
    setting!(
        script_fallback: OptionalText,
        Programs,
        ["--script-fallback"],
        Lacks,
        "The script that answers for what there is no file for: a front controller such as `/index.php`."
    )
    .metavar("PATH"),
    setting!(
        fastcgi_programs: Count<1, 65535>,
        Programs,
        ["--fastcgi-programs"],
        Lacks,
        "How many programs each worker keeps running for `fastcgi-exec://COMMAND`. Each answers one request at a time."
    ),
    setting!(
        fastcgi_connections: Count<1, 65535>,
        Programs,
        ["--fastcgi-connections"],
        Lacks,
        "How many requests a worker has one address of `fastcgi://ADDRESS` answer at a time."
    ),
    setting!(
        fastcgi_keepalive: Seconds,
        Programs,
        ["--fastcgi-keepalive"],
        Lacks,
        "How many seconds an idle connection to an address is kept. A program that answers one connection at a time, as \
         those of php-fpm do, answers nobody else meanwhile: only set it where there are more of them than connections \
         from all workers. With 0 every request has a connection of its own."
    ),
    setting!(
        fastcgi_backlog: Count<0, 65535>,
        Programs,
        ["--fastcgi-backlog"],
        Lacks,
        "How many requests wait in a worker for a program that is free. Others are answered with 503."
    ),
    setting!(
        fastcgi_timeout: SomeSeconds,
        Programs,
        ["--fastcgi-timeout"],
        Lacks,
        "How many seconds a FastCGI program may send nothing before its request is answered with 504. One of the worker's \
         own is killed then, and another takes its place. As long a request waits for its turn."
    ),
];
