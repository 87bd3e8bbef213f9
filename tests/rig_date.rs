//! The operator's browser says what date it is to a rig whose clocks are years off: it is noted, and no frame moves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use swsync_core::frame::LockState;
use swsync_core::order::FrameOutcome;

use crate::process::{Process, built, command, poll, retry_on_drops};
use crate::rig::{Rig, Shot, TestBed};

/// Seven years, in seconds: how far behind the devices' wall clocks are.
const BEHIND: i64 = 220_000_000;

/// A device with a wall clock of seven years ago.
fn device(bed: &TestBed, is_leader: bool) -> Process {
    let (device, seed) = if is_leader { (bed.leader(), 1) } else { (bed.client("client"), 2) };
    device
        .simulated(seed)
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset={seed}.25s,wall=-{BEHIND}s"))
        .start()
}

/// The dashboard of the rig, and its address.
fn dashboard(bed: &TestBed) -> (Process, String) {
    let mut command = command(built("swsync-dashboard"));
    command.args(["dashboard", "--listen", "127.0.0.1:0", "--json", "--rig", bed.rig_name()]);
    command.args(["--connect", bed.endpoint()]);
    let process = Process::start("dashboard", &bed.path(""), &mut command);
    let url = poll("the page's address", || {
        let said: Value = serde_json::from_str(&process.output()).ok()?;
        Some(said["url"].as_str()?.to_owned())
    });
    (process, url.trim_start_matches("http://").trim_end_matches('/').to_owned())
}

/// What the dashboard answers: head and body.
fn fetch(address: &str, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let fields = format!("Host: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}");
    write!(stream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// What the API answers, with its status code.
fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (head, body) = fetch(address, method, path, body);
    let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {head} {body}"));
    (head[9..12].parse().unwrap(), json)
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Says what date it is, as the page does.
fn give_date(address: &str) -> (u16, Value) {
    let (_, asked) = ask(address, "GET", "/api/v1/date", "");
    let body = json!({ "after_rig_time_us": asked["rig_time_us"], "utc_ms": now_ms() });
    ask(address, "POST", "/api/v1/date", &body.to_string())
}

/// Two frames of both devices.
fn shoot(rig: &Rig<'_>) -> Shot {
    retry_on_drops(|| {
        let shot = rig.shoot(&["--in", "500ms", "--count", "2"]);
        (!shot.has_drops()).then_some(shot)
    })
}

/// Asserts that the frames of `shot` have rig time's old date, and the numbers of that.
fn assert_of_rig_time(shot: &Shot) {
    assert_eq!((shot.code, shot.answers.len()), (Some(0), 2), "{shot:?}");
    for (device, frames) in &shot.answers {
        for frame in frames {
            let FrameOutcome::Saved { file, info, .. } = &frame.outcome else {
                panic!("{device}: {frame:?}")
            };
            let behind = now_ms() - info.rig_time_ns.as_nanos() / 1_000_000;
            assert!((behind - BEHIND * 1_000).abs() < 600_000, "{device}: {frame:?}");
            // 30 frames a second since 1970.
            let counted = u64::try_from(info.rig_time_ns.as_nanos() / 1_000_000 * 30 / 1_000).unwrap();
            assert!(info.number.abs_diff(counted) <= 1, "{device}: {frame:?}");
            assert!(file.ends_with(&format!("{}.jpg", info.number)), "{file}");
        }
    }
}

fn take_json(bed: &TestBed, order: &str, device: &str) -> Value {
    let path = bed.path("shots").join(order).join(device).join("take.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// By how many milliseconds the date of `take` at its begin is off.
fn error_ms(take: &Value, at_ms: i64) -> i64 {
    let ns = |name: &str| take["date"][name].as_i64().unwrap_or_else(|| panic!("{take:#}"));
    take["started_ns"].as_i64().unwrap() / 1_000_000 + (ns("utc_ns") - ns("rig_time_ns")) / 1_000_000 - at_ms
}

/// Makes the report of `order`, which takes what is on the devices and tells them nothing.
fn report_has_the_date(address: &str, order: &str) {
    let path = format!("/api/v1/takes/{order}/report");
    assert_eq!(ask(address, "GET", &path, "").0, 404, "none was made");
    assert_eq!(ask(address, "POST", &path, "{}").0, 202);
    let made = poll("the report", || {
        let (_, report) = ask(address, "GET", &path, "");
        ["ready", "failed"].contains(&report["stage"].as_str()?).then_some(report)
    });
    assert_eq!((&made["stage"], &made["problems"]), (&json!("ready"), &json!([])), "{made}");
    assert!(made["bytes"].as_u64() > Some(1000) && made["bytes"] == made["total"], "{made}");
    let (head, page) = fetch(address, "GET", &format!("{path}.html"), "");
    assert!(head.contains("sandbox allow-scripts") && !head.contains("default-src 'self'"), "{head}");
    assert!(page.contains("as browser at 127.0.0.1 said") && page.contains("One instant on all devices"));
    let (_, takes) = ask(address, "GET", "/api/v1/takes", "");
    let takes = takes["takes"].as_array().unwrap();
    assert!(takes.iter().all(|take| take["collected"] == false), "{takes:#?}");
}

#[test]
fn a_date_from_the_browser_is_noted_and_moves_no_frame() {
    let bed = TestBed::exclusive();
    let mut rig = Rig::with(&bed, vec![device(&bed, true), device(&bed, false)]);
    rig.wait_until_ready(LockState::Locked);
    let (first, address) = dashboard(&bed);
    poll("the page knows rig time", || (ask(&address, "GET", "/api/v1/date", "").0 == 200).then_some(()));

    let before = shoot(&rig);
    assert_of_rig_time(&before);
    assert!(take_json(&bed, &before.order, "client")["date"].is_null(), "nobody has said a date");

    let late = json!({ "after_rig_time_us": 5, "utc_ms": now_ms() });
    let (status, refused) = ask(&address, "POST", "/api/v1/date", &late.to_string());
    assert!(
        status == 409 && refused["error"]["remedy"].as_str().unwrap().contains("again"),
        "{status}: {refused}"
    );
    let (status, given) = give_date(&address);
    assert_eq!(
        (status, &given["devices"], &given["without"]),
        (200, &json!(["client", "leader"]), &json!([])),
        "{given}"
    );
    let uncertainty = given["date"]["uncertainty_ms"].as_f64().unwrap();
    assert!(uncertainty > 0.0 && uncertainty < 2_000.0, "{given}");

    let at = now_ms();
    let after = shoot(&rig);
    assert_of_rig_time(&after);
    for device in ["leader", "client"] {
        let take = take_json(&bed, &after.order, device);
        assert_eq!(take["date"]["by"], "browser at 127.0.0.1", "{take:#}");
        // Some attempts with dropped frames at most.
        assert!((0..120_000).contains(&error_ms(&take, at)), "{take:#}");
    }

    // What was taken before is listed with the date, too; and a dashboard that is started anew knows it.
    drop(first);
    let (_second, address) = dashboard(&bed);
    let takes = poll("the devices' takes", || {
        let (status, takes) = ask(&address, "GET", "/api/v1/takes", "");
        (status == 200 && takes["silent"].as_array()?.is_empty()).then_some(takes)
    });
    for take in takes["takes"].as_array().unwrap() {
        let year = |utc: &Value| utc.as_str().unwrap()[..4].parse::<i64>().unwrap();
        assert!(year(&take["dated"]["utc"]) >= year(&take["utc"]) + 6, "{take:#}");
    }
    poll("the page knows the date", || {
        let (_, date) = ask(&address, "GET", "/api/v1/date", "");
        (date["date"]["by"] == "browser at 127.0.0.1").then_some(())
    });
    let status = rig.swsync(&["status"]).wait();
    assert!(
        status.out.contains(" UTC +- ") && status.out.contains("as browser at 127.0.0.1 said"),
        "{status:#?}"
    );
    let listed = rig.swsync(&["takes", &before.order]).wait();
    assert!(listed.out.contains("* by the date that browser at 127.0.0.1 gave"), "{listed:#?}");

    report_has_the_date(&address, &after.order);

    // A device that comes back learns it from the hubs.
    drop(rig.take_last());
    rig.add(device(&bed, false));
    rig.wait_until_ready(LockState::Locked);
    poll("the device that came back knows the date", || {
        let statuses = rig.statuses();
        let client = statuses.iter().find(|status| status.device.as_str() == "client")?;
        client.date.is_some().then_some(())
    });
}
