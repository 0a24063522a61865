//! Who asks. [`Bearer`] is a signed-in person; [`Credentials`] is a person or a server with an API key. The two schemes are
//! not interchangeable: a `qk_` value behind `Bearer` is 401.

use super::{
    errors::{ApiError, Code},
    operations::{Access, Operation},
};
use crate::{
    domain::{secret::SecretText, token::ChangeToken},
    service::{
        Services,
        access::{Credential, Operator},
        api::Principal,
        error::Error,
    },
};
use poem::{
    Endpoint, Request, RequestBody, Response, Result,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use std::sync::Arc;

/// Name of the scheme of people in the document.
pub const SCHEME: &str = "bearer";
/// Name of the scheme of servers in the document.
pub const KEY_SCHEME: &str = "api_key";

/// The signed-in person; 401 without one.
pub struct Bearer(pub Principal);

impl<'a> ApiExtractor<'a> for Bearer {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some("The access token of a person: a JWT (ES256), good for 15 minutes."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }
    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let services = services(request)?;
        match authorization(request.headers()) {
            Some((Scheme::Bearer, token)) => Ok(Self(services.authenticate(token).await.map_err(ApiError::from)?)),
            Some((Scheme::ApiKey, key)) => {
                services.authenticate_key(key).await.map_err(ApiError::from)?;
                Err(ApiError::detail(Code::Forbidden, "This route needs a person's access token, not an API key.").into())
            }
            _ => Err(ApiError::new(Code::Unauthorized).into()),
        }
    }
}

/// A signed-in person or a server; 401 for neither. What they may do is asked by [`Authorized`].
pub struct Credentials(pub Credential);

impl<'a> ApiExtractor<'a> for Credentials {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Bearer::register(registry);
        registry.create_security_scheme(
            KEY_SCHEME,
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some("The API key of a server: `Authorization: ApiKey qk_<prefix>.<secret>`."),
                name: Some("Authorization"),
                key_in: Some("header"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }
    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME, KEY_SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        if let Some(checked) = request.data::<Credential>() {
            return Ok(Self(checked.clone()));
        }
        Ok(Self(check(services(request)?, request.headers()).await.map_err(ApiError::from)?))
    }
}

/// Whoever may call the matched operation, by its row of the table ([`super::operations`]): 401 without credentials, 403 without the
/// permission that the row names. It is asked before the body is read.
pub struct Authorized(pub Operator);

impl<'a> ApiExtractor<'a> for Authorized {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Credentials::register(registry);
    }
    fn security_schemes() -> Vec<&'static str> {
        Credentials::security_schemes()
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, options: ExtractParamOptions<()>) -> Result<Self> {
        let credentials = Credentials::from_request(request, body, options).await?;
        let Some(Operation { access: Access::With(permission), .. }) = request.data::<&'static Operation>() else {
            return Err(ApiError::logged(Code::Internal, "an operation whose row names no permission").into());
        };
        let operator = services(request)?.operator(&credentials.0, *permission).await.map_err(ApiError::from)?;
        Ok(Self(operator))
    }
}

/// A signed-in person, or the token of a sign-in that was refused because an admin had set the password.
pub enum BearerOrChange {
    /// An access token.
    Person(Principal),
    /// A change token, which the service looks at.
    Change(SecretText),
}

impl<'a> ApiExtractor<'a> for BearerOrChange {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Bearer::register(registry);
    }
    fn security_schemes() -> Vec<&'static str> {
        Bearer::security_schemes()
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, options: ExtractParamOptions<()>) -> Result<Self> {
        match authorization(request.headers()) {
            Some((Scheme::Bearer, token)) if ChangeToken::parse(token).is_some() => Ok(Self::Change(SecretText::new(token))),
            _ => Bearer::from_request(request, body, options).await.map(|who| Self::Person(who.0)),
        }
    }
}

/// The services that [`WithServices`] put there.
pub(super) fn services(request: &Request) -> Result<&Arc<Services>, ApiError> {
    request.data::<Arc<Services>>().ok_or_else(|| ApiError::logged(Code::Internal, "no services in the request"))
}

/// What a request shows, checked. Who checks it before its turn puts it into the request's data: it isn't checked (and
/// counted) twice.
pub(super) async fn check(services: &Services, headers: &HeaderMap) -> Result<Credential, Error> {
    match authorization(headers) {
        Some((Scheme::Bearer, token)) => services.authenticate(token).await.map(Credential::Person),
        Some((Scheme::ApiKey, key)) => services.authenticate_key(key).await.map(Credential::Server),
        None => Err(Error::Unauthorized),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    ApiKey,
}

/// Scheme and value, if there is exactly one `Authorization` header and it is of a scheme we know (RFC 6750, section 2.1).
fn authorization(headers: &HeaderMap) -> Option<(Scheme, &str)> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    let scheme = if scheme.eq_ignore_ascii_case("bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case("apikey") {
        Scheme::ApiKey
    } else {
        return None;
    };
    Some((scheme, token.trim()))
}

/// Hands the services to [`Bearer`].
pub struct WithServices<E> {
    /// The routes.
    pub inner: E,
    /// What they call.
    pub services: Arc<Services>,
}

impl<E: Endpoint<Output = Response>> Endpoint for WithServices<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        request.set_data(self.services.clone());
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    #[test]
    fn only_one_header_of_a_known_scheme_counts() {
        let with = |values: &[&'static str]| {
            let mut map = HeaderMap::new();
            for v in values {
                map.append(header::AUTHORIZATION, HeaderValue::from_static(v));
            }
            authorization(&map).map(|(scheme, token)| (scheme, token.to_owned()))
        };
        assert_eq!(with(&["Bearer abc"]), Some((Scheme::Bearer, "abc".into())));
        assert_eq!(with(&["bEARER  abc "]), Some((Scheme::Bearer, "abc".into())));
        assert_eq!(with(&["ApiKey qk_a.b"]), Some((Scheme::ApiKey, "qk_a.b".into())));
        for bad in [&[][..], &["Bearer"], &["Basic abc"], &["Bearer a", "Bearer b"], &["ApiKey a", "Bearer b"]] {
            assert_eq!(with(bad), None, "{bad:?}");
        }
    }
}
