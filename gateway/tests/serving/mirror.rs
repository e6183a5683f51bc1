//! A mirror of a TUF repository that can be made to fail or lie.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::stream;
use testdata::TufRepository;
use tokio::net::TcpListener;

#[derive(Default)]
struct Shown {
    files: BTreeMap<String, Vec<u8>>,
    down: bool,
    /// The path of a file that never ends.
    endless: Option<String>,
}

pub struct Mirror {
    shown: Arc<Mutex<Shown>>,
    pub url: String,
}

impl Mirror {
    pub async fn of(repository: &TufRepository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tuf", listener.local_addr().unwrap());
        let mirror = Self { shown: Arc::default(), url };
        mirror.show(repository);
        let shown = Arc::clone(&mirror.shown);
        let app = Router::new().fallback(move |uri: Uri| {
            let answer = answer(&shown.lock().unwrap(), uri.path().strip_prefix("/tuf/").unwrap_or_default());
            async move { answer }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        mirror
    }

    /// Shows what the repository has, and answers.
    pub fn show(&self, repository: &TufRepository) {
        self.show_files(repository.files.clone());
    }

    pub fn show_files(&self, files: BTreeMap<String, Vec<u8>>) {
        *self.shown.lock().unwrap() = Shown { files, ..Shown::default() };
    }

    pub fn goes_down(&self) {
        self.shown.lock().unwrap().down = true;
    }

    /// Shows these files, of which this one never ends.
    pub fn show_endless(&self, files: BTreeMap<String, Vec<u8>>, path: &str) {
        *self.shown.lock().unwrap() = Shown { files, down: false, endless: Some(path.to_owned()) };
    }
}

fn answer(shown: &Shown, path: &str) -> Response {
    if shown.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if shown.endless.as_deref() == Some(path) {
        let piece = Bytes::from(vec![b' '; 64 * 1024]);
        return Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()))).into_response();
    }
    match shown.files.get(path) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
