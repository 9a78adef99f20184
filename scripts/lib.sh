# Functions of the scripts; sourced, not run.

os=$(uname -s | tr '[:upper:]' '[:lower:]')
case $(uname -m) in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac

# say prints a line for people, die prints one and stops.
say() { echo "setup: $*" >&2; }
die() {
	echo "setup: $*" >&2
	exit 1
}

# have tells whether a command is on PATH.
have() { command -v "$1" >/dev/null 2>&1; }

# again COMMAND... runs a command that asks a registry. Where CI=true it is tried four
# times, with pauses, because one bad minute of a registry must not fail everything;
# elsewhere once, because somebody reads its message.
again() {
	local pause
	if [ "${CI:-}" = true ]; then
		for pause in ${AGAIN_PAUSES:-5 20 60}; do
			if "$@"; then return; fi
			say "failed, once more in $pause s: $*"
			sleep "$pause"
		done
	fi
	"$@"
}

# sha256 prints the sha256 of standard input.
sha256() { { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1; }

# identity prints what changes when a file is written: size, times, inode.
identity() { stat -c '%s %Y %Z %i' "$1" 2>/dev/null || stat -f '%z %m %c %i' "$1"; }

# record notes the sha256 of a file, and the identity that it was taken of.
record() { echo "$(sha256 <"$1") $(identity "$1")" >"$1.sha256"; }

# matches tells whether a file has the given sha256. It reads the file only
# when that was not done since the file was last written.
matches() {
	[ -f "$1" ] || return 1
	if [ "$(cat "$1.sha256" 2>/dev/null)" = "$2 $(identity "$1")" ]; then return 0; fi
	[ "$(sha256 <"$1")" = "$2" ] || return 1
	echo "$2 $(identity "$1")" >"$1.sha256"
}

# unchanged tells whether a file still has the sha256 that was recorded.
unchanged() {
	local noted
	noted=$(cut -d' ' -f1 "$1.sha256" 2>/dev/null) && matches "$1" "$noted"
}

# find_pip prints the command that runs pip.
find_pip() {
	if have pip3; then
		echo pip3
	elif have pip; then
		echo pip
	elif have python3 && python3 -m pip --version >/dev/null 2>&1; then
		echo python3 -m pip
	else
		return 1
	fi
}

# unpack prints member $2 of the zip file $1.
unpack() {
	if have unzip; then
		unzip -p "$1" "$2"
	else
		python3 -c 'import sys, zipfile, shutil
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as f: shutil.copyfileobj(f, sys.stdout.buffer)' "$1" "$2"
	fi
}

# release_asset repo tag asset member file: takes a member out of a GitHub
# release's archive, if the archive has the sha256 that the release publishes.
# An asset without one is refused. Fails at once where GitHub is out of reach.
release_asset() {
	local repo=$1 tag=$2 asset=$3 member=$4 file=$5 want
	have curl || return 1
	curl --silent --fail --location --connect-timeout 5 --max-time 20 \
		"https://api.github.com/repos/$repo/releases/tags/$tag" >"$work/release.json" 2>/dev/null || return 1
	want=$(tr '{,' '\n\n' <"$work/release.json" | awk -F'"' -v asset="$asset" '
		$2 == "name" { found = $4 == asset }
		$2 == "digest" && found { sub("^sha256:", "", $4); print $4; exit }')
	if [ -z "$want" ]; then
		say "release $tag of $repo has no $asset with a published sha256: not used"
		return 1
	fi
	say "fetching $asset of $repo $tag"
	curl --silent --fail --location --connect-timeout 5 --max-time 600 --output "$work/$asset" \
		"https://github.com/$repo/releases/download/$tag/$asset" || return 1
	if [ "$(sha256 <"$work/$asset")" != "$want" ]; then
		say "$asset does not have the sha256 that its release publishes: not used"
		return 1
	fi
	mkdir -p "$work/release" && tar -xzf "$work/$asset" -C "$work/release" || return 1
	member=$(find "$work/release" -type f -name "$member" | head -n 1)
	[ -n "$member" ] && mv "$member" "$file"
}

# browser prints the Chromium to test with.
browser() {
	local name
	for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
		if have "$name"; then
			command -v "$name"
			return
		fi
	done
	return 1
}
