use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use cloakroom::layer::Session;

use super::Shop;
use super::error::Failure;

/// Within so long attempts are counted.
const WINDOW: Duration = Duration::from_mins(10);
/// So many attempts to log in as one user, from wherever they come: who guesses has many addresses.
const MOST_OF_A_USER: u64 = 10;
/// So many attempts of one client, as whomever: who guesses knows many names.
const MOST_OF_A_CLIENT: u64 = 50;

/// Counts an attempt to log in, on all replicas together, before the password is looked at. Where there were too many, be
/// the password right or wrong: how long until there may be another. Names that nobody has are counted likewise, so that
/// nothing tells them apart.
pub(crate) async fn too_many(shop: &Shop, session: &Session, user: &str) -> Result<Option<Duration>, Failure> {
    let of_client = session
        .client_address()
        .map(|address| (of_address(address), MOST_OF_A_CLIENT));
    for (name, most) in of_client.into_iter().chain([(of_user(user), MOST_OF_A_USER)]) {
        let attempts = shop.values.count(&name, WINDOW).await?;
        if attempts.times > most {
            return Ok(Some(attempts.ends_in));
        }
    }
    Ok(None)
}

/// The user has logged in: earlier attempts were typing errors. Those of the client stay, or one account of its own would
/// let it guess the others' for ever.
pub(crate) async fn forget(shop: &Shop, user: &str) -> Result<(), Failure> {
    Ok(shop.values.forget_count(&of_user(user)).await?)
}

fn of_user(user: &str) -> String {
    format!("log-in as {user}")
}

/// Who has one address of version 6 has its whole network of 64 bits.
fn of_address(address: IpAddr) -> String {
    let network = match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    };
    format!("log-in from {network}")
}
