//! Who is signed in. Only `Bearer` access tokens count here; `Authorization: ApiKey …` is another scheme, for other routes.

use super::errors::{ApiError, Code};
use crate::service::{Services, api::Principal};
use poem::{
    Endpoint, Request, RequestBody, Response, Result,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use std::sync::Arc;

/// Name of the scheme in the document.
pub const SCHEME: &str = "bearer";

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
        let services = request.data::<Arc<Services>>().ok_or_else(|| ApiError::logged(Code::Internal, "no services in the request"))?;
        let token = token(request.headers()).ok_or_else(|| ApiError::new(Code::Unauthorized))?;
        Ok(Self(services.authenticate(token).map_err(ApiError::from)?))
    }
}

/// The token, if there is exactly one `Authorization` header and it is of the `Bearer` scheme (RFC 6750, section 2.1).
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
    fn only_one_bearer_header_counts() {
        let with = |values: &[&'static str]| {
            let mut map = HeaderMap::new();
            for v in values {
                map.append(header::AUTHORIZATION, HeaderValue::from_static(v));
            }
            token(&map).map(str::to_owned)
        };
        assert_eq!(with(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["bEARER  abc "]).as_deref(), Some("abc"));
        for bad in [&[][..], &["Bearer"], &["ApiKey qk_a.b"], &["Basic abc"], &["Bearer a", "Bearer b"]] {
            assert_eq!(with(bad), None, "{bad:?}");
        }
    }
}
