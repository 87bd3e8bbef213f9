//! `swsync report`: the page about a take.

use std::fs;
use std::path::Path;

use swsync_cli::testing::{FIRST, Ran, TakeBuilder};
use swsync_core::time::Span;

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
    let ran = report(&take, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let html = page(&take);
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
    let lines = fs::read_to_string(take.join("cut/frames.jsonl")).unwrap();
    let half: String = lines.lines().take(5).map(|line| format!("{line}\n")).collect();
    fs::write(take.join("cut/frames.jsonl"), format!("{half}not json\n{half}")).unwrap();
    for index in 0..12 {
        fs::write(take.join(format!("unreadable/{:08}.jpg", FIRST + index)), "no picture").unwrap();
    }
    let ran = report(&take, &[]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let html = page(&take);
    for text in [
        "The part of broken cannot be read: broken/take.json: ",
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
