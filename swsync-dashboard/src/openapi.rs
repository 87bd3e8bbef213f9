//! The description of the API: from its types, and the list of its routes.
//!
//! OpenAPI 3.1 takes JSON Schema as it is, so that schemars is all it needs.

use std::collections::BTreeMap;

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use swsync_cli::documents::{
    GivenDocument, ListedPreset, NotReadyDocument, NoteJson, OrderDocument, PresetResult, StatusDocument,
    TakesJson,
};
use swsync_cli::error_report::ErrorDocument;
use swsync_core::certificate::TakeCertificate;

use crate::api::{EndedDocument, HistoryQuery, LoginDocument, WaitQuery};
use crate::date::{DateDocument, DateGivenDocument, DateRequest};
use crate::history::Sample;
use crate::live::{ChangeEvent, StateEvent};
use crate::orders::OrderState;
use crate::peeks::{DeviceExchanges, ExchangesQuery, ThumbnailQuery};
use crate::report::ReportState;
use crate::requests::{
    LockRequest, LoginRequest, NoteRequest, RecordRequest, SavePresetRequest, SetRequest, ShootRequest,
    ToQuery, ToRequest,
};
use crate::takes::{FileQuery, FramesDocument};

type Generate = fn(&mut SchemaGenerator) -> Schema;

/// What an operation answers.
enum Answer {
    Json(u16, Generate),
    Other(&'static [&'static str]),
}

/// A method at a path.
struct Operation {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    query: Option<Generate>,
    body: Option<Generate>,
    answer: Answer,
    conflict: Option<Generate>,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The schema itself rather than a reference to it: for parameters.
fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// What `swsync get`, `set` and `lock` print: their documents have values of whatever kind a control is of.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json!({ "type": "object" }).try_into().expect("an object is a schema")
}

/// Presets, as `swsync preset list --json` has them.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is needed")]
struct PresetsDocument {
    /// By name.
    presets: Vec<ListedPreset>,
}

const fn op(method: &'static str, path: &'static str, about: &'static str, answer: Answer) -> Operation {
    Operation { method, path, about, query: None, body: None, answer, conflict: None }
}

impl Operation {
    fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(inline::<T>), ..self }
    }

    fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(of::<T>), ..self }
    }

    fn conflict(self, conflict: Generate) -> Self {
        Self { conflict: Some(conflict), ..self }
    }
}

const OK: u16 = 200;
const ACCEPTED: u16 = 202;

fn operations() -> Vec<Operation> {
    use Answer::{Json, Other};
    let orders = || Json(OK, of::<OrderState>);
    vec![
        op("post", "/api/v1/login", "Log in; the answer sets a cookie. An empty token asks whether one is needed.", Json(OK, of::<LoginDocument>)).body::<LoginRequest>(),
        op("get", "/api/v1/openapi.json", "This description.", Json(OK, any_object)),
        op("get", "/api/v1/status", "What `swsync status --json` prints.", Json(OK, of::<StatusDocument>)),
        op("get", "/api/v1/events", "Server-sent events: `state` (StateEvent) first, then `change` (ChangeEvent) once a second, and `order` (OrderState) whenever an answer comes.", Other(&["text/event-stream"])),
        op("get", "/api/v1/history", "Samples of the last ten minutes, by device: [ms since 1970, phase error in us, clock 1 sigma in us, round trip in us].", Json(OK, of::<BTreeMap<String, Vec<Sample>>>)).query::<HistoryQuery>(),
        op("get", "/api/v1/devices/{device}/thumbnail", "A frame of the device's ring as a small picture, made by the device. The fields swsync-frame and swsync-at-ms of the answer say which. An error says why there is none.", Other(&["image/jpeg"])).query::<ThumbnailQuery>(),
        op("get", "/api/v1/exchanges", "The recent exchanges of devices' clocks with their time server, by device.", Json(OK, of::<BTreeMap<String, DeviceExchanges>>)).query::<ExchangesQuery>(),
        op("get", "/api/v1/date", "Rig time, and what date it stands for.", Json(OK, of::<DateDocument>)),
        op("post", "/api/v1/date", "Say what date rig time stands for: read a clock after GET /api/v1/date was answered, and send it at once. No frame is moved by it.", Json(OK, of::<DateGivenDocument>)).body::<DateRequest>().conflict(of::<ErrorDocument>),
        op("post", "/api/v1/shoot", "Give an order as `swsync shoot` does. The answer says that it was given, not that anything is saved.", Json(ACCEPTED, of::<GivenDocument>)).body::<ShootRequest>().conflict(of::<NotReadyDocument>),
        op("post", "/api/v1/record", "Give an order as `swsync record` does.", Json(ACCEPTED, of::<GivenDocument>)).body::<RecordRequest>().conflict(of::<NotReadyDocument>),
        op("get", "/api/v1/orders", "The orders that were given here lately.", Json(OK, of::<Vec<OrderState>>)),
        op("get", "/api/v1/orders/{order}", "How an order stands.", orders()).query::<WaitQuery>(),
        op("post", "/api/v1/orders/{order}/stop", "End an order on all devices at one instant, whoever gave it.", Json(OK, of::<EndedDocument>)),
        op("post", "/api/v1/orders/{order}/cancel", "Cancel an order: what is not on disk need not be.", Json(OK, of::<EndedDocument>)),
        op("get", "/api/v1/settings", "What `swsync get --json` prints.", Json(OK, any_object)).query::<ToQuery>(),
        op("patch", "/api/v1/settings", "Set cameras, all at one frame number. What `swsync set --json` prints.", Json(OK, any_object)).body::<SetRequest>().conflict(any_object),
        op("post", "/api/v1/settings/lock-3a", "What `swsync lock 3a --json` prints.", Json(OK, any_object)).body::<LockRequest>(),
        op("post", "/api/v1/settings/unlock-3a", "What `swsync unlock 3a --json` prints.", Json(OK, any_object)).body::<ToRequest>(),
        op("get", "/api/v1/presets", "The presets on the dashboard's host.", Json(OK, of::<PresetsDocument>)),
        op("put", "/api/v1/presets/{preset}", "Save what the cameras use now.", Json(OK, of::<PresetResult>)).body::<SavePresetRequest>(),
        op("post", "/api/v1/presets/{preset}/apply", "Set the cameras to a preset.", Json(OK, of::<PresetResult>)).body::<ToRequest>(),
        op("get", "/api/v1/takes", "What `swsync takes --json` prints.", Json(OK, of::<TakesJson>)),
        op("get", "/api/v1/takes/{order}/frames", "The frames of a take on each device.", Json(OK, of::<FramesDocument>)),
        op("get", "/api/v1/takes/{order}/certificate", "What `swsync certify --json` prints: how far pictures of one number may be apart.", Json(OK, of::<TakeCertificate>)),
        op("get", "/api/v1/takes/{order}/zip", "All files of a take. MISSING.txt in it lists what could not be read.", Other(&["application/zip"])),
        op("get", "/api/v1/takes/{order}/report", "How far the report on a take is.", Json(OK, of::<ReportState>)),
        op("post", "/api/v1/takes/{order}/report", "Make what `swsync report` makes: the take's files are fetched to the dashboard's host, and removed again.", Json(ACCEPTED, of::<ReportState>)),
        op("get", "/api/v1/takes/{order}/report.html", "The report on a take, once it is made.", Other(&["text/html"])),
        op("put", "/api/v1/takes/{order}/note", "Write a note on a take, as `swsync note` does.", Json(OK, of::<NoteJson>)).body::<NoteRequest>(),
        op("get", "/api/v1/takes/{order}/devices/{device}/file", "A file of a take, or the picture in it, scaled.", Other(&["application/octet-stream", "image/jpeg"])).query::<FileQuery>(),
    ]
}

/// Generators of what is sent and of what is received, whose definitions go together.
struct Generators {
    sent: SchemaGenerator,
    received: SchemaGenerator,
}

impl Generators {
    fn new() -> Self {
        let of = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.contract = contract;
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.into_generator()
        };
        Self { sent: of(Contract::Serialize), received: of(Contract::Deserialize) }
    }

    fn definitions(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        for (name, schema) in self.received.take_definitions(true) {
            let known = all.insert(name.clone(), schema.clone());
            assert!(known.is_none_or(|known| known == schema), "two types are called {name}");
        }
        all
    }
}

/// The names in braces of a path.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|part| part.split('}').next())
}

fn parameters(operation: &Operation, generators: &mut Generators) -> Vec<Value> {
    let name =
        json!({ "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", "maxLength": 64 });
    let mut all: Vec<_> = in_path(operation.path)
        .map(|part| json!({ "name": part, "in": "path", "required": true, "schema": name }))
        .collect();
    let Some(query) = operation.query else { return all };
    let schema = query(&mut generators.received).to_value();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, schema) in schema["properties"].as_object().cloned().unwrap_or_default() {
        let is_required = required.contains(&Value::from(name.clone()));
        all.push(json!({ "name": name, "in": "query", "required": is_required, "schema": schema }));
    }
    all
}

fn describe(operation: &Operation, generators: &mut Generators) -> Value {
    let content = |schema: Schema| json!({ "application/json": { "schema": schema } });
    let mut responses = Map::new();
    match &operation.answer {
        Answer::Json(status, generate) => {
            let content = content(generate(&mut generators.sent));
            responses.insert(status.to_string(), json!({ "description": "Done", "content": content }));
        }
        Answer::Other(kinds) => {
            let content: Map<_, _> = kinds.iter().map(|kind| ((*kind).to_owned(), json!({}))).collect();
            responses.insert("200".into(), json!({ "description": "Done", "content": content }));
        }
    }
    if let Some(conflict) = operation.conflict {
        let content = content(conflict(&mut generators.sent));
        responses.insert(
            "409".into(),
            json!({ "description": "Nothing was done: who stands in the way, and why", "content": content }),
        );
    }
    let content_of_error = content(generators.sent.subschema_for::<ErrorDocument>());
    responses.insert(
        "default".into(),
        json!({ "description": "What failed, and what to do about it", "content": content_of_error }),
    );
    let mut described = json!({ "summary": operation.about, "responses": responses });
    let parameters = parameters(operation, generators);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "required": true, "content": content(body(&mut generators.received)) });
    }
    described
}

/// The description of the API.
///
/// # Panics
/// Two types have one name.
#[must_use]
pub fn document() -> Value {
    let mut generators = Generators::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let described = describe(&operation, &mut generators);
        paths.entry(operation.path).or_default().insert(operation.method.into(), described);
    }
    // What events carry.
    drop(generators.sent.subschema_for::<StateEvent>());
    drop(generators.sent.subschema_for::<ChangeEvent>());
    drop(generators.sent.subschema_for::<OrderDocument>());
    let mut schemas: Value = generators.definitions().into();
    swsync_cli::schema::describe(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "swsync dashboard",
            "description": "A rig of synchronized cameras. Documents are those that swsync's commands print with --json. A later version of \
                            v1 may have more fields and paths; what there is keeps its meaning.",
            "version": "1",
            "license": { "name": "MPL-2.0", "identifier": "MPL-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "The token that `swsync dashboard` printed" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": crate::access::COOKIE_NAME },
            },
        },
        "security": [{}, { "token": [] }, { "cookie": [] }],
    })
}
