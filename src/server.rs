//! Puts everything together: settings, sockets, arbiter, application.

use std::cell::RefCell;
use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use crate::app::cgi::{self, CgiFactory};
use crate::app::exec::ExecFactory;
use crate::app::fastcgi::{self, FastCgiFactory};
use crate::app::files::{self, FilesFactory};
use crate::app::mounts::MountsFactory;
use crate::app::{Application, Command, Factory, Handler, Hook, LoadError, Request, Response, ThreadLife};
use crate::arbiter::{Arbiter, Estate, Launch, Legacy, Plan, Predecessor, Sockets, pidfile_path};
use crate::cli::{self, Invocation, Program};
use crate::error::Error;
use crate::host::Host;
use crate::launch::CommandLine;
use crate::listener::{self, Listener};
use crate::logging;
use crate::pidfile::Pidfile;
use crate::process::{self, Identity};
use crate::protocol::Protocol;
use crate::settings::{Bind, BindAddress, Settings};
use crate::systemd::{self, Notifier};

/// The command `ferricorn`: serves the application that the command line names.
pub fn command() -> ExitCode {
    ExitCode::from(finish(main(CommandLine::of_process(), &mut Source::Command)))
}

/// The command `ferricorn` for a host that knows more kinds of applications and of settings files. Returns the exit code when
/// the server has stopped.
///
/// Threads of the host's must not run code of this crate.
pub fn serve_hosted(command_line: CommandLine, host: &mut dyn Host) -> u8 {
    finish(main(command_line, &mut Source::Host(host)))
}

/// Serves `handler`, with the whole command line of `ferricorn` (less the application's name), its arbiter, signals and
/// logs. Returns when the server has stopped.
pub fn run<F, R>(handler: F) -> ExitCode
where
    F: Fn(&Request<'_>) -> R + Clone + Send + 'static,
    R: Into<Response> + 'static,
{
    serve(Handler(handler))
}

/// The same for any [`Factory`].
pub fn serve(factory: impl Factory + 'static) -> ExitCode {
    let factory = Shared(Rc::new(RefCell::new(factory)));
    let mut source = Source::Own(Box::new(move || Box::new(factory.clone())));
    ExitCode::from(finish(main(CommandLine::of_process(), &mut source)))
}

/// Where the application comes from.
enum Source<'a> {
    /// The settings name it.
    Command,
    /// The same, and a host knows more of them.
    Host(&'a mut dyn Host),
    /// The program brings it.
    Own(Box<dyn FnMut() -> Box<dyn Factory>>),
}

impl Source<'_> {
    fn program(&self) -> Program {
        match self {
            Self::Command => Program::Command,
            Self::Host(_) => Program::Hosted,
            Self::Own(_) => Program::OwnApplication,
        }
    }

    fn parse(&mut self, launch: &Launch) -> Result<Invocation, Error> {
        let program = self.program();
        let host: Option<&mut dyn Host> = match self {
            Self::Host(host) => Some(&mut **host),
            _ => None,
        };
        cli::parse(&launch.arguments, &|name| env::var(name).ok(), &launch.directory, program, host)
    }

    /// The factory of the application that the settings name.
    fn factory(&mut self, settings: &Settings) -> Result<Box<dyn Factory>, Error> {
        match self {
            Self::Command => named_application(settings),
            Self::Host(host) => match settings.application.as_deref() {
                Some(name) if name.contains("://") => named_application(settings),
                _ => host.factory(settings),
            },
            Self::Own(factory) => match settings.application {
                Some(_) => named_application(settings),
                None => Ok(factory()),
            },
        }
    }
}

/// Makes a factory of an application of a kind that `kind://rest` may name, from the rest.
type Kind = fn(&str, &Settings) -> Box<dyn Factory>;

/// Those kinds.
const KINDS: [(&str, Kind); 5] = [
    ("files", |rest, settings| Box::new(FilesFactory::new(rest.into(), files_options(settings)))),
    ("cgi", |rest, settings| Box::new(CgiFactory::new(rest.into(), cgi_options(settings)))),
    ("fastcgi", |rest, settings| Box::new(FastCgiFactory::at(rest, fastcgi_options(settings)))),
    ("exec", |rest, _| Box::new(ExecFactory::new(rest.to_owned()))),
    ("fastcgi-exec", |rest, settings| Box::new(FastCgiFactory::of_command(rest, fastcgi_options(settings)))),
];

fn named_application(settings: &Settings) -> Result<Box<dyn Factory>, Error> {
    let Some(name) = settings.application.as_deref() else {
        return Err(Error::configuration("No application named: try `ferricorn files://.`"));
    };
    let Some((kind, rest)) = name.split_once("://") else {
        return Err(Error::configuration(format!(
            "'{name}' names a Python application (`module:callable`), which this build cannot serve: \
             `pip install ferricorn` gets one that can. A directory is served as `files://DIR`"
        )));
    };
    if let Some((_, make)) = KINDS.iter().find(|(known, _)| *known == kind) {
        return Ok(make(rest, settings));
    }
    let nearest = KINDS.iter().min_by_key(|(other, _)| strsim::damerau_levenshtein(kind, other));
    Err(Error::configuration(format!(
        "'{name}' is no kind of application: did you mean `{}://{rest}`?",
        nearest.map_or("files", |(kind, _)| kind)
    )))
}

fn cgi_options(settings: &Settings) -> cgi::Options {
    cgi::Options {
        programs: settings.cgi_programs,
        backlog: settings.cgi_backlog,
        timeout: settings.cgi_timeout,
        interpreters: settings.cgi_interpreter.iter().map(|(name, program)| (name.clone(), program.into())).collect(),
        request_buffering: settings.request_buffering,
        batch_scheduling: settings.batch_scheduling,
        authorization: settings.cgi_authorization,
        variables: settings.raw_env.clone(),
    }
}

fn fastcgi_options(settings: &Settings) -> fastcgi::Options {
    fastcgi::Options {
        root: settings.document_root.clone(),
        extension: settings.script_extension.clone(),
        index: settings.script_index.clone(),
        fallback: settings.script_fallback.clone(),
        files: files_options(settings),
        programs: settings.fastcgi_programs,
        connections: settings.fastcgi_connections,
        backlog: settings.fastcgi_backlog,
        timeout: settings.fastcgi_timeout,
        keepalive: settings.fastcgi_keepalive,
        request_buffering: settings.request_buffering,
        batch_scheduling: settings.batch_scheduling,
        variables: settings.raw_env.clone(),
    }
}

fn files_options(settings: &Settings) -> files::Options {
    files::Options {
        index: settings.files_index.clone(),
        listing: settings.files_listing,
        dotfiles: settings.files_dotfiles,
        cache_control: settings.files_cache_control.clone(),
        precompressed: settings.files_precompressed,
    }
}

fn finish(result: Result<u8, Error>) -> u8 {
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(io::stderr(), "\nError: {error}");
        error.exit_code()
    })
}

fn main(command_line: CommandLine, source: &mut Source<'_>) -> Result<u8, Error> {
    let mut launch =
        Launch::capture(command_line).map_err(|error| Error::configuration(format!("working directory: {error}")))?;
    let mut settings = match source.parse(&launch)? {
        Invocation::Serve(settings) => *settings,
        Invocation::Print(text) => return print(&text),
    };
    if settings.bind == Settings::default().bind && listener::stdin_listens() {
        // Started as a FastCGI program. It is put down where a reload and a successor find it, too: they have another
        // standard input.
        let protocol = if settings.protocol.is_gateway() { settings.protocol } else { Protocol::FastCgi };
        let address = Bind { protocol: Some(protocol), address: BindAddress::Fd(0) };
        launch.add(&["--bind", &address.to_string()]);
        settings.bind = vec![address];
    }
    if settings.check_config || settings.print_config {
        if settings.print_config {
            print(&cli::print_config(&settings))?;
        }
        let checks = settings.check_config;
        let mut plan = plan(settings, &launch, source)?;
        if checks && plan.factory.program().is_none() {
            plan.factory.load().map_err(|error| Error::configuration(error.to_string()))?;
        }
        return Ok(0);
    }
    // What was inherited is looked at first: it is named by our pid, which a daemon changes.
    let (predecessor, legacy) = match Predecessor::from_environment()? {
        Some((predecessor, legacy)) => (Some(predecessor), legacy),
        None => (None, Legacy::default()),
    };
    let lent = systemd::listen_fds().into_iter().map(Listener::inherit).collect::<Result<Vec<_>, _>>()?;
    let notifier = Notifier::from_environment();
    let legacy = Legacy { lent: legacy.lent.into_iter().chain(lent).collect(), ..legacy };
    logging::init(&settings)?;
    let plan = plan(settings, &launch, source)?;
    let replanned = launch.clone();
    let replan = Box::new(move || replan(&replanned, source));
    arbitrate(plan, launch, predecessor, legacy, notifier, replan)
}

fn arbitrate(
    mut plan: Plan,
    launch: Launch,
    predecessor: Option<Predecessor>,
    legacy: Legacy,
    notifier: Notifier,
    replan: Box<dyn FnMut() -> Result<Plan, Error> + '_>,
) -> Result<u8, Error> {
    let succeeding = predecessor.is_some();
    let begin = |plan: &mut Plan| {
        log::info!("Starting ferricorn {}", env!("CARGO_PKG_VERSION"));
        plan.factory.hook(Hook::WorkersChanged { new: plan.settings.workers, old: None });
        let path = plan.settings.pidfile.as_deref();
        let pidfile = path.map(|path| Pidfile::create(&pidfile_path(path, succeeding))).transpose()?;
        plan.factory.hook(Hook::OnStarting);
        Ok::<_, Error>(pidfile)
    };
    let open = |plan: &Plan| Sockets::open(&plan.settings, &plan.socket_policy(), legacy);
    let (pidfile, sockets) = if plan.settings.daemon && !succeeding {
        // What is wrong with an address is said while somebody still reads it.
        let sockets = open(&plan)?;
        process::daemonize().map_err(|error| Error::configuration(format!("Can't become a daemon: {error}")))?;
        (begin(&mut plan)?, sockets)
    } else {
        let pidfile = begin(&mut plan)?;
        let sockets = open(&plan).inspect_err(|_| {
            // The error that is on its way says more.
            let _ = pidfile.as_ref().map(Pidfile::remove);
        });
        (pidfile, sockets?)
    };
    plan.set_title("master");
    let addresses: Vec<String> = sockets.iter().map(ToString::to_string).collect();
    log::info!("Listening at: {} ({})", addresses.join(","), process::pid());
    log::info!("Using worker: {}", if plan.settings.threads > 1 { "gthread" } else { "sync" });
    if let Err(error) = process::close_inherited_descriptors(&[]) {
        log::debug!("Descriptors that were inherited may reach the application's children: {error}");
    }
    if let Err(error) = process::raise_open_files_limit() {
        log::warn!("The limit of open files stays low: {error}");
    }
    plan.factory.hook(Hook::WhenReady);
    let estate = Estate { plan, sockets, pidfile, notifier, launch, predecessor, replan };
    let arbiter = Arbiter::new(estate).map_err(|error| Error::configuration(format!("Can't start: {error}")))?;
    Ok(u8::try_from(arbiter.run()).unwrap_or(u8::MAX))
}

/// Makes a plan from settings, and goes to the directory that they name.
fn plan(settings: Settings, launch: &Launch, source: &mut Source<'_>) -> Result<Plan, Error> {
    let directory = launch.directory.join(settings.chdir.as_deref().unwrap_or(Path::new("")));
    change_directory(&directory)?;
    let identity = Identity::resolve(settings.user.as_deref(), settings.group.as_deref(), settings.initgroups)?;
    let mut factory = mounted(&settings, source)?;
    if let Source::Host(host) = source {
        factory = host.hooked(&settings, factory)?;
    }
    factory.check().map_err(|error| Error::configuration(error.to_string()))?;
    if factory.program().is_some() && settings.bind.len() > 1 {
        return Err(Error::configuration("exec:// gives its programs one socket: --bind can be there once"));
    }
    Ok(Plan { settings, directory, identity, factory })
}

/// The application that the settings name, or all of them in one.
fn mounted(settings: &Settings, source: &mut Source<'_>) -> Result<Box<dyn Factory>, Error> {
    if settings.mount.is_empty() {
        return source.factory(settings);
    }
    let has_root = settings.application.is_some() || matches!(source, Source::Own(_));
    let root = has_root.then(|| (String::new(), settings.clone()));
    let of_mount = |(prefix, application): &(String, String)| {
        (prefix.clone(), Settings { application: Some(application.clone()), mount: Vec::new(), ..settings.clone() })
    };
    let all = root.into_iter().chain(settings.mount.iter().map(of_mount));
    let mounts = all.map(|(prefix, settings)| Ok((prefix, source.factory(&settings)?)));
    Ok(Box::new(MountsFactory::new(mounts.collect::<Result<Vec<_>, Error>>()?)))
}

/// Makes a plan from the command line, the environment and the file as they are now. The working directory may be another
/// one afterwards, and that in any case.
fn replan(launch: &Launch, source: &mut Source<'_>) -> Result<Plan, Error> {
    change_directory(&launch.directory)?;
    match source.parse(launch)? {
        Invocation::Serve(settings) => plan(*settings, launch, source),
        Invocation::Print(_) => Err(Error::configuration("the settings say not to serve")),
    }
}

fn change_directory(directory: &Path) -> Result<(), Error> {
    let failed = |error| Error::configuration(format!("Can't change to directory '{}': {error}", directory.display()));
    env::set_current_dir(directory).map_err(failed)
}

fn print(text: &str) -> Result<u8, Error> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(Error::configuration(format!("Can't print: {error}"))),
    }
}

/// One factory for all generations.
struct Shared<F>(Rc<RefCell<F>>);

impl<F> Clone for Shared<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<F: Factory> Factory for Shared<F> {
    fn check(&mut self) -> Result<(), LoadError> {
        self.0.borrow_mut().check()
    }

    fn program(&self) -> Option<Result<Command, LoadError>> {
        self.0.borrow().program()
    }

    fn host(&self) -> Option<&'static str> {
        self.0.borrow().host()
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        self.0.borrow_mut().load()
    }

    fn thread_life(&self) -> ThreadLife {
        self.0.borrow().thread_life()
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        self.0.borrow_mut().idle(wait);
    }

    fn freeze(&mut self) {
        self.0.borrow_mut().freeze();
    }

    fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        self.0.borrow_mut().adopt(application)
    }

    fn ready(&mut self) {
        self.0.borrow_mut().ready();
    }

    fn reopened(&mut self) {
        self.0.borrow_mut().reopened();
    }

    fn drain(&mut self) {
        self.0.borrow_mut().drain();
    }

    fn exit(&mut self) {
        self.0.borrow_mut().exit();
    }

    fn has_threads(&self) -> bool {
        self.0.borrow().has_threads()
    }

    fn before_fork(&mut self) {
        self.0.borrow_mut().before_fork();
    }

    fn after_fork_parent(&mut self) {
        self.0.borrow_mut().after_fork_parent();
    }

    fn after_fork_child(&mut self) {
        self.0.borrow_mut().after_fork_child();
    }

    fn hook(&mut self, hook: Hook) {
        self.0.borrow_mut().hook(hook);
    }

    fn hooks_exec(&self) -> bool {
        self.0.borrow().hooks_exec()
    }
}
