//! Hosts that tests make: trees of files as boards have them.

use std::path::Path;

use tempfile::TempDir;

use crate::HostRoot;

/// A host in a folder that vanishes with it.
pub struct FakeHost {
    pub root: HostRoot,
    _folder: TempDir,
}

impl FakeHost {
    /// Writes a file, over an older one if there is one.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.root.path(path), text);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A host with these files: path and text.
pub fn host(files: &[(&str, &str)]) -> FakeHost {
    let folder = tempfile::tempdir().unwrap();
    let host = FakeHost { root: HostRoot::at(folder.path()), _folder: folder };
    for (path, text) in files {
        host.write(path, text);
    }
    host
}

/// A Raspberry Pi 4 with Raspberry Pi OS: the firmware's state in a file of its own, and a hwmon for the voltage.
pub fn raspberry_pi_4() -> FakeHost {
    host(&[
        ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0"),
        ("proc/sys/kernel/osrelease", "6.6.74+rpt-rpi-v8\n"),
        ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n"),
        ("proc/stat", "cpu  1000 0 500 8000 500 0 0 0 0 0\ncpu0 250 0 125 2000 125 0 0 0 0 0\nintr 1\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "61835\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "61835\n"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1800000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1800000\n"),
        (
            "proc/net/wireless",
            "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n \
             face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n \
             wlan0: 0000   56.  -54.  -256        0      0      0      4      0        0\n",
        ),
    ])
}

/// A Raspberry Pi 5: its firmware is below a node with an address, and its fan is a cooling device.
pub fn raspberry_pi_5() -> FakeHost {
    host(&[
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
        ("proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-2712\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "84100\n"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "4\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "84100\n"),
        ("sys/class/hwmon/hwmon1/name", "rp1_adc\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "58913\n"),
        ("sys/class/hwmon/hwmon3/name", "rpi_volt\n"),
        ("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "1\n"),
        ("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "e0008\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "2400000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "2400000\n"),
    ])
}

/// A laptop with an Intel processor that has throttled itself.
pub fn laptop() -> FakeHost {
    host(&[
        ("sys/class/dmi/id/sys_vendor", "LENOVO\n"),
        ("sys/class/dmi/id/product_name", "20XW0055GE\n"),
        ("proc/sys/kernel/osrelease", "6.12.38+deb13-amd64\n"),
        ("etc/os-release", "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME='Debian GNU/Linux 13 (trixie)'\n"),
        ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
        ("sys/class/thermal/thermal_zone0/temp", "25000\n"),
        ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n"),
        ("sys/class/thermal/thermal_zone1/temp", "71000\n"),
        ("sys/class/thermal/thermal_zone2/type", "iwlwifi_1\n"),
        ("sys/class/thermal/thermal_zone2/temp", "91000\n"),
        ("sys/class/thermal/cooling_device0/type", "Processor\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
        ("sys/class/thermal/cooling_device8/type", "intel_powerclamp\n"),
        ("sys/class/thermal/cooling_device8/cur_state", "-1\n"),
        ("sys/class/hwmon/hwmon5/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon5/temp1_input", "71000\n"),
        ("sys/class/hwmon/hwmon5/temp2_input", "72000\n"),
        ("sys/class/hwmon/hwmon6/name", "nvme\n"),
        ("sys/class/hwmon/hwmon6/temp1_input", "88000\n"),
        ("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "12\n"),
        ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n"),
        ("sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "12\n"),
        ("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "5\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "4200000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "4200000\n"),
        ("sys/devices/system/cpu/cpufreq/policy1/cpuinfo_max_freq", "4200000\n"),
        ("sys/devices/system/cpu/cpufreq/policy1/scaling_max_freq", "2100000\n"),
    ])
}

/// A Jetson Nano: many zones, one of which always says 100 degrees, and cooling devices of the processor.
pub fn jetson() -> FakeHost {
    host(&[
        ("proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit\0"),
        ("proc/sys/kernel/osrelease", "4.9.337-tegra\n"),
        ("sys/class/thermal/thermal_zone0/type", "AO-therm\n"),
        ("sys/class/thermal/thermal_zone0/temp", "45500\n"),
        ("sys/class/thermal/thermal_zone1/type", "CPU-therm\n"),
        ("sys/class/thermal/thermal_zone1/temp", "52500\n"),
        ("sys/class/thermal/thermal_zone2/type", "GPU-therm\n"),
        ("sys/class/thermal/thermal_zone2/temp", "49000\n"),
        ("sys/class/thermal/thermal_zone4/type", "PMIC-Die\n"),
        ("sys/class/thermal/thermal_zone4/temp", "100000\n"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "2\n"),
        ("sys/class/thermal/cooling_device1/type", "thermal-cpufreq-0\n"),
        ("sys/class/thermal/cooling_device1/cur_state", "3\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1479000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1479000\n"),
    ])
}
