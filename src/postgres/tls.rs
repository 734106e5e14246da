//! TLS to a PostgreSQL server: whom it is made with, and what is demanded of it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WantsClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use webpki::RawPublicKeyEntity;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

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
/// it where nothing else is said. It shows `shown` of itself.
///
/// # Errors
/// What is to be shown is no certificate with its key.
pub fn own(shown: Option<Shown>) -> Result<MakeRustlsConnect, rustls::Error> {
    let builder = builder(Trust::Anyone)?;
    let mut config = match shown {
        Some(Shown { chain, key }) => {
            let unusable = |file: &str| rustls::Error::General(format!("~/{file} can't be used"));
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
            let chain = chain.map_err(|_| unusable(CERTIFICATE))?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| unusable(KEY))?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// What a user shows of itself, as its files have it.
#[derive(Debug)]
pub struct Shown {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Shown {
    /// What psql would show for the user in `home`.
    #[must_use]
    pub fn of(home: &Path) -> Option<Self> {
        let bytes = |name: &str| reading::read_bytes(&home.join(name)).ok();
        Some(Self {
            chain: bytes(CERTIFICATE)?,
            key: bytes(KEY)?,
        })
    }
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

impl Verifier {
    /// The key of a certificate that the library does not read, as it does none of X.509 version 1, which `openssl x509 -req`
    /// made for many years. Where nobody has to vouch for it, its key is all that counts: the server must have that.
    fn key_alone(
        &self,
        cert: &CertificateDer<'_>,
    ) -> Result<Option<SubjectPublicKeyInfoDer<'static>>, rustls::Error> {
        match (&self.trust, ParsedCertificate::try_from(cert)) {
            (Trust::Authorities { .. }, _) | (Trust::Anyone, Ok(_)) => Ok(None),
            (Trust::Anyone, Err(_)) => {
                let cert = Certificate::from_der(cert).map_err(|_| bad_encoding())?;
                let key = cert.tbs_certificate.subject_public_key_info.to_der();
                key.map(|key| Some(key.into())).map_err(|_| bad_encoding())
            }
        }
    }
}

fn bad_encoding() -> rustls::Error {
    CertificateError::BadEncoding.into()
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
        match self.key_alone(cert)? {
            None => verify_tls12_signature(message, cert, signed, algorithms),
            Some(key) => {
                let of_scheme = algorithms.mapping.iter();
                let mut usable = of_scheme
                    .filter(|(scheme, _)| *scheme == signed.scheme)
                    .flat_map(|(_, algorithms)| *algorithms);
                let encoding = |_| bad_encoding();
                let key = RawPublicKeyEntity::try_from(&key).map_err(encoding)?;
                let is_signed = usable.any(|algorithm| {
                    let signature = signed.signature();
                    key.verify_signature(*algorithm, message, signature).is_ok()
                });
                if is_signed {
                    Ok(HandshakeSignatureValid::assertion())
                } else {
                    Err(CertificateError::BadSignature.into())
                }
            }
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.key_alone(cert)? {
            None => verify_tls13_signature(message, cert, signed, algorithms),
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signed, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
