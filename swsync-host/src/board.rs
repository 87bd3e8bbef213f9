//! Which machine this is, and which system it runs.

use crate::HostRoot;

/// The model of the board or computer: by device tree, or else by DMI.
#[must_use]
pub fn model(root: &HostRoot) -> Option<String> {
    ["/proc/device-tree/model", "/sys/firmware/devicetree/base/model"]
        .into_iter()
        .find_map(|path| {
            let model = root.known_text(path)?.trim_end_matches('\0').to_owned();
            (!model.is_empty()).then_some(model)
        })
        .or_else(|| by_dmi(root))
}

fn by_dmi(root: &HostRoot) -> Option<String> {
    let of = |file: &str| root.known_text(format!("/sys/class/dmi/id/{file}"));
    match (of("sys_vendor"), of("product_name")) {
        (Some(vendor), Some(product)) => Some(format!("{vendor} {product}")),
        (None, known) | (known, None) => known,
    }
}

/// The kernel's version.
#[must_use]
pub fn kernel(root: &HostRoot) -> Option<String> {
    root.known_text("/proc/sys/kernel/osrelease")
}

/// The operating system's name and version.
#[must_use]
pub fn os(root: &HostRoot) -> Option<String> {
    // os-release(5): the second is used if the first is not there.
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].into_iter().find_map(|path| root.known_text(path))?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{host, jetson, laptop, raspberry_pi_4, raspberry_pi_5};

    #[test]
    fn each_board_says_what_it_is() {
        assert_eq!(model(&raspberry_pi_4().root).unwrap(), "Raspberry Pi 4 Model B Rev 1.5");
        assert_eq!(model(&raspberry_pi_5().root).unwrap(), "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(model(&jetson().root).unwrap(), "NVIDIA Jetson Nano Developer Kit");
        assert_eq!(model(&laptop().root).unwrap(), "LENOVO 20XW0055GE");
        assert_eq!(model(&host(&[]).root), None);
    }

    #[test]
    fn kernel_and_system_have_versions() {
        let pi = raspberry_pi_4();
        assert_eq!(kernel(&pi.root).unwrap(), "6.6.74+rpt-rpi-v8");
        assert_eq!(os(&pi.root).unwrap(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os(&laptop().root).unwrap(), "Debian GNU/Linux 13 (trixie)");
        assert_eq!((kernel(&host(&[]).root), os(&host(&[]).root)), (None, None));
    }
}
