//! TLS and passwords.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use expgsql::distlock::{LockError, Service};
use expgsql::params::Secret;
use lab::{ConfigStyle, Layout};
use tempfile::TempDir;

use crate::server::{Server, done, give, service, soon};

/// How `agent` is let in unless a test has it otherwise.
const BY_CERTIFICATE: &str = "hostssl all agent 127.0.0.1/32 cert";

/// Authorities and certificates, made by openssl.
struct Papers(TempDir);

impl Papers {
    /// `None`: the server that is tested with was built without TLS.
    fn new() -> Option<Self> {
        let layout = Layout::find(ConfigStyle::DataDirectory).unwrap();
        if !layout.has_tls().unwrap() {
            eprintln!("left out: this PostgreSQL was built without TLS");
            return None;
        }
        let papers = Self(tempfile::tempdir().unwrap());
        for authority in ["ca", "other"] {
            papers.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"
            ));
        }
        papers.signed("server", "DNS:localhost,IP:127.0.0.1");
        papers.signed("agent", "DNS:agent");
        papers.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout self.key -out self.crt",
        );
        papers.signed("elsewhere", "DNS:elsewhere.example");
        Some(papers)
    }

    fn signed(&self, name: &str, alt: &str) {
        fs::write(self.0.path().join("ext"), format!("subjectAltName={alt}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.crt"
        ));
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        done(
            command
                .args(line.split_whitespace())
                .current_dir(self.0.path()),
        );
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server that shows the certificate `name`, and lets `agent` in by this line, others by TLS.
    fn server(&self, name: &str, agent: &str) -> Server {
        let config =
            "ssl = on\nssl_cert_file = 'x.crt'\nssl_key_file = 'x.key'\nssl_ca_file = 'ca.crt'\n";
        Server::with(config, |data| {
            for (from, to) in [
                (format!("{name}.crt"), "x.crt"),
                (format!("{name}.key"), "x.key"),
                ("ca.crt".to_owned(), "ca.crt"),
            ] {
                let to = data.join(to);
                fs::copy(self.file(&from), &to).unwrap();
                fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
                give(&to);
            }
            fs::write(
                data.join("pg_hba.conf"),
                format!("local all all trust\n{agent}\nhostssl all all 127.0.0.1/32 trust\n"),
            )
            .unwrap();
        })
    }
}

fn ask(server: &Server, host: &str, more: &str) -> Result<(), LockError> {
    let conninfo = format!(
        "host={host} hostaddr=127.0.0.1 port={} user=postgres dbname=postgres {more}",
        server.port
    );
    match service(&conninfo, "pgsql").read(soon()) {
        // It answered.
        Ok(_) | Err(LockError::TableMissing(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[test]
fn the_chain_and_the_host_name_are_verified() {
    let Some(papers) = Papers::new() else {
        return;
    };
    let server = papers.server("server", BY_CERTIFICATE);
    let root = |name: &str| format!("sslrootcert={}", papers.file(name).display());
    let (ca, other) = (root("ca.crt"), root("other.crt"));
    for (host, more, is_accepted) in [
        ("localhost", format!("sslmode=verify-full {ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-full {ca}"), true),
        (
            "elsewhere.example",
            format!("sslmode=verify-full {ca}"),
            false,
        ),
        ("elsewhere.example", format!("sslmode=verify-ca {ca}"), true),
        ("localhost", format!("sslmode=verify-full {other}"), false),
        ("localhost", format!("sslmode=verify-ca {other}"), false),
        ("localhost", format!("sslmode=require {other}"), false),
        ("localhost", "sslmode=require".to_owned(), true),
        ("localhost", "sslmode=prefer".to_owned(), true),
        ("localhost", String::new(), true),
        (
            "localhost",
            "sslmode=verify-full sslrootcert=/nonexistent".to_owned(),
            false,
        ),
        (
            "localhost",
            format!("sslmode=verify-full {}", root("ca.key")),
            false,
        ),
        (
            "localhost",
            format!("sslmode=verify-full {ca} channel_binding=disable"),
            true,
        ),
    ] {
        let found = ask(&server, host, &more);
        match found {
            Ok(()) => assert!(is_accepted, "{host} {more}"),
            Err(LockError::Certificate(what)) => assert!(!is_accepted, "{host} {more}: {what}"),
            Err(error) => panic!("{host} {more}: {error}"),
        }
    }
    // The server takes no connection without TLS.
    let plain = ask(&server, "localhost", "sslmode=disable").unwrap_err();
    assert!(matches!(plain, LockError::Authentication(_)), "{plain}");

    // A role that has to show a certificate of its own.
    let own = format!(
        "user=agent sslmode=verify-full {ca} sslcert={} sslkey={}",
        papers.file("agent.crt").display(),
        papers.file("agent.key").display()
    );
    assert_eq!(ask(&server, "localhost", &own), Ok(()));
    let without = ask(
        &server,
        "localhost",
        &format!("user=agent sslmode=verify-full {ca}"),
    );
    assert!(
        matches!(without, Err(LockError::Authentication(_))),
        "{without:?}"
    );
}

#[test]
fn a_self_signed_certificate_is_its_own_authority() {
    let Some(papers) = Papers::new() else {
        return;
    };
    let server = papers.server("self", BY_CERTIFICATE);
    let own = format!(
        "sslmode=verify-full sslrootcert={}",
        papers.file("self.crt").display()
    );
    assert_eq!(ask(&server, "localhost", &own), Ok(()));
    let wrong = ask(&server, "elsewhere.example", &own);
    assert!(matches!(wrong, Err(LockError::Certificate(_))), "{wrong:?}");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = Server::start();
    let error = ask(&server, "localhost", "sslmode=require").unwrap_err();
    assert!(matches!(error, LockError::Certificate(_)), "{error}");
    assert_eq!(ask(&server, "localhost", "sslmode=prefer"), Ok(()));
}

fn passfile(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn passwords_come_from_password_files_that_nobody_else_can_read() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let line = format!("127.0.0.1:{}:postgres:agent:zq7x\n", server.port);
    let good = passfile(dir.path(), "good", &line, 0o600);
    let open = passfile(dir.path(), "open", &line, 0o644);
    let other = passfile(dir.path(), "other", "127.0.0.1:*:*:somebody:x\n", 0o600);
    let conninfo = format!(
        "host=127.0.0.1 port={} user=agent dbname=postgres",
        server.port
    );
    let ask = |more: &str, file: Option<&Path>| {
        let conninfo = Secret::new(format!("{conninfo} {more}"));
        Service::new(&conninfo, "pgsql", file).unwrap().read(soon())
    };
    let in_it = format!("passfile={}", good.display());
    for found in [
        ask(&in_it, None),
        ask("", Some(&good)),
        ask(&in_it, Some(&other)),
    ] {
        assert!(
            matches!(found, Err(LockError::TableMissing(_))),
            "{found:?}"
        );
    }
    let refused = ask("", Some(&open)).unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
    let missing = ask("passfile=/nonexistent", None).unwrap_err();
    assert!(matches!(missing, LockError::Passfile(_)), "{missing}");
    let unknown = ask("", Some(&other)).unwrap_err();
    assert!(matches!(unknown, LockError::Authentication(_)), "{unknown}");
    // A password that is given makes the files superfluous.
    assert!(matches!(
        ask("password=zq7x", Some(&open)),
        Err(LockError::TableMissing(_))
    ));
}

/// A server that asks `agent` in this way, with TLS or without; it shows the papers' certificate.
fn asking(papers: &Papers, method: &str) -> Server {
    let server = papers.server("server", &format!("host all agent 127.0.0.1/32 {method}"));
    let encryption = if method == "md5" {
        method
    } else {
        "scram-sha-256"
    };
    server.sql(&format!(
        "set password_encryption = '{encryption}'; alter role agent password 'zq7x'"
    ));
    server
}

#[test]
fn a_password_in_clear_text_is_for_a_server_that_has_proved_itself() {
    let Some(papers) = Papers::new() else {
        return;
    };
    let ca = format!(
        "sslmode=verify-full sslrootcert={}",
        papers.file("ca.crt").display()
    );
    let only = |method: &str| format!("sslmode=disable require_auth={method}");
    let cases = [
        ("password", "sslmode=disable".to_owned(), false),
        ("password", "sslmode=prefer".to_owned(), false),
        ("password", "sslmode=require".to_owned(), false),
        ("password", ca.clone(), true),
        ("password", only("password"), true),
        (
            "password",
            format!("{ca} require_auth=scram-sha-256"),
            false,
        ),
        ("md5", "sslmode=disable".to_owned(), true),
        ("md5", ca.clone(), true),
        ("md5", only("scram-sha-256"), false),
        ("scram-sha-256", "sslmode=disable".to_owned(), true),
        ("scram-sha-256", "sslmode=require".to_owned(), true),
        ("scram-sha-256", only("scram-sha-256"), true),
        (
            "scram-sha-256",
            format!("{ca} channel_binding=require"),
            true,
        ),
        ("scram-sha-256", only("!scram-sha-256"), false),
        ("trust", "sslmode=disable".to_owned(), true),
        ("trust", only("scram-sha-256"), false),
        ("trust", only("none"), true),
    ];
    for cases in cases.chunk_by(|a, b| a.0 == b.0) {
        let server = asking(&papers, cases[0].0);
        for (method, more, is_let_in) in cases {
            let more = format!("user=agent password=zq7x {more}");
            match ask(&server, "localhost", &more) {
                Ok(()) => assert!(is_let_in, "{method} {more}"),
                Err(LockError::Authentication(why)) => {
                    assert!(!is_let_in, "{method} {more}: {why}");
                    assert!(why.contains("require_auth"), "{method} {more}: {why}");
                    assert!(!why.contains("zq7x"), "{why}");
                }
                Err(error) => panic!("{method} {more}: {error}"),
            }
        }
    }
}

/// A fake, because PostgreSQL does not tell what it was given: it has no TLS, and asks for the password in clear text.
#[test]
fn who_asks_for_it_in_clear_text_is_given_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"N").unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut startup).unwrap();
        // In pieces, as a network may bring it.
        for piece in [&b"R"[..], &[0, 0, 0], &[8, 0, 0, 0, 3]] {
            client.write_all(piece).unwrap();
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        rest
    });
    let conninfo = format!("host=127.0.0.1 port={port} user=agent password=zq7x");
    let error = service(&conninfo, "pgsql").read(soon()).unwrap_err();
    assert!(matches!(error, LockError::Authentication(_)), "{error}");
    assert_eq!(heard.join().unwrap(), b"", "it was given something");
}
