//! Settings from properties, environment and files: which counts, and what contradicts.

use super::*;

/// What environment and files say. `files`: name below a folder of the test, and content.
fn surroundings(
    variables: &[(&str, &str)],
    files: &[(&str, &str)],
) -> (tempfile::TempDir, Result<RigSettings, SettingsError>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let variable = |name: &str| {
        let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
        Some(value.replace("FOLDER", folder.path().to_str().unwrap()).into())
    };
    let mut settings = RigSettings::default();
    let added = settings.add_surroundings_of(&variable, &folder.path().join("etc"));
    (folder, added.map(|()| settings))
}

fn found(variables: &[(&str, &str)], files: &[(&str, &str)]) -> RigSettings {
    surroundings(variables, files).1.unwrap()
}

const ETC: &str = "etc/swsync/config.toml";

#[test]
fn each_setting_comes_from_the_first_place_that_has_it() {
    let variables = [("SWSYNC_RIG", "of-environment"), ("SWSYNC_LISTEN", ""), ("SWSYNC_CONNECT", "tcp/b:2")];
    let file = "rig = 'of-file'\nlisten = 'tcp/0.0.0.0:7447'\nconnect = ['tcp/c:3']\ndevice-id = 'left'\n";
    let (folder, settings) = surroundings(&variables, &[(ETC, file)]);
    let mut settings = settings.unwrap();
    let mut direct = RigSettings::default();
    direct.add(Setting::Connect, "tcp/a:1", Origin::Given("argument".into()));
    assert_eq!(settings.value(Setting::Rig), Some("of-environment"));
    assert_eq!(settings.origin(Setting::Rig), Origin::Environment("SWSYNC_RIG"));
    assert_eq!(settings.value(Setting::Listen), Some("tcp/0.0.0.0:7447"), "an empty variable is not set");
    assert_eq!(settings.origin(Setting::Listen), Origin::File(folder.path().join(ETC)));
    assert_eq!(settings.value(Setting::Connect), Some("tcp/b:2"));
    assert_eq!(settings.device().unwrap().as_str(), "left");
    assert_eq!(settings.origin(Setting::KeyFile), Origin::Default);
    settings.add(Setting::Rig, "late", Origin::Given("late".into()));
    assert_eq!(settings.rig(), "of-environment", "what is known stays");
}

#[test]
fn settings_with_the_same_values_are_told_from_others() {
    let with = |connect: &str, origin| {
        let mut settings = RigSettings::default();
        settings.add(Setting::Connect, connect, origin);
        settings
    };
    let one = with("tcp/a:1,tcp/b:2", Origin::Given("property of c".into()));
    assert!(one.has_values_of(&with("tcp/a:1, tcp/b:2", Origin::Environment("SWSYNC_CONNECT"))));
    assert!(!one.has_values_of(&with("tcp/a:1", Origin::Given("property of c".into()))));
    assert!(with("", Origin::Default).has_values_of(&RigSettings::default()));
}

#[test]
fn what_is_given_as_empty_is_none() {
    let mut settings = RigSettings::default();
    settings.add(Setting::Connect, "", Origin::Given("argument".into()));
    settings.add(Setting::Connect, "tcp/pi0:7447", Origin::Environment("SWSYNC_CONNECT"));
    assert!(settings.config().unwrap().connect.is_empty());
}

#[test]
fn one_file_counts() {
    let home = "home/.config/swsync/config.toml";
    let files = [
        (ETC, "rig = 'etc'\nconnect = 'tcp/a:1'"),
        (home, "rig = 'home'"),
        ("xdg/swsync/config.toml", "rig = 'xdg'"),
        ("my.toml", "rig = 'mine'"),
    ];
    let (home, xdg) = (("HOME", "FOLDER/home"), ("XDG_CONFIG_HOME", "FOLDER/xdg"));
    let mine = ("SWSYNC_CONFIG", "FOLDER/my.toml");
    for (variables, rig, connect) in [
        (&[][..], "etc", Some("tcp/a:1")),
        (&[home], "home", None),
        (&[home, xdg], "xdg", None),
        (&[home, xdg, mine], "mine", None),
        (&[home, ("SWSYNC_CONFIG", "/dev/null")], DEFAULT_RIG, None),
        (&[("HOME", "FOLDER/nowhere")], "etc", Some("tcp/a:1")),
    ] {
        let settings = found(variables, &files);
        assert_eq!((settings.rig(), settings.value(Setting::Connect)), (rig, connect), "{variables:?}");
    }
}

#[test]
fn the_older_name_of_the_file_is_read_where_it_is_alone() {
    let old = "etc/swsync/rig.toml";
    let (folder, settings) = surroundings(&[], &[(old, "rig = 'old'")]);
    let settings = settings.unwrap();
    assert_eq!(settings.rig(), "old");
    let root = folder.path();
    assert_eq!(settings.renaming(), Some((root.join(old).as_path(), root.join(ETC))));
    assert_eq!(found(&[], &[(ETC, "rig = 'new'")]).renaming(), None);
    let elsewhere = found(&[("SWSYNC_CONFIG", "FOLDER/rig.toml")], &[("rig.toml", "rig = 'mine'")]);
    assert_eq!(
        (elsewhere.rig(), elsewhere.renaming()),
        ("mine", None),
        "a file that is named may have any name"
    );

    let (_folder, both) = surroundings(&[], &[(old, "rig = 'old'"), (ETC, "rig = 'new'")]);
    let error = both.unwrap_err().to_string();
    for part in [old, ETC, "move what", "delete"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let home = [("HOME", "FOLDER/home")];
    let files = [("home/.config/swsync/config.toml", "rig = 'home'"), (old, "rig = 'old'")];
    assert_eq!(found(&home, &files).rig(), "home", "two folders are no contradiction");
}

#[test]
fn a_key_beside_the_file_is_found_from_anywhere() {
    let (folder, settings) = surroundings(&[], &[(ETC, "key-file = 'rig.key'")]);
    let expected = folder.path().join("etc/swsync/rig.key");
    assert_eq!(settings.unwrap().value(Setting::KeyFile), expected.to_str());
    assert_eq!(found(&[], &[(ETC, "key-file = '/a/rig.key'")]).value(Setting::KeyFile), Some("/a/rig.key"));
}

#[test]
fn a_wrong_file_is_told_without_its_values() {
    let secret = "0123456789abcdef";
    for (content, parts) in [
        (format!("rig = 'stage'\nkey = '{secret}'"), &["line 2", "`key`", "key-file"][..]),
        (
            "rigg = 'stage'".into(),
            &["line 1", "`rigg`", "rig, connect, listen, key-file, device-id, path-offset"],
        ),
        (format!("rig = 'a'\n\nconnect = ['x'\nkey='{secret}'"), &["line"]),
        (format!("key-file = {{ secret = '{secret}' }}"), &["line 1", "key-file"]),
        (format!("listen = [['{secret}']]"), &["line 1", "listen"]),
        (format!("rig = ['{secret}']"), &["line 1", "rig"]),
    ] {
        let error = surroundings(&[], &[(ETC, &content)]).1.unwrap_err().to_string();
        assert!(error.contains(ETC) && !error.contains(secret), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{content}: {error}");
    }
    let missing = [("SWSYNC_CONFIG", "FOLDER/no.toml")];
    let error = surroundings(&missing, &[]).1.unwrap_err().to_string();
    assert!(error.contains("no.toml cannot be read") && error.contains("SWSYNC_CONFIG"), "{error}");
}

#[test]
fn names_that_cannot_be_are_told_with_their_origin() {
    let settings =
        found(&[("SWSYNC_RIG", "rig=stage connect=tcp/pi0:7447"), ("SWSYNC_DEVICE_ID", "a/b")], &[]);
    let error = settings.config().unwrap_err().to_string();
    assert!(error.starts_with("rig: ") && error.contains("SWSYNC_RIG"), "{error}");
    let error = settings.device().unwrap_err().to_string();
    assert!(error.starts_with("device-id: ") && error.contains("SWSYNC_DEVICE_ID"), "{error}");
}

#[test]
fn a_path_offset_is_a_text_or_a_number_of_nanoseconds() {
    let of_file = |value: &str| found(&[], &[(ETC, &format!("path-offset = {value}"))]).path_offset();
    assert_eq!(of_file("'-41.5us'").unwrap(), Span::from_nanos(-41_500));
    assert_eq!(of_file("-41_500").unwrap(), Span::from_nanos(-41_500));
    assert_eq!(RigSettings::default().path_offset().unwrap(), Span::ZERO);
    let error = found(&[("SWSYNC_PATH_OFFSET", "40s")], &[]).path_offset().unwrap_err().to_string();
    assert!(error.starts_with("path-offset: ") && error.contains("SWSYNC_PATH_OFFSET"), "{error}");
    assert!(Setting::PathOffset.is_same("40us", "40000") && !Setting::PathOffset.is_same("40us", "40"));
    let error = surroundings(&[], &[(ETC, "path-offset = true")]).1.unwrap_err().to_string();
    assert!(error.contains("path-offset has to be a text in quotes or a whole number"), "{error}");
}

#[test]
fn a_path_offset_is_kept_in_the_file_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home").into_os_string();
    let variable = |name: &str| (name == "HOME").then(|| home.clone());
    let etc = folder.path().join("etc");
    let keep = |micros| file::keep_path_offset(&variable, &etc, Span::from_micros(micros));
    let own = folder.path().join("home/.config/swsync/config.toml");
    assert_eq!(keep(-7).unwrap(), own);
    let text = "# ours\nrig = 'stage'\n  path-offset=3 # old\nconnect = ['tcp/a:1',\n  'tcp/b:2']\n";
    std::fs::write(&own, text).unwrap();
    assert_eq!(keep(12).unwrap(), own);
    let kept = std::fs::read_to_string(&own).unwrap();
    assert_eq!(kept, "# ours\nrig = 'stage'\nconnect = ['tcp/a:1',\n  'tcp/b:2']\npath-offset = \"12us\"\n");
    let old = own.with_file_name("rig.toml");
    std::fs::rename(&own, &old).unwrap();
    assert_eq!(keep(3).unwrap(), old, "no second file beside the one with the older name");
    std::fs::rename(&old, &own).unwrap();
    std::fs::write(&own, "rig = ").unwrap();
    keep(1).unwrap_err();
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "rig = ", "a wrong file stays as it was");
}

#[test]
fn a_command_connects_where_its_host_listens() {
    let of_host = [("SWSYNC_LISTEN", "tcp/0.0.0.0:7447,tcp/[::]:7448"), ("SWSYNC_CONNECT", "tcp/pi1:7447")];
    let settings = found(&of_host, &[]);
    let command = settings.visitor_config().unwrap();
    assert_eq!(command.connect, ["tcp/pi1:7447", "tcp/127.0.0.1:7447", "tcp/[::1]:7448"]);
    assert!(command.listen.is_empty());
    assert_eq!(settings.config().unwrap().listen, ["tcp/0.0.0.0:7447", "tcp/[::]:7448"]);
    let mut settings = RigSettings::default();
    settings.add(Setting::Listen, "tcp/0.0.0.0:7447", Origin::Given("argument --listen".into()));
    assert_eq!(settings.visitor_config().unwrap().listen, ["tcp/0.0.0.0:7447"]);
}

#[test]
fn the_key_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rig.key");
    let made = key_file::create(&path).unwrap();
    let with = |path: &Path, origin| {
        let mut settings = RigSettings::default();
        settings.add(Setting::KeyFile, path.to_str().unwrap(), origin);
        settings
    };
    let (given, of_host) = (Origin::Given("--key-file".into()), Origin::Environment("SWSYNC_KEY_FILE"));
    let settings = with(&path, given.clone());
    assert_eq!(settings.config().unwrap().key, Some(made.clone()));
    assert_eq!(settings.visitor_config().unwrap().key, Some(made));
    let shown = settings.describe();
    assert!(shown.contains(path.to_str().unwrap()), "{shown}");

    let error = with(&folder.path().join("none"), of_host.clone()).config().unwrap_err().to_string();
    assert!(error.contains("SWSYNC_KEY_FILE") && error.contains("none"), "{error}");
    let ntp = folder.path().join("ntp.keys");
    std::fs::write(&ntp, format!("1 AES128 HEX:{}", "0f".repeat(16))).unwrap();
    assert_eq!(with(&ntp, of_host.clone()).config().unwrap().key, None);
    assert_eq!(with(&ntp, of_host).visitor_config().unwrap().key, None);
    with(&ntp, given).visitor_config().unwrap_err();
}

#[test]
fn settings_are_shown_without_secrets() {
    let mut settings = RigSettings::default();
    let origin = Origin::Given("property of s".into());
    settings.add(Setting::Connect, "tcp/me:s3cret@pi0:7447?token=s3cret, tcp/pi1:1#key=s3cret", origin);
    for text in [settings.describe(), format!("{settings:?}")] {
        assert!(text.contains("connect=tcp/pi0:7447,tcp/pi1:1 (property of s)"), "{text}");
        assert!(text.contains("rig=swsync (default)") && !text.contains("s3cret"), "{text}");
    }
}
