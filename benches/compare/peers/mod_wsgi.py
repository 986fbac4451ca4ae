"""Becomes Apache with mod_wsgi in daemon mode, four processes of one thread, which serves the Django site of these benchmarks:
`mod_wsgi.py PORT DIRECTORY`.

Needs Debian's libapache2-mod-wsgi-py3, whose Python is the system's; Django is the one beside the interpreter that runs this.
Apache gives up root's rights, so what it must read is copied.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

MODULES = Path("/usr/lib/apache2/modules")

CONFIGURATION = """
ServerRoot {place}
DefaultRuntimeDir {place}
PidFile {place}/apache.pid
ErrorLog {place}/error.log
Listen 127.0.0.1:{port}
ServerName localhost
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
StartServers 1
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
WSGIDaemonProcess site processes=4 threads=1 python-path={place}/modules
WSGIScriptAlias / {place}/modules/site_wsgi.py process-group=site application-group=%{{GLOBAL}}
WSGIRestrictEmbedded On
WSGISocketPrefix {place}/wsgi
<Directory {place}/modules>
    Require all granted
</Directory>
"""


def main() -> None:
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or not (MODULES / "mod_wsgi.so").exists():
        sys.exit("mod_wsgi is missing; type: sudo apt-get install -y apache2 libapache2-mod-wsgi-py3")
    port, directory = sys.argv[1], Path(sys.argv[2])
    directory.chmod(0o711)
    place = directory / f"mod_wsgi-{port}"
    modules = place / "modules"
    modules.mkdir(parents=True)
    packages = Path(sysconfig.get_path("purelib"))
    for name in ("django", "asgiref", "sqlparse"):
        shutil.copytree(packages / name, modules / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (Path(__file__).parent / "site").glob("*.py"):
        shutil.copy(file, modules)
    configuration = place / "apache.conf"
    configuration.write_text(CONFIGURATION.format(place=place, port=port, modules=MODULES))
    os.execv(program, [program, "-DFOREGROUND", "-f", str(configuration)])


main()
