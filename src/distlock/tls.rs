//! TLS as libpq's `sslmode` and `sslrootcert` mean it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{Conninfo, SslMode};
use super::error::LockError;

/// Where libpq looks for the authorities when `sslrootcert` is not given.
const DEFAULT_ROOTS: &str = ".postgresql/root.crt";

/// What makes a TLS connection of `conninfo`.
pub(super) fn connector(
    conninfo: &Conninfo,
    home: Option<&Path>,
) -> Result<MakeRustlsConnect, LockError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        trust: trust(conninfo, home)?,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LockError::Certificate(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&conninfo.sslcert, &conninfo.sslkey) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "sslcert")?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unusable(key, "sslkey", &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| LockError::Certificate(format!("sslcert and sslkey: {error}")))?
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(LockError::BadConninfo(
                "distlock_conninfo has only one of sslcert and sslkey; give both or none"
                    .to_owned(),
            ));
        }
    };
    // Asked for by servers that take TLS without the old negotiation in front of it; the others don't look.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn trust(conninfo: &Conninfo, home: Option<&Path>) -> Result<Trust, LockError> {
    let mode = conninfo.sslmode;
    let is_verified = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let path: PathBuf = match &conninfo.sslrootcert {
        _ if mode == SslMode::Disable => return Ok(Trust::Anyone),
        Some(path) if path == Path::new("system") => {
            return Err(LockError::BadConninfo(
                "sslrootcert=system is not supported in distlock_conninfo; name the file of the authorities, such as \
                 /etc/ssl/certs/ca-certificates.crt"
                    .to_owned(),
            ));
        }
        // libpq, too, verifies the chain wherever it has a file to do it with.
        Some(path) => path.clone(),
        None if !is_verified => return Ok(Trust::Anyone),
        None => match home {
            Some(home) => home.join(DEFAULT_ROOTS),
            None => {
                return Err(LockError::BadConninfo(
                    "distlock_conninfo asks to verify the certificate and names no authority; add sslrootcert=FILE"
                        .to_owned(),
                ));
            }
        },
    };
    let given = certificates(&path, "sslrootcert")?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(given.iter().cloned());
    if usable == 0 {
        let path = path.display();
        return Err(LockError::Certificate(format!(
            "sslrootcert={path} holds no certificate that can be an authority"
        )));
    }
    Ok(Trust::Authorities {
        roots,
        given,
        with_name: mode == SslMode::VerifyFull,
    })
}

fn certificates(
    path: &Path,
    keyword: &'static str,
) -> Result<Vec<CertificateDer<'static>>, LockError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| unusable(path, keyword, &error))?
        .collect();
    match found {
        Ok(found) if found.is_empty() => {
            let path = path.display();
            Err(LockError::Certificate(format!(
                "{keyword}={path} holds no certificate in PEM form"
            )))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, keyword, &error)),
    }
}

fn unusable(
    path: &Path,
    keyword: &'static str,
    error: &rustls::pki_types::pem::Error,
) -> LockError {
    LockError::Certificate(format!(
        "{keyword}={} can't be used: {error}",
        path.display()
    ))
}

#[derive(Debug)]
enum Trust {
    /// Encryption only: `sslmode=require` and less.
    Anyone,
    Authorities {
        roots: RootCertStore,
        /// The certificates of the file as they are. A server that shows one of these is the one meant: many a
        /// PostgreSQL has a self-signed certificate, which is its own authority.
        given: Vec<CertificateDer<'static>>,
        /// Also the host name: `verify-full`.
        with_name: bool,
    },
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Authorities {
            roots,
            given,
            with_name,
        } = &self.trust
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let cert = ParsedCertificate::try_from(end_entity)?;
        let is_given = given.iter().any(|one| one.as_ref() == end_entity.as_ref());
        if !is_given {
            verify_server_cert_signed_by_trust_anchor(
                &cert,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if *with_name {
            // By subjectAltName alone; a CN does not count.
            verify_server_name(&cert, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
