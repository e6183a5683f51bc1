//! A registry that tests can make lie: real HTTP on loopback, contents in memory.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::Digest;
use testdata::{Attached, Blob, Image};

/// What a request was.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

type Hook = Box<dyn Fn(&Asked) -> Option<Response> + Send>;

#[derive(Default)]
struct Contents {
    manifests: HashMap<(String, Digest), Blob>,
    tags: HashMap<(String, String), Digest>,
    blobs: HashMap<(String, Digest), Vec<u8>>,
    /// By repository and subject, when the registry has the referrers API.
    referrers: Option<HashMap<(String, Digest), Blob>>,
    hook: Option<Hook>,
    log: Vec<Asked>,
}

/// A registry on a port of its own. It ends with the test's runtime.
#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    contents: Arc<Mutex<Contents>>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let contents = Arc::new(Mutex::new(Contents::default()));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&contents));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, contents }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked, in order.
    pub fn log(&self) -> Vec<Asked> {
        self.contents.lock().unwrap().log.clone()
    }

    pub fn asked(&self, part: &str) -> usize {
        self.log().iter().filter(|asked| asked.path.contains(part)).count()
    }

    /// Answers instead of the registry where it returns something.
    pub fn hook(&self, hook: impl Fn(&Asked) -> Option<Response> + Send + 'static) {
        self.contents.lock().unwrap().hook = Some(Box::new(hook));
    }

    pub fn manifest(&self, repository: &str, manifest: &Blob, tag: Option<&str>) {
        let mut contents = self.contents.lock().unwrap();
        if let Some(tag) = tag {
            contents.tags.insert((repository.to_owned(), tag.to_owned()), manifest.digest);
        }
        contents.manifests.insert((repository.to_owned(), manifest.digest), manifest.clone());
    }

    pub fn blob(&self, repository: &str, blob: &Blob) {
        self.raw_blob(repository, blob.digest, &blob.bytes);
    }

    pub fn raw_blob(&self, repository: &str, digest: Digest, bytes: &[u8]) {
        self.contents.lock().unwrap().blobs.insert((repository.to_owned(), digest), bytes.to_vec());
    }

    pub fn image(&self, repository: &str, tag: &str, image: &Image) {
        image.blobs().for_each(|blob| self.blob(repository, blob));
        self.manifest(repository, &image.manifest, Some(tag));
    }

    /// Under the tag that registries without the referrers API use.
    pub fn attach(&self, repository: &str, attached: &Attached) {
        attached.blobs.iter().for_each(|blob| self.blob(repository, blob));
        attached.blobs.iter().for_each(|blob| self.manifest(repository, blob, None));
        self.manifest(repository, &attached.manifest, None);
        self.manifest(repository, &attached.tagged, Some(&attached.tag));
    }

    /// In the referrers API.
    pub fn refer(&self, repository: &str, subject: Digest, attached: &Attached) {
        attached.blobs.iter().for_each(|blob| self.blob(repository, blob));
        self.manifest(repository, &attached.manifest, None);
        let mut contents = self.contents.lock().unwrap();
        let all = contents.referrers.get_or_insert_default();
        all.insert((repository.to_owned(), subject), attached.tagged.clone());
    }
}

async fn answer(State(contents): State<Arc<Mutex<Contents>>>, request: Request) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().clone(),
    };
    let mut contents = contents.lock().unwrap();
    contents.log.push(asked.clone());
    if let Some(response) = contents.hook.as_ref().and_then(|hook| hook(&asked)) {
        return response;
    }
    contents.answer(&asked).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

impl Contents {
    fn answer(&self, asked: &Asked) -> Option<Response> {
        let rest = asked.path.strip_prefix("/v2/")?;
        let mut parts = rest.rsplitn(3, '/');
        let (reference, kind, name) = (parts.next()?, parts.next()?, parts.next()?.to_owned());
        match kind {
            "manifests" => {
                let digest = match reference.parse() {
                    Ok(digest) => digest,
                    Err(_) => *self.tags.get(&(name.clone(), reference.to_owned()))?,
                };
                let manifest = self.manifests.get(&(name, digest))?;
                let headers =
                    [("docker-content-digest", digest.to_string()), ("content-type", manifest.media_type.clone())];
                Some((headers, manifest.bytes.clone()).into_response())
            }
            "referrers" => {
                let index = self.referrers.as_ref()?.get(&(name, reference.parse().ok()?));
                let empty = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
                let bytes = index.map_or(empty, |index| index.bytes.clone());
                Some(([(header::CONTENT_TYPE, testdata::MEDIA_TYPE_INDEX)], bytes).into_response())
            }
            "blobs" => {
                let bytes = self.blobs.get(&(name, reference.parse().ok()?))?;
                let Some(range) = asked.header("range") else { return Some(Body::from(bytes.clone()).into_response()) };
                let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                let first: usize = first.parse().ok()?;
                let total = bytes.len();
                if first >= total {
                    let headers = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
                    return Some((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
                }
                let last = last.parse().unwrap_or(total - 1).min(total - 1);
                let headers = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{total}"))];
                Some((StatusCode::PARTIAL_CONTENT, headers, bytes[first..=last].to_vec()).into_response())
            }
            _ => None,
        }
    }
}
