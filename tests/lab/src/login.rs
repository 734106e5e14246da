//! How those outside the cluster get in: the client that keeps score, and the watches of its host.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Time for a connection: a dead host answers nothing.
const CONNECT: Duration = Duration::from_secs(1);
/// Silence of a host with bytes or probes outstanding after which the kernel ends the connection.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// Who logs in, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login {
    pub(crate) user: &'static str,
    pub(crate) password: Option<&'static str>,
    pub(crate) is_encrypted: bool,
    pub(crate) port: u16,
}

impl Login {
    /// How the client's host connects to a server: no dead host may hold it up.
    pub(crate) fn config(self, address: &str, name: &str) -> Config {
        let mut config = Config::new();
        config
            .host(address)
            .port(self.port)
            .user(self.user)
            .dbname("postgres")
            .application_name(name)
            .ssl_mode(if self.is_encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .connect_timeout(CONNECT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(CONNECT)
            .keepalives_interval(CONNECT)
            .keepalives_retries(2);
        if let Some(password) = self.password {
            config.password(password);
        }
        config
    }
}

/// Connects as the configuration says, and gives the task that keeps the connection.
pub(crate) async fn connect(
    config: &Config,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    // What ends a connection is told to whoever uses it.
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        return Ok((client, tokio::spawn(async { drop(connection.await) })));
    }
    let (client, connection) = config.connect(encryption()).await?;
    Ok((client, tokio::spawn(async { drop(connection.await) })))
}

/// TLS with whoever is there.
fn encryption() -> MakeRustlsConnect {
    let provider = Arc::new(ring::default_provider());
    let anyone = Arc::new(Anyone(Arc::clone(&provider)));
    let versions = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
    let config = versions
        .expect("the provider has both")
        .dangerous()
        .with_custom_certificate_verifier(anyone)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// The lab's servers have a certificate that nobody vouches for.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
