//! `swsync report`: the page about a take.

use std::fs;
use std::path::Path;

use swsync_cli::testing::schemas::OfSchema as _;
use swsync_cli::testing::{FIRST, Ran, TakeBuilder};
use swsync_core::grid::FrameGrid;
use swsync_core::message::TimeScale;
use swsync_core::time::Span;

use crate::browser::{Browser, View};
use crate::swsync_media;
use crate::videos::{grey, video};

fn report(take: &Path, args: &[&str]) -> Ran {
    let mut words = vec!["report", take.to_str().unwrap()];
    words.extend(args);
    Ran::of(&mut swsync_media(&words))
}

fn page(take: &Path) -> String {
    fs::read_to_string(take.join("report.html")).unwrap()
}

/// A device's part whose frames have error bounds.
pub fn bounded(order: &str, device: &str, count: u64, dropped: &[u64]) -> TakeBuilder {
    let mut part = TakeBuilder::new(order, device, count)
        .pictures(dropped, |index| grey(u8::try_from(40 + index % 200).unwrap()));
    for record in &mut part.records {
        let wave = i64::try_from((record.info.number - FIRST) % 7).unwrap() - 3;
        record.info.phase_error_ns = Span::from_micros(wave);
        record.info.details.exposure_reference_error_ns = Some(Span::from_micros(15));
        record.info.details.stamp_error_ns = Some(Span::from_micros(5));
    }
    part
}

#[test]
fn a_take_becomes_a_page() {
    let root = tempfile::tempdir().unwrap();
    for (device, dropped) in [("left", &[][..]), ("right", &[3, 4])] {
        bounded("walk", device, 40, dropped).write(root.path());
    }
    let take = root.path().join("walk");
    let note = |text: &str, at_ns: i64| serde_json::json!({"text": text, "at_ns": at_ns, "by": "laptop"});
    fs::write(take.join("left/note.json"), note("first try", 1).to_string()).unwrap();
    fs::write(take.join("right/note.json"), note("second <try>", 2).to_string()).unwrap();
    let ran = report(&take, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let html = page(&take);
    assert!(html.contains("<h1>Take walk</h1><p>Note by laptop: second &lt;try&gt;</p>"), "{html:.2000}");
    assert!(html.contains("No certificate"));
    assert_eq!(html.matches("class=\"instant\"").count(), 24, "instants to scrub through");
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 48);
    for text in [
        "the camera dropped this frame",
        "no camera reports that of its sensor",
        "left/frames.jsonl: 40 frames in 40 files",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("http:") && !html.contains("https:"), "it refers to nothing outside");

    let certified = swsync_cli::certify::certify(&take, Some(Span::from_micros(250))).unwrap();
    assert!(certified.passes);
    fs::write(take.join("certificate.json"), certified.to_json()).unwrap();
    let out = root.path().join("page.html");
    assert_eq!(report(&take, &["--out", out.to_str().unwrap()]).code, 0);
    let html = fs::read_to_string(&out).unwrap();
    assert!(
        html.contains(
            "<strong>Passes</strong>Any two pictures of one number were taken at most 206.0 us apart"
        )
    );

    // More frames than were certified, with the same certificate.
    bounded("walk", "right", 40, &[]).write(root.path());
    assert_eq!(report(&take, &[]).code, 0);
    assert!(page(&take).contains("The certificate does not hold") && !page(&take).contains("Passes"));
}

#[test]
fn a_take_that_fails_says_why() {
    let root = tempfile::tempdir().unwrap();
    bounded("walk", "left", 12, &[]).write(root.path());
    TakeBuilder::new("walk", "right", 12).pictures(&[], |_| grey(9)).write(root.path());
    let take = root.path().join("walk");
    let certified = swsync_cli::certify::certify(&take, Some(Span::from_micros(250))).unwrap();
    fs::write(take.join("certificate.json"), certified.to_json()).unwrap();
    assert_eq!(report(&take, &[]).code, 0);
    let html = page(&take);
    assert!(html.contains("<strong>Does not pass</strong>12 frames of right have no error bound"));
    assert!(html.contains("Largest possible difference: not known"));
}

#[test]
fn what_a_take_says_stays_text() {
    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";
    let root = tempfile::tempdir().unwrap();
    let mut part = bounded("walk", "left", 12, &[2]);
    part.take.host = EVIL.into();
    part.take.camera = Some(EVIL.into());
    part.take.holes[0].why = EVIL.into();
    part.take.ordered = serde_json::json!({ EVIL: EVIL });
    part.take.settings = [(EVIL.to_owned(), [(EVIL.to_owned(), EVIL.into())].into())].into();
    part.write(root.path());
    let take = root.path().join("walk");
    assert_eq!(report(&take, &[]).code, 0);
    let html = page(&take);
    assert!(html.contains("&lt;img src=x onerror=alert(2)&gt;"));
    assert_eq!(html.matches("<script").count(), 1);
    assert!(!html.contains("<img src=x"));
}

#[test]
fn partial_and_bad_takes_give_a_page_that_says_so() {
    let root = tempfile::tempdir().unwrap();
    for device in ["broken", "cut", "good", "unreadable"] {
        bounded("walk", device, 12, &[]).write(root.path());
    }
    let take = root.path().join("walk");
    fs::write(take.join("broken/take.json"), "{").unwrap();
    fs::write(take.join("good/note.json"), "{").unwrap();
    let lines = fs::read_to_string(take.join("cut/frames.jsonl")).unwrap();
    let half: String = lines.lines().take(5).map(|line| format!("{line}\n")).collect();
    fs::write(take.join("cut/frames.jsonl"), format!("{half}not json\n{half}")).unwrap();
    for index in 0..12 {
        fs::write(take.join(format!("unreadable/{:08}.jpg", FIRST + index)), "no picture").unwrap();
    }
    let ran = report(&take, &["--json"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let html = page(&take);
    let said = ran.json_of("report");
    assert_eq!((&said["complete"], &said["bytes"]), (&false.into(), &html.len().into()), "{said:#}");
    assert!(said["problems"].as_array().unwrap().len() >= 2, "{said:#}");
    for text in [
        "The part of broken cannot be read: broken/take.json: ",
        "The note of good cannot be read: good/note.json: ",
        "The part of cut is read up to 5 frames: cut/frames.jsonl, line 6: ",
        "the picture cannot be decoded",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(
        !html.contains(root.path().to_str().unwrap())
            || html.matches(root.path().to_str().unwrap()).count() == 1,
        "only the command has paths of this host"
    );
}

#[test]
fn devices_of_another_rate_or_time_scale_are_not_compared() {
    let root = tempfile::tempdir().unwrap();
    let mut parts = ["first", "other-rate", "other-scale"].map(|device| bounded("walk", device, 12, &[]));
    parts[1].take.grid = FrameGrid::new(60, 1).unwrap();
    for (part, scale) in parts.iter_mut().zip([7_u64, 7, 8]) {
        part.records.iter_mut().for_each(|record| {
            record.info.timescale = Some(TimeScale(scale));
        });
    }
    parts.iter().for_each(|part| drop(part.write(root.path())));
    let take = root.path().join("walk");
    assert_eq!(report(&take, &[]).code, 1);
    let html = page(&take);
    for text in [
        "other-rate has 60/1 frames per second, and first has 30/1",
        "The frames of other-scale are of another time scale than those of first",
        "What the device saw",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

#[test]
fn numbers_at_the_end_of_their_range_are_shown() {
    let root = tempfile::tempdir().unwrap();
    let mut part = bounded("walk", "left", 12, &[]);
    part.take.first = u64::MAX - 11;
    part.records.iter_mut().zip(0..).for_each(|(record, index)| record.info.number = u64::MAX - 11 + index);
    part.write(root.path());
    let ran = report(&root.path().join("walk"), &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn what_is_no_take_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    bounded("walk", "left", 3, &[]).write(root.path());
    fs::create_dir(root.path().join("empty")).unwrap();
    for (folder, said) in [
        ("empty", "has no device's part of a take"),
        ("", "is no take, but the folder of takes"),
        ("gone", "is no folder"),
    ] {
        let ran = report(&root.path().join(folder), &[]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stderr.contains(said), "{ran:#?}");
    }
    let ran = report(&root.path().join("walk"), &["--out", "/dev/null/page.html"]);
    assert!(ran.code == 1 && ran.stderr.contains("cannot write"), "{ran:#?}");
}

#[test]
fn pictures_of_videos_are_shown() {
    let root = tempfile::tempdir().unwrap();
    for device in ["a", "b"] {
        let shades: Vec<u8> = (0..30).map(|index| 40 + 5 * index).collect();
        let mut part = TakeBuilder::new("walk", device, 30).video(0, 30, &[], video(&shades));
        part.take.caps = "video/x-h264, width=64, height=48, framerate=30/1".into();
        part.write(root.path());
    }
    let take = root.path().join("walk");
    assert_eq!(report(&take, &[]).code, 0);
    let html = page(&take);
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 48);
    // A file that is cut off says so in the place of its pictures.
    fs::write(take.join("b/0000.mp4"), "no video").unwrap();
    assert_eq!(report(&take, &[]).code, 0);
    assert_eq!(page(&take).matches("data:image/jpeg;base64,").count(), 24);
}

/// Writes a run of the laboratory.
fn lab(folder: &Path, about: &str, tables: &[(&str, &str)]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("lab.json"), about).unwrap();
    tables.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
}

#[test]
fn a_run_of_the_laboratory_becomes_a_page() {
    let root = tempfile::tempdir().unwrap();
    let about = r#"{"schema":1,"lab":"table2","seed":7,"command":"swsync lab table2 --seed 7","figures":{"a":[{"way":"x<y","ns":5}]}}"#;
    let rows: String =
        (0..40).map(|trial| format!("imx219,{trial},{}\n", 1000 * (trial % 9) - 4000)).collect();
    let errors = format!("camera,trial,total_error_ns\n{rows}imx219,40,\n");
    lab(
        root.path(),
        about,
        &[
            ("errors.csv", &errors),
            ("torn.csv", "a,b\n1\n"),
            ("other.csv", "value\n1\n"),
            ("events.csv", "at_s,event\n1,reboot\n2,reboot\n"),
        ],
    );
    let ran = report(root.path(), &[]);
    assert_eq!(ran.code, 1, "a table cannot be read: {ran:#?}");
    let html = page(root.path());
    for text in [
        "torn.csv cannot be read: line 2 has 1 cells rather than 2.",
        "<td class=\"number\">40</td>",
        "<h3>Total error</h3>",
        "Table II",
        "<code>swsync lab table2 --seed 7</code>",
        "a, x&lt;y, ns",
        "No plot is known for its columns, or they have no values: value.",
        "<td>reboot</td><td class=\"number\">2</td>",
    ] {
        assert!(html.contains(text), "{text}");
    }
    fs::remove_file(root.path().join("torn.csv")).unwrap();
    assert_eq!(report(root.path(), &[]).code, 0);

    for (about, said) in
        [("{", "is not what `swsync lab ... --out` writes"), (r#"{"schema":2,"lab":"x"}"#, "is of version 2")]
    {
        fs::write(root.path().join("lab.json"), about).unwrap();
        let ran = report(root.path(), &[]);
        assert!(ran.code == 1 && ran.stderr.contains(said), "{ran:#?}");
    }
    lab(root.path(), r#"{"schema":1,"lab":"of-tomorrow"}"#, &[]);
    assert_eq!(report(root.path(), &[]).code, 0);
    assert!(page(root.path()).contains("does not know this experiment"));
}

#[test]
fn a_browser_shows_the_page_without_a_complaint() {
    let Some(mut browser) = Browser::start() else { return };
    let root = tempfile::tempdir().unwrap();
    for (device, dropped) in
        [("left", &[][..]), ("right", &[3, 4]), ("a-device-with-quite-a-long-name-in-the-hall", &[])]
    {
        bounded("walk", device, 60, dropped).write(root.path());
    }
    let take = root.path().join("walk");
    let certified = swsync_cli::certify::certify(&take, Some(Span::from_micros(250))).unwrap();
    fs::write(take.join("certificate.json"), certified.to_json()).unwrap();
    assert_eq!(report(&take, &[]).code, 0);
    let run = root.path().join("lab");
    lab(
        &run,
        r#"{"schema":1,"lab":"table3","seed":1,"command":"swsync lab table3","figures":{"mean":{"bias_ns":1}}}"#,
        &[("filters.csv", "messages,time_s,mean_error_ns,min_error_ns\n1,0.1,5,6\n2,0.2,7,6\n3,0.3,1,1\n")],
    );
    assert_eq!(report(&run, &[]).code, 0);
    // Pages to look at, beside those that this test makes.
    let others = std::env::var("SWSYNC_PAGES").unwrap_or_default();
    let others = others.split(':').filter(|page| !page.is_empty()).map(Into::into);
    let pages = [take.join("report.html"), run.join("report.html")].into_iter().chain(others);
    for (index, page) in pages.enumerate() {
        for (name, width, height, is_dark) in
            [("light", 1280, 900, false), ("dark", 1280, 900, true), ("phone", 360, 740, false)]
        {
            browser.open(&View { page: &page, width, height, is_dark });
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
            let needed = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(needed <= u64::from(width), "{name}: the page is {needed} wide");
            let back = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(back == "rgb(255, 255, 255)", !is_dark, "{name}: {back}");
            browser.screenshot(&format!("{index}-{name}.png"));
            if index == 0 {
                let word = browser.value("document.querySelector('.verdict.pass strong').innerText");
                assert_eq!(word, "Passes", "{name}");
                scrub(&mut browser);
            }
        }
    }
}

/// Moves the slider of the contact sheet: another instant is shown, with its pictures.
fn scrub(browser: &mut Browser) {
    let shown = "[...document.querySelectorAll('.instant')].filter(i => i.offsetHeight > 0).map(i => i.dataset.label).join()";
    let first = browser.value(shown);
    browser.value("{ const s = document.querySelector('.scrub input'); s.value = 5; s.dispatchEvent(new Event('input')); }");
    let then = browser.value(shown);
    assert!(first != then && !then.as_str().unwrap().is_empty(), "{first} {then}");
    assert_eq!(browser.value("document.querySelector('.scrub output').textContent"), then);
    let pictures = "[...document.querySelectorAll('.instant')].filter(i => i.offsetHeight > 0)[0].querySelectorAll('img').length";
    assert_eq!(browser.value(pictures), 3);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
