//! The dashboard's program beside rigs of devices without cameras.

mod description;
mod examples;
mod http;
mod rig;
mod security;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use rig::{Program, Rig, until};

/// Waits until the dashboard sees so many devices that are ready.
fn wait_for(program: &Program, ready: usize) {
    let seen = |(_, data): (String, Value)| (data["rig"]["ready"] == ready).then_some(());
    program.events().find_map(seen).expect("the stream goes on");
}

/// Gives an order and waits until it is done.
fn shoot(program: &Program, request: &Value) -> Value {
    let given = program.post("/api/v1/shoot", request);
    assert_eq!(given.status, 202, "{}", given.json());
    let order = given.json()["order"].as_str().unwrap().to_owned();
    let done = program.get(&format!("/api/v1/orders/{order}?wait=30s")).json();
    assert_eq!(done["stage"], "done", "{done:#}");
    done
}

#[test]
fn a_date_is_measured_noted_by_all_and_told_to_every_page() {
    let rig = Rig::new(3);
    let program = rig.dashboard(&[]);
    wait_for(&program, 3);
    let asked = program.get("/api/v1/date").json();
    assert_eq!(asked["date"], Value::Null, "{asked}");
    let rig_time_us = asked["rig_time_us"].as_i64().unwrap();
    // A phone that is 1000 s ahead.
    let utc_ms = rig_time_us / 1_000 + 1_000_000;
    let events = program.events();
    let given = program.post("/api/v1/date", &json!({ "after_rig_time_us": rig_time_us, "utc_ms": utc_ms }));
    assert_eq!(given.status, 200, "{}", given.json());
    let given = given.json();
    assert_eq!((given["devices"].as_array().unwrap().len(), &given["without"]), (3, &json!([])), "{given}");
    let (ahead, uncertainty) =
        (&given["date"]["ahead_ms"], given["date"]["uncertainty_ms"].as_f64().unwrap());
    #[expect(clippy::cast_precision_loss, reason = "some minutes in milliseconds")]
    let error = (ahead.as_i64().unwrap() - 1_000_000) as f64;
    assert!(error.abs() <= uncertainty + 1.0 && uncertainty < 2_100.0, "{given}");
    let told = |(kind, data): (String, Value)| {
        let date = data["rig"]["date"].clone();
        (kind == "change" && date.is_object()).then_some(date)
    };
    assert_eq!(events.into_iter().find_map(told).unwrap(), given["date"], "every page hears of it");
    assert_eq!(program.get("/api/v1/date").json()["date"], given["date"]);

    for (body, status) in [
        (json!({ "after_rig_time_us": 5, "utc_ms": utc_ms }), 409),
        (json!({ "after_rig_time_us": rig_time_us + 60_000_000, "utc_ms": utc_ms }), 409),
        (json!({ "after_rig_time_us": "now", "utc_ms": utc_ms }), 400),
        (json!({ "utc_ms": utc_ms }), 400),
    ] {
        let refused = program.post("/api/v1/date", &body);
        assert_eq!(refused.status, status, "{body}: {}", refused.json());
    }
    let now = program.get("/api/v1/date").json()["rig_time_us"].clone();
    let refused = program.post("/api/v1/date", &json!({ "after_rig_time_us": now, "utc_ms": 0 }));
    let why = refused.json()["error"]["message"].to_string();
    assert!(refused.status == 400 && why.contains("2020"), "{why}");
}

#[test]
fn a_press_is_answered_device_by_device_with_pictures() {
    let rig = Rig::new(3);
    let program = rig.dashboard(&[]);
    wait_for(&program, 3);
    let mut events = program.events();
    // From now on it is told of everything.
    assert_eq!(events.next().unwrap().0, "state");
    let done = shoot(&program, &json!({ "in": "0s", "need": "all" }));
    assert_eq!((&done["document"]["complete"], done["answers"].as_array().unwrap().len()), (&json!(true), 3));
    assert_eq!((done["waiting"].as_array().unwrap().len(), &done["spread_ns"]), (0, &json!(0)), "{done:#}");
    // Every page that is open has seen it grow.
    let stages = events.filter(|(kind, _)| kind == "order").map(|(_, order)| {
        (order["stage"].as_str().unwrap().to_owned(), order["answers"].as_array().unwrap().len())
    });
    let mut seen = Vec::new();
    for stage in stages {
        let is_done = stage.0 == "done";
        seen.push(stage);
        if is_done {
            break;
        }
    }
    assert!(seen.iter().map(|(_, answers)| answers).is_sorted() && seen.len() >= 4, "{seen:?}");
    let order = done["order"].as_str().unwrap();
    for answer in done["answers"].as_array().unwrap() {
        let (device, file) =
            (answer["device"].as_str().unwrap(), answer["frames"][0]["file"].as_str().unwrap());
        let name = file.rsplit('/').next().unwrap();
        let path = format!("/api/v1/takes/{order}/devices/{device}/file?path={name}");
        let small = program.get(&format!("{path}&width=160"));
        assert_eq!((small.status, small.field("content-type")), (200, Some("image/jpeg")), "{}", small.head);
        let picture = image::load_from_memory(&small.body).unwrap();
        assert_eq!((picture.width(), picture.height()), (160, 120));
        let whole = program.get(&path);
        let saved = std::fs::read(rig.path(device).join(order).join(device).join(name)).unwrap();
        assert!(whole.body == saved, "{} bytes of {}", whole.body.len(), saved.len());
    }
}

#[test]
fn a_device_is_looked_at_only_if_somebody_looks() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    assert_eq!((rig.looks(0), rig.looks(1)), (0, 0), "nobody looks");
    let look =
        |device: &str, query: &str| program.get(&format!("/api/v1/devices/{device}/thumbnail?{query}"));
    // However many pages look at once, the device is asked once.
    let at_once = || {
        let before = rig.looks(0);
        let begun = Instant::now();
        let pages: Vec<_> = std::thread::scope(|scope| {
            let pages = [(); 8].map(|()| scope.spawn(|| look("cam0", "width=160")));
            pages.into_iter().map(|page| page.join().unwrap()).collect()
        });
        for page in &pages {
            assert_eq!((page.status, page.field("content-type")), (200, Some("image/jpeg")), "{}", page.head);
            assert_eq!(image::load_from_memory(&page.body).unwrap().width(), 160);
        }
        let age = begun.elapsed();
        // On a busy machine they may come one after another.
        (age < Duration::from_millis(300)).then(|| rig.looks(0) - before)
    };
    assert_eq!(until("eight pages look at once", at_once), 1);
    let old = look("cam0", "width=64&frame=77");
    assert_eq!((old.status, old.field("swsync-frame")), (200, Some("77")), "{}", old.head);
    let none = look("cam1", "");
    let why = none.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(none.status == 409 && why.starts_with("its frames are video/x-h264"), "{} {why}", none.status);
    assert_eq!(look("nobody", "").status, 404);
    assert_eq!(look("cam0", "width=641").status, 400);
}

#[test]
fn the_exchanges_of_a_clock_are_told_or_why_there_are_none() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    let told = program.get("/api/v1/exchanges?devices=cam0,cam1,gone").json();
    assert_eq!(told["cam1"], json!({ "exchanges": [[1_500, 900.0, -12.0]], "problem": null }), "{told:#}");
    assert_eq!(told["cam0"]["problem"], "its clock asks no time server over the network");
    assert_eq!(told["gone"]["problem"], "gone is not in the rig now");
}

#[test]
fn an_order_is_not_given_unless_those_that_it_needs_are_ready() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    rig.set_trouble(1, true);
    wait_for(&program, 1);
    let refused = program.post("/api/v1/shoot", &json!({ "need": "all" }));
    assert_eq!(refused.status, 409);
    let refused = refused.json();
    assert_eq!(refused["devices"][1]["problems"], json!(["its disk is on fire"]), "{refused:#}");
    assert_eq!(program.get("/api/v1/orders").json(), json!([]), "nothing was given");
    assert_eq!(shoot(&program, &json!({ "need": "1" }))["answers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_device_that_goes_is_told_of_and_not_shown_as_well() {
    let mut rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    rig.lose_one();
    wait_for(&program, 1);
    let status = program.get("/api/v1/status").json();
    let devices = status["devices"].as_array().unwrap();
    let ready: Vec<_> = devices.iter().filter(|device| device["ready"] == true).collect();
    assert_eq!((ready.len(), &ready[0]["device"]), (1, &json!("cam0")), "{status:#}");
}

#[test]
fn a_take_is_listed_noted_and_downloaded_whole() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    let done = shoot(&program, &json!({ "count": 3, "in": "0s" }));
    let order = done["order"].as_str().unwrap();
    let takes = until("the take is listed", || {
        let takes = program.get("/api/v1/takes").json();
        (takes["takes"][0]["devices"] == 2).then_some(takes)
    });
    assert_eq!(takes["takes"][0]["order"], order, "{takes:#}");
    let frames = program.get(&format!("/api/v1/takes/{order}/frames")).json();
    let numbers = |device: usize| {
        let all = frames["devices"][device]["frames"].as_array().unwrap();
        all.iter().map(|frame| frame["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert!(numbers(0).len() == 3 && numbers(0) == numbers(1), "{frames:#}");
    let certificate = program.get(&format!("/api/v1/takes/{order}/certificate")).json();
    let parts = certificate["devices"].as_array().unwrap();
    assert_eq!((parts.len(), certificate["numbers"].as_array().unwrap().len()), (2, 3), "{certificate:#}");
    // By what the answers of this very order state.
    assert_eq!(certificate["worst_ns"], done["document"]["bounds"]["worst_ns"], "{certificate:#}");
    let note = format!("/api/v1/takes/{order}/note");
    let noted = program.ask("PUT", &note, &[], Some(&json!({ "text": "second try" })));
    assert_eq!((noted.status, &noted.json()["note"]), (200, &json!("second try")));
    let zipped = program.get(&format!("/api/v1/takes/{order}/zip"));
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zipped.body)).unwrap();
    for device in ["cam0", "cam1"] {
        let folder = rig.path(device).join(order).join(device);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{order}/{device}/{}", entry.file_name().to_str().unwrap());
            // What is not the take's own, such as locks, is not shared either.
            let Ok(mut file) = zip.by_name(&name) else { continue };
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            assert!(bytes == std::fs::read(entry.path()).unwrap(), "{name}");
        }
        let pictures =
            zip.file_names().filter(|name| name.contains(device) && name.ends_with(".jpg")).count();
        assert_eq!(pictures, 3, "{:?}", zip.file_names().collect::<Vec<_>>());
    }
    assert!(zip.by_name(&format!("{order}/MISSING.txt")).is_err(), "nothing is missing");
}

/// The figures of docs/dashboard.md.
#[test]
#[ignore = "takes a minute: cargo test -p swsync-dashboard --release -- --ignored --nocapture a_hundred"]
fn a_hundred_devices_cost_little() {
    let rig = Rig::varying(100);
    let program = rig.dashboard(&["--every", "1s"]);
    wait_for(&program, 100);
    let mut events = program.events();
    drop(events.next());
    let (begun, before, bytes) = (Instant::now(), program.processor_seconds(), events.bytes);
    while begun.elapsed() < Duration::from_secs(20) {
        drop(events.next());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cores = (program.processor_seconds() - before) / seconds;
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let megabits = (events.bytes - bytes) as f64 * 8.0 / seconds / 1e6;
    println!("100 devices: {:.1} % of a core, {megabits:.3} Mbit/s to a page", cores * 100.0);
    assert!(cores < 0.2 && megabits < 2.0);
}

/// No test: a rig of so many devices without cameras and its page, until standard input is closed or the process ends. What
/// tests/dashboard_deep.py looks at.
#[test]
#[ignore = "not a test: tests/dashboard_deep.py runs it"]
fn a_rig_to_look_at() {
    let devices = std::env::var("SWSYNC_STUBS").map_or(30, |count| count.parse().unwrap());
    let rig = Rig::varying(devices);
    let program = rig.dashboard(&["--every", "1s"]);
    wait_for(&program, devices);
    println!("{}", program.url);
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
}
