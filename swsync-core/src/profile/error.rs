//! Errors of profiles, and the check of their numbers.

/// An error in a profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Invalid JSON, an unknown field, or a field of the wrong type.
    #[error("this is not a camera profile: {0}")]
    Json(#[from] serde_json::Error),
    /// Valid JSON, but not an object.
    #[error("this is not a camera profile: expected an object, like {{\"model\": \"imx219\"}}")]
    NoObject,
    /// An implausible number.
    #[error("{field} is {value}, which no camera has: expected {expected}")]
    Value {
        /// The field.
        field: String,
        /// Its value.
        value: f64,
        /// The plausible range.
        expected: &'static str,
    },
    /// An invalid model name.
    #[error(
        "model is {0:?}: expected the sensor's name, in lower case letters, digits, `-` and `.`, like imx219"
    )]
    Model(String),
    /// The file describes another camera.
    #[error("this is the profile of {found}, not of {wanted}")]
    OtherModel {
        /// The model in the file.
        found: String,
        /// The expected model.
        wanted: String,
    },
}

/// Checks that `value` is within the limits, and not NaN.
pub(super) fn within(
    field: &str,
    value: f64,
    (least, most): (f64, f64),
    expected: &'static str,
) -> Result<(), ProfileError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ProfileError::Value { field: field.to_owned(), value, expected })
    }
}
