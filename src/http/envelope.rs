//! The one body that every error has: `{"error":{"code","message","detail"?,"request_id","fields"?}}`, whoever raised it.

use super::errors::{ApiError, Code};
use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    Object,
    error::{AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Every error answer, also those of routing, of malformed requests and of the server itself.
#[derive(Debug, Serialize, Object)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ErrorDetail {
    /// Stable snake_case name; match on this.
    pub code: String,
    /// For people; may change.
    pub message: String,
    /// More for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same as the `X-Request-Id` header and the log line.
    pub request_id: String,
    /// On a 403 `password_change_required`: the Bearer of `POST /v1/auth/password`, good for ten minutes and once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_token: Option<String>,
    /// On a 422: field → its problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

/// `Content-Type` of every JSON answer.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The name of a parameter of a path as the document has it; the framework numbers them.
fn parameter<'a>(numbered: &'a str, route: Option<&'a super::routes::Matched>) -> &'a str {
    let number = numbered.strip_prefix("param").and_then(|n| n.parse::<usize>().ok());
    let names = route.map_or("", |r| r.0.template()).split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    number.and_then(|n| names.into_iter().nth(n)).unwrap_or(numbered)
}

/// What an error of poem, of poem-openapi or of a handler means.
pub fn classify(error: poem::Error, route: Option<&super::routes::Matched>) -> ApiError {
    let error = match error.downcast::<ApiError>() {
        Ok(ours) => return ours,
        Err(other) => other,
    };
    if error.is::<NotFoundError>() {
        return ApiError::detail(Code::NotFound, "There is no such route.");
    }
    if error.is::<MethodNotAllowedError>() {
        return ApiError::new(Code::MethodNotAllowed);
    }
    if let Some(e) = error.downcast_ref::<ParsePathError>() {
        return ApiError::detail(Code::MalformedRequest, format!("`{}` in the path is no id: {}.", parameter(e.name, route), e.reason));
    }
    if let Some(e) = error.downcast_ref::<ParseParamError>() {
        return ApiError::detail(Code::MalformedRequest, format!("parameter `{}`: {}", e.name, e.reason));
    }
    if error.is::<AuthorizationError>() {
        return ApiError::new(Code::Unauthorized);
    }
    if error.is::<ContentTypeError>() {
        return ApiError::new(Code::UnsupportedMediaType);
    }
    if let Some(e) = error.downcast_ref::<ParseRequestPayloadError>() {
        return ApiError::detail(Code::MalformedRequest, e.reason.clone());
    }
    if let Some(e) = error.downcast_ref::<ReadBodyError>() {
        return match e {
            ReadBodyError::PayloadTooLarge => ApiError::new(Code::PayloadTooLarge),
            other => ApiError::logged(Code::MalformedRequest, other.to_string()),
        };
    }
    let code = match error.status() {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_client_error() => Code::MalformedRequest,
        _ => Code::Internal,
    };
    ApiError::logged(code, error.to_string())
}

/// The answer. `presented` says that the request had an `Authorization` header (RFC 6750, section 3.1).
pub fn response(error: ApiError, request_id: &str, presented: bool) -> Response {
    let body = ErrorBody {
        error: ErrorDetail {
            code: error.code.name().to_owned(),
            message: error.code.message().to_owned(),
            detail: error.detail.map(Into::into),
            request_id: request_id.to_owned(),
            change_token: error.change_token.map(|t| t.reveal().to_owned()),
            fields: (!error.fields.is_empty()).then_some(error.fields),
        },
    };
    // Strings and maps of strings: this can't fail.
    let mut response = Response::from(serde_json::to_vec(&body).unwrap_or_default());
    response.set_status(error.code.status());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if let Some(wait) = error.retry_after {
        headers.insert(header::RETRY_AFTER, seconds(wait));
    }
    if let Some(allow) = error.allow {
        headers.insert(header::ALLOW, *allow);
    }
    if error.code.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2: a 401 must have one.
        let challenge = if presented && error.code != Code::InvalidCredentials {
            r#"Bearer realm="qeetid", error="invalid_token""#
        } else {
            r#"Bearer realm="qeetid""#
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Whole seconds, rounded up, at least one.
pub fn seconds(wait: std::time::Duration) -> HeaderValue {
    HeaderValue::from(wait.as_millis().div_ceil(1000).clamp(1, u64::MAX.into()) as u64)
}
