//! The control plane itself: events, peers, a copy, who asks, how it is.

use reqwest::Method;
use serde_json::Value;

use crate::client::{ByteStream, Call, Client, Error};
use crate::types::{Event, Identity, IssuedToken, JoinToken, List, Login, LoginAnswer, NewLeader, Peer};

impl Client {
    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn events(
        &self,
        kind: Option<&str>,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<List<Event>, Error> {
        let call =
            Call::get("/api/v1/events").maybe("type", kind).maybe("limit", limit).maybe("cursor", cursor);
        self.fetch(call).await
    }

    /// The members of the control plane.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn peers(&self) -> Result<List<Peer>, Error> {
        self.fetch(Call::get("/api/v1/peers")).await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn promote_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/peers/{id}/promote"))).await
    }

    /// Makes a voter a learner.
    ///
    /// # Errors
    /// [`Error`]; status 409 where nothing could be decided without it.
    pub async fn demote_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/peers/{id}/demote"))).await
    }

    /// Removes a peer and revokes its certificate.
    ///
    /// # Errors
    /// [`Error`]; status 409 where nothing could be decided without it.
    pub async fn remove_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, format!("/api/v1/peers/{id}"))).await
    }

    /// Hands leadership to a voter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.tell(Call::post("/api/v1/peers/leader").json(&NewLeader { to })?).await
    }

    /// Makes a right to join.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn join_token(&self, request: &JoinToken) -> Result<IssuedToken, Error> {
        self.fetch(Call::post("/api/v1/peers/join-tokens").json(request)?).await
    }

    /// A consistent copy of the control plane, as it comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self) -> Result<ByteStream, Error> {
        self.bytes(Call::get("/api/v1/backup").streams()).await
    }

    /// A token for a user and a password.
    ///
    /// # Errors
    /// [`Error`]; status 401 where they are wrong.
    pub async fn login(&self, login: &Login) -> Result<LoginAnswer, Error> {
        self.fetch(Call::post("/api/v1/login").json(login)?).await
    }

    /// Ends the token that a login gave, the one this client uses.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn logout(&self) -> Result<(), Error> {
        self.tell(Call::post("/api/v1/logout")).await
    }

    /// Who this client is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn whoami(&self) -> Result<Identity, Error> {
        self.fetch(Call::get("/api/v1/whoami")).await
    }

    /// Whether the peer can serve.
    ///
    /// # Errors
    /// [`Error`]; status 503 with what is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.tell(Call::get("/readyz")).await
    }

    /// The description of the API.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn openapi(&self) -> Result<Value, Error> {
        self.fetch(Call::get("/api/openapi.json")).await
    }
}
