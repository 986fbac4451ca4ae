//! Settings: values that cannot be wrong, under Gunicorn's names.
//!
//! Architecture invariant: nothing in here reads argv, the environment, a file or a process; `crate::cli` does.

mod address;
mod hooks;
mod kinds;
mod reload;
mod shown;
mod table;
mod trust;
mod unsupported;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use address::{Bind, BindAddress, DEFAULT_PORT};
pub(crate) use hooks::hook_named;
pub use hooks::{HOOKS, HookName};
pub use reload::ReloadEngine;
pub use shown::{Value, names};
#[cfg(test)]
pub(crate) use table::Gunicorn;
pub(crate) use table::{Section, Setting};
pub use trust::{Network, TrustedPeers};
pub(crate) use unsupported::Unsupported;
pub(crate) use value::{Host, Takes};
pub use value::{Invalid, Raw};

use crate::protocol::Protocol;

/// When a PROXY header is expected at the start of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Never.
    #[default]
    Off,
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Either.
    Auto,
}

/// What becomes of header fields with an underscore in their name, which an environ cannot tell from those with a hyphen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderMap {
    /// The application does not see them.
    #[default]
    Drop,
    /// The request is refused.
    Refuse,
    /// The application sees them, whatever a proxy in front has checked.
    Dangerous,
}

/// All settings, complete and checked. Names and meanings are Gunicorn's where it has the setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The application as it was named: `files://DIR`, `module:callable`; `None` for a program that brings its own.
    pub application: Option<String>,
    /// Applications that answer below a path: the path, and the application as it was named.
    pub mount: Vec<(String, String)>,
    /// `ferricorn.toml`, if one is read.
    pub config: Option<PathBuf>,
    /// Only check, then exit.
    pub check_config: bool,
    /// Print the settings, then check.
    pub print_config: bool,

    /// Listeners.
    pub bind: Vec<Bind>,
    /// What is spoken on listeners whose address does not say.
    pub protocol: Protocol,
    /// Web servers that may speak uwsgi, FastCGI or SCGI. Unix peers always may.
    pub gateway_allow_ips: TrustedPeers,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Permission bits of unix sockets (0660).
    pub socket_mode: u32,

    /// Worker processes, at least.
    pub workers: usize,
    /// Worker processes at most, if that is more: as many as the load asks for.
    pub workers_most: usize,
    /// How long more workers than are needed are kept.
    pub worker_idle_timeout: Duration,
    /// Requests after which a worker is replaced; 0 is never.
    pub max_requests: u64,
    /// Up to so many more, at random.
    pub max_requests_jitter: u64,
    /// Age at which a worker is replaced; `None` is never.
    pub worker_lifetime: Option<Duration>,
    /// Bytes of memory after which a worker is replaced; the largest number is no limit.
    pub worker_memory: u64,
    /// Bytes of memory after which a worker is killed; the largest number is no limit.
    pub worker_memory_hard: u64,
    /// How many of a hundred workers are replaced at a time.
    pub recycle_share: usize,
    /// Application threads of each worker.
    pub threads: usize,
    /// Whether a thread keeps the sockets of a worker going while all application threads are busy.
    pub relief: bool,
    /// Whether a worker that wakes often lets whoever has its processor go on first.
    pub batch_scheduling: bool,
    /// Load the application once, in a template process that workers are forked from.
    pub preload_app: bool,
    /// Target of a request that the application answers where it is loaded, before anybody else's.
    pub warmup: Option<String>,
    /// Connections that a worker holds at most.
    pub worker_connections: usize,
    /// How long one call of the application may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// When one call of the application is shown in the log; `None` is never.
    pub slow_request_timeout: Option<Duration>,
    /// When one call of the application is ended, where it can be; `None` is never.
    pub request_timeout: Option<Duration>,
    /// How long a request may wait before it is started; `None` is for ever.
    pub queue_timeout: Option<Duration>,
    /// How long a worker may take from its fork to ready; `None` is for ever.
    pub boot_timeout: Option<Duration>,
    /// How long a stopping worker may take.
    pub graceful_timeout: Duration,
    /// How long the server goes on serving after it was told to stop.
    pub shutdown_delay: Duration,
    /// A path that the server answers itself: whether it is to be sent requests.
    pub ready_path: Option<String>,
    /// How long an idle connection is kept; zero closes after each response.
    pub keepalive: Duration,
    /// How long a draining worker waits for a late request on an idle connection before it closes it.
    pub keepalive_grace: Duration,
    /// Requests on one connection before it is closed; 0 is no limit.
    pub keepalive_requests: u64,

    /// Bytes of the request line at most.
    pub limit_request_line: usize,
    /// Header fields at most.
    pub limit_request_fields: usize,
    /// Bytes of a header field at most.
    pub limit_request_field_size: usize,
    /// Bytes of a head at most.
    pub limit_request_head: usize,
    /// Bytes of a request body at most.
    pub limit_request_body: u64,
    /// Bytes of a request body that are kept in memory; a larger one goes to an unlinked file.
    pub body_memory: usize,
    /// Bytes of request bodies that a worker keeps in such files at once.
    pub body_disk: u64,
    /// Connections that one address may have in a worker; 0 is no limit.
    pub peer_connections: u32,
    /// How long a new connection may stay silent.
    pub first_byte_timeout: Duration,
    /// How long a head may take from its first byte, before what has come of it buys more time.
    pub header_timeout: Duration,
    /// Bytes of a head that buy it a second more; 0: nothing does.
    pub header_min_rate: u64,
    /// How long a head may take, however fast it comes.
    pub header_longest: Duration,
    /// How long a body may stand still, and the time by which it may fall behind `body_min_rate`.
    pub body_timeout: Duration,
    /// Bytes a second that a body must arrive with, on average; 0 is no minimum.
    pub body_min_rate: u64,
    /// How long a response may stand still.
    pub send_timeout: Duration,
    /// Bytes a second that a response must be taken with, on average; 0 is no minimum.
    pub send_min_rate: u64,

    /// Peers whose forwarded fields are believed. Unix peers always are.
    pub forwarded_allow_ips: TrustedPeers,
    /// Field name (lower case) and the value with which a trusted peer says `https`.
    pub secure_scheme_headers: Vec<(String, String)>,
    /// When a PROXY header is expected.
    pub proxy_protocol: ProxyProtocol,
    /// Peers that may send one.
    pub proxy_allow_ips: TrustedPeers,

    /// Working directory.
    pub chdir: Option<PathBuf>,
    /// Detach from the terminal.
    pub daemon: bool,
    /// Environment variables to set.
    pub raw_env: Vec<(String, String)>,
    /// File for the arbiter's pid.
    pub pidfile: Option<PathBuf>,
    /// User of the workers, by name or number.
    pub user: Option<String>,
    /// Group of the workers, by name or number.
    pub group: Option<String>,
    /// Give workers all groups of their user.
    pub initgroups: bool,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Name in the process titles.
    pub proc_name: Option<String>,
    /// Directory for bodies that do not stay in memory.
    pub worker_tmp_dir: Option<PathBuf>,
    /// Whether files may be sent by sendfile(2).
    pub sendfile: bool,

    /// Access log: a path, `-` for standard output, `None` for none.
    pub accesslog: Option<String>,
    /// Its format.
    pub access_log_format: String,
    /// Error log: a path, `-` for standard error.
    pub errorlog: String,
    /// Lowest level that is logged.
    pub loglevel: log::LevelFilter,
    /// Send what the application writes to standard output and error to the error log.
    pub capture_output: bool,

    /// Directories that are put in front of Python's module path, with commas between them.
    pub pythonpath: Option<String>,
    /// Reload when the application's source changes.
    pub reload: bool,
    /// How that is noticed.
    pub reload_engine: ReloadEngine,
    /// Further files, directories and patterns of files that are watched.
    pub reload_extra_files: Vec<String>,
    /// What becomes of header fields with an underscore in their name.
    pub header_map: HeaderMap,
    /// Names of those that a believed proxy may send all the same, in capitals; `*` is all.
    pub forwarder_headers: Vec<String>,

    /// Files that answer for their directory.
    pub files_index: Vec<String>,
    /// List directories that have none.
    pub files_listing: bool,
    /// Serve names that begin with a dot.
    pub files_dotfiles: bool,
    /// Value of `Cache-Control`.
    pub files_cache_control: Option<String>,
    /// Send `NAME.br` and the like in place of `NAME` to clients that take it.
    pub files_precompressed: bool,

    /// Have request bodies arrive before programs are asked.
    pub request_buffering: bool,
    /// What runs files whose names end so.
    pub cgi_interpreter: Vec<(String, String)>,
    /// Programs that a worker runs at a time.
    pub cgi_programs: usize,
    /// Requests that wait for their turn.
    pub cgi_backlog: usize,
    /// How long a program may write nothing.
    pub cgi_timeout: Duration,
    /// Pass `Authorization` to programs.
    pub cgi_authorization: bool,

    /// Where scripts and files are.
    pub document_root: Option<PathBuf>,
    /// How the names of scripts end.
    pub script_extension: String,
    /// The script that answers for its directory.
    pub script_index: String,
    /// The script that answers for what there is no file for.
    pub script_fallback: Option<String>,
    /// FastCGI programs of each worker's own.
    pub fastcgi_programs: usize,
    /// Requests that an address answers at a time.
    pub fastcgi_connections: usize,
    /// How long an idle connection is kept.
    pub fastcgi_keepalive: Duration,
    /// Requests that wait for a program.
    pub fastcgi_backlog: usize,
    /// How long a program may send nothing.
    pub fastcgi_timeout: Duration,
}

/// Gunicorn's default access log format.
pub const ACCESS_LOG_FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

impl Default for Settings {
    fn default() -> Self {
        let local = |address: IpAddr, prefix| Network { address, prefix };
        let trusted = TrustedPeers::Networks(vec![
            local(IpAddr::from([127, 0, 0, 1]), 32),
            local(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128),
        ]);
        let scheme = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            application: None,
            mount: Vec::new(),
            config: None,
            check_config: false,
            print_config: false,
            bind: vec![BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 8000 }.into()],
            protocol: Protocol::Http,
            gateway_allow_ips: trusted.clone(),
            backlog: 2048,
            socket_mode: 0o660,
            workers: 1,
            workers_most: 1,
            worker_idle_timeout: Duration::from_secs(10),
            max_requests: 0,
            max_requests_jitter: 0,
            worker_lifetime: None,
            worker_memory: u64::MAX,
            worker_memory_hard: u64::MAX,
            recycle_share: 25,
            threads: 1,
            relief: true,
            batch_scheduling: true,
            preload_app: false,
            warmup: None,
            worker_connections: 1000,
            timeout: Some(Duration::from_secs(30)),
            slow_request_timeout: None,
            request_timeout: None,
            queue_timeout: None,
            boot_timeout: Some(Duration::from_secs(300)),
            graceful_timeout: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
            ready_path: None,
            keepalive: Duration::from_secs(75),
            keepalive_grace: Duration::from_secs(2),
            keepalive_requests: 0,
            limit_request_line: 8190,
            limit_request_fields: 100,
            limit_request_field_size: 8190,
            limit_request_head: 64 * 1024,
            limit_request_body: 1 << 30,
            body_memory: 64 * 1024,
            body_disk: 2 << 30,
            peer_connections: 0,
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            header_min_rate: 500,
            header_longest: Duration::from_secs(40),
            body_timeout: Duration::from_secs(30),
            body_min_rate: 500,
            send_timeout: Duration::from_secs(60),
            send_min_rate: 500,
            forwarded_allow_ips: trusted.clone(),
            secure_scheme_headers: vec![
                scheme("x-forwarded-proto", "https"),
                scheme("x-forwarded-protocol", "ssl"),
                scheme("x-forwarded-ssl", "on"),
            ],
            proxy_protocol: ProxyProtocol::Off,
            proxy_allow_ips: trusted,
            chdir: None,
            daemon: false,
            raw_env: Vec::new(),
            pidfile: None,
            user: None,
            group: None,
            initgroups: false,
            umask: None,
            proc_name: None,
            worker_tmp_dir: None,
            sendfile: true,
            accesslog: None,
            access_log_format: ACCESS_LOG_FORMAT.to_owned(),
            errorlog: "-".to_owned(),
            loglevel: log::LevelFilter::Info,
            capture_output: false,
            pythonpath: None,
            reload: false,
            reload_engine: ReloadEngine::Auto,
            reload_extra_files: Vec::new(),
            header_map: HeaderMap::Drop,
            forwarder_headers: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
            files_index: vec!["index.html".to_owned()],
            files_listing: false,
            files_dotfiles: false,
            files_cache_control: None,
            files_precompressed: true,
            request_buffering: true,
            cgi_interpreter: Vec::new(),
            cgi_programs: 16,
            cgi_backlog: 128,
            cgi_timeout: Duration::from_secs(60),
            cgi_authorization: false,
            document_root: None,
            script_extension: ".php".to_owned(),
            script_index: "index.php".to_owned(),
            script_fallback: None,
            fastcgi_programs: 4,
            fastcgi_connections: 16,
            fastcgi_keepalive: Duration::ZERO,
            fastcgi_backlog: 128,
            fastcgi_timeout: Duration::from_secs(60),
        }
    }
}
