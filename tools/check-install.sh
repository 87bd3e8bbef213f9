#!/usr/bin/env bash
# Installs swsync with meson as a packager would, into a scratch folder, and sees whether what was
# installed works: check-install.sh FOLDER CARGO-PROFILE. Run by `./x test`, in its environment.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

folder=$1
case $2 in
    dev) buildtype=debug ;;
    *) buildtype=release ;;
esac
version=$(awk -F '"' '/^version/ { print $2; exit }' "$top/Cargo.toml")

rm -rf "$folder"
meson setup "$folder/build" "$top" --prefix=/usr --buildtype="$buildtype"
meson compile -C "$folder/build"
meson test -C "$folder/build" --no-rebuild
DESTDIR=$folder/installed meson install -C "$folder/build" --no-rebuild --quiet

plugin=$(find "$folder/installed/usr" -name libgstswsync.so)
[[ $plugin == */gstreamer-1.0/libgstswsync.so ]] || die "the plugin is not in gstreamer-1.0: $plugin"
details=$(GST_PLUGIN_PATH=${plugin%/*} GST_REGISTRY=$folder/registry.bin gst-inspect-1.0 swsync)
printf '%s\n' "$details"
grep -Eq "^ +Filename +$plugin\$" <<<"$details" || die 'GStreamer took another plugin than the installed one'
grep -Eq "^ +Version +$version\$" <<<"$details" || die "the plugin does not say that it is version $version"
grep -Eq '^ +License +MPL' <<<"$details" || die 'the plugin does not say that its licence is MPL'

for program in swsync swsync-media swsync-dashboard swsync-device swsync-lab; do
    said=$("$folder/installed/usr/bin/$program" --version)
    [[ $said == "$program $version"* ]] || die "$program --version says '$said', not $version"
done

share=$folder/installed/usr/share
for page in swsync swsync-shoot swsync-export swsync-lab-clock swsync-demo swsync-device swsync-media; do
    [[ -s $share/man/man1/$page.1 ]] || die "the page $page.1 is missing"
    if command -v man >/dev/null; then
        shown=$(man --warnings -E UTF-8 -l "$share/man/man1/$page.1" 2>&1 >/dev/null)
        [[ -z $shown ]] || die "the page $page.1 is wrong: $shown"
    fi
done
# The two that no program writes know what the programs do.
for option in $("$folder/installed/usr/bin/swsync-device" --help | grep -o -- '--[a-z-]*'); do
    grep -q -- "${option//-/\\\\-}" "$share/man/man1/swsync-device.1" || die "swsync-device.1 does not have $option"
done
for completion in bash-completion/completions/swsync zsh/site-functions/_swsync fish/vendor_completions.d/swsync.fish; do
    # A format of swsync-media's export.
    grep -q colmap "$share/$completion" || die "$completion does not know the arguments of swsync-media"
done

# systemd understands each line of the service, which cannot do more than it has to: 10 is all that root can, and 4 is promised.
unit=swsync-device@camera.service
said=$(systemd-analyze --root="$folder/installed" --recursive-errors=no --man=no verify "$unit" 2>&1) && [[ -z $said ]] || die "the service: $said"
systemd-analyze --root="$folder/installed" --offline=true --threshold=40 --no-pager security "$unit" >"$folder/security.log" ||
    die "the service is too open: $(tail -n 1 "$folder/security.log")"
say "$(tail -n 1 "$folder/security.log")"
