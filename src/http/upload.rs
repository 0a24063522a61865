//! A body that is read as it comes, and never kept whole.

use super::{
    errors::{ApiError, Code},
    payload::BODY_TIME,
};
use bytes::Bytes;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::Body as _;
use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry},
};
use std::{io, time::Duration};
use tokio::time::Instant;

/// The largest file, in bytes.
pub const MAX_UPLOAD: u64 = 10 * 1024 * 1024;
/// What a sender has to keep up in the mean, in bytes a second, but for the first 20 seconds.
const SLOWEST: u64 = 16 * 1024;
/// What the document calls a file: generators of clients make no request bodies of the other names.
const FILE: &str = "application/octet-stream";
/// What a file may be called. What it is its first byte tells.
const TYPES: [&str; 4] = [FILE, "application/x-ndjson", "application/json", "text/csv"];

/// A file on its way in.
pub struct Upload {
    body: BoxBody<Bytes, io::Error>,
    read: u64,
    /// How long its sender was waited for.
    waited: Duration,
}

impl<'a> ApiExtractor<'a> for Upload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")));
        Some(MetaRequest { description: None, content: vec![MetaMediaType { content_type: FILE, schema }], required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let body: BoxBody<Bytes, io::Error> = body.take()?.into();
        let given = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        if !TYPES.iter().any(|t| given.eq_ignore_ascii_case(t)) {
            return Err(ApiError::detail(Code::UnsupportedMediaType, format!("It must be {}.", TYPES.join(", "))).into());
        }
        // Said in advance: refused before a byte is read.
        if body.size_hint().lower() > MAX_UPLOAD {
            return Err(ApiError::new(Code::PayloadTooLarge).into());
        }
        Ok(Self { body, read: 0, waited: Duration::ZERO })
    }
}

impl Upload {
    /// The next bytes, as they come; the reader's pace is the sender's.
    ///
    /// # Errors
    /// Larger than 10 MiB, cut off, nothing came for 20 seconds, or it comes slower than 16 KiB a second (places are few, and whoever
    /// trickles would hold one for ever). What was read before stands.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let late = |_| ApiError::detail(Code::MalformedRequest, "The body did not arrive in time. Rows before stand.");
            let began = Instant::now();
            let left = (BODY_TIME + Duration::from_secs(self.read / SLOWEST)).saturating_sub(self.waited).min(BODY_TIME);
            let Some(frame) = tokio::time::timeout(left, self.body.frame()).await.map_err(late)? else { return Ok(None) };
            self.waited += began.elapsed();
            let frame = frame.map_err(|e| ApiError::logged(Code::MalformedRequest, e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.read += data.len() as u64;
            if self.read > MAX_UPLOAD {
                return Err(ApiError::detail(Code::PayloadTooLarge, "Files are at most 10 MiB. Rows before that stand."));
            }
            return Ok(Some(data));
        }
    }
}
