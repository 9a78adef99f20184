#!/usr/bin/env bash
# Puts everything that the build needs into .deps/: the Rust tokenizer library
# that the program links (.deps/lib/libtokenizers.a) and the XLA plugin that it
# loads (.deps/pjrt/pjrt_c_api_cpu_plugin.so). Needs no root. A second run finds
# everything, checks it and ends at once, without a network.
#
#   scripts/setup.sh            what building and running needs
#   scripts/setup.sh --test     also the tools and the browser of the tests, and where
#                               CI=true what --judges brings
#   scripts/setup.sh --judges   also git-lfs, npm and Python's venv, by which the judges
#                               install the real clients of a hub
#
# Exit codes: 0 done, 1 something is missing (one sentence says what to do).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# XLA CPU plugin: the zml build, as the wheel carries it (linux, amd64).
wheel='fastatomstruct-xla-cpu==2026.6.23'
wheel_sha256='88b1c430b341b4bea40a37420311c9c75db6e22b46d2ff95b6986577bee6afe9'
wheel_member='fastatomstruct_xla_cpu/libpjrt_cpu.so'
plugin_sha256='0a0fe56ca17be9efc7b942e89e534e5e0ad4a0f1e369b66d27b62184509015b9'
plugin='.deps/pjrt/pjrt_c_api_cpu_plugin.so'
# Elsewhere: the release that go-xla's installer takes by default.
plugin_repo='gomlx/pjrt-cpu-binaries'
plugin_tag='v0.114.0'

# Tokenizer library: the version is go.mod's, the crates are Cargo.lock's.
tokenizers='.deps/lib/libtokenizers.a'
tokenizers_module='github.com/daulet/tokenizers'

# need_tools stops where the compilers are missing.
need_tools() {
	have go || die 'go is missing: install Go 1.26 or later from https://go.dev/dl'
	have cc || have gcc || have clang ||
		die 'a C compiler is missing: install one (Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install)'
}

# setup_tokenizers leaves the library in place: the one that is there, else the
# release asset, else a build with cargo. What makes it other than the one that
# is there is its recipe: the module's checksum and our two cargo files.
setup_tokenizers() {
	local version recipe
	version=$(awk -v m="$tokenizers_module" '$1 == m { print $2 }' go.mod)
	recipe=$({ grep "^$tokenizers_module $version" go.sum; cat scripts/libtokenizers/Cargo.*; } | sha256)
	if [ "$(cat "$tokenizers.recipe" 2>/dev/null)" = "$recipe" ] && unchanged "$tokenizers"; then return; fi
	mkdir -p "${tokenizers%/*}"
	release_asset daulet/tokenizers "$version" "libtokenizers.$os-$arch.tar.gz" libtokenizers.a "$tokenizers" ||
		build_tokenizers
	record "$tokenizers"
	echo "$recipe" >"$tokenizers.recipe"
}

# build_tokenizers compiles the Rust source that the Go module carries.
build_tokenizers() {
	have cargo || die "cargo is missing, and no release of libtokenizers could be fetched: install Rust from https://rustup.rs"
	local source
	source=$(go list -m -f '{{.Dir}}' "$tokenizers_module")
	[ -d "$source" ] || die "the Go module $tokenizers_module is not in the module cache: run go mod download"
	say "building libtokenizers.a with cargo, about 2 minutes"
	cp scripts/libtokenizers/Cargo.toml scripts/libtokenizers/Cargo.lock "$work"
	cp -R "$source/crates/tokenizers/src" "$work/src"
	chmod -R u+w "$work/src" # the module cache is read-only, and so are its copies
	again cargo build --quiet --release --locked --manifest-path "$work/Cargo.toml" --target-dir "$work/target" ||
		die 'cargo could not build libtokenizers.a: its message is above'
	mv "$work/target/release/libtokenizers_ffi.a" "$tokenizers"
}

# setup_plugin leaves the XLA CPU plugin in place: the one that is there, or
# that PJRT_PLUGIN_LIBRARY_PATH names, else the pinned wheel, else go-xla's
# release. Without any the go back end does the work.
setup_plugin() {
	if [ -L "$plugin" ] && [ -f "$plugin" ]; then return; fi
	if [ "$os-$arch" = linux-amd64 ]; then
		if matches "$plugin" "$plugin_sha256"; then return; fi
	elif unchanged "$plugin"; then
		return
	fi
	if [ -e "$plugin" ] || [ -L "$plugin" ]; then
		say "$plugin is not the pinned build: replacing it"
		rm -f "$plugin" "$plugin.sha256"
	fi
	mkdir -p "${plugin%/*}"
	if named_plugin; then return; fi
	if [ "$os-$arch" = linux-amd64 ] && wheel_plugin; then return; fi
	if release_asset "$plugin_repo" "$plugin_tag" "pjrt_cpu_${os}_$arch.tar.gz" "pjrt_c_api_cpu_${plugin_tag}_plugin.so" "$plugin"; then
		record "$plugin"
		return
	fi
	say 'no XLA plugin to be had: mes runs on the go back end, 2 to 6 times slower'
}

# named_plugin links the plugin that PJRT_PLUGIN_LIBRARY_PATH names: a file, or
# directories separated by colons.
named_plugin() {
	local place file
	while read -r -d : place; do
		[ -n "$place" ] || continue
		for file in "$place" "$place"/pjrt_c_api_cpu*_plugin.so; do
			[ -f "$file" ] || continue
			file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
			ln -sfn "$file" "$plugin"
			[ "$(sha256 <"$file")" = "$plugin_sha256" ] || say "using $file as you named it: it is not the build that the tests were made with"
			return 0
		done
	done <<<"${PJRT_PLUGIN_LIBRARY_PATH:-}:"
	return 1
}

# wheel_plugin takes the plugin out of the pinned wheel.
wheel_plugin() {
	local pip
	pip=$(find_pip) || die 'pip is missing, which fetches the XLA plugin: install it (Debian: apt-get install python3-pip), or let PJRT_PLUGIN_LIBRARY_PATH name a plugin'
	have unzip || have python3 || die 'unzip is missing, which unpacks the XLA plugin: install it (Debian: apt-get install unzip)'
	say "fetching the XLA CPU plugin, 63 MB"
	echo "$wheel --hash=sha256:$wheel_sha256" >"$work/requirements.txt"
	if ! again $pip download --quiet --disable-pip-version-check --retries 1 --no-deps --require-hashes \
		--only-binary :all: --dest "$work" --requirement "$work/requirements.txt" 2>"$work/pip.log"; then
		say "pip could not fetch $wheel: $(grep -v '^WARNING' "$work/pip.log" | head -n 1)"
		return 1
	fi
	unpack "$work"/*.whl "$wheel_member" >"$work/plugin.so" || return 1
	matches "$work/plugin.so" "$plugin_sha256" ||
		die "the XLA plugin inside $wheel is not the pinned one (sha256 $plugin_sha256)"
	mv "$work/plugin.so" "$plugin"
	record "$plugin"
}

# apt_install installs a package of the system, when root on Debian.
apt_install() {
	[ "$(id -u)" = 0 ] && have apt-get || return 0
	say "installing $1"
	{ apt-get install -y --no-install-recommends "$1" || again apt_update_install "$1"; } >"$work/apt.log" 2>&1 ||
		tail -n 5 "$work/apt.log" >&2
}

# apt_update_install is for a list of packages that is missing or old.
apt_update_install() { apt-get update && apt-get install -y --no-install-recommends "$1"; }

# setup_browser finds Chromium for the browser test, or installs the system's
# package when root. In CI a missing browser is a failure.
setup_browser() {
	browser >/dev/null || apt_install chromium
	if browser >/dev/null; then return; fi
	[ "${CI:-}" != true ] || die 'no Chromium for the browser test: install chromium'
	say 'SKIPPED: no Chromium, so the browser test does not run: install chromium'
}

# setup_judges finds what the judges install real clients with, or installs the
# system's packages when root. In CI a missing one is a failure.
setup_judges() {
	wanted git-lfs git lfs version
	wanted npm have npm
	wanted python3-venv python3 -c 'import ensurepip, venv'
}

# wanted PACKAGE COMMAND...: the command works, else the package is installed.
wanted() {
	local package=$1
	shift
	if "$@" >/dev/null 2>&1; then return; fi
	apt_install "$package"
	if "$@" >/dev/null 2>&1; then return; fi
	[ "${CI:-}" != true ] || die "no $package for the judges: install it"
	say "SKIPPED: no $package, so the judges that need it do not run: install it"
}

need_tools
mkdir -p .deps
work=$(mktemp -d .deps/setup.XXXXXX)
trap 'rm -rf "$work"' EXIT
again go mod download || die 'the Go modules could not be fetched: see the message above'
setup_tokenizers
setup_plugin
if [ "${1:-}" = --test ]; then
	again go mod download -modfile=tools.mod || die 'the tools of tools.mod could not be fetched: see the message above'
	setup_browser
fi
if [ "${1:-}" = --judges ] || [ "${1:-}${CI:-}" = --testtrue ]; then setup_judges; fi
