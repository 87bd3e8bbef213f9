//! Kernels without IPv6: its addresses are turned off, or there is no such protocol at all.

use std::path::PathBuf;
use std::time::Instant;

use super::{Lan, START, Trial, command_on};
use crate::process::built;

#[test]
fn devices_come_together_where_ipv6_is_turned_off() {
    let Some(mut trial) = Trial::new("devices_come_together_where_ipv6_is_turned_off") else { return };
    let lan = Lan::dark(3);
    for index in 0..3 {
        lan.hosts[index].set("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        lan.bring_up(index);
    }
    let begun = Instant::now();
    trial.start("a", &lan.hosts[0], "");
    trial.start("b", &lan.hosts[1], "");
    let took = trial.wait_until_together(&lan.hosts[2], &[], begun, START);
    println!("without addresses of IPv6: together {took:?} after the start");
    trial.shoot(&lan.hosts[2], &[]).assert_of(&["a", "b"], None);
}

/// As on a kernel that was built without IPv6 or started with `ipv6.disable=1`: `socket(AF_INET6, ...)` fails.
#[test]
fn devices_come_together_where_the_kernel_has_no_ipv6() {
    let test = "devices_come_together_where_the_kernel_has_no_ipv6";
    let Some(mut trial) = Trial::new(test) else { return };
    let Some(filter) = filter_file(&trial) else {
        println!("skipped: the filter of system calls is for x86-64 and ARM64");
        return;
    };
    let lan = Lan::new(3);
    let without_ipv6 = |host: usize| {
        let mut command = command_on(&lan.hosts[host], "setpriv");
        command.arg("--seccomp-filter").arg(&filter).arg("--");
        command
    };
    let refused = without_ipv6(2)
        .args(["python3", "-c", "import socket; socket.socket(socket.AF_INET6)"])
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("Address family not supported"), "the filter has no effect: {why}");

    let begun = Instant::now();
    for (host, name) in ["a", "b"].iter().enumerate() {
        let mut command = without_ipv6(host);
        command.arg("gst-launch-1.0");
        trial.add_pipeline(&mut command, name, "");
        trial.start_as(name, &mut command);
    }
    // The operator's kernel is as it is at first, and then like theirs.
    let took = trial.wait_until_together(&lan.hosts[2], &[], begun, START);
    println!("without IPv6: together {took:?} after the start");
    trial.shoot(&lan.hosts[2], &[]).assert_of(&["a", "b"], None);
    let status = without_ipv6(2)
        .arg(built("swsync"))
        .args(["status", "--rig", trial.bed.rig_name()])
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

/// Writes the filter of system calls that refuses sockets of IPv6 (EAFNOSUPPORT): classic BPF, see seccomp(2). `None`: not for
/// this kind of machine.
fn filter_file(trial: &Trial) -> Option<PathBuf> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const EAFNOSUPPORT: u32 = 0x0005_0000 + 97; // SECCOMP_RET_ERRNO
    const AF_INET6: u32 = 10;
    // AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64, and the numbers of socket(2).
    let (architecture, socket) = match std::env::consts::ARCH {
        "x86_64" => (0xc000_003e, 41),
        "aarch64" => (0xc000_00b7, 198),
        _ => return None,
    };
    // Of struct seccomp_data: the number is at 0, the architecture at 4, the lower half of the first argument at 16.
    let program: [(u16, u8, u8, u32); 8] = [
        (LOAD, 0, 0, 4),
        (JUMP_EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, 0),
        (JUMP_EQUAL, 0, 3, socket),
        (LOAD, 0, 0, 16),
        (JUMP_EQUAL, 0, 1, AF_INET6),
        (RETURN, 0, 0, EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ];
    let mut bytes = Vec::new();
    for (code, if_true, if_false, value) in program {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([if_true, if_false]);
        bytes.extend(value.to_ne_bytes());
    }
    let path = trial.bed.path("no-ipv6.bpf");
    std::fs::write(&path, bytes).unwrap();
    Some(path)
}
