#!/bin/sh
# Installs the programs that the tests run beside the server, or says how to.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

# Commands and the Debian packages that have them.
needed='nginx=nginx supervisord=supervisor curl=curl apache2=apache2 lighttpd=lighttpd haproxy=haproxy cgi-fcgi=libfcgi-bin spawn-fcgi=spawn-fcgi php-cgi=php-cgi php-fpm=php-fpm wrk=wrk prlimit=util-linux mod_fcgid=libapache2-mod-fcgid'

missing() {
    packages=
    for pair in $needed; do
        command=${pair%%=*}
        command -v "$command" >/dev/null 2>&1 || [ -x ".venv/bin/$command" ] ||
            { [ "$command" = mod_fcgid ] && [ -e /usr/lib/apache2/modules/mod_fcgid.so ]; } ||
            { [ "$command" = php-fpm ] && ls /usr/sbin/php-fpm* >/dev/null 2>&1; } || packages="$packages ${pair#*=}"
    done
    echo $packages
}

packages=$(missing)
[ -n "$packages" ] || exit 0

install="apt-get install --yes --no-install-recommends $packages"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update --quiet || true
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $install || true
    case $packages in
        # The packages start servers on port 80, which nobody asked for.
        *nginx*|*apache2*|*lighttpd*|*haproxy*)
            ! command -v systemctl >/dev/null 2>&1 ||
                systemctl disable --now nginx apache2 lighttpd haproxy >/dev/null 2>&1 || true
            ;;
    esac
fi

case $(missing) in
    *supervisor*)
        ${PYTHON:-python3} -m venv .venv && .venv/bin/pip install --quiet supervisor || true
        ;;
esac

packages=$(missing)
if [ -n "$packages" ]; then
    echo "The tests need programs that are not here. Type:" >&2
    echo "    sudo apt-get install --yes --no-install-recommends $packages" >&2
    exit 1
fi
