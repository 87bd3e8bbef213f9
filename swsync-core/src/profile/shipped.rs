//! The profiles that come with swsync.

use super::camera::{CameraProfile, base_model};

const SHIPPED: [(&str, &str); 6] = [
    ("imx219", include_str!("../../profiles/imx219.json")),
    ("imx296", include_str!("../../profiles/imx296.json")),
    ("imx477", include_str!("../../profiles/imx477.json")),
    ("imx708", include_str!("../../profiles/imx708.json")),
    ("ov5647", include_str!("../../profiles/ov5647.json")),
    ("ov9281", include_str!("../../profiles/ov9281.json")),
];

/// The shipped profile of `model` or of its base model, if there is one.
#[must_use]
pub fn shipped(model: &str) -> Option<CameraProfile> {
    let model = base_model(model);
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == model)?;
    Some(CameraProfile::from_json(text).expect("a test reads every shipped profile"))
}

impl CameraProfile {
    /// The shipped profile of `model`, or the profile of an unknown camera.
    #[must_use]
    pub fn of_model(model: &str) -> Self {
        shipped(model).unwrap_or_else(|| Self::unknown(model))
    }
}

/// The models with a shipped profile.
pub fn shipped_models() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}
