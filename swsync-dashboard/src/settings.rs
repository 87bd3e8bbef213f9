//! The cameras' settings: read, set, lock, and presets. As the commands do it.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use swsync_cli::documents::{GetDocument, NotSetDocument, SetDocument, TargetArgs};
use swsync_cli::lock::{lock_cameras, unlock_cameras};
use swsync_cli::preset::{apply_preset, file, list_presets, save_preset};
use swsync_client::camera_settings::{ChangeError, ChangeRequest, change_cameras, read_cameras};
use swsync_client::removal::wall_clock;
use swsync_client::snapshot::default_id;
use swsync_core::camera_settings::ChangePart;
use swsync_core::name::Name;
use swsync_core::time::{Rig, Timestamp};

use crate::api::{Asked, Dash, Named, To};
use crate::failure::Failure;
use crate::json::{Body, Json};
use crate::requests::{LockRequest, SavePresetRequest, SetRequest, ToRequest, names};
use crate::state::blocking;

/// How long to wait for the cameras to confirm a change.
const PATIENCE: Duration = Duration::from_secs(10);

fn document(document: &impl Serialize) -> Json<Value> {
    Json(serde_json::to_value(document).unwrap_or_default())
}

/// `GET /api/v1/settings`.
pub async fn get(State(dashboard): Dash, Asked(query): To) -> Result<Json<Value>, Failure> {
    let to = TargetArgs::new(names(query.to.as_deref())?);
    let rig = dashboard.rig()?;
    blocking(move || {
        let targets = to.resolve_in(rig.session()).map_err(anyhow::Error::from)?;
        Ok(document(&GetDocument::of(&read_cameras(rig.session(), &targets))))
    })
    .await
}

/// `PATCH /api/v1/settings`.
pub async fn set(State(dashboard): Dash, Body(request): Body<SetRequest>) -> Result<Json<Value>, Failure> {
    if request.assign.is_empty() {
        return Err(Failure::usage(
            "assign: nothing is set",
            "name a control, like {\"exposure-time\": 5000}",
        ));
    }
    let rig = dashboard.rig()?;
    blocking(move || {
        let to = TargetArgs::new(request.to);
        let targets = to.resolve_in(rig.session()).map_err(anyhow::Error::from)?;
        let now = Timestamp::<Rig>::from_nanos(wall_clock().as_nanos());
        let id = default_id("set", now, rand::random()).map_err(anyhow::Error::from)?;
        let parts = vec![ChangePart { targets, assign: request.assign }];
        let change = ChangeRequest { id, parts, partial: request.partial, patience: PATIENCE };
        match change_cameras(rig.session(), &change) {
            Ok(changed) => Ok(document(&SetDocument::of(&changed))),
            Err(ChangeError::Nobody) => {
                Err(anyhow::Error::from(rig.session().nobody_there(Duration::ZERO)).into())
            }
            Err(error) => Err(Failure::conflict(&NotSetDocument::new(&error))),
        }
    })
    .await
}

/// `POST /api/v1/settings/lock-3a`.
pub async fn lock(State(dashboard): Dash, Body(request): Body<LockRequest>) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || {
        let to = TargetArgs::new(request.to);
        Ok(document(&lock_cameras(rig.session(), &to, request.from.as_ref())?))
    })
    .await
}

/// `POST /api/v1/settings/unlock-3a`.
pub async fn unlock(State(dashboard): Dash, Body(request): Body<ToRequest>) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || Ok(document(&unlock_cameras(rig.session(), &TargetArgs::new(request.to))?.0))).await
}

/// `GET /api/v1/presets`.
pub async fn presets() -> Result<Json<Value>, Failure> {
    blocking(|| {
        let folder = file::folder().map_err(anyhow::Error::from)?;
        Ok(Json(json!({ "presets": list_presets(&folder).map_err(anyhow::Error::from)? })))
    })
    .await
}

/// `PUT /api/v1/presets/{preset}`.
pub async fn save(
    State(dashboard): Dash,
    Named(preset): Named<Name>,
    Body(request): Body<SavePresetRequest>,
) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || {
        let to = TargetArgs::new(request.to);
        Ok(document(&save_preset(rig.session(), &preset, &to, request.force)?))
    })
    .await
}

/// `POST /api/v1/presets/{preset}/apply`.
pub async fn apply(
    State(dashboard): Dash,
    Named(preset): Named<Name>,
    Body(request): Body<ToRequest>,
) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    blocking(move || Ok(document(&apply_preset(rig.session(), &preset, &TargetArgs::new(request.to))?.0)))
        .await
}
