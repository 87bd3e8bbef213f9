//! What a request that fails gets: the document that a command prints if it fails, and a status code.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use swsync_cli::error_report::{ErrorDocument, ErrorKind, ErrorReport, failure};
use swsync_cli::preset::file::PresetError;

use crate::json::Json;

/// Why a request gets no answer of its own kind.
#[derive(Debug)]
pub enum Failure {
    /// The error, and the status code that says what kind it is.
    Error(StatusCode, Box<ErrorReport>),
    /// What stands in the way, as a document of its own: devices that are not ready, or refuse a value.
    Conflict(Value),
}

impl Failure {
    /// With this status, a message and what to do about it.
    pub fn new(status: StatusCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let mut report = ErrorReport::of(&failure(message, remedy));
        report.kind = match status {
            StatusCode::BAD_REQUEST => ErrorKind::Usage,
            StatusCode::NOT_FOUND => ErrorKind::NoOrder,
            _ => ErrorKind::Failed,
        };
        report.code = report.kind.code();
        Self::Error(status, Box::new(report))
    }

    /// The request is wrong.
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, remedy)
    }

    /// What is asked for is not there.
    pub fn not_found(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, remedy)
    }

    /// In a line.
    pub fn text(&self) -> String {
        match self {
            Self::Error(_, report) => report.message.clone(),
            Self::Conflict(document) => document.to_string(),
        }
    }

    /// Something stands in the way, which `document` describes.
    pub fn conflict(document: &impl Serialize) -> Self {
        Self::Conflict(serde_json::to_value(document).unwrap_or_default())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let report = ErrorReport::of(&error);
        let status = match report.kind {
            ErrorKind::Usage | ErrorKind::Order | ErrorKind::Settings => StatusCode::BAD_REQUEST,
            ErrorKind::NoOrder => StatusCode::NOT_FOUND,
            ErrorKind::NoRig | ErrorKind::NoRigTime => StatusCode::SERVICE_UNAVAILABLE,
            _ => match error.downcast_ref::<PresetError>() {
                Some(PresetError::None { .. }) => StatusCode::NOT_FOUND,
                Some(PresetError::Exists { .. }) => StatusCode::CONFLICT,
                Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
                // The rig, or a device of it.
                None => StatusCode::BAD_GATEWAY,
            },
        };
        Self::Error(status, Box::new(report))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Error(status, report) => (status, Json(ErrorDocument { error: *report })).into_response(),
            Self::Conflict(document) => (StatusCode::CONFLICT, Json(document)).into_response(),
        }
    }
}
