//! The log-in page of the shop, for somebody who guesses: by plain requests, as they do.

use futures_util::future::join_all;
use reqwest::header::{COOKIE, RETRY_AFTER, SET_COOKIE};
use reqwest::{Client, Response, redirect};

use crate::pages::Replicas;

/// A client without a browser, behind a proxy that names its address.
struct Guesser {
    client: Client,
    address: &'static str,
}

impl Guesser {
    fn at(address: &'static str) -> Self {
        let client = Client::builder().redirect(redirect::Policy::none());
        Self {
            client: client.build().unwrap(),
            address,
        }
    }

    /// One attempt by the form of a replica's log-in page.
    async fn attempt(&self, replicas: &Replicas, replica: usize, user: &str, password: &str) -> Response {
        let url = replicas.page(replica, "/log-in");
        let page = self.client.get(&url).send().await.unwrap();
        let cookie = page.headers()[SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let page = page.text().await.unwrap();
        let (_, csrf) = page.split_once("name=\"csrf\" value=\"").unwrap();
        let form = [
            ("csrf", csrf.split('"').next().unwrap()),
            ("user", user),
            ("password", password),
        ];
        let form: Vec<_> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self
            .client
            .post(&url)
            .header(COOKIE, cookie)
            .header("x-forwarded-for", self.address);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form.join("&")).send().await.unwrap()
    }
}

#[tokio::test]
async fn s54_who_guesses_a_users_password_is_throttled_on_all_replicas() {
    let replicas = Replicas::start().await;
    let visitor = Guesser::at("192.0.2.1");
    // Typing errors are forgiven: a log-in begins the count anew.
    for password in ["umbrela", "umbrella"] {
        let answer = visitor.attempt(&replicas, 0, "dana", password).await;
        let expected = if password == "umbrella" { 303 } else { 422 };
        assert_eq!(answer.status().as_u16(), expected);
    }
    let guesses = (0..10).map(|number| visitor.attempt(&replicas, number % 3, "dana", "guess"));
    for answer in join_all(guesses).await {
        assert_eq!(answer.status(), 422);
    }
    for (replica, password) in [(0, "guess"), (1, "umbrella"), (2, "umbrella")] {
        let answer = visitor.attempt(&replicas, replica, "dana", password).await;
        assert_eq!(answer.status(), 429, "replica {replica}, {password}");
        let wait: u64 = answer.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=600).contains(&wait), "{wait}");
        assert!(answer.text().await.unwrap().contains("Too many attempts"));
    }
    let answer = visitor.attempt(&replicas, 1, "sam", "umbrella").await;
    assert_eq!(answer.status(), 303, "who is not guessed at logs in");
    // Names that nobody has are no way to learn which there are.
    let unknown = (0..11).map(|number| visitor.attempt(&replicas, number % 3, "nobody", "guess"));
    let mut told: Vec<_> = join_all(unknown)
        .await
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    told.sort_unstable();
    assert_eq!(told, [[422; 10].as_slice(), &[429]].concat());
}

#[tokio::test]
async fn s54_who_guesses_for_many_users_is_throttled_by_the_address_that_the_proxy_names() {
    let replicas = Replicas::with(&[("CLOAKROOM_HTTP__TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let visitor = Guesser::at("192.0.2.1");
    let names: Vec<_> = (0..50).map(|number| format!("user-{number}")).collect();
    let guesses = names.iter().enumerate();
    let guesses = guesses.map(|(number, name)| visitor.attempt(&replicas, number % 3, name, "guess"));
    for answer in join_all(guesses).await {
        assert_eq!(answer.status(), 422);
    }
    let answer = visitor.attempt(&replicas, 0, "sam", "umbrella").await;
    assert_eq!(answer.status(), 429);
    let answer = Guesser::at("192.0.2.2").attempt(&replicas, 0, "sam", "umbrella").await;
    assert_eq!(answer.status(), 303, "others log in");
}
