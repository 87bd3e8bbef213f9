//! What an operator does with takes without fetching them: lists them, notes on them, removes them; on devices that record
//! meanwhile.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use swsync_core::manifest::Take;

use crate::process::{COMMAND_TIMEOUT, Ended, poll};
use crate::rig::{Rig, TestBed};

fn run(rig: &Rig<'_>, args: &[&str]) -> Ended {
    rig.swsync(args).wait_for_up_to(COMMAND_TIMEOUT)
}

fn done(rig: &Rig<'_>, args: &[&str]) -> Ended {
    let ended = run(rig, args);
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    ended
}

/// The order `id` as `swsync takes --json` lists it.
fn listed(rig: &Rig<'_>, id: &str) -> Option<Value> {
    let json: Value = serde_json::from_str(&run(rig, &["takes", "--json"]).out).ok()?;
    swsync_cli::testing::schemas::check("takes", &json);
    json["takes"].as_array()?.iter().find(|take| take["order"] == id).cloned()
}

#[test]
fn takes_are_listed_noted_and_removed_while_the_rig_records() {
    let bed = TestBed::exclusive().keyed();
    let mut rig = bed.rig(&["left"]);
    // As when a command leaves while the device writes to it, which has ended gst-launch-1.0.
    let left = rig.take_last();
    left.signal(Signal::PIPE);
    rig.add(left);

    // So many that a busy machine does not drop all of them on one device, which would have no part then.
    let ended = done(&rig, &["shoot", "--detach", "--count", "30", "--id", "later"]);
    assert!(ended.out.starts_with("later  30 frames, from in "), "{ended:#?}");
    let later = poll("it is saved all the same", || {
        listed(&rig, "later").filter(|take| take["open"] == false && take["devices"] == 2)
    });
    assert_eq!((&later["frames"], &later["collected"]), (&30.into(), &false.into()), "{later:#}");

    // Its exit code is another test's: the simulated camera drops a frame now and then.
    let ended = run(&rig, &["record", "--for", "3s", "--id", "attended"]);
    assert!(ended.err.contains("2 of 2 devices write"), "{ended:#?}");
    let ended = run(&rig, &["shoot", "--countdown", "1s", "--id", "counted"]);
    assert!(ended.out.starts_with("counted  in 1.000 s\n"), "{ended:#?}");

    done(&rig, &["record", "--detach", "--id", "under-way"]);
    poll("it records", || {
        listed(&rig, "under-way").filter(|take| take["open"] == true && take["frames"].as_u64() > Some(5))
    });
    run(&rig, &["rm", "--yes", "--force", "under-way"])
        .assert_failed(1, &["still records it", "swsync stop"]);
    done(&rig, &["note", "under-way", "while it is recorded"]);
    done(&rig, &["note", "later", "of before"]);
    run(&rig, &["stop", "under-way"]);

    let out = bed.path("takes");
    // A machine that is busy with other work may let the disk wait.
    done(&rig, &["collect", "--timeout", "60s", out.to_str().unwrap()]);
    for (id, note) in [("later", "of before"), ("under-way", "while it is recorded")] {
        let take = listed(&rig, id).unwrap();
        assert_eq!((&take["note"], &take["collected"]), (&note.into(), &true.into()), "{take:#}");
        for device in ["leader", "left"] {
            let folder = out.join(id).join(device);
            assert!(fs::read_to_string(folder.join("note.json")).unwrap().contains(note));
            let take = Take::from_json(&fs::read(folder.join("take.json")).unwrap()).unwrap();
            let files = fs::read_dir(&folder).unwrap().map(Result::unwrap);
            let pictures = files.filter(|file| file.path().extension().is_some_and(|end| end == "jpg"));
            let bytes: u64 = pictures.map(|picture| picture.metadata().unwrap().len()).sum();
            assert_eq!(take.bytes(), Some(bytes), "{id} of {device}");
        }
    }
    let ended = done(&rig, &["rm", "--yes", "later", "attended", "counted", "under-way"]);
    assert!(ended.out.contains("all removed: "), "{ended:#?}");
    let left = fs::read_dir(bed.path("shots")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != ".swsync").collect::<Vec<_>>(), [""; 0], "{ended:#?}");
    assert!(done(&rig, &["takes"]).out.starts_with("no takes yet"));
    // The devices go on. A frame that both drop leaves no take.
    let mut attempts = 0..;
    poll("an order is carried out", || {
        let id = format!("after-{}", attempts.next()?);
        run(&rig, &["shoot", "--id", &id]);
        listed(&rig, &id)
    });
}
