//! `login`, `logout`, `whoami`: a password becomes a token that ends by itself, kept in a context.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::connection::Connection;
use super::context::{self, Where};
use super::credentials::read_secret;
use super::failure::{Done, Failure};
use super::output::{self, Format, field};

/// Options of `login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Who logs in; the password is asked for, or read from standard input
    user: String,
    /// How long it is for, 1m to 30d
    #[arg(long, default_value = "12h", value_name = "DURATION")]
    ttl: String,
}

/// Runs `rscaler login`. The token goes to the context that `--context` names or that is in use, or else to `default`.
pub(crate) async fn login(at: &Where, args: LoginArgs) -> Done {
    let place = at.resolve_for_login()?;
    let connection = Connection::to(place.clone())?;
    let password = read_secret(&format!("password of {}", args.user))?;
    let body = json!({"user": args.user, "password": password, "ttl": args.ttl});
    let given = connection.send(Method::POST, "login", Some(body)).await?;
    let token = given["token"]
        .as_str()
        .ok_or_else(|| Failure::Failed("the peer gave no token".to_string()))?
        .to_string();
    let name = context::keep(at, context::Context { token: Some(token), ..place })?;
    eprintln!(
        "logged in as {} ({}) until {}; kept in context `{name}`, which is in use now",
        args.user,
        field(&given, "role"),
        field(&given, "expires")
    );
    if at.token.as_ref().is_some_and(|token| !token.is_empty()) {
        eprintln!("another token is given, by RSCALER_TOKEN most likely, and goes before this one: unset it");
    }
    Ok(())
}

/// Runs `rscaler logout`: the token ends, and its context forgets it.
pub(crate) async fn logout(at: &Where) -> Done {
    Connection::open(at)?.send(Method::POST, "logout", Some(json!({}))).await?;
    context::forget_token(at)?;
    eprintln!("logged out");
    Ok(())
}

/// Runs `rscaler whoami`.
pub(crate) async fn whoami(connection: &Connection, format: Format) -> Done {
    output::object(format, &connection.get("whoami").await?)
}
