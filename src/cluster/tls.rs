//! Mutual TLS between nodes: both show a certificate of the cluster's own authority, for a name that is listed.

use super::{ClusterError, TlsFiles};
use ractor_cluster::IncomingEncryptionMode;
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
            verify_server_name,
        },
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
        server::{
            ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
        sign::CertifiedKey,
    },
};

/// Files are looked at for changes no more often.
const FRESH: Duration = Duration::from_secs(1);

/// Both directions of one set of files.
#[derive(Clone)]
pub(super) struct Sides {
    pub(super) accept: TlsAcceptor,
    pub(super) connect: TlsConnector,
    /// The name that is asked for; whether it is that of the other side is for [`Listed`] to say.
    pub(super) name: ServerName<'static>,
}

/// The files, and what was last made of them.
pub(super) struct Tls {
    files: TlsFiles,
    made: Mutex<Made>,
}

struct Made {
    sides: Sides,
    of: Stamp,
    looked: Instant,
}

type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Tls {
    /// # Errors
    /// A file can't be read, or isn't what it should be.
    pub(super) fn open(files: TlsFiles) -> Result<Self, ClusterError> {
        let made = Made { of: stamp(&files), sides: sides(&files)?, looked: Instant::now() };
        Ok(Self { files, made: Mutex::new(made) })
    }

    /// For a new connection: of what the files hold now, or of what they held when they could last be read.
    pub(super) fn sides(&self) -> Sides {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.looked.elapsed() >= FRESH {
            made.looked = Instant::now();
            let now = stamp(&self.files);
            if now != made.of {
                match sides(&self.files) {
                    Ok(sides) => {
                        (made.sides, made.of) = (sides, now);
                        tracing::info!("certificates of the cluster were read again");
                    }
                    // Half written, perhaps: looked at again a second later.
                    Err(e) => tracing::error!(error = %e, "certificates of the cluster can't be read; those of before stay in use"),
                }
            }
        }
        made.sides.clone()
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &Path| fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
    [&files.cert, &files.key, &files.ca].map(|p| of(p)).into()
}

fn sides(files: &TlsFiles) -> Result<Sides, ClusterError> {
    let bad = |path: &Path| {
        let shown = path.display().to_string();
        move |e: &dyn std::fmt::Display| ClusterError::of(&shown, e)
    };
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad(&files.key)(&e))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca)? {
        roots.add(root).map_err(|e| bad(&files.ca)(&e))?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
    let names: Arc<[ServerName<'static>]> = files
        .names
        .iter()
        .map(|n| ServerName::try_from(n.clone()).map_err(|e| ClusterError::of(n, e)))
        .collect::<Result<Vec<_>, _>>()?
        .into();
    let name = names.first().cloned().ok_or_else(|| ClusterError("no names that certificates may be for".into()))?;

    let client = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let client = ListedClient { inner: client.map_err(|e| bad(&files.ca)(&e))?, names: names.clone() };
    let accept = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&rustls::version::TLS13]);
    let accept = accept.map_err(|e| bad(&files.cert)(&e))?.with_client_cert_verifier(Arc::new(client));
    let accept = accept.with_single_cert(chain.clone(), key.clone_key()).map_err(|e| bad(&files.cert)(&e))?;

    let server = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let server = ListedServer { inner: server.map_err(|e| bad(&files.ca)(&e))?, names };
    let connect = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let connect = connect.map_err(|e| bad(&files.cert)(&e))?.dangerous().with_custom_certificate_verifier(Arc::new(server));
    let connect = connect.with_client_auth_cert(chain, key).map_err(|e| bad(&files.cert)(&e))?;
    Ok(Sides { accept: Arc::new(accept).into(), connect: Arc::new(connect).into(), name })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let bad = |e: &dyn std::fmt::Display| ClusterError::of(&path.display().to_string(), e);
    let all = CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))?.collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))?;
    if all.is_empty() { Err(bad(&"holds no certificate")) } else { Ok(all) }
}

/// The whole check of a server's certificate, against any of the names.
#[derive(Debug)]
struct ListedServer {
    inner: Arc<WebPkiServerVerifier>,
    names: Arc<[ServerName<'static>]>,
}

impl ServerCertVerifier for ListedServer {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut last = rustls::Error::General("no names".into());
        for name in self.names.iter() {
            match self.inner.verify_server_cert(cert, chain, name, ocsp, now) {
                Ok(good) => return Ok(good),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The whole check of a client's certificate, and then its names.
#[derive(Debug)]
struct ListedClient {
    inner: Arc<dyn ClientCertVerifier>,
    names: Arc<[ServerName<'static>]>,
}

impl ClientCertVerifier for ListedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let good = self.inner.verify_client_cert(cert, chain, now)?;
        let parsed = ParsedCertificate::try_from(cert)?;
        let mut last = rustls::Error::General("no names".into());
        for name in self.names.iter() {
            match verify_server_name(&parsed, name) {
                Ok(()) => return Ok(good),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Has no certificate, so that no handshake succeeds.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// For the library's own listener, which can't be left out: nobody gets in by it.
pub(super) fn nobody() -> Result<IncomingEncryptionMode, ClusterError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| ClusterError::of("TLS", e))?.with_no_client_auth().with_cert_resolver(Arc::new(Nobody));
    Ok(IncomingEncryptionMode::Tls(Arc::new(config).into()))
}
