//! Deleting collected takes on the device.

use std::fs;

use swsync_client::collect::{CollectError, delete};

use crate::flip_a_byte;
use crate::support::{Rig, content, name, noise};

#[test]
fn a_file_that_rots_on_the_device_is_fetched_once() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(3 << 20)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let (there, list) = (rig.folder("o1").join("00000101.jpg"), rig.collected("o1").join(".collected.jsonl"));
    let modified = || {
        let files = rig.remote().files(&name("o1")).unwrap();
        files.iter().find(|file| file.path == "00000101.jpg").unwrap().modified_ns.to_string()
    };
    // A failing disk changes no times: make the list say that the file always had its present time.
    let before = modified();
    flip_a_byte(&there);
    let text = fs::read_to_string(&list).unwrap();
    assert!(text.contains(&before));
    fs::write(&list, text.replace(&before, &modified())).unwrap();
    assert_eq!(rig.collect("o1").unwrap(), 0, "the collected file is as the device had it");
    let deleted = delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap();
    assert_eq!((deleted.files, deleted.kept), (4, vec!["00000101.kept1.jpg".to_owned()]));
    assert_eq!(fs::read(rig.collected("o1").join("00000101.kept1.jpg")).unwrap(), noise(3 << 20));
    assert!(!rig.root().join("o1").exists());
}

#[test]
fn only_collected_and_verified_files_are_deleted() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20)]);
    rig.take("o2", &[noise(5)]);
    let _device = rig.serve();
    let (remote, o1) = (rig.remote(), name("o1"));
    let on_device = content(&rig.folder("o1"));
    let refused = |error| assert!(matches!(error, CollectError::NotHere { .. }), "{error}");

    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    rig.collect("o1").unwrap();
    let spoilt = rig.collected("o1").join("00000101.jpg");
    fs::write(&spoilt, vec![0; 20]).unwrap();
    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    fs::write(&spoilt, noise(20)).unwrap();
    // As if it had been overwritten at the same instant, with the same length.
    let changed = rig.folder("o1").join("00000100.jpg");
    let times = fs::FileTimes::new().set_modified(fs::metadata(&changed).unwrap().modified().unwrap());
    fs::write(&changed, vec![0; 10]).unwrap();
    fs::File::options().write(true).open(&changed).unwrap().set_times(times).unwrap();
    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    assert_eq!(content(&rig.folder("o1")).len(), on_device.len(), "no file is deleted");

    fs::write(&changed, noise(10)).unwrap();
    rig.collect("o1").unwrap();
    assert_eq!(delete(&remote, &o1, rig.out.path()).unwrap().files, 4);
    assert!(!rig.root().join("o1").exists(), "its empty folders go too");
    let mut here = content(&rig.collected("o1"));
    assert!(here.remove("00000100.kept1.jpg").is_none(), "the temporary content was never collected");
    assert_eq!(here, on_device);
    assert_eq!(remote.takes().unwrap().takes.len(), 1);
    assert!(rig.folder("o2").join("take.json").exists());
}

#[test]
fn an_unfinished_take_is_not_deleted() {
    let rig = Rig::new();
    rig.take_that_is("o1", &[noise(10)], false);
    let _device = rig.serve();
    assert!(!rig.remote().takes().unwrap().takes[0].complete);
    rig.collect("o1").unwrap();
    let error = delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap_err();
    assert!(error.to_string().contains("is not finished"), "{error}");
    assert_eq!(content(&rig.folder("o1")).len(), 3);
}
