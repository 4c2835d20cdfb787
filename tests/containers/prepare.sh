#!/bin/sh
# What the container tests need besides Python: podman with its network and init,
# runc and debootstrap. Installs what is missing where it may, else says what to
# install. `make test-containers` calls it.
set -eu
cd "$(dirname "$0")/../.."

missing=
need() {
    # A file or a command, and the package that has it.
    [ -e "$1" ] || command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need podman podman
need runc runc
need catatonit catatonit
need debootstrap debootstrap
need iptables iptables
need /usr/lib/podman/netavark netavark
need /usr/lib/podman/aardvark-dns aardvark-dns

if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "The container tests need these packages:$missing. Install them as root, on Debian" >&2
        echo "with: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086 # words on purpose
    apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "The container tests make a root file system and a bridge: run them as root." >&2
    exit 1
fi

# podman-compose has an environment of its own, made anew when its lock changes.
folder=.venv-containers
if ! cmp -s tests/containers/requirements.txt "$folder/lock.txt"; then
    rm -rf "$folder"
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes -r tests/containers/requirements.txt
    cp tests/containers/requirements.txt "$folder/lock.txt"
fi
