//! Takes out of a text what must not leave the host: passwords, keys, serial numbers, and most of hardware addresses.

use swsync_client::settings::without_secrets;

/// Stands for what was taken out.
const GONE: &str = "<removed>";

/// Names whose values are secret, wherever they stand before `=` or `:`.
const SECRET_NAMES: [&str; 14] = [
    "psk",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "wep_key",
    "private_key",
    "privatekey",
    "wpa-psk",
    "wep-key0",
    "pin",
    "serial",
    "apikey",
];

/// `text` without secrets.
pub fn redact(text: &str) -> String {
    let text = without_secrets(text);
    let lines = text.split('\n').map(|line| hide_long_hex(&hide_hardware_addresses(&hide_values(line))));
    lines.collect::<Vec<_>>().join("\n")
}

/// Hides what follows the name of a secret in a line, up to its end.
fn hide_values(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    for (at, separator) in lower.match_indices(['=', ':']) {
        let name: String = lower[..at]
            .trim_end()
            .trim_end_matches(['"', '\'', ')'])
            .chars()
            .rev()
            .take_while(|c| is_name(*c))
            .collect();
        let name: String = name.chars().rev().collect();
        let is_secret = SECRET_NAMES.iter().any(|secret| {
            name == *secret
                || name.ends_with(&format!("-{secret}"))
                || name.ends_with(&format!("_{secret}"))
                || name.ends_with(&format!(".{secret}"))
        });
        if is_secret {
            return format!("{}{separator}{GONE}", &line[..at]);
        }
    }
    line.to_owned()
}

const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Shortens `b8:27:eb:12:34:56` to `b8:27:eb:xx:xx:xx`: the maker stays. The same with `-`, and in the last half of an IPv6 address that
/// was made from one (RFC 4291 appendix A: `ff:fe` in its middle).
fn hide_hardware_addresses(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut word = String::new();
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '-');
    for c in line.chars().chain(['\n']) {
        if is_part(c) {
            word.push(c);
        } else {
            shown.push_str(&shortened(&word));
            word.clear();
            shown.push(c);
        }
    }
    shown.pop();
    shown
}

fn shortened(word: &str) -> String {
    for separator in [':', '-'] {
        let parts: Vec<_> = word.split(separator).collect();
        // One may stand behind another word that ends with the separator.
        let octets = parts
            .iter()
            .rev()
            .take_while(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
            .count();
        if octets >= 6 {
            let kept = parts.len() - 3;
            let shown = parts.iter().enumerate().map(|(at, part)| if at >= kept { "xx" } else { part });
            return shown.collect::<Vec<_>>().join(&separator.to_string());
        }
    }
    let parts: Vec<_> = word.split(':').collect();
    if let [.., a, b, c, _] = parts[..]
        && b.ends_with("ff")
        && c.starts_with("fe")
        && !a.is_empty()
    {
        let head = &word[..word.len() - parts[parts.len() - 2].len() - parts[parts.len() - 1].len() - 1];
        return format!("{head}fexx:xxxx");
    }
    word.to_owned()
}

/// Hides runs of 32 and more hexadecimal digits: keys, and ids of machines.
fn hide_long_hex(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut run = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        shown.push_str(if run.len() >= 32 { GONE } else { &run });
        run.clear();
        shown.push(c);
    }
    shown.pop();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, shown) in [
            ("psk=hunter2 hunter3", "psk=<removed>"),
            ("\tpsk=\"hunter2\"", "\tpsk=<removed>"),
            ("wifi-security.psk: hunter2", "wifi-security.psk:<removed>"),
            ("\"password\": \"hunter2\"", "\"password\":<removed>"),
            ("password = \"hunter2\"", "password =<removed>"),
            ("Serial\t\t: 10000000abcdef01", "Serial\t\t:<removed>"),
            ("rtspsrc location=rtsp://me:hunter2@host/x", "rtspsrc location=rtsp://host/x"),
            ("link/ether b8:27:eb:12:34:56 brd ff", "link/ether b8:27:eb:xx:xx:xx brd ff"),
            ("MAC-B8-27-EB-12-34-56.", "MAC-B8-27-EB-xx-xx-xx."),
            ("inet6 fe80::ba27:ebff:fe12:3456/64", "inet6 fe80::ba27:ebff:fexx:xxxx/64"),
            ("inet6 fd00::1/64, 10.0.0.1", "inet6 fd00::1/64, 10.0.0.1"),
            ("key 0123456789abcdef0123456789abcdef", "key <removed>"),
            ("timescale 0123456789abcdef", "timescale 0123456789abcdef"),
            ("keyboard: us, spin=3, 12:34:56", "keyboard: us, spin=3, 12:34:56"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
        assert_eq!(redact("a\npsk=x\nb"), "a\npsk=<removed>\nb");
    }
}
