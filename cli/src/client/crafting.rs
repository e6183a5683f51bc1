//! What crafting keeps at the gateway: evidence, uploads in pieces, and sessions that jobs share.

use contracts::Digest;
use reqwest::{Method, Response, StatusCode, header};

use super::{Answer, Client, ClientError};

impl Client {
    /// Whether the gateway has these bytes already.
    pub async fn has_evidence(&self, digest: &Digest) -> Answer<bool> {
        let digest = digest.to_string();
        let answer = self.send(self.request(Method::HEAD, &["evidence", &digest], &[])?).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            // The answer to HEAD has no body that could say why: who is not let in at all is told so elsewhere.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let status = answer.status().as_u16();
                self.organization().await?;
                Err(ClientError::Refused {
                    status,
                    code: "forbidden".to_owned(),
                    message: "the token may not upload evidence".to_owned(),
                    findings: Vec::new(),
                })
            }
            _ => Err(self.foreign(&answer)),
        }
    }

    /// Bytes that were uploaded, as many as a document may have. They are not compared with the digest.
    pub async fn evidence(&self, digest: &Digest) -> Answer<Vec<u8>> {
        let digest = digest.to_string();
        let answer = self.send(self.request(Method::GET, &["evidence", &digest], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read(answer).await
    }

    /// Uploads bytes of a known length under their digest.
    pub async fn upload_evidence(&self, digest: &Digest, length: u64, body: reqwest::Body) -> Answer<()> {
        let digest = digest.to_string();
        let request = self
            .request(Method::PUT, &["evidence", &digest], &[])?
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(body);
        let answer = self.send(request).await?;
        self.accepted(answer).await.map(drop)
    }

    /// What is kept of a run's session, with its mark.
    pub async fn run_state(&self, id: &str) -> Answer<Option<(Vec<u8>, String)>> {
        let answer = self.send(self.request(Method::GET, &["runs", id, "state"], &[])?).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = self.accepted(answer).await?;
        let etag = etag(&answer).ok_or_else(|| self.foreign(&answer))?;
        Ok(Some((self.read(answer).await?, etag)))
    }

    /// Keeps a run's session in place of the one with this mark, or as the first.
    pub async fn keep_run_state(&self, id: &str, state: Vec<u8>, etag_before: Option<&str>) -> Answer<StateAnswer> {
        let request = self.request(Method::PUT, &["runs", id, "state"], &[])?;
        let request = match etag_before {
            Some(etag) => request.header(header::IF_MATCH, etag),
            None => request.header(header::IF_NONE_MATCH, "*"),
        };
        let request = request.header(header::CONTENT_TYPE, "application/json").body(state);
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::PRECONDITION_FAILED => Ok(StateAnswer::Changed),
            StatusCode::CONFLICT => Ok(StateAnswer::Ended),
            _ => {
                let answer = self.accepted(answer).await?;
                etag(&answer).map(StateAnswer::Kept).ok_or_else(|| self.foreign(&answer))
            }
        }
    }

    /// How many bytes of an upload in pieces the gateway has.
    pub async fn upload_offset(&self, digest: &Digest) -> Answer<u64> {
        let digest = digest.to_string();
        let answer = self.send(self.request(Method::GET, &["evidence", &digest, "upload"], &[])?).await?;
        self.offset(answer).await
    }

    /// Sends a piece of known length for this place of the upload. Answers with the place of the next.
    pub async fn append_upload(&self, digest: &Digest, offset: u64, length: u64, body: reqwest::Body) -> Answer<u64> {
        let (digest, offset) = (digest.to_string(), offset.to_string());
        let request = self
            .request(Method::PATCH, &["evidence", &digest, "upload"], &[("offset", &offset)])?
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(body);
        let answer = self.send(request).await?;
        self.offset(answer).await
    }

    /// Says that all pieces are there.
    pub async fn finish_upload(&self, digest: &Digest) -> Answer<()> {
        let digest = digest.to_string();
        let answer = self.send(self.request(Method::POST, &["evidence", &digest, "upload"], &[])?).await?;
        self.accepted(answer).await.map(drop)
    }

    /// Drops what the gateway has of an upload in pieces.
    pub async fn abandon_upload(&self, digest: &Digest) -> Answer<()> {
        let digest = digest.to_string();
        let answer = self.send(self.request(Method::DELETE, &["evidence", &digest, "upload"], &[])?).await?;
        self.accepted(answer).await.map(drop)
    }

    async fn offset(&self, answer: Response) -> Answer<u64> {
        let answer = self.accepted(answer).await?;
        let told = answer.headers().get("upload-offset").and_then(|value| value.to_str().ok()?.parse().ok());
        told.ok_or_else(|| self.foreign(&answer))
    }
}

/// What the gateway says to a session that it should keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateAnswer {
    /// It is kept, with this mark.
    Kept(String),
    /// Another was kept meanwhile.
    Changed,
    /// The run has ended.
    Ended,
}

fn etag(answer: &Response) -> Option<String> {
    Some(answer.headers().get(header::ETAG)?.to_str().ok()?.to_owned())
}
