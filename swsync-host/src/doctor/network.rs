//! WiFi and Ethernet, as far as the host's own files tell.

use std::fs;

use swsync_core::doctor::{Check, Finding, Problem};
use swsync_core::status::{WEAK_SIGNAL_DBM, WifiStatus};

use crate::HostRoot;

/// The interfaces below `/sys/class/net`, sorted.
fn interfaces(root: &HostRoot) -> Result<Vec<String>, String> {
    let folder = "/sys/class/net";
    let entries =
        fs::read_dir(root.path(folder)).map_err(|error| format!("{folder} cannot be read: {error}"))?;
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn is_wifi(root: &HostRoot, interface: &str) -> bool {
    ["wireless", "phy80211"]
        .iter()
        .any(|what| root.path(format!("/sys/class/net/{interface}/{what}")).exists())
}

/// Power save, signal, and rfkill.
pub(super) fn wifi(root: &HostRoot, links: &[WifiStatus]) -> Check {
    const ID: &str = "wifi";
    let all = match interfaces(root) {
        Ok(all) => all,
        Err(why) => return Check::unknown(ID, why, "a mounted /sys"),
    };
    let wifi: Vec<_> = all.into_iter().filter(|interface| is_wifi(root, interface)).collect();
    let mut findings = blocked(root);
    if wifi.is_empty() && findings.is_empty() {
        return Check::ok(ID, "no WiFi interface");
    }
    let (mut seen, mut unknown) = (Vec::new(), Vec::new());
    for interface in &wifi {
        let is_up = root.text(format!("/sys/class/net/{interface}/operstate")).ok().flatten().as_deref()
            == Some("up");
        let link = links.iter().find(|link| link.interface == *interface);
        match link.and_then(|link| link.power_save) {
            Some(true) => findings.push(power_save(interface)),
            Some(false) => seen.push(format!("{interface}: power save off")),
            // One that nobody uses does no harm.
            None if !is_up => seen.push(format!("{interface}: not in use")),
            None => unknown.push(interface.clone()),
        }
        if let Some(signal) =
            link.and_then(|link| link.signal_dbm).filter(|signal| *signal <= WEAK_SIGNAL_DBM)
        {
            findings.push(Problem::WifiWeak.finding(
                format!("{interface} receives its access point badly: packets are lost and sent again"),
                format!("signal {signal} dBm (nl80211); {WEAK_SIGNAL_DBM} is weak"),
                "move the access point nearer, use 5 GHz with an antenna in sight, or a cable",
            ));
        }
    }
    if let [interface, ..] = &unknown[..]
        && findings.is_empty()
    {
        return Check::unknown(
            ID,
            format!("the kernel does not tell whether {} saves power", unknown.join(", ")),
            format!("iw dev {interface} get power_save (package iw)"),
        );
    }
    Check::found(ID, findings, seen.join(", "))
}

fn power_save(interface: &str) -> Finding {
    Problem::WifiPowerSave.finding(
        format!("{interface} sleeps between beacons: packets wait for 100 ms and longer, so its clock and orders suffer"),
        format!("{interface}: power save is on (nl80211)"),
        format!(
            "sudo iw dev {interface} set power_save off; for good: sudo nmcli connection modify NAME wifi.powersave 2"
        ),
    )
}

/// What rfkill has switched off.
fn blocked(root: &HostRoot) -> Vec<Finding> {
    let entries = fs::read_dir(root.path("/sys/class/rfkill")).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let mut findings = Vec::new();
    for name in names {
        let value = |file: &str| root.text(format!("/sys/class/rfkill/{name}/{file}")).ok().flatten();
        if value("type").as_deref() != Some("wlan") {
            continue;
        }
        for (file, mend) in [
            (
                "soft",
                "sudo rfkill unblock wifi; on a Raspberry Pi also the country: sudo raspi-config nonint do_wifi_country DE",
            ),
            ("hard", "a switch on the device blocks it"),
        ] {
            if value(file).as_deref() == Some("1") {
                findings.push(Problem::WifiBlocked.finding(
                    "WiFi is switched off",
                    format!("/sys/class/rfkill/{name}/{file}: 1"),
                    mend,
                ));
            }
        }
    }
    findings
}

/// Speed and duplex of Ethernet.
pub(super) fn ethernet(root: &HostRoot) -> Check {
    const ID: &str = "ethernet";
    let all = match interfaces(root) {
        Ok(all) => all,
        Err(why) => return Check::unknown(ID, why, "a mounted /sys"),
    };
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    // Virtual interfaces have no device.
    let is_card = |name: &String| root.path(format!("/sys/class/net/{name}/device")).exists();
    for interface in all.into_iter().filter(is_card).filter(|name| !is_wifi(root, name)) {
        let folder = format!("/sys/class/net/{interface}");
        // Of an interface that is down, these cannot be read.
        let value = |file: &str| root.text(format!("{folder}/{file}")).ok().flatten();
        if value("operstate").as_deref() != Some("up") {
            continue;
        }
        let (speed, duplex) = (value("speed").unwrap_or_default(), value("duplex").unwrap_or_default());
        if speed == "10" || duplex == "half" {
            findings.push(Problem::EthernetSlow.finding(
                format!("{interface} runs at {speed} Mbit/s, {duplex} duplex: packets wait for one another"),
                format!("{folder}/speed: {speed}, {folder}/duplex: {duplex}"),
                "another cable or port; a switch that is set to a fixed speed has to negotiate",
            ));
        } else {
            let known = speed.parse::<u32>().is_ok();
            seen.push(if known { format!("{interface}: {speed} Mbit/s") } else { interface });
        }
    }
    let seen = if seen.is_empty() { "none in use".to_owned() } else { seen.join(", ") };
    Check::found(ID, findings, seen)
}
