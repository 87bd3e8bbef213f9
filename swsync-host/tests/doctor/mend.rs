//! What `--fix` does, and what it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use swsync_core::doctor::{Check, Finding, Problem};
use swsync_host::doctor::User;
use swsync_host::doctor::mend::{Mended, Mender};

use crate::host::{FakeHost, pi4};

const ROOT: User = User { uid: 0, groups: Vec::new() };

fn only(host: &mut FakeHost) -> Finding {
    let checks = host.examine();
    let findings: Vec<_> = checks.iter().flat_map(Check::findings).cloned().collect();
    let [finding] = &findings[..] else { panic!("{findings:#?}") };
    finding.clone()
}

#[test]
fn the_governor_is_set_by_root_and_found_good_afterwards() {
    for governor in ["powersave", "ondemand"] {
        let mut host = pi4().cpus(4, "cpufreq-dt", governor);
        let finding = only(&mut host);
        assert!(finding.mended_by_doctor);
        let user = User { uid: 1000, groups: vec![1000] };
        let Mended::Not(words) = Mender::new(host.root(), user, None).mend(&finding) else { panic!() };
        assert!(words.contains("sudo swsync doctor --fix"), "{words}");
        assert_eq!(host.found(), std::slice::from_ref(&finding.id), "it is as it was");
        let Mended::Done(done) = Mender::new(host.root(), ROOT, None).mend(&finding) else { panic!() };
        assert!(done.contains("4 CPUs") && done.contains("until the next start"), "{done}");
        assert_eq!(host.found(), [""; 0]);
    }
}

#[test]
fn power_save_is_switched_off_by_iw() {
    let mut host = pi4().wifi("wlan1", true, -50).file("/bin/iw", "#!/bin/sh\necho \"$@\" >\"$0.said\"\n");
    fs::set_permissions(host.path("/bin/iw"), fs::Permissions::from_mode(0o755)).unwrap();
    let finding = only(&mut host);
    let mender = Mender::new(host.root(), ROOT, None);
    let Mended::Done(done) = mender.clone().with_iw(host.path("/bin/iw")).mend(&finding) else { panic!() };
    assert!(done.contains("wlan1"), "{done}");
    assert_eq!(fs::read_to_string(host.path("/bin/iw.said")).unwrap(), "dev wlan1 set power_save off\n");
    let Mended::Not(why) = mender.with_iw("/no/such/iw").mend(&finding) else { panic!() };
    assert!(why.contains("apt install iw"), "{why}");
}

#[test]
fn a_blacklist_is_removed_with_the_registry_and_nothing_else() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("gstreamer-1.0");
    fs::create_dir(&folder).unwrap();
    for name in ["registry.aarch64.bin", "registry.x86_64.bin", "other.bin"] {
        fs::write(folder.join(name), "").unwrap();
    }
    let finding = Problem::PluginBlacklisted.finding("", "", "");
    let mender = Mender::new(pi4().root(), User { uid: 1000, groups: Vec::new() }, Some(cache.path().into()));
    let Mended::Done(done) = mender.mend(&finding) else { panic!() };
    assert!(done.contains("registry.aarch64.bin") && done.contains("registry.x86_64.bin"), "{done}");
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["other.bin"]);
    assert!(matches!(mender.mend(&finding), Mended::Not(_)), "there is none any more");
}

#[test]
fn what_is_not_safe_is_left_to_a_person() {
    let mender = Mender::new(pi4().root(), ROOT, None);
    for problem in Problem::ALL.iter().filter(|problem| !problem.is_mended_by_doctor()) {
        let Mended::Not(words) = mender.mend(&problem.finding("", "", "type this")) else {
            panic!("{problem}")
        };
        assert!(words.contains("type this"), "{problem}: {words}");
    }
}
