//! `cgi://PATH`: runs a program for each request (RFC 3875).
//!
//! ```text
//!   request -> locate -> variables -> run (on the pump's thread) -> head -> Response, its body from `output`
//! ```
//!
//! A program gets an environment that is built from nothing, the request's body as a file (or a pipe) on its standard input, and
//! no other descriptor of the server's. Nothing of a request reaches its command line.
//!
//! Architecture invariant: the engine's thread only looks a program up; starting it, waiting for it and ending it is the
//! pump's (`app::pump`).

pub mod head;
mod input;
pub(super) mod lines;
pub(super) mod locate;
mod order;
pub(super) mod output;
mod run;
mod runs;
mod stdin;
pub(super) mod variables;

use std::env;
use std::ffi::CString;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::files::root::Root;
use super::percent;
use super::pump::{Orders, Pump};
use super::{Application, Factory, LoadError, Reply, Request, RequestBody, Response};
use locate::{Located, Lookup, locate};
use order::{Job, Order};
use runs::{Limits, Runs};
use stdin::Stdin;
use variables::{Place, Variables, describe};

/// What may be chosen about how programs are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Programs that one worker runs at a time; further requests wait.
    pub programs: usize,
    /// Requests that wait at most; further ones are answered with 503.
    pub backlog: usize,
    /// How long a program may write nothing, and a request may wait for its turn.
    pub timeout: Duration,
    /// What runs the files whose names end so: `.py` and `/usr/bin/python3`.
    pub interpreters: Vec<(String, PathBuf)>,
    /// Have the body of a request arrive before its program is started, so that no program waits for a client. Otherwise
    /// bodies whose length is known stream in.
    pub request_buffering: bool,
    /// Have the thread that waits for programs let them go on first when it is woken often (`SCHED_BATCH`).
    pub batch_scheduling: bool,
    /// Pass `Authorization` to programs.
    pub authorization: bool,
    /// Variables that each program gets besides those of its request.
    pub variables: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            programs: 16,
            backlog: 128,
            timeout: Duration::from_secs(60),
            interpreters: Vec::new(),
            request_buffering: true,
            batch_scheduling: true,
            authorization: false,
            variables: Vec::new(),
        }
    }
}

/// Makes [`Cgi`].
#[derive(Debug)]
pub struct CgiFactory {
    target: String,
    options: Options,
    pump: Pump<Order>,
}

impl CgiFactory {
    /// Runs what `target` names: a program that answers every request, a directory of programs, or `.EXT=INTERPRETER` for
    /// the files in the current directory whose names end in that.
    pub fn new(target: String, options: Options) -> Self {
        Self { target, options, pump: Pump::default() }
    }

    fn setup(&self) -> Result<Setup, LoadError> {
        let mut interpreters = self.options.interpreters.clone();
        let mut path = Path::new(&self.target);
        let mut only_interpreted = false;
        if let Some((extension, interpreter)) = self.target.split_once('=').filter(|_| self.target.starts_with('.')) {
            interpreters.insert(0, (extension.to_owned(), interpreter.into()));
            path = Path::new(".");
            only_interpreted = true;
        }
        let interpreters = interpreters
            .into_iter()
            .map(|(extension, program)| Ok((extension.into_bytes(), find_program(&program)?)))
            .collect::<Result<Vec<_>, LoadError>>()?;
        let failed =
            |error: io::Error| LoadError::application(format!("cannot run programs from {}: {error}", path.display()));
        let path = fs::canonicalize(path).map_err(failed)?;
        let is_directory = fs::metadata(&path).map_err(failed)?.is_dir();
        let (directory, program) = match (is_directory, path.parent()) {
            (false, Some(parent)) => (parent, path.file_name().map(|name| name.as_bytes().to_vec())),
            _ => (path.as_path(), None),
        };
        let root = Root::open(directory).map_err(failed)?;
        if let Some(program) = &program {
            match locate(&root, &encode(program)) {
                Lookup::File(Located { executable: true, .. }) => {}
                _ if interpreter(&interpreters, program).is_some() => {}
                _ => {
                    return Err(LoadError::application(format!(
                        "{} is no program that may be executed",
                        path.display()
                    )));
                }
            }
        }
        let directory = directory.as_os_str().as_bytes().to_vec();
        Ok(Setup { root, directory, program, only_interpreted, interpreters, options: self.options.clone() })
    }
}

impl Factory for CgiFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        self.setup().map(drop)
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        Ok(Box::new(Cgi { setup: self.setup()?, pump: self.pump.clone() }))
    }

    fn exit(&mut self) {
        self.pump.stop(Order::Stop);
    }
}

/// What is known before any request.
#[derive(Debug)]
struct Setup {
    root: Root,
    /// Its absolute path, without links in it.
    directory: Vec<u8>,
    /// The program that answers for everything, if there is just one.
    program: Option<Vec<u8>>,
    /// Nothing is run but by an interpreter.
    only_interpreted: bool,
    interpreters: Vec<(Vec<u8>, CString)>,
    options: Options,
}

/// Runs programs.
#[derive(Debug)]
pub struct Cgi {
    setup: Setup,
    pump: Pump<Order>,
}

impl Application for Cgi {
    fn streams(&self, request: &Request<'_>) -> bool {
        // RFC 3875 §4.1.2: a program is told the length, and reads no further (§4.2).
        !self.setup.options.request_buffering && request.head().content_length().is_some()
    }

    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        let prepared = self.setup.prepare(request).and_then(|prepared| {
            let orders = self.orders().map_err(|error| {
                log::error!("Programs cannot be run: {error}");
                503_u16
            })?;
            Ok((prepared, orders))
        });
        match prepared {
            Ok((prepared, orders)) => {
                let Prepared { path, arguments, directory, variables, stdin } = prepared;
                let bodiless = request.method() == "HEAD";
                let (later, since) = (reply.later(), Instant::now());
                let job = Job { path, arguments, directory, variables, stdin, bodiless, later, since };
                orders.send(Order::Start(Box::new(job)));
            }
            Err(status) => reply.send(Response::error(status)),
        }
    }
}

impl Cgi {
    /// The worker's pump, which begins here.
    fn orders(&self) -> io::Result<Arc<Orders<Order>>> {
        let Options { programs, backlog, timeout, batch_scheduling, .. } = self.setup.options;
        let limits = Limits { programs, backlog, timeout };
        self.pump.orders(|| Orders::start("programs", batch_scheduling, |orders| Runs::new(orders, limits)))
    }
}

/// All that a program needs.
struct Prepared {
    path: CString,
    arguments: Vec<CString>,
    directory: CString,
    variables: Variables,
    stdin: Stdin,
}

impl Setup {
    /// Finds the program for a request; or the status that says why not.
    fn prepare(&self, request: &Request<'_>) -> Result<Prepared, u16> {
        let located = self.locate(request)?;
        let mut script = self.directory.clone();
        if script.last() != Some(&b'/') {
            script.push(b'/');
        }
        script.extend_from_slice(&located.file);
        let interpreter = interpreter(&self.interpreters, &located.file);
        match interpreter {
            None if self.only_interpreted => return Err(404),
            None if !located.executable => {
                log::warn!("{} may not be executed", String::from_utf8_lossy(&script));
                return Err(403);
            }
            _ => {}
        }

        let mut script_name = Vec::new();
        percent::decode(request.mount().as_bytes(), &mut script_name).map_err(|_| 400_u16)?;
        if self.program.is_none() {
            script_name.push(b'/');
            script_name.extend_from_slice(&located.file);
        }
        let mut variables = Variables::default();
        let place = Place {
            script_name: &script_name,
            path_info: &located.rest,
            document_root: Some(&self.directory),
            script_filename: Some(&script),
            authorization: self.options.authorization,
        };
        describe(request, &place, &mut variables);
        let named = |name: &str| self.options.variables.iter().any(|(other, _)| other == name);
        if !named("PATH") {
            variables.set(b"PATH", search_path().as_bytes());
        }
        for (name, value) in &self.options.variables {
            variables.set(name.as_bytes(), value.as_bytes());
        }

        // Decoded paths have no NUL.
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| 400_u16);
        let end = memchr::memrchr(b'/', &script).unwrap_or(0).max(1);
        let directory = text(script.get(..end).unwrap_or(b"/").to_vec())?;
        let script = text(script)?;
        let stdin = input(request.body()).map_err(|error| {
            log::error!("The body of a request cannot be given to a program: {error}");
            503_u16
        })?;
        let (path, arguments) = match interpreter {
            Some(interpreter) => (interpreter.clone(), vec![interpreter.clone(), script]),
            None => (script.clone(), vec![script]),
        };
        Ok(Prepared { path, arguments, directory, variables, stdin })
    }

    fn locate(&self, request: &Request<'_>) -> Result<Located, u16> {
        let path = request.path_below();
        if let Some(program) = &self.program {
            let mut rest = Vec::new();
            percent::decode(path.as_bytes(), &mut rest).map_err(|_| 400_u16)?;
            return Ok(Located { file: program.clone(), rest, executable: true });
        }
        match locate(&self.root, path) {
            Lookup::File(located) => Ok(located),
            Lookup::Directory { .. } | Lookup::Nothing => Err(404),
            Lookup::Malformed => Err(400),
            Lookup::Failed(error) => {
                log::error!("{path:?} cannot be looked up: {error}");
                Err(503)
            }
        }
    }
}

/// The program that runs a file of that name.
fn interpreter<'a>(interpreters: &'a [(Vec<u8>, CString)], file: &[u8]) -> Option<&'a CString> {
    interpreters.iter().find(|(extension, _)| file.ends_with(extension)).map(|(_, program)| program)
}

/// The body as a file, from its beginning, or as it comes.
fn input(body: &RequestBody) -> io::Result<Stdin> {
    Ok(match body {
        RequestBody::Empty => Stdin::Nothing,
        RequestBody::Stream(body) => body.take().map_or(Stdin::Nothing, Stdin::Stream),
        RequestBody::Memory(bytes) => {
            let mut file = fs::File::from(memfd_create(c"body", MFdFlags::MFD_CLOEXEC)?);
            file.write_all(bytes)?;
            file.seek(SeekFrom::Start(0))?;
            Stdin::File(file.into())
        }
        RequestBody::File { file, .. } => {
            let mut file = file.try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            Stdin::File(file.into())
        }
    })
}

/// Where programs look for others, and interpreters are found.
pub(super) fn search_path() -> String {
    env::var("PATH").ok().filter(|path| !path.is_empty()).unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned())
}

/// The absolute path of a program.
pub(super) fn find_program(program: &Path) -> Result<CString, LoadError> {
    let missing = || LoadError::application(format!("there is no program {}", program.display()));
    let found = if program.as_os_str().as_bytes().contains(&b'/') {
        fs::canonicalize(program).map_err(|_| missing())?
    } else {
        let places = search_path();
        let mut places = env::split_paths(&places).map(|place| place.join(program));
        places.find(|path| path.is_absolute() && path.is_file()).ok_or_else(missing)?
    };
    CString::new(found.into_os_string().into_encoded_bytes()).map_err(|_| missing())
}

fn encode(name: &[u8]) -> String {
    let mut path = String::from("/");
    super::files::path::encode(name, super::files::path::Slash::Encode, &mut path);
    path
}
