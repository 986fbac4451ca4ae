//! `fastcgi://ADDRESS[,ADDRESS…]` and `fastcgi-exec://COMMAND`: has FastCGI programs answer, such as PHP.
//!
//! ```text
//!   request -> site -> variables -> pool (on the pump's thread) -> head -> Response, its body from `answer`
//! ```
//!
//! The programs run somewhere, or are the worker's own: it starts them when it is ready, replaces one that ends, and they
//! end with it. So a reload starts new programs beside the old ones, whose requests are finished, and a program that
//! crashes takes one request with it.
//!
//! Architecture invariant: of the wire only `protocol::fastcgi::record` is known here.

mod answer;
mod choice;
mod decoder;
mod exchange;
mod order;
mod pool;
mod request;
mod site;
mod upstream;

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cgi::search_path;
use super::cgi::variables::{Place, Variables, describe};
use super::files::root::Root;
use super::files::{self, FilesFactory};
use super::pump::{Orders, Pump};
use super::{Address, Application, Factory, LoadError, Reply, Request, Response, percent};
use crate::words;
use order::Order;
use pool::{Limits, Pool};
use request::{Job, Message};
use site::{Site, Target};
use upstream::{Command, Upstream};

/// What may be chosen about how programs are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where scripts and files are; without it a program answers for every path by itself.
    pub root: Option<PathBuf>,
    /// How the names of scripts end.
    pub extension: String,
    /// The script that answers for its directory.
    pub index: String,
    /// The script that answers for what there is no file for.
    pub fallback: Option<String>,
    /// How files that are no scripts are served.
    pub files: files::Options,
    /// Programs of each worker's own.
    pub programs: usize,
    /// Requests that a worker has one address answer at a time.
    pub connections: usize,
    /// Requests that wait at most; further ones are answered with 503.
    pub backlog: usize,
    /// How long a program may send nothing, and a request may wait for its turn.
    pub timeout: Duration,
    /// How long an idle connection to an address is kept. Zero closes each after its request.
    pub keepalive: Duration,
    /// Have the body of a request arrive before a program is asked, so that no program waits for a client. Otherwise bodies
    /// whose length is known stream in.
    pub request_buffering: bool,
    /// Have the thread that waits for programs let them go on first when it is woken often (`SCHED_BATCH`).
    pub batch_scheduling: bool,
    /// The environment of programs of a worker's own, and variables that every request has.
    pub variables: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: None,
            extension: ".php".to_owned(),
            index: "index.php".to_owned(),
            fallback: None,
            files: files::Options::default(),
            programs: 4,
            connections: 16,
            backlog: 128,
            timeout: Duration::from_secs(60),
            keepalive: Duration::ZERO,
            request_buffering: true,
            batch_scheduling: true,
            variables: Vec::new(),
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Upstreams {
    /// Programs at these addresses.
    Addresses(String),
    /// Programs of each worker's own, started by this command.
    Command(String),
}

/// Makes [`FastCgi`].
#[derive(Debug)]
pub struct FastCgiFactory {
    upstreams: Upstreams,
    options: Options,
    pump: Pump<Order>,
}

impl FastCgiFactory {
    /// Has the programs at `addresses` answer: `HOST:PORT` or `unix:PATH`, with commas between them.
    pub fn at(addresses: &str, options: Options) -> Self {
        Self::new(Upstreams::Addresses(addresses.to_owned()), addresses, options)
    }

    /// Has programs answer that each worker starts by `command`, a program and its arguments with blanks between them.
    pub fn of_command(command: &str, options: Options) -> Self {
        Self::new(Upstreams::Command(command.to_owned()), command, options)
    }

    fn new(upstreams: Upstreams, name: &str, mut options: Options) -> Self {
        // Several in one server have roots of their own.
        let (rest, root) = name.split_once("?root=").map_or((name, None), |(rest, root)| (rest, Some(root)));
        if let Some(root) = root {
            options.root = Some(root.into());
        }
        let upstreams = match upstreams {
            Upstreams::Addresses(_) => Upstreams::Addresses(rest.to_owned()),
            Upstreams::Command(_) => Upstreams::Command(rest.to_owned()),
        };
        Self { upstreams, options, pump: Pump::default() }
    }

    fn site(&self) -> Result<Option<Site>, LoadError> {
        let Some(path) = &self.options.root else {
            return match &self.upstreams {
                Upstreams::Command(command) if is_php(command) => Err(LoadError::application(
                    "PHP needs to know where its scripts are: say --document-root DIR, or fastcgi-exec://php-cgi?root=DIR",
                )),
                _ => Ok(None),
            };
        };
        let failed = |error: io::Error| {
            LoadError::application(format!("cannot serve the directory {}: {error}", path.display()))
        };
        let directory = fs::canonicalize(path).map_err(failed)?;
        let root = Root::open(&directory).map_err(failed)?;
        let mut files = self.options.files.clone();
        // The source of a script is nobody's to read.
        files.index.retain(|name| !name.ends_with(&self.options.extension));
        let indexes = files.index.clone();
        let files = FilesFactory::new(directory.clone(), files).make()?;
        let fallback = self.options.fallback.as_deref().map(|script| script.trim_start_matches('/').to_owned());
        if let Some(script) = &fallback
            && root.locate(script.as_bytes()).is_err()
        {
            return Err(LoadError::application(format!("there is no script {script} in {}", path.display())));
        }
        let (extension, index) = (self.options.extension.clone(), self.options.index.clone());
        let directory = directory.as_os_str().as_bytes().to_vec();
        Ok(Some(Site { root, directory, extension, index, indexes, fallback, files }))
    }

    fn targets(&self) -> Result<Targets, LoadError> {
        match &self.upstreams {
            Upstreams::Addresses(text) => {
                let addresses = text.split(',').map(|text| address(text.trim())).collect::<Result<Vec<_>, _>>()?;
                Ok(Targets::Addresses(addresses))
            }
            Upstreams::Command(text) => self.command(text).map(Targets::Command),
        }
    }

    fn command(&self, text: &str) -> Result<Command, LoadError> {
        let program = super::Command::parse(text)?;
        let nul = |_| LoadError::application("an environment variable has no NUL in it");
        let mut environment = Vec::new();
        let given = |name: &str| self.options.variables.iter().any(|(other, _)| other == name);
        // php-cgi exits after 500 requests otherwise, and whatever is sent to it at that moment is lost.
        for (name, value) in [("PATH", search_path()), ("PHP_FCGI_MAX_REQUESTS", "0".to_owned())] {
            if !given(name) {
                environment.push(CString::new(format!("{name}={value}")).map_err(nul)?);
            }
        }
        for (name, value) in &self.options.variables {
            environment.push(CString::new(format!("{name}={value}")).map_err(nul)?);
        }
        Ok(Command { program, environment })
    }
}

/// [`Upstreams`], checked.
#[derive(Clone, Debug)]
enum Targets {
    Addresses(Vec<Address>),
    Command(Command),
}

impl Factory for FastCgiFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        self.targets()?;
        self.site().map(drop)
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        let application = FastCgi {
            targets: self.targets()?,
            site: self.site()?,
            options: self.options.clone(),
            pump: self.pump.clone(),
        };
        Ok(Box::new(application))
    }

    fn ready(&mut self) {
        // Programs of our own take a while to be able to answer.
        if let Ok(targets @ Targets::Command(_)) = self.targets() {
            match orders(&self.pump, &targets, &self.options) {
                Ok(orders) => orders.send(Order::Warm),
                Err(error) => log::error!("FastCGI programs cannot be run: {error}"),
            }
        }
    }

    fn exit(&mut self) {
        self.pump.stop(Order::Stop);
    }
}

/// The worker's pump, which begins here.
fn orders(pump: &Pump<Order>, targets: &Targets, options: &Options) -> io::Result<Arc<Orders<Order>>> {
    let upstreams = || match targets {
        Targets::Addresses(addresses) => Ok(addresses.iter().cloned().map(Upstream::at).collect()),
        Targets::Command(command) => {
            (0..options.programs).map(|_| Upstream::of_program(command.clone())).collect::<io::Result<Vec<_>>>()
        }
    };
    let limits = Limits {
        connections: options.connections,
        backlog: options.backlog,
        timeout: options.timeout,
        keepalive: Some(options.keepalive),
    };
    pump.orders(|| {
        let upstreams = upstreams()?;
        Orders::start("fastcgi", options.batch_scheduling, |orders| Pool::new(orders, upstreams, limits))
    })
}

/// Has FastCGI programs answer.
#[derive(Debug)]
pub struct FastCgi {
    targets: Targets,
    site: Option<Site>,
    options: Options,
    pump: Pump<Order>,
}

impl Application for FastCgi {
    fn streams(&self, request: &Request<'_>) -> bool {
        // Programs such as PHP's read as many bytes as `CONTENT_LENGTH` says.
        !self.options.request_buffering
            && request.head().content_length().is_some()
            && self.site.as_ref().is_none_or(|site| matches!(site.find(request.path_below()), Target::Script(_)))
    }

    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        let target = match &self.site {
            None => Target::Script(Default::default()),
            Some(site) => site.find(request.path_below()),
        };
        let located = match (target, &mut self.site) {
            (Target::Script(located), _) => located,
            (Target::File, Some(site)) => return site.files.call(request, reply),
            (Target::Refused(status), _) => return reply.send(Response::error(status)),
            (Target::File, None) => return reply.send(Response::error(404)),
        };
        let prepared = self.describe(request, &located).and_then(|variables| {
            let failed = |error: io::Error| {
                log::error!("A FastCGI program cannot be asked: {error}");
                503_u16
            };
            let message = Message::new(&variables, request.body()).map_err(failed)?;
            Ok((message, orders(&self.pump, &self.targets, &self.options).map_err(failed)?))
        });
        match prepared {
            Ok((message, orders)) => {
                let method = request.method();
                let job = Job {
                    message,
                    bodiless: method == "HEAD",
                    idempotent: matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE"),
                    name: format!("{method} {}", request.path()),
                    since: Instant::now(),
                    tried: Vec::new(),
                    attempts: 0,
                    later: Some(reply.later()),
                };
                orders.send(Order::Ask(Box::new(job)));
            }
            Err(status) => reply.send(Response::error(status)),
        }
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        match &mut self.site {
            Some(site) => site.files.idle(wait),
            None => wait(),
        }
    }
}

impl FastCgi {
    fn describe(&self, request: &Request<'_>, located: &super::cgi::locate::Located) -> Result<Variables, u16> {
        let mut script_name = Vec::new();
        percent::decode(request.mount().as_bytes(), &mut script_name).map_err(|_| 400_u16)?;
        let mut filename = Vec::new();
        let mut path_info = Vec::new();
        if let Some(site) = &self.site {
            script_name.push(b'/');
            script_name.extend_from_slice(&located.file);
            filename.extend_from_slice(&site.directory);
            filename.push(b'/');
            filename.extend_from_slice(&located.file);
            path_info.extend_from_slice(&located.rest);
        } else {
            percent::decode(request.path_below().as_bytes(), &mut path_info).map_err(|_| 400_u16)?;
        }
        let place = Place {
            script_name: &script_name,
            path_info: &path_info,
            document_root: self.site.as_ref().map(|site| site.directory.as_slice()),
            script_filename: self.site.as_ref().map(|_| filename.as_slice()),
            authorization: true,
        };
        let mut variables = Variables::default();
        describe(request, &place, &mut variables);
        if matches!(self.targets, Targets::Addresses(_)) {
            for (name, value) in &self.options.variables {
                variables.set(name.as_bytes(), value.as_bytes());
            }
        }
        Ok(variables)
    }
}

/// `HOST:PORT`, `unix:PATH` or a path.
fn address(text: &str) -> Result<Address, LoadError> {
    if let Some(path) = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
        return Ok(Address::Unix(Some(path.into())));
    }
    let wrong = |why: &dyn std::fmt::Display| {
        LoadError::application(format!("fastcgi://{text}: expected HOST:PORT or unix:PATH ({why})"))
    };
    let mut addresses = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    addresses.next().map(|address: SocketAddr| Address::Ip(address)).ok_or_else(|| wrong(&"it has no address"))
}

fn is_php(command: &str) -> bool {
    let program = words::split(command).ok().and_then(|words| words.into_iter().next()).unwrap_or_default();
    Path::new(&program).file_name().is_some_and(|name| name.as_bytes().starts_with(b"php"))
}
