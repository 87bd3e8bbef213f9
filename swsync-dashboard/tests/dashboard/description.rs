//! openapi.json is what the types are, and what the server answers is valid by it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use swsync_cli::schema::WRITE_VARIABLE;
use swsync_dashboard::api::{OPENAPI, routes};
use swsync_dashboard::openapi;

use crate::http::Answer;
use crate::rig::{Program, Rig};
use crate::{shoot, wait_for};

#[test]
fn the_file_is_what_the_types_are() {
    let text = format!("{:#}\n", openapi::document());
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        return std::fs::write(path, text).unwrap();
    }
    assert!(
        OPENAPI == text,
        "openapi.json is not what the types are now: {WRITE_VARIABLE}=1 makes this test write it"
    );
}

#[test]
fn it_describes_every_route_and_no_other() {
    let document = openapi::document();
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let served: BTreeSet<_> =
        routes().iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, served);
}

/// Panics unless `answer` is one that the description has for this operation.
fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let responses = &document["paths"][path][method]["responses"];
    let described = match &responses[answer.status.to_string()] {
        Value::Null => {
            assert!(answer.status >= 400, "{method} {path}: {} is not described", answer.status);
            &responses["default"]
        }
        described => described,
    };
    let Some(schema) = described["content"].get("application/json").map(|content| &content["schema"]) else {
        let kind = answer.field("content-type").unwrap();
        let kinds: Vec<_> = described["content"].as_object().unwrap().keys().cloned().collect();
        assert!(kinds.iter().any(|known| kind.starts_with(known.as_str())), "{method} {path}: {kind}");
        return;
    };
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let body = answer.json();
    let errors: Vec<_> =
        validator.iter_errors(&body).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path} {}: {errors:#?} in {body:#}", answer.status);
}

/// What is asked for each operation: good, and not good.
fn requests(order: &str, file: &str) -> Vec<(&'static str, &'static str, String, Option<Value>)> {
    let r = |method, path: &'static str, query: &str, body| {
        let filled = path.replace("{order}", order).replace("{device}", "cam0").replace("{preset}", "noon");
        (method, path, filled + query, body)
    };
    vec![
        r("post", "/api/v1/login", "", Some(json!({ "token": "" }))),
        r("post", "/api/v1/login", "", Some(json!({}))),
        r("get", "/api/v1/openapi.json", "", None),
        r("get", "/api/v1/status", "", None),
        r("get", "/api/v1/history", "?devices=cam0&last=3", None),
        r("get", "/api/v1/history", "?last=many", None),
        r("get", "/api/v1/devices/{device}/thumbnail", "?width=64", None),
        r("get", "/api/v1/devices/{device}/thumbnail", "?width=9", None),
        r("get", "/api/v1/exchanges", "?devices=cam0,cam1", None),
        r("get", "/api/v1/exchanges", "", None),
        r("get", "/api/v1/date", "", None),
        r("post", "/api/v1/date", "", Some(json!({ "after_rig_time_us": 5, "utc_ms": 5 }))),
        r("post", "/api/v1/date", "", Some(json!({ "utc_ms": 5 }))),
        r("post", "/api/v1/shoot", "", Some(json!({ "in": "200ms" }))),
        r("post", "/api/v1/shoot", "", Some(json!({ "need": "9" }))),
        r("post", "/api/v1/shoot", "", Some(json!({ "to": ["nobody"] }))),
        r("post", "/api/v1/shoot", "", Some(json!({ "when": "now" }))),
        r("post", "/api/v1/record", "", Some(json!({ "for": "soon" }))),
        r("post", "/api/v1/record", "", Some(json!({ "for": "200ms", "id": "a-take" }))),
        r("get", "/api/v1/orders", "", None),
        r("get", "/api/v1/orders/{order}", "?wait=1s", None),
        r("get", "/api/v1/orders/{order}", "?wait=soon", None),
        r("post", "/api/v1/orders/{order}/stop", "", Some(json!({}))),
        r("post", "/api/v1/orders/{order}/cancel", "", Some(json!({}))),
        r("get", "/api/v1/settings", "", None),
        r("get", "/api/v1/settings", "?to=nobody", None),
        r("patch", "/api/v1/settings", "", Some(json!({ "assign": { "exposure-time": 5000 } }))),
        r("patch", "/api/v1/settings", "", Some(json!({ "assign": { "mood": 1 } }))),
        r("post", "/api/v1/settings/lock-3a", "", Some(json!({}))),
        r("post", "/api/v1/settings/unlock-3a", "", Some(json!({}))),
        r("get", "/api/v1/presets", "", None),
        r("put", "/api/v1/presets/{preset}", "", Some(json!({}))),
        r("post", "/api/v1/presets/{preset}/apply", "", Some(json!({}))),
        r("get", "/api/v1/takes", "", None),
        r("get", "/api/v1/takes/{order}/frames", "", None),
        r("get", "/api/v1/takes/{order}/certificate", "", None),
        r("get", "/api/v1/takes/{order}/zip", "", None),
        r("get", "/api/v1/takes/{order}/report", "", None),
        r("get", "/api/v1/takes/{order}/report.html", "", None),
        r("post", "/api/v1/takes/{order}/report", "", Some(json!({}))),
        r("get", "/api/v1/takes/{order}/report", "", None),
        r("put", "/api/v1/takes/{order}/note", "", Some(json!({ "text": "good" }))),
        r("put", "/api/v1/takes/{order}/note", "", Some(json!({ "text": "two\nlines" }))),
        r("get", "/api/v1/takes/{order}/devices/{device}/file", &format!("?path={file}"), None),
        r("get", "/api/v1/takes/{order}/devices/{device}/file", "?path=..%2Fx", None),
        r("get", "/api/v1/takes/{order}/devices/{device}/file", "?path=x&width=1", None),
        r("get", "/api/v1/takes/{order}/devices/{device}/file", "", None),
    ]
}

fn ask(program: &Program, method: &str, path: &str, body: Option<&Value>) -> Answer {
    program.ask(&method.to_uppercase(), path, &[], body)
}

#[test]
fn the_server_answers_as_it_is_described() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    let document = program.get("/api/v1/openapi.json").json();
    let done = shoot(&program, &json!({ "in": "0s" }));
    let (order, file) =
        (done["order"].as_str().unwrap(), done["answers"][0]["frames"][0]["file"].as_str().unwrap());
    let mut asked = BTreeSet::from([("get", "/api/v1/events")]);
    for (method, path, filled, body) in requests(order, file.rsplit('/').next().unwrap()) {
        // Whoever asks too often has to wait, which is not what this is about.
        let answer = crate::until("asked less often", || {
            let answer = ask(&program, method, &filled, body.as_ref());
            (answer.status != 429).then_some(answer)
        });
        assert_ne!(answer.status, 500, "{method} {filled}: {}", String::from_utf8_lossy(&answer.body));
        check(&document, method, path, &answer);
        asked.insert((method, path));
    }
    assert_eq!(asked.len(), routes().len(), "{asked:?}");
    for (name, event) in [("StateEvent", "state"), ("ChangeEvent", "change")] {
        let (_, data) = program.events().find(|(kind, _)| kind == event).unwrap();
        let schema =
            json!({ "$ref": format!("#/components/schemas/{name}"), "components": document["components"] });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&data).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:#?} in {data:#}");
    }
}

#[test]
fn an_unknown_path_and_a_wrong_method_say_where_to_look() {
    let rig = Rig::new(1);
    let program = rig.dashboard(&[]);
    for (method, path, status) in
        [("GET", "/api/v1/nothing", 404), ("DELETE", "/api/v1/shoot", 405), ("GET", "/x", 404)]
    {
        let answer = program.ask(method, path, &[], None);
        assert_eq!(answer.status, status, "{method} {path}");
        let error = answer.json();
        assert!(error["error"]["remedy"].as_str().unwrap().contains("/api/v1/openapi.json"), "{error}");
    }
}
