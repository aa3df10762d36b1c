use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::client::{Kubernetes, call};
use crate::cluster::Result;

/// What judges tokens of service accounts.
#[async_trait]
pub trait TokenReviewer: Send + Sync + 'static {
    /// The name of the user whom a token authenticates to this service; nothing where it authenticates nobody.
    async fn review(&self, token: &str) -> Result<Option<String>>;
}

/// The API server's judgement, for one audience.
pub struct AccountReviewer {
    reviews: Api<TokenReview>,
    audience: String,
}

impl AccountReviewer {
    /// For tokens that must be for this audience.
    pub fn new(kubernetes: &Kubernetes, audience: &str) -> Self {
        Self {
            reviews: Api::all(kubernetes.client.clone()),
            audience: audience.to_owned(),
        }
    }
}

#[async_trait]
impl TokenReviewer for AccountReviewer {
    async fn review(&self, token: &str) -> Result<Option<String>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![self.audience.clone()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let answer = call(self.reviews.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        // An authenticator that knows nothing of audiences names none: its word is not enough.
        let is_for_us = status.audiences.unwrap_or_default().contains(&self.audience);
        let user = status.user.and_then(|user| user.username);
        Ok(user.filter(|_| status.authenticated == Some(true) && is_for_us))
    }
}
