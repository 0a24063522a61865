//! JSON in and out. In: at most 1 MiB, read in bounded time and memory, 400 if it isn't JSON, 422 with every bad field if it
//! isn't of the right shape. Out: serialised once, straight into bytes.

use super::{
    envelope::JSON,
    errors::{ApiError, Code},
    explain::explain,
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::Body as _;
use poem::{
    IntoResponse, Request, RequestBody, Response, Result,
    http::{HeaderMap, StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::Payload,
    registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::{ParseFromJSON, Type},
};
use serde::Serialize;
use std::{io, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest body taken, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// How long a client may take to send it.
pub const BODY_TIME: Duration = Duration::from_secs(20);
/// Bodies up to this size are everyday: they need no place in the budget.
const SMALL: usize = 16 * 1024;
/// Memory for larger ones, all connections together: 64 at a time. Or slow senders could fill the memory by the gigabyte.
static LARGE: Semaphore = Semaphore::const_new(64);

/// Memory for the small ones that don't come at once, all connections together: 256 MiB. What came whole is never refused for it.
static SLOW: Semaphore = Semaphore::const_new(256 * 1024 * 1024 / SMALL);

/// A request body. With `EMPTY_OK`, no body at all is as good as `{}`.
pub struct In<T, const EMPTY_OK: bool = false>(pub T);

impl<'a, T: ParseFromJSON, const EMPTY_OK: bool> ApiExtractor<'a> for In<T, EMPTY_OK> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !EMPTY_OK })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let body: BoxBody<Bytes, io::Error> = body.take()?.into();
        if EMPTY_OK && body.is_end_stream() {
            return Ok(parse(b"{}").map(Self)?);
        }
        check_type(request.headers())?;
        let (bytes, _place) = read(body, BODY_TIME, &LARGE).await?;
        Ok(parse(if EMPTY_OK && bytes.is_empty() { b"{}" } else { &bytes }).map(Self)?)
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = || ApiError::new(Code::UnsupportedMediaType);
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).ok_or_else(unsupported)?;
    let mut parts = given.split(';').map(str::trim);
    let json = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    // RFC 8259, 8.1: JSON is UTF-8. Somebody who says otherwise would be misread.
    let utf8 = parts.all(|p| match p.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"),
        _ => true,
    });
    if json && utf8 { Ok(()) } else { Err(unsupported()) }
}

/// The whole body of a request, and its place in the budget for large ones.
///
/// # Errors
/// 413, 400 if it doesn't come in time, 503 while too many large ones are being read.
pub async fn whole(body: BoxBody<Bytes, io::Error>) -> Result<(Bytes, Option<SemaphorePermit<'static>>), ApiError> {
    read(body, BODY_TIME, &LARGE).await
}

async fn read(
    body: BoxBody<Bytes, io::Error>,
    patience: Duration,
    places: &'static Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'static>>), ApiError> {
    // Said in advance: refused before a byte is read.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(ApiError::new(Code::PayloadTooLarge));
    }
    match tokio::time::timeout(patience, collect(body, places)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::detail(Code::MalformedRequest, "The body did not arrive in time.")),
    }
}

async fn collect(
    mut body: BoxBody<Bytes, io::Error>,
    places: &'static Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'static>>), ApiError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let (mut place, mut slow) = (None, None);
    let busy = |_| ApiError { retry_after: Some(Duration::from_secs(1)), ..ApiError::new(Code::Overloaded) };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::logged(Code::MalformedRequest, e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        let length = first.len() + all.len();
        if length > MAX_BODY {
            return Err(ApiError::new(Code::PayloadTooLarge));
        }
        if length > SMALL && place.is_none() {
            place = Some(places.try_acquire().map_err(busy)?);
        }
        if slow.is_none() && !body.is_end_stream() {
            slow = Some(SLOW.try_acquire().map_err(busy)?);
        }
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, place))
}

fn parse<T: ParseFromJSON>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde_json stops at 128 levels, and its messages about syntax name a place, never the text.
    let value = serde_json::from_slice(bytes).map_err(|e| ApiError::detail(Code::MalformedRequest, format!("Not JSON: {e}.")))?;
    // poem-openapi's own message would repeat the value, which may be a password.
    T::parse_from_json(Some(value)).map_err(|_| explain::<T>(bytes))
}

/// A JSON answer that browsers keep as a file.
#[derive(Debug)]
pub struct Download<T>(pub T);

impl<T: Type + Serialize> ApiResponse for Download<T> {
    fn meta() -> MetaResponses {
        Out::<T>::meta()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Download<T> {
    fn into_response(self) -> Response {
        let mut response = Out::<T>(self.0).into_response();
        let name = header::HeaderValue::from_static("attachment; filename=\"account.json\"");
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        response
    }
}

/// A JSON answer with status `STATUS`.
#[derive(Debug)]
pub struct Out<T, const STATUS: u16 = 200>(pub T);

impl<T: Type, const STATUS: u16> Payload for Out<T, STATUS> {
    const CONTENT_TYPE: &'static str = "application/json";
    fn check_content_type(content_type: &str) -> bool {
        content_type.starts_with("application/json")
    }
    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send, const STATUS: u16> IntoResponse for Out<T, STATUS> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::from(bytes);
                response.set_status(StatusCode::from_u16(STATUS).unwrap_or_default());
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            // Our own types serialise; a map with keys that aren't strings would not.
            Err(e) => poem::Error::from(ApiError::logged(Code::Internal, e.to_string())).into_response(),
        }
    }
}

impl<T: Type + Serialize, const STATUS: u16> ApiResponse for Out<T, STATUS> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: T::schema_ref() }];
        MetaResponses {
            responses: vec![MetaResponse { description: "", status: Some(STATUS), status_range: None, content, headers: vec![] }],
        }
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// 204, no body.
#[derive(Debug)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        let mut response = Response::from(());
        response.set_status(StatusCode::NO_CONTENT);
        response
    }
}

impl ApiResponse for NoContent {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse { description: "", status: Some(204), status_range: None, content: vec![], headers: vec![] }],
        }
    }
    fn register(_: &mut Registry) {}
}

impl ApiResponse for ApiError {
    // The document's error answers come from a table (operations.rs): which codes an operation gives is no matter of types.
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![] }
    }
    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    fn chunks(sizes: impl IntoIterator<Item = usize>, then_wait: bool) -> BoxBody<Bytes, io::Error> {
        let sent: Vec<_> = sizes.into_iter().map(|n| Ok(Frame::data(Bytes::from(vec![b'x'; n])))).collect();
        let rest = stream::once(async move {
            if then_wait {
                std::future::pending::<()>().await;
            }
            Ok(Frame::data(Bytes::new()))
        });
        BoxBody::new(StreamBody::new(stream::iter(sent).chain(rest)))
    }

    #[tokio::test]
    async fn bodies_are_whole_bounded_and_in_time() {
        static PLACES: Semaphore = Semaphore::const_new(3);
        let soon = Duration::from_millis(50);
        assert_eq!(read(chunks([3, 0, 4, 5], false), soon, &PLACES).await.unwrap().0.len(), 12);
        assert_eq!(read(chunks([], false), soon, &PLACES).await.unwrap().0.len(), 0);
        assert_eq!(read(chunks([MAX_BODY / 2, MAX_BODY / 2], false), soon, &PLACES).await.unwrap().0.len(), MAX_BODY);
        assert_eq!(read(chunks([MAX_BODY / 2, MAX_BODY / 2 + 1], true), soon, &PLACES).await.unwrap_err().code, Code::PayloadTooLarge);
        assert_eq!(read(chunks([3], true), soon, &PLACES).await.unwrap_err().code, Code::MalformedRequest);
        // Each large one holds a place while it is read and parsed; small ones need none.
        let mut held = Vec::new();
        let refused = loop {
            match read(chunks([SMALL + 1], false), soon, &PLACES).await {
                Ok(body) => held.push(body),
                Err(e) => break e,
            }
        };
        assert_eq!((refused.code, held.len()), (Code::Overloaded, 3));
        assert!(read(chunks([SMALL], false), soon, &PLACES).await.is_ok());
        drop(held);
        assert!(read(chunks([SMALL + 1], false), soon, &PLACES).await.is_ok());
    }
}
