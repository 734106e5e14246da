//! TLS to a PostgreSQL server: whom it is made with, and what is demanded of it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WantsClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::reading;

/// Where libpq looks for what a user shows of itself, in the user's home.
const CERTIFICATE: &str = ".postgresql/postgresql.crt";
const KEY: &str = ".postgresql/postgresql.key";

/// The beginning of a client's settings, up to what it shows of itself.
///
/// # Errors
/// The library has no protocol version in common with this program.
pub fn builder(
    trust: Trust,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        trust,
        provider: Arc::clone(&provider),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

/// TLS with this machine's own server: encrypted, as its pg_hba.conf may ask for, and with whoever listens there, as psql does
/// it where nothing else is said. What the user in `home` shows of itself is what psql would show.
///
/// # Errors
/// What lies there for it is no certificate with its key.
pub fn own(home: &Path) -> Result<MakeRustlsConnect, rustls::Error> {
    let builder = builder(Trust::Anyone)?;
    let bytes = |name: &str| reading::read_bytes(&home.join(name)).ok();
    let mut config = match (bytes(CERTIFICATE), bytes(KEY)) {
        (Some(chain), Some(key)) => {
            let unusable = |file: &str| rustls::Error::General(format!("~/{file} can't be used"));
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
            let chain = chain.map_err(|_| unusable(CERTIFICATE))?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| unusable(KEY))?;
            builder.with_client_auth_cert(chain, key)?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// By whom a server's certificate must be vouched for.
#[derive(Debug)]
pub enum Trust {
    /// Encryption only: `sslmode=require` and less.
    Anyone,
    /// By these.
    Authorities {
        /// The authorities.
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
