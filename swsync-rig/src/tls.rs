//! What a rig's key means for Zenoh: mutual TLS, and nothing but TLS.
//!
//! The key derives the private key of a certificate authority (Ed25519), the same one on every device. Each session makes a
//! certificate of its own, signed by it, and keeps both in memory only. Zenoh takes connections from, and makes connections to,
//! those whose certificates have this authority.
//!
//! **Clocks.** Devices start with any wall clock (1970, 2040), so certificates are valid from 1970 to 9999. So a certificate cannot
//! be revoked: a rig whose key is known to a stranger needs another key.
//!
//! **Public authorities.** As a client, Zenoh 1.10 also trusts the public certificate authorities of the web (zenoh-link-tls,
//! `TlsClientConfig`), and names are not checked here, since devices are reached by changing addresses. So anybody with a web site
//! could pose as a hub. Zenoh's access control closes this: nothing goes to, or is taken from, whose certificate has another
//! common name than the rig's, which no public authority issues (it is no domain, and has the key's fingerprint in it).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use swsync_core::key::RigKey;
use zeroize::Zeroizing;

use crate::ControlError;

/// What comes before the seed in an Ed25519 private key (PKCS #8 version 1, RFC 8410 section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The messages that access control knows: all of them are for the rig only.
const MESSAGES: &str = r#"["put", "delete", "declare_subscriber", "query", "reply", "declare_queryable",
    "liveliness_token", "liveliness_query", "declare_liveliness_subscriber"]"#;

/// The protocol of endpoints of a rig with this key.
pub(crate) const fn protocol(key: Option<&RigKey>) -> &'static str {
    if key.is_some() { "tls" } else { "tcp" }
}

/// `endpoint`, which is written `tcp/HOST:PORT`, as it is used with this key.
pub(crate) fn endpoint_with(endpoint: &str, key: Option<&RigKey>) -> String {
    match (key, endpoint.strip_prefix("tcp/")) {
        (Some(_), Some(rest)) => format!("tls/{rest}"),
        (None, _) | (_, None) => endpoint.into(),
    }
}

/// Sets in `zenoh` who may connect, and to whom.
pub(crate) fn secure(zenoh: &mut zenoh::Config, key: Option<&RigKey>) -> Result<(), ControlError> {
    let mut set = |name: &str, value: &str| {
        zenoh.insert_json5(name, value).map_err(|source| ControlError::zenoh("configure Zenoh", source))
    };
    set("transport/link/protocols", &format!("[{:?}]", protocol(key)))?;
    let Some(key) = key else { return Ok(()) };
    let identity = Identity::new(key)
        .map_err(|error| ControlError::zenoh("make a certificate from the rig's key", Box::new(error)))?;
    let text = |value: &str| Zeroizing::new(format!("{value:?}"));
    let tls = "transport/link/tls";
    set(&format!("{tls}/root_ca_certificate_base64"), &text(&identity.authority))?;
    for side in ["listen", "connect"] {
        set(&format!("{tls}/{side}_private_key_base64"), &text(&identity.private_key))?;
        set(&format!("{tls}/{side}_certificate_base64"), &text(&identity.certificate))?;
    }
    set(&format!("{tls}/enable_mtls"), "true")?;
    set(&format!("{tls}/verify_name_on_connect"), "false")?;
    set("access_control", &access_control(&common_name(key)))
}

/// The common name of all certificates of the rig.
fn common_name(key: &RigKey) -> String {
    format!("swsync rig {}", key.fingerprint())
}

/// Allows everything to those whose certificates have this common name, and nothing to others.
fn access_control(common_name: &str) -> String {
    format!(
        r#"{{
            enabled: true,
            default_permission: "deny",
            rules: [{{
                id: "all", messages: {MESSAGES}, flows: ["egress", "ingress"], permission: "allow",
                key_exprs: ["**"],
            }}],
            subjects: [{{ id: "rig", cert_common_names: [{common_name:?}], link_protocols: ["tls"] }}],
            policies: [{{ rules: ["all"], subjects: ["rig"] }}],
        }}"#
    )
}

/// The certificates of a session, and its private key, as Zenoh takes them: PEM in base64.
struct Identity {
    authority: String,
    certificate: String,
    private_key: Zeroizing<String>,
}

impl Identity {
    fn new(key: &RigKey) -> Result<Self, rcgen::Error> {
        Self::named(key, &common_name(key))
    }

    fn named(key: &RigKey, common_name: &str) -> Result<Self, rcgen::Error> {
        let seed = key.authority_seed();
        let mut der = Zeroizing::new([0; ED25519_PKCS8.len() + 32]);
        der[..ED25519_PKCS8.len()].copy_from_slice(&ED25519_PKCS8);
        der[ED25519_PKCS8.len()..].copy_from_slice(&*seed);
        let authority_key = KeyPair::try_from(der.as_slice())?;
        let authority = authority_params();
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::from_params(&authority, authority_key);

        let own_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = session_params(common_name).signed_by(&own_key, &issuer)?;
        Ok(Self {
            authority: STANDARD.encode(pem("CERTIFICATE", authority_certificate.der()).as_bytes()),
            certificate: STANDARD.encode(pem("CERTIFICATE", certificate.der()).as_bytes()),
            private_key: Zeroizing::new(
                STANDARD.encode(pem("PRIVATE KEY", own_key.serialized_der()).as_bytes()),
            ),
        })
    }
}

/// The same on every device.
fn authority_params() -> CertificateParams {
    let mut params = always_valid("swsync rig authority");
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn session_params(common_name: &str) -> CertificateParams {
    let mut params = always_valid(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn always_valid(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> RigKey {
        RigKey::from_secret(Zeroizing::new([byte; 32]))
    }

    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use zenoh::Wait;

    /// A session in TLS that listens at or connects to `address`, with a certificate of this common name.
    fn session(mode: &str, side: &str, address: &str, certificate: (&RigKey, &str)) -> zenoh::Session {
        let (key, name) = certificate;
        let mut config = zenoh::Config::default();
        secure(&mut config, Some(key)).unwrap();
        let identity = Identity::named(key, name).unwrap();
        let tls = "transport/link/tls";
        for (setting, value) in [
            ("mode".into(), format!("{mode:?}")),
            ("listen/endpoints".into(), "[]".into()),
            (format!("{side}/endpoints"), format!("[\"tls/{address}\"]")),
            ("scouting/multicast/enabled".into(), "false".into()),
            (format!("{tls}/{side}_private_key_base64"), format!("{:?}", *identity.private_key)),
            (format!("{tls}/{side}_certificate_base64"), format!("{:?}", identity.certificate)),
        ] {
            config.insert_json5(&setting, &value).unwrap();
        }
        zenoh::open(config).wait().unwrap()
    }

    /// What a hub whose certificate has this common name gets from a client of the rig: replies and tokens. It asks until it
    /// has both, for `patience` at most.
    fn seen_by_hub_named(hub_name: &str, patience: Duration) -> usize {
        let key = key(1);
        let address = crate::free_loopback().unwrap().to_string();
        let hub = session("router", "listen", &address, (&key, hub_name));
        let client = session("client", "connect", &address, (&key, &common_name(&key)));
        let _token = client.liveliness().declare_token("swsync/device").wait().unwrap();
        let _queryable = client
            .declare_queryable("swsync/order")
            .callback(|query| query.reply("swsync/order", "done").wait().unwrap())
            .wait()
            .unwrap();
        let (mut seen, begin) = (0, Instant::now());
        while seen < 2 && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
            let timeout = Duration::from_millis(200);
            let replies = hub.get("swsync/order").timeout(timeout).wait().unwrap();
            let tokens = hub.liveliness().get("**").timeout(timeout).wait().unwrap();
            seen = replies.iter().chain(tokens.iter()).filter(|reply| reply.result().is_ok()).count();
        }
        assert_eq!(client.info().routers_zid().wait().count(), 1, "connected in any case");
        seen
    }

    /// Stands for a hub with a certificate of a public authority, which tests cannot have: TLS accepts both.
    #[test]
    fn a_hub_with_another_common_name_sees_nothing() {
        let (soon, late) = (Duration::from_secs(2), Duration::from_secs(20));
        assert_eq!(seen_by_hub_named(&common_name(&key(1)), late), 2, "a reply and a token");
        assert_eq!(seen_by_hub_named("www.example.org", soon), 0);
        assert_eq!(seen_by_hub_named(&common_name(&key(2)), soon), 0);
    }

    #[test]
    fn certificates_are_valid_from_1970_to_9999() {
        let key = key(1);
        for certificate in [Identity::new(&key).unwrap().authority, Identity::new(&key).unwrap().certificate]
        {
            let pem = String::from_utf8(STANDARD.decode(certificate).unwrap()).unwrap();
            let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
            for date in [&b"700101000000Z"[..], b"99991231000000Z"] {
                assert!(der.windows(date.len()).any(|window| window == date));
            }
        }
    }

    /// Collects what is logged at every level.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_logs_a_secret() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        // For the whole process, since Zenoh has threads of its own; this crate's other tests log too then.
        tracing_subscriber::util::SubscriberInitExt::try_init(subscriber).unwrap();
        let key = key(0x5a);
        let free = crate::free_loopback().unwrap();
        let listen = crate::RigConfig::new(
            swsync_core::name::Name::new("logged").unwrap(),
            vec![format!("tcp/{free}")],
            Vec::new(),
        );
        let connect = crate::RigConfig::new(listen.rig.clone(), Vec::new(), listen.listen.clone());
        let resident = crate::Session::open_unshared(&listen.with_key(Some(key.clone()))).unwrap();
        let patience = Duration::from_millis(500);
        // Also what goes wrong: no device, another key, none.
        for other in [Some(key.clone()), Some(self::key(2)), None] {
            let error = crate::Session::visit(&connect.clone().with_key(other), patience).err().unwrap();
            println!("{error}");
        }
        drop(resident);
        let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        assert!(text.contains("tls/"), "Zenoh's log is there: {} bytes", text.len());
        let private_key = STANDARD.encode("-----BEGIN PRIVATE KEY-----");
        for secret in [
            &private_key[..private_key.len() - 4], // the last digits depend on what follows
            "BEGIN PRIVATE KEY",
            &"5a".repeat(16),
            &"90, ".repeat(8),
            &STANDARD.encode(*key.authority_seed())[..40],
        ] {
            let at = text.find(secret);
            assert_eq!(at.map(|at| &text[at.saturating_sub(300)..at]), None, "a secret is logged after this");
        }
    }

    #[test]
    fn all_devices_have_one_authority_and_certificates_of_their_own() {
        let (a, b) = (Identity::new(&key(1)).unwrap(), Identity::new(&key(1)).unwrap());
        assert_eq!(a.authority, b.authority);
        assert_ne!(a.certificate, b.certificate);
        assert_ne!(*a.private_key, *b.private_key);
        assert_ne!(a.authority, Identity::new(&key(2)).unwrap().authority);
    }

    #[test]
    fn endpoints_are_written_the_same_way_with_and_without_a_key() {
        let key = key(1);
        assert_eq!(endpoint_with("tcp/[::1]:7447#iface=eth0", Some(&key)), "tls/[::1]:7447#iface=eth0");
        assert_eq!(endpoint_with("tls/pi0:7447", Some(&key)), "tls/pi0:7447");
        assert_eq!(endpoint_with("tcp/pi0:7447", None), "tcp/pi0:7447");
    }

    #[test]
    fn zenoh_takes_the_configuration_and_does_not_show_the_secrets() {
        let mut config = zenoh::Config::default();
        secure(&mut config, Some(&key(1))).unwrap();
        assert_eq!(config.get_json("transport/link/protocols").unwrap(), "[\"tls\"]");
        let private_key = STANDARD.encode("-----BEGIN PRIVATE KEY-----");
        let start = &private_key[..private_key.len() - 4]; // the last digits depend on what follows
        for shown in [format!("{config:?}"), config.to_string()] {
            assert!(!shown.contains(start), "{shown}");
        }
        let mut open = zenoh::Config::default();
        secure(&mut open, None).unwrap();
        assert_eq!(open.get_json("transport/link/protocols").unwrap(), "[\"tcp\"]");
    }
}
