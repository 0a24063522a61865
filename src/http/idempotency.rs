//! `Idempotency-Key` on a POST: the request takes its turn, and its answer is kept as the route gave it.

use super::{
    bearer, envelope,
    errors::{ApiError, Code},
    frame::{checked, refuse},
    payload,
    routes::{Matched, RouteEntry},
};
use crate::{
    domain::secret::SecretText,
    service::{
        self,
        access::Credential,
        api::Caller,
        idempotency::{Answer, Asked, Asker, Head, Run, Turn},
    },
};
use bytes::Bytes;
use poem::{
    Body, Endpoint, Request, Response, Result,
    endpoint::BoxEndpoint,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use std::sync::Arc;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Routes that read their body as it comes: it isn't compared, only its length as the head says it.
const STREAMED: [&str; 1] = ["/v1/users/bulk/import"];
/// Headers of a request that change what it means, besides its body.
const MEANING: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    HeaderName::from_static("x-firebase-signer-key"),
    HeaderName::from_static("x-firebase-salt-separator"),
    HeaderName::from_static("x-firebase-rounds"),
    HeaderName::from_static("x-firebase-mem-cost"),
];

/// Whether a request has to take its turn.
pub fn asks(request: &Request) -> bool {
    request.method() == Method::POST && request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// Calls the route, or gives what it answered before.
pub async fn call(endpoint: &BoxEndpoint<'static>, mut request: Request, route: &Arc<RouteEntry>) -> Result<Response> {
    let Some(public) = route.is_public(&Method::POST) else { return endpoint.call(request).await };
    let key = key(&request)?;
    let services = bearer::services(&request)?.clone();
    let caller = request.data::<Caller>().cloned().ok_or_else(|| ApiError::logged(Code::Internal, "no caller in the request"))?;
    let asker = if public {
        Asker::Network(caller.network)
    } else {
        // Checked before anything is given: the answer is for who asked, as long as he may ask.
        let credential = bearer::check(&services, request.headers()).await.map_err(ApiError::from)?;
        let asker = match &credential {
            Credential::Person(p) => Asker::Person(p.user_id, p.tenant_id),
            Credential::Server(key) => Asker::Server(key.id),
        };
        request.set_data(credential);
        asker
    };

    let streamed = STREAMED.contains(&route.template());
    let (body, place) = if streamed { (Bytes::new(), None) } else { payload::whole(request.take_body().into()).await? };
    let path = format!("POST {}", request.uri().path());
    let mut content = vec![request.uri().query().unwrap_or_default().as_bytes()];
    content.extend(MEANING.iter().map(|name| request.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes)));
    content.push(&body);
    if streamed {
        content.push(request.headers().get(header::CONTENT_LENGTH).map_or(&b""[..], HeaderValue::as_bytes));
    }
    let turn = services.take_turn(Asked { asker, route: &path, key, content: &content }).await.map_err(ApiError::from)?;
    // The route takes a place of its own for the same bytes.
    drop(place);
    let run = match turn {
        Turn::Answered(answer) => return replay(answer),
        Turn::Run(run) => run,
    };
    if !streamed {
        request.set_body(Body::from_bytes(body));
    }
    let outcome = run.scope(endpoint.call(request)).await;
    kept(run, outcome, route, &caller).await
}

fn key(request: &Request) -> Result<SecretText, ApiError> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let good = |v: &&HeaderValue| (1..=255).contains(&v.len()) && v.as_bytes().iter().all(u8::is_ascii_graphic);
    match (values.next().filter(good).and_then(|v| v.to_str().ok()), values.next()) {
        (Some(text), None) => Ok(SecretText::new(text)),
        _ => Err(ApiError::detail(Code::MalformedRequest, "`Idempotency-Key` must be one value of 1 to 255 visible ASCII characters.")),
    }
}

/// 2xx, and 4xx but 401 and 429.
fn is_kept(status: StatusCode) -> bool {
    status.is_success() || (status.is_client_error() && status != StatusCode::UNAUTHORIZED && status != StatusCode::TOO_MANY_REQUESTS)
}

async fn kept(run: Run, outcome: Result<Response>, route: &Arc<RouteEntry>, caller: &Caller) -> Result<Response> {
    if let Some(seed) = run.first() {
        run.leave_to(seed).await;
        let log = "the ephemeral store has lost a request with an Idempotency-Key: sent again, it goes on where its first run was";
        return Err(ApiError::from(service::error::Error::Unavailable(log.into())).into());
    }
    let mut response = match outcome {
        Ok(response) => response,
        Err(error) => {
            let error = checked(envelope::classify(error, Some(&Matched(route.clone()))), Some(&Matched(route.clone())), &Method::POST);
            if !is_kept(error.code.status()) {
                over(run, error.code.status()).await;
                return Err(error.into());
            }
            let id = HeaderValue::from_str(&caller.request_id).unwrap_or_else(|_| HeaderValue::from_static(""));
            refuse(error, &id, true)
        }
    };
    if !is_kept(response.status()) {
        over(run, response.status()).await;
        return Ok(response);
    }
    let body = response.take_body().into_bytes().await.map_err(|e| ApiError::logged(Code::Internal, e.to_string()))?;
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let head = Head { status: response.status().as_u16(), headers };
    let answer = run.keep(Answer { head: head.clone(), body: Some(body.to_vec()) }).await;
    if answer.head == head && answer.body.as_deref() == Some(&body) {
        response.set_body(Body::from_bytes(body));
        return Ok(response);
    }
    // Somebody else's, by now.
    replay(answer)
}

/// Refused before it did anything (401, 429): sent again, it is a new request. Anything else may have done something: its
/// rerun must know it, so it stays as it is and is only given back.
async fn over(run: Run, status: StatusCode) {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) {
        run.forget().await;
    }
}

fn replay(answer: Answer) -> Result<Response> {
    let Some(body) = answer.body else {
        let told = "The request was done. Its answer was too large to be given again.";
        return Err(ApiError::detail(Code::IdempotencyConflict, told).into());
    };
    let mut response = Response::from(body);
    response.set_status(StatusCode::from_u16(answer.head.status).unwrap_or_default());
    let headers = response.headers_mut();
    headers.clear();
    for (name, value) in answer.head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
            headers.append(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
