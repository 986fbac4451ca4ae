//! The real programs around a server: nginx, supervisord, php-fpm, curl, wrk.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::address::free_port;
use super::{Address, Directory, SOON, client, poll_until, process};

/// Finds a program, or says how to get it.
#[track_caller]
pub(crate) fn require(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| {
        panic!("{name} is missing. `make test` installs what the tests need; by hand: apt-get install {name}")
    })
}

/// Finds a program.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual).chain([venv]).map(|place| place.join(name));
    places.find(|path| path.is_file())
}

/// Runs a program to its end; returns whether it succeeded, and what it wrote to both outputs.
#[track_caller]
pub(crate) fn output(program: &str, args: &[&str]) -> (bool, String) {
    let output =
        Command::new(require(program)).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A file of examples/, adapted to a test: each text on the left must be there, and becomes the one on the right.
#[track_caller]
pub(crate) fn adapt_example(name: &str, changes: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (from, to) in changes {
        assert!(text.contains(from), "examples/{name} does not have {from:?} any more");
        text = text.replace(from, to);
    }
    text
}

/// A program that runs beside a server. Dropping it kills it with all its descendants.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) directory: Directory,
}

impl Program {
    #[track_caller]
    pub(crate) fn start(program: &Path, args: &[&str], directory: Directory) -> Self {
        let log = File::create(directory.join("output")).expect("a file for the output");
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the same file"))
            .stderr(log)
            .process_group(0)
            .spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{}: {error}", program.display())), directory }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.directory.join("output")).unwrap_or_default()
    }

    #[track_caller]
    pub(super) fn wait_for(&mut self, address: &Address) {
        poll_until("the program to answer", SOON, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("it has ended with {status}:\n{}", self.output());
            }
            client::try_get(address, "/").ok()
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for pid in process::tree(self.pid()) {
            process::signal(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.directory.path().display(), self.output());
        }
    }
}

/// nginx with examples/nginx.conf in front of the server at `upstream`; returns where it listens.
#[track_caller]
pub(crate) fn nginx(upstream: &Address) -> (Program, Address) {
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let path = |name: &str| directory.join(name).display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {};\n", path(name)))
        .concat();
    let (upstream_from, upstream_to, used) = match upstream {
        Address::Tcp(address) => ("server 127.0.0.1:8000 ", format!("server {address} "), "ferricorn_tcp"),
        Address::Unix(path) => {
            ("server unix:/run/ferricorn/app.sock ", format!("server unix:{} ", path.display()), "ferricorn_unix")
        }
    };
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let text = adapt_example(
        "nginx.conf",
        &[
            ("worker_processes auto;", format!("worker_processes 1;\n{user}")),
            ("/run/nginx.pid", path("nginx.pid")),
            ("/var/log/nginx/error.log", "stderr".to_owned()),
            ("access_log /var/log/nginx/access.log;", format!("access_log off;\n{temporary}")),
            ("listen 80;", format!("listen {address};")),
            ("proxy_pass http://ferricorn_unix;", format!("proxy_pass http://{used};")),
            (upstream_from, upstream_to),
        ],
    );
    let conf = directory.write("nginx.conf", text).display().to_string();
    let mut nginx = Program::start(&require("nginx"), &["-c", &conf, "-g", "daemon off;", "-e", "stderr"], directory);
    nginx.wait_for(&address);
    (nginx, address)
}

/// supervisord with examples/supervisord.conf, of which only one program is kept; it serves `root` with the command.
#[track_caller]
pub(crate) fn supervisord(program: &str, command: &Path, root: &Path, address: &Address) -> Program {
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).display().to_string();
    let (bind, socket) = match address {
        Address::Tcp(tcp) => (tcp.to_string(), format!("tcp://{tcp}")),
        Address::Unix(unix) => (format!("unix:{}", unix.display()), format!("unix://{}", unix.display())),
    };
    let tcp = matches!(address, Address::Tcp(_));
    let text = adapt_example(
        "supervisord.conf",
        &[
            ("/var/log/supervisor/supervisord.log", path("supervisord.log")),
            ("/run/supervisord.pid", path("supervisord.pid")),
            ("/run/supervisor.sock", path("supervisor.sock")),
            ("/var/log/supervisor/", path("")),
            ("/usr/local/bin/ferricorn", command.display().to_string()),
            ("127.0.0.1:8000", bind),
            ("unix:///run/ferricorn/app.sock", socket.clone()),
            ("unix:///run/ferricorn/fastcgi.sock", socket),
            // Only unix sockets have a mode.
            ("socket_mode=0660\n", if tcp { String::new() } else { "socket_mode=0660\n".to_owned() }),
            ("files:///srv/site", format!("files://{}", root.display())),
            ("directory=/srv", format!("directory={}", root.display())),
        ],
    );
    let sections = text.split("\n[").enumerate().filter_map(|(number, section)| {
        let other = section.contains("program:") && !section.starts_with(program);
        (!other).then(|| if number == 0 { section.to_owned() } else { format!("\n[{section}") })
    });
    let conf = directory.write("supervisord.conf", sections.collect::<String>()).display().to_string();
    let mut supervisord = Program::start(&require("supervisord"), &["-n", "-c", &conf], directory);
    supervisord.wait_for(address);
    supervisord
}

/// `supervisorctl` against [`supervisord`].
#[track_caller]
pub(crate) fn supervisorctl(supervisord: &Program, args: &[&str]) -> String {
    let conf = supervisord.directory.join("supervisord.conf").display().to_string();
    let (_, text) = output("supervisorctl", &[&["-c", &conf], args].concat());
    text
}
