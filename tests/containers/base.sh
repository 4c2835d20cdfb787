#!/bin/sh
# Makes the base image of the container tests where no registry of images is
# reached: a small Debian with Python, as a tar file for `podman import`.
# Kept between runs, by the content of this file. Prints the file's path.
set -eu
suite=bookworm
packages=python3,python3-venv,ca-certificates
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sealwax
key=$(sha256sum "$0" | cut -c1-16)
file=$cache/base-$key.tar

if [ ! -f "$file" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/making.XXXXXX")
    # Where it is interrupted, debootstrap leaves /proc mounted in there.
    trap 'umount -q "$work/root/proc" "$work/root/sys" || true; rm -rf --one-file-system "$work"' EXIT
    trap 'exit 1' INT TERM
    if ! debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" \
        >"$work/log" 2>&1; then
        tail -20 "$work/log" >&2
        exit 1
    fi
    tar -C "$work/root" -cf "$work/base.tar" \
        --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' \
        --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
        --exclude='./usr/share/locale/*' .
    mv "$work/base.tar" "$file"
fi
echo "$file"
