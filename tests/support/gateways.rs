//! Web servers that speak uwsgi, FastCGI and SCGI, as the files in examples/ configure them.

use std::path::Path;

use super::address::free_port;
use super::programs::{Program, adapt_example, require};
use super::{Address, Directory};

/// `HOST:PORT`, or what the web server calls a unix socket.
fn named(address: &Address, unix: impl FnOnce(&str) -> String) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => unix(&path.display().to_string()),
    }
}

/// nginx with the example of that protocol.
#[track_caller]
pub(crate) fn nginx(protocol: &str, upstream: &Address) -> (Program, Address) {
    nginx_with(protocol, upstream, &[])
}

/// The same with changes to the example.
#[track_caller]
pub(crate) fn nginx_with(protocol: &str, upstream: &Address, changes: &[(&str, String)]) -> (Program, Address) {
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let path = |name: &str| directory.join(name).display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {};\n", path(name)))
        .concat();
    let port = match protocol {
        "uwsgi" => 3031,
        "fastcgi" => 9000,
        _ => 4000,
    };
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let server = format!("server 127.0.0.1:{port} ");
    let mut all = vec![
        ("worker_processes auto;", format!("worker_processes 1;\n{user}")),
        ("/run/nginx.pid", path("nginx.pid")),
        ("/var/log/nginx/error.log", "stderr".to_owned()),
        ("access_log /var/log/nginx/access.log;", format!("access_log off;\n{temporary}")),
        ("listen 80;", format!("listen {address};")),
        (&server, format!("server {} ", named(upstream, |path| format!("unix:{path}")))),
    ];
    all.extend(changes.iter().cloned());
    let text = adapt_example(&format!("nginx-{protocol}.conf"), &all);
    let conf = directory.write("nginx.conf", text).display().to_string();
    let mut nginx = Program::start(&require("nginx"), &["-c", &conf, "-g", "daemon off;", "-e", "stderr"], directory);
    nginx.wait_for(&address);
    (nginx, address)
}

/// Apache with mod_proxy for that scheme: `uwsgi`, `fcgi` or `scgi`.
#[track_caller]
pub(crate) fn apache(scheme: &str, upstream: &Address) -> (Program, Address) {
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let path = |name: &str| directory.join(name).display().to_string();
    let target = match upstream {
        Address::Tcp(address) => format!("{scheme}://{address}/"),
        Address::Unix(path) => format!("unix:{}|{scheme}://app/", path.display()),
    };
    let text = adapt_example(
        "apache.conf",
        &[
            ("ServerRoot /etc/apache2", format!("ServerRoot {}\nDefaultRuntimeDir {}", path(""), path(""))),
            ("/run/apache2/apache2.pid", path("apache2.pid")),
            ("/var/log/apache2/error.log", path("output")),
            ("Listen 80", format!("Listen {address}")),
            ("\"uwsgi://127.0.0.1:3031/\"", format!("\"{target}\"")),
        ],
    );
    let conf = directory.write("apache.conf", text).display().to_string();
    let mut apache = Program::start(&require("apache2"), &["-X", "-f", &conf], directory);
    apache.wait_for(&address);
    (apache, address)
}

/// lighttpd with `fastcgi` or `scgi`.
#[track_caller]
pub(crate) fn lighttpd(protocol: &str, upstream: &Address) -> (Program, Address) {
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let (from, to) = match upstream {
        Address::Tcp(address) => ("\"port\" => 9000", format!("\"port\" => {}", address.port())),
        Address::Unix(path) => {
            ("\"host\" => \"127.0.0.1\",\n    \"port\" => 9000", format!("\"socket\" => \"{}\"", path.display()))
        }
    };
    let text = adapt_example(
        "lighttpd.conf",
        &[
            ("/var/www/html", directory.path().display().to_string()),
            ("/var/log/lighttpd/error.log", directory.join("output").display().to_string()),
            ("server.port          = 80", format!("server.port          = {}", address.port())),
            ("0.0.0.0", "127.0.0.1".to_owned()),
            ("fastcgi.server", format!("{protocol}.server")),
            (from, to),
        ],
    );
    let conf = directory.write("lighttpd.conf", text).display().to_string();
    let mut lighttpd = Program::start(&require("lighttpd"), &["-D", "-f", &conf], directory);
    lighttpd.wait_for(&address);
    (lighttpd, address)
}

/// HAProxy, which speaks FastCGI; `changes` are to the example.
#[track_caller]
pub(crate) fn haproxy(upstream: &Address, changes: &[(&str, String)]) -> (Program, Address) {
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let mut all = vec![
        ("bind :80", format!("bind {address}")),
        ("server app 127.0.0.1:9000", format!("server app {}", named(upstream, |path| format!("unix@{path}")))),
    ];
    all.extend(changes.iter().cloned());
    let conf = directory.write("haproxy.cfg", adapt_example("haproxy.cfg", &all)).display().to_string();
    let mut haproxy = Program::start(&require("haproxy"), &["-db", "-f", &conf], directory);
    haproxy.wait_for(&address);
    (haproxy, address)
}

/// Apache with mod_fcgid, which starts the program itself, with these arguments.
#[track_caller]
pub(crate) fn apache_fcgid(program: &Path, arguments: &str) -> (Program, Address) {
    let place = program.parent().expect("its directory").display().to_string();
    let directory = Directory::new();
    let address = Address::tcp(free_port());
    let path = |name: &str| directory.join(name).display().to_string();
    let text = adapt_example(
        "apache-fcgid.conf",
        &[
            ("ServerRoot /etc/apache2", format!("ServerRoot {}\nDefaultRuntimeDir {}", path(""), path(""))),
            ("/run/apache2/apache2.pid", path("apache2.pid")),
            ("/var/log/apache2/error.log", path("output")),
            ("Listen 80", format!("Listen {address}")),
            ("/var/www/html", path("")),
            ("/var/lib/apache2/fcgid/sock", path("sock")),
            ("/var/lib/apache2/fcgid/shm", path("shm")),
            ("/usr/local/bin/ferricorn/", format!("{}/", program.display())),
            ("\"/usr/local/bin\"", format!("\"{place}\"")),
            (
                "/usr/local/bin/ferricorn --workers 1 --chdir /srv module:callable",
                format!("{} {arguments}", program.display()),
            ),
        ],
    );
    let conf = directory.write("apache.conf", text).display().to_string();
    let mut apache = Program::start(&require("apache2"), &["-DFOREGROUND", "-f", &conf], directory);
    apache.wait_for(&address);
    (apache, address)
}
