//! The login, other sites, spectators, TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::http::exchange;
use crate::rig::Rig;
use crate::wait_for;

#[test]
fn a_rig_with_a_key_asks_for_a_login() {
    let rig = Rig::keyed(1);
    let program = rig.dashboard(&[]);
    let token = program.token().expect("the address has one");
    assert_eq!(program.get("/api/v1/events").status, 401);
    assert_eq!(program.post("/api/v1/shoot", &json!({})).status, 401);
    assert_eq!(program.get("/").status, 200, "the page itself, to log in with");
    assert_eq!(program.post("/api/v1/login", &json!({ "token": "x" })).status, 401);
    let login = program.post("/api/v1/login", &json!({ "token": token }));
    assert_eq!(login.status, 200);
    let cookie = login.field("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(program.ask("GET", "/api/v1/orders", &[("Cookie", pair)], None).status, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(program.ask("GET", "/api/v1/orders", &[("Authorization", bearer.as_str())], None).status, 200);
}

#[test]
fn pages_of_other_sites_press_nothing() {
    let rig = Rig::new(1);
    let program = rig.dashboard(&[]);
    wait_for(&program, 1);
    let shoot =
        |fields: &[(&str, &str)]| program.ask("POST", "/api/v1/shoot", fields, Some(&json!({}))).status;
    assert_eq!(shoot(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(shoot(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(shoot(&[("Host", "evil.example")]), 421);
    let form = [("Content-Type", "text/plain"), ("Content-Length", "2")];
    assert_eq!(program.ask("POST", "/api/v1/shoot", &form, None).status, 415, "as a form sends it");
    assert_eq!(program.get("/api/v1/orders").json(), json!([]), "nothing was taken");
    let own = format!("http://{}", program.host());
    assert_eq!(shoot(&[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")]), 202);
}

#[test]
fn spectators_see_everything_and_change_nothing() {
    let rig = Rig::new(1);
    let program = rig.dashboard(&["--read-only"]);
    wait_for(&program, 1);
    let refused = program.post("/api/v1/shoot", &json!({}));
    assert_eq!(refused.status, 403);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("spectators"));
    let (_, state) = program.events().next().unwrap();
    assert_eq!(state["read_only"], true);
}

#[test]
fn a_given_certificate_is_used() {
    let rig = Rig::new(1);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (rig.path("cert.pem"), rig.path("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let program = rig.dashboard(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    assert!(program.url.starts_with("https://"), "{}", program.url);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = StreamOwned::new(connection, TcpStream::connect(program.host()).unwrap());
    let answer = exchange(stream, "localhost", "GET", "/", &[], None);
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("<title>swsync</title>"));
}
