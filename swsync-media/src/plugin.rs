//! Whether GStreamer has swsync's plugin, its device provider, and the reasons if it does not.

use std::path::PathBuf;

use gst::prelude::*;

const PROVIDER: &str = "swsyncdeviceprovider";
const LIBRARY: &str = "libgstswsync.so";

/// Why the plugin, or its device provider, is missing.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// GStreamer does not find the plugin's file.
    #[error(
        "GStreamer does not find swsync's plugin: does `gst-inspect-1.0 swsync`? GST_PLUGIN_PATH has to name the folder with \
         {LIBRARY}"
    )]
    NotFound,
    /// The file is there, but the system cannot load it: a library that it needs is missing, most likely libcamera.
    #[error(
        "GStreamer cannot load swsync's plugin {}: {why}. Install the library that it names (`ldd {0}` lists all that are \
         missing), or build the plugin again with the libcamera of this system",
        path.display()
    )]
    NotLoadable {
        /// The plugin.
        path: PathBuf,
        /// The dynamic linker's error.
        why: String,
    },
    /// The plugin was built without libcamera.
    #[error(
        "swsync's plugin was built without libcamera, so it finds no cameras (its backends: {backends}): build it with \
         cargo's feature `libcamera`"
    )]
    WithoutLibcamera {
        /// What it was built with.
        backends: String,
    },
}

/// The plugin's device provider.
///
/// # Errors
/// [`PluginError`].
pub fn device_provider() -> Result<gst::DeviceProvider, PluginError> {
    check_loaded()?;
    let backends = backends();
    let provider = gst::DeviceProviderFactory::find(PROVIDER).and_then(|factory| factory.get());
    provider.filter(|_| backends.iter().any(|backend| backend == "libcamera")).ok_or_else(|| {
        let backends = if backends.is_empty() { "none".into() } else { backends.join(", ") };
        PluginError::WithoutLibcamera { backends }
    })
}

/// Fails if GStreamer does not have the plugin, or cannot load it.
///
/// # Errors
/// [`PluginError`].
pub fn check_loaded() -> Result<(), PluginError> {
    // GStreamer's registry has the plugin by its name if it could be loaded once, even if a library that it needs has gone since.
    // Else it has only the file. It never has the reason, which loading the file gives.
    let registry = gst::Registry::get();
    let by_name = registry.find_plugin("swsync").and_then(|plugin| plugin.filename());
    let mut files = registry.plugins().into_iter().filter_map(|plugin| plugin.filename());
    let path = by_name.or_else(|| files.find(|path| path.file_name().is_some_and(|name| name == LIBRARY)));
    let path = path.ok_or(PluginError::NotFound)?;
    match gst::Plugin::load_file(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(PluginError::NotLoadable { path, why: error.message().to_owned() }),
    }
}

/// The camera backends that the plugin was built with: the values of swsyncsrc's property.
fn backends() -> Vec<String> {
    let source = gst::ElementFactory::find("swsyncsrc").and_then(|factory| factory.load().ok());
    let class = source
        .and_then(|factory| gst::glib::object::Class::<gst::Element>::from_type(factory.element_type()));
    let property = class.and_then(|class| class.find_property("backend"));
    let values = property.and_then(|property| gst::glib::EnumClass::with_type(property.value_type()));
    values.iter().flat_map(|values| values.values()).map(|value| value.nick().to_owned()).collect()
}
