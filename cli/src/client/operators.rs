//! What operators say of digests and attestations.

use contracts::{
    Digest,
    api::{DenialInfo, NewDenial, NewWithdrawal, WithdrawalInfo},
};
use reqwest::Method;

use super::{Answer, Client};

impl Client {
    pub async fn deny(&self, digest: Digest, denial: &NewDenial) -> Answer<DenialInfo> {
        self.send_json(Method::PUT, &["denials", &digest.to_string()], &[], denial).await
    }

    pub async fn denials(&self) -> Answer<Vec<DenialInfo>> {
        self.get(&["denials"], &[]).await
    }

    pub async fn remove_denial(&self, digest: Digest) -> Answer<DenialInfo> {
        let answer = self.send(self.request(Method::DELETE, &["denials", &digest.to_string()], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    /// Withdraws an attestation, named by its digest or its run.
    pub async fn withdraw(&self, named: &str, new: &NewWithdrawal) -> Answer<WithdrawalInfo> {
        self.send_json(Method::PUT, &["withdrawals", named], &[], new).await
    }

    pub async fn restore(&self, named: &str) -> Answer<WithdrawalInfo> {
        let answer = self.send(self.request(Method::DELETE, &["withdrawals", named], &[])?).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    pub async fn withdrawals(&self) -> Answer<Vec<WithdrawalInfo>> {
        self.get(&["withdrawals"], &[]).await
    }
}
