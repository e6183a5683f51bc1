//! What operators say of digests and attestations.

use contracts::{
    Digest,
    api::{DenialInfo, NewDenial, NewWithdrawal, RemovedContract, SweepEvidence, SweptEvidence, WithdrawalInfo},
};
use reqwest::Method;

use super::{Answer, Client};

impl Client {
    pub async fn deny(&self, digest: Digest, denial: &NewDenial) -> Answer<DenialInfo> {
        self.send_json(Method::PUT, &["denials", &digest.to_string()], &[], denial).await
    }

    pub async fn denials(&self) -> Answer<Vec<DenialInfo>> {
        self.list(&["denials"], &[], usize::MAX).await
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
        self.list(&["withdrawals"], &[], usize::MAX).await
    }

    /// Removes a contract, when this is its current revision; without one it only tells what that would change.
    pub async fn remove_contract(&self, name: &str, revision: Option<u32>) -> Answer<RemovedContract> {
        let number = revision.map(|number| number.to_string());
        let query = match &number {
            Some(number) => [("revision", number.as_str())],
            None => [("dry-run", "true")],
        };
        let answer = self.send(self.request(Method::DELETE, &["contracts", name], &query)?).await?;
        let answer = self.accepted(answer).await?;
        self.read_json(answer).await
    }

    /// Removes evidence that nothing names, or tells what would be removed.
    pub async fn sweep_evidence(&self, sweep: &SweepEvidence) -> Answer<SweptEvidence> {
        self.send_json(Method::POST, &["evidence", "sweep"], &[], sweep).await
    }
}
