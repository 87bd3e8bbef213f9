//! JSON in requests and responses. axum's own would add a feature to serde_json, and so have the whole workspace built anew.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

const JSON: &str = "application/json";
const REMEDY: &str = "send JSON (Content-Type: application/json) as /api/v1/openapi.json describes it";

/// A response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let bytes = serde_json::to_vec(&self.0).unwrap_or_default();
        ([(CONTENT_TYPE, JSON)], bytes).into_response()
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // A form of another site cannot send this type.
        if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case(JSON)) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Failure::new(status, format!("{kind:?} is not the type of JSON"), REMEDY));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| Failure::new(error.status(), error.body_text(), REMEDY))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Failure::usage(error.to_string(), REMEDY))
    }
}
