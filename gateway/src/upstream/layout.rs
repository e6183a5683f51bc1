//! Not served yet.

use contracts::{Digest, PinnedRef, Repository, Tag};
use futures::FutureExt;

use super::{
    Asked, Blob, ByteRange, Found, Manifest, Referrer, Upstream, UpstreamError, UpstreamSettings,
    UpstreamSettingsError, memory::Memory,
};
use crate::gate::Permit;

pub(super) struct Layout;

impl Layout {
    pub(super) fn new(
        _settings: &UpstreamSettings,
        _folder: &std::path::Path,
        _memory: Memory,
    ) -> Result<Self, UpstreamSettingsError> {
        Ok(Self)
    }
}

fn missing<'a, T: Send + 'a>() -> Asked<'a, T> {
    let error = UpstreamError::Unavailable { host: "upstream".to_owned(), reason: "not served yet".to_owned() };
    async move { Err(error) }.boxed()
}

impl Upstream for Layout {
    fn resolve<'a>(&'a self, _: &'a Repository, _: &'a Tag) -> Asked<'a, Digest> {
        missing()
    }
    fn manifest<'a>(&'a self, _: &'a Permit) -> Asked<'a, Manifest> {
        missing()
    }
    fn blob<'a>(&'a self, _: &'a Permit, _: Option<ByteRange>) -> Asked<'a, Blob> {
        missing()
    }
    fn blob_length<'a>(&'a self, _: &'a Permit) -> Asked<'a, u64> {
        missing()
    }
    fn discover<'a>(&'a self, _: &'a PinnedRef, _: usize) -> Asked<'a, Found> {
        missing()
    }
    fn referrers<'a>(&'a self, _: &'a PinnedRef, _: usize) -> Asked<'a, Vec<Referrer>> {
        missing()
    }
}
