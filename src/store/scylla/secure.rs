//! TLS to the nodes: rustls with aws-lc-rs, as everywhere else.

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;

/// What a node's certificate has to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The IP address at which the node is called.
    Address,
    /// Nothing: that the authority made it is enough. Few certificates name addresses, and nodes are called by nothing else.
    Any,
}

/// How nodes prove who they are.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What their certificates name.
    pub names: Names,
    /// Certificates in PEM that are trusted; `None`: the system's, which only goes with [`Names::Address`].
    pub ca: Option<Vec<u8>>,
}

impl Tls {
    /// # Errors
    /// In words: what is wrong with the certificates.
    pub(super) fn context(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let failed = |e: &dyn std::fmt::Display| format!("TLS can't be set up: {e}");
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| failed(&e))?;
        let builder = match (&self.ca, self.names) {
            (None, Names::Any) => return Err("nodes of any name need an authority of their own (ca=)".into()),
            (None, Names::Address) => builder.with_platform_verifier().map_err(|e| failed(&e))?,
            (Some(pem), names) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|e| format!("the file that ca= names is no PEM of certificates: {e}"))?;
                    roots.add(certificate).map_err(|e| format!("the file that ca= names: {e}"))?;
                }
                let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| format!("the file that ca= names: {e}"))?;
                match names {
                    Names::Address => builder.with_webpki_verifier(inner),
                    Names::Any => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner))),
                }
            }
        };
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}

/// As the inner one, which looks at names last: a certificate that fails by its name alone is good.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
