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
for page in swsync swsync-shoot swsync-export swsync-lab-clock swsync-demo; do
    [[ -s $share/man/man1/$page.1 ]] || die "the page $page.1 is missing"
    if command -v man >/dev/null; then
        shown=$(man --warnings -E UTF-8 -l "$share/man/man1/$page.1" 2>&1 >/dev/null)
        [[ -z $shown ]] || die "the page $page.1 is wrong: $shown"
    fi
done
for completion in bash-completion/completions/swsync zsh/site-functions/_swsync fish/vendor_completions.d/swsync.fish; do
    # A format of swsync-media's export.
    grep -q colmap "$share/$completion" || die "$completion does not know the arguments of swsync-media"
done
