//! The WiFi links of a host.
//!
//! Signal, bitrate and power save come from the kernel by nl80211, as `iw` gets them. Where that is not there, `/proc/net/wireless`
//! has the signal; bitrate and power save are then not known.

mod nl80211;
mod proc;

use swsync_core::status::{MAX_WIFI, WifiStatus};

use crate::HostRoot;

/// The links that are connected to an access point, by interface.
#[must_use]
pub fn links(root: &HostRoot) -> Vec<WifiStatus> {
    // A host that a test made has files only: nl80211 would tell of this one.
    let asked = if root.is_this_host() { nl80211::links() } else { None };
    let mut links = asked.unwrap_or_else(|| proc::links(root));
    links.sort_by(|one, other| one.interface.cmp(&other.interface));
    links.truncate(MAX_WIFI);
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{laptop, raspberry_pi_4};

    #[test]
    fn a_made_host_has_the_links_of_its_files() {
        let links = links(&raspberry_pi_4().root);
        let expected =
            WifiStatus { interface: "wlan0".into(), signal_dbm: Some(-54), ..WifiStatus::default() };
        assert_eq!(links, [expected]);
        assert!(super::links(&laptop().root).is_empty());
    }
}
