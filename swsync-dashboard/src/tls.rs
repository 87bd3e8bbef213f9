//! TLS from a given certificate.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The configuration of a server with the certificates in `cert` and the key in `key`, both PEM.
///
/// # Errors
/// A file cannot be read, or they do not belong together.
pub fn config(cert: &Path, key: &Path) -> anyhow::Result<RustlsConfig> {
    let read = |path: &Path| {
        format!("cannot use {}: it has to be PEM, and you have to be allowed to read it", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(cert).with_context(|| read(cert))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().with_context(|| read(cert))?;
    anyhow::ensure!(!certificates.is_empty(), "{} has no certificate: name a file in PEM", cert.display());
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| read(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .with_context(|| format!("{} is not the key of {}: name its own", key.display(), cert.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}
