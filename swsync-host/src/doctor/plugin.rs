//! swsync's GStreamer plugin, and the libcamera that it needs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use swsync_core::doctor::{Check, Problem};

use crate::HostRoot;

/// The plugin's file.
const LIBRARY: &str = "libgstswsync.so";

/// Begins the names of the libraries that the plugin needs of libcamera.
const LIBCAMERA: &str = "libcamera.so.";

/// Folders of libraries; each is looked at with its folders of architectures.
const LIBRARY_FOLDERS: [&str; 5] = ["/usr/local/lib", "/usr/lib", "/lib", "/usr/lib64", "/usr/local/lib64"];

/// The folders in which GStreamer looks for plugins, first one first, by `variable` (an environment).
#[must_use]
pub fn plugin_folders(root: &HostRoot, variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let list = |name: &str| {
        let value = variable(name).or_else(|| variable(name.strip_suffix("_1_0")?))?;
        Some(value.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect::<Vec<_>>())
    };
    let mut folders = list("GST_PLUGIN_PATH_1_0").unwrap_or_default();
    match list("GST_PLUGIN_SYSTEM_PATH_1_0") {
        Some(system) => folders.extend(system),
        None => {
            let data = variable("XDG_DATA_HOME").map(PathBuf::from);
            let data = data.or_else(|| Some(Path::new(&variable("HOME")?).join(".local/share")));
            folders.extend(data.map(|data| data.join("gstreamer-1.0/plugins")));
            folders.extend(library_folders(root).into_iter().map(|folder| folder.join("gstreamer-1.0")));
        }
    }
    folders
}

/// The folders of libraries that there are, as paths of the host.
fn library_folders(root: &HostRoot) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in LIBRARY_FOLDERS {
        let entries = fs::read_dir(root.path(folder)).into_iter().flatten().flatten();
        let mut architectures: Vec<_> = entries
            .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
            .map(|entry| Path::new(folder).join(entry.file_name()))
            .collect();
        architectures.sort();
        folders.extend(architectures);
        folders.push(folder.into());
    }
    folders
}

/// The plugins that there are, the one that GStreamer takes first.
fn plugins(root: &HostRoot, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in folders.iter().map(|folder| folder.join(LIBRARY)) {
        // The same file may have two names: /lib is often /usr/lib.
        let Ok(real) = fs::canonicalize(root.path(&path)) else { continue };
        if !found.iter().any(|(_, known)| *known == real) {
            found.push((path, real));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// Whether there is a plugin, and one only.
pub(super) fn plugin(root: &HostRoot, folders: &[PathBuf]) -> Check {
    const ID: &str = "plugin-file";
    let plugins = plugins(root, folders);
    let looked = || folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    match &plugins[..] {
        [] => {
            let finding = Problem::PluginNotFound.finding(
                "GStreamer does not find swsync's plugin: there are no elements swsyncsrc, swsyncclock, swsyncsink",
                format!("there is no {LIBRARY} in {}", looked()),
                "sudo meson install -C build --no-rebuild in swsync's folder; or GST_PLUGIN_PATH names the folder that has it",
            );
            Check::found(ID, vec![finding], "")
        }
        [only] => Check::ok(ID, only.display().to_string()),
        [first, others @ ..] => {
            let read = |path: &Path| fs::read(root.path(path)).ok();
            let content = read(first);
            let Some(other) = others.iter().find(|other| read(other) != content) else {
                return Check::ok(ID, format!("{} (and the same in another folder)", first.display()));
            };
            let finding = Problem::PluginTwice.finding(
                "there are two different plugins of swsync: GStreamer takes the first, which may be the older one",
                format!("{} and {}", first.display(), other.display()),
                format!("remove the one that is not wanted: sudo rm {}", other.display()),
            );
            Check::found(ID, vec![finding], "")
        }
    }
}

/// Whether libcamera is there in the version that the plugin was built with.
pub(super) fn libcamera(root: &HostRoot, folders: &[PathBuf]) -> Check {
    const ID: &str = "libcamera";
    let Some(plugin) = plugins(root, folders).into_iter().next() else {
        return Check::unknown(
            ID,
            "there is no plugin that says which version it needs",
            "swsync's plugin, see plugin-not-found",
        );
    };
    let bytes = match fs::read(root.path(&plugin)) {
        Ok(bytes) => bytes,
        Err(error) => {
            let path = plugin.display();
            return Check::unknown(
                ID,
                format!("{path} cannot be read: {error}"),
                format!("sudo chmod a+r {path}"),
            );
        }
    };
    let Some(needed) = needed(&bytes) else {
        return Check::ok(ID, format!("{} was built without it", plugin.display()));
    };
    let there = libraries(root);
    if there.iter().any(|(name, _)| *name == needed) {
        return Check::ok(ID, needed);
    }
    let found = |rest: &str| format!("{} needs {needed}, and {rest}", plugin.display());
    let finding = match there.first() {
        Some((name, folder)) => Problem::LibcameraVersion.finding(
            "libcamera has another version than the one that the plugin was built with: the plugin cannot be loaded",
            found(&format!("{} has {name}", folder.display())),
            "build the plugin again with the libcamera of this system: meson compile -C build && sudo meson install -C build",
        ),
        None => Problem::LibcameraMissing.finding(
            "libcamera is not there: the plugin cannot be loaded",
            found("no folder of libraries has it"),
            "sudo apt install libcamera-dev libcamera-ipa",
        ),
    };
    Check::found(ID, vec![finding], "")
}

/// The name of the library of libcamera that a plugin needs: `libcamera.so.0.5`. It stands among the strings of its dynamic section.
fn needed(plugin: &[u8]) -> Option<String> {
    let text = LIBCAMERA.as_bytes();
    let at = plugin.windows(text.len() + 1).position(|window| window[0] == 0 && window[1..] == *text)? + 1;
    let name = plugin[at..].split(|byte| *byte == 0).next()?;
    let version = std::str::from_utf8(&name[text.len()..]).ok()?;
    let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_version.then(|| format!("{LIBCAMERA}{version}"))
}

/// The libraries of libcamera that there are, as programs name them (`libcamera.so.0.5`), and where.
fn libraries(root: &HostRoot) -> Vec<(String, PathBuf)> {
    let mut libraries = Vec::new();
    let configured = fs::read_dir(root.path("/etc/ld.so.conf.d")).into_iter().flatten().flatten();
    let configured = configured.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let configured: Vec<PathBuf> = configured
        .flat_map(|text| {
            text.lines()
                .map(str::trim)
                .filter(|line| line.starts_with('/'))
                .map(PathBuf::from)
                .collect::<Vec<_>>()
        })
        .collect();
    for folder in configured.into_iter().chain(library_folders(root)) {
        let names = fs::read_dir(root.path(&folder)).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(LIBCAMERA)).collect();
        // libcamera.so.0.5 is a link to libcamera.so.0.5.2.
        names.sort_by_key(String::len);
        libraries.extend(names.into_iter().map(|name| (name, folder.clone())));
    }
    libraries
}

/// What `gst-inspect-1.0` said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GstInspect {
    /// Whether `gst-inspect-1.0 swsync` describes the plugin.
    pub knows_plugin: bool,
    /// The version in that description.
    pub version: Option<String>,
    /// The list of `gst-inspect-1.0 -b`.
    pub blacklist: String,
}

/// Whether GStreamer itself knows the plugin. `inspected` is `Err` with the reason if `gst-inspect-1.0` cannot be run.
#[must_use]
pub fn judge_gst_inspect(inspected: Result<GstInspect, String>, own_version: &str) -> Check {
    const ID: &str = "plugin-loads";
    let inspected = match inspected {
        Ok(inspected) => inspected,
        Err(why) => return Check::unknown(ID, why, "sudo apt install gstreamer1.0-tools"),
    };
    let file = |line: &&str| Path::new(line.trim()).file_name() == Some(OsStr::new(LIBRARY));
    if let Some(line) = inspected.blacklist.lines().find(file) {
        let finding = Problem::PluginBlacklisted.finding(
            "GStreamer has put swsync's plugin on its list of those that it does not load: it failed once, most likely for a missing \
             library",
            format!("gst-inspect-1.0 -b lists {}", line.trim()),
            "rm -f ~/.cache/gstreamer-1.0/registry.*.bin; if it is listed again, ldd of the file says which library is missing",
        );
        return Check::found(ID, vec![finding], "");
    }
    if !inspected.knows_plugin {
        let finding = Problem::PluginNotFound.finding(
            "GStreamer does not know swsync's plugin",
            "gst-inspect-1.0 swsync: no such element or plugin",
            "GST_PLUGIN_PATH has to name the folder with libgstswsync.so, or install it: sudo meson install -C build --no-rebuild",
        );
        return Check::found(ID, vec![finding], "");
    }
    let finding = inspected.version.as_deref().filter(|version| *version != own_version).map(|version| {
        Problem::MixedVersions.finding(
            "plugin and command are of different versions of swsync",
            format!("gst-inspect-1.0 swsync: version {version}; swsync --version: {own_version}"),
            "install both from one build: sudo meson install -C build --no-rebuild",
        )
    });
    let version = inspected.version.clone().unwrap_or_default();
    Check::found(ID, finding.into_iter().collect(), format!("version {version}"))
}
