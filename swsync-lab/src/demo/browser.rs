//! Opens the demo's page in the browser of the desktop, if there is one.

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// What opens addresses on desktops of any kind.
const OPENER: &str = "xdg-open";

/// Whether this is a desktop: a browser would have somewhere to appear.
pub fn is_desktop() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Opens the page at `address`. Returns what to tell the user, if it is not opened.
pub fn open(address: SocketAddr, is_desktop: bool) -> Option<String> {
    // Beyond this machine a login is needed, whose token is in the address that the page has printed.
    if !address.ip().is_loopback() {
        return Some("Open the address above in a browser, or scan its code with a phone.".into());
    }
    let address = format!("http://{address}/");
    if !is_desktop {
        return Some(format!(
            "There is no desktop here (neither DISPLAY nor WAYLAND_DISPLAY is set): open {address} in a browser."
        ));
    }
    start(&address).err().map(|error| format!("Open {address} in a browser ({OPENER}: {error})."))
}

fn start(address: &str) -> io::Result<()> {
    let mut opener = Command::new(OPENER);
    let mut child =
        opener.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // Some openers last as long as the browser. The thread ends with it, or with the demo.
    std::thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_desktop_or_beyond_this_machine_the_user_is_told_what_to_open() {
        let told = open("127.0.0.1:8080".parse().unwrap(), false).unwrap();
        assert!(
            told.contains("open http://127.0.0.1:8080/ in a browser") && told.contains("DISPLAY"),
            "{told}"
        );
        assert!(open("0.0.0.0:8080".parse().unwrap(), true).unwrap().contains("phone"));
    }
}
