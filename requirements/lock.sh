#!/bin/sh
# Writes the locks from pyproject.toml, or checks them; `make lock` and
# `make lock-check` call it. A lock holds versions and hashes and no place they
# came from, so that everybody installs from the index of their choice.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}

compile() {
    output=$1
    shift
    # Without --upgrade, uv keeps what the output file already has.
    "$UV" --no-config pip compile --quiet --universal --generate-hashes --python-version 3.11 \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --output-file "$output" "$@"
}

compile_all() {
    folder=$1
    emulator=$2
    build=$3
    containers=$4
    addons=$5
    batches=$6
    shift 6
    # What this repository's service needs, its own tasks included.
    service='--extra service --extra webhooks --group app'
    # shellcheck disable=SC2086 - words
    compile "$folder/base.txt" "$@" $service pyproject.toml
    # What runs in production is what is tested: base constrains the others.
    # shellcheck disable=SC2086
    compile "$folder/local.txt" "$@" $service --extra local --constraint "$folder/base.txt" \
        pyproject.toml
    # shellcheck disable=SC2086
    compile "$folder/dev.txt" "$@" $service --extra local --extra dev \
        --constraint "$folder/base.txt" pyproject.toml
    compile "$emulator" "$@" requirements/emulator.in
    compile "$build" "$@" docker/build.in
    compile "$containers" "$@" tests/containers/requirements.in
    # shellcheck disable=SC2086
    compile "$addons" "$@" $service --constraint "$folder/base.txt" pyproject.toml \
        tests/addons/addons.in
    compile "$batches" "$@" --no-deps tests/addons/batches.in
}

if [ "${1:-}" != --check ]; then
    compile_all requirements sealwax/local/emulator.txt docker/build.txt \
        tests/containers/requirements.txt tests/addons/addons.txt \
        tests/addons/batches.txt "$@"
    exit 0
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
locks='requirements/base.txt requirements/local.txt requirements/dev.txt
sealwax/local/emulator.txt docker/build.txt tests/containers/requirements.txt
tests/addons/addons.txt tests/addons/batches.txt'
cp requirements/base.txt requirements/local.txt requirements/dev.txt sealwax/local/emulator.txt \
    docker/build.txt tests/addons/addons.txt tests/addons/batches.txt "$copy"
cp tests/containers/requirements.txt "$copy/requirements.txt"
compile_all "$copy" "$copy/emulator.txt" "$copy/build.txt" "$copy/requirements.txt" \
    "$copy/addons.txt" "$copy/batches.txt"
status=0
for lock in $locks; do
    if ! cmp -s "$lock" "$copy/${lock##*/}"; then
        echo "$lock does not fit what it is made from: run 'make lock' and commit it." >&2
        status=1
    fi
    if grep -nE '://|^-|file:' "$lock"; then
        echo "$lock names a place: locks hold versions and hashes only." >&2
        status=1
    fi
done
[ "$status" -eq 0 ] && echo "locks fit pyproject.toml"
exit "$status"
