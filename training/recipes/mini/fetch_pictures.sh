#!/usr/bin/env bash
# Downloads the packages of a manifest (pictures.yaml) with the ordinary clients (pip, apt-get, npm) and unpacks them, one folder each.
# Run by a person, on purpose: it needs the network and about 0.7 GB (0.4 GB with --reserved).
#
#   fetch_pictures.sh OUT               the packages for training and validation
#   fetch_pictures.sh --reserved OUT    the packages reserved for independent evaluation, into another folder
#   fetch_pictures.sh --manifest FILE OUT    the packages of another manifest, such as drawings.yaml
#
# PYTHON names the interpreter (default: python3); it needs pip and what `training` needs.
set -euo pipefail

listed=()
while [ $# -gt 1 ]; do
    case $1 in
        --reserved) listed+=(--reserved); shift ;;
        --manifest) listed+=(--manifest "$(realpath "$2")"); shift 2 ;;
        *) break ;;
    esac
done
if [ $# -ne 1 ]; then echo "usage: $0 [--reserved] [--manifest FILE] OUT" >&2; exit 2; fi

python=${PYTHON:-python3}
checkout=$(cd "$(dirname "$0")/../../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pictures() { PYTHONPATH="$checkout" "$python" -m training images "$@"; }

pictures list ${listed[@]+"${listed[@]}"} >"$work/list"
failed=
while read -r kind name version id; do
    if [ -d "$out/$id" ]; then echo "have $id"; continue; fi
    echo "fetching $kind $name $version"
    box=$work/box
    rm -rf "$box" "$work/unpacked"
    mkdir -p "$box" "$work/unpacked"
    (
        cd "$box"
        case $kind in
            pip)
                "$python" -m pip download --quiet --no-deps "$name==$version"
                for file in *; do
                    case $file in
                        *.whl) "$python" -m zipfile -e "$file" "$work/unpacked" ;;
                        *) tar -xzf "$file" -C "$work/unpacked" ;;
                    esac
                done ;;
            apt)
                apt-get download -qq "$name=$version"
                dpkg-deb -x ./*.deb "$work/unpacked" ;;
            npm)
                npm pack --silent "$name@$version" >/dev/null
                tar -xzf ./*.tgz -C "$work/unpacked" 2>/dev/null ;;
        esac
        # only where there is something to unpack: starting Python takes longer than most downloads
        [ -z "$(find "$work/unpacked" -name '*.rcc' -print -quit)" ] || pictures unpack "$work/unpacked" >/dev/null
    ) </dev/null || { echo "could not fetch $kind $name $version: if the version is gone, put a present one into the manifest" >&2; failed=1; continue; }
    mv "$work/unpacked" "$out/$id"
done <"$work/list"
[ -z "$failed" ]
