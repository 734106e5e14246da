//! TLS as libpq's `sslmode` and `sslrootcert` mean it.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::LockError;
use super::guard::Guard;
use crate::conninfo::{Conninfo, SslMode};
use crate::postgres::tls::{Trust, builder};

/// Where libpq looks for the authorities when `sslrootcert` is not given.
const DEFAULT_ROOTS: &str = ".postgresql/root.crt";

/// What makes a connection of `conninfo`.
pub(super) fn connector(conninfo: &Conninfo, home: Option<&Path>) -> Result<Guard, LockError> {
    let trust = trust(conninfo, home)?;
    let proves = match &trust {
        Trust::Anyone => false,
        Trust::Authorities { .. } => true,
    };
    let builder = builder(trust).map_err(|error| LockError::Certificate(error.to_string()))?;
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
    Ok(Guard::new(conninfo, MakeRustlsConnect::new(config), proves))
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
