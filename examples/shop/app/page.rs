use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use cloakroom::layer::Session;
use maud::{DOCTYPE, Markup, html};

use super::Shop;
use super::error::Failure;

/// What every page shows around its contents.
pub(crate) struct Page<'a> {
    shop: &'a Shop,
    title: &'a str,
    user: Option<String>,
    in_cart: u64,
    csrf_token: String,
}

impl<'a> Page<'a> {
    /// A page for whoever has this session.
    pub(crate) async fn of(shop: &'a Shop, session: &Session, title: &'a str) -> Result<Self, Failure> {
        let user = session.user_id().await?.map(|user| user.to_string());
        let in_cart = session.cart().await?.iter().map(|item| item.quantity).sum();
        Ok(Self {
            shop,
            title,
            user,
            in_cart,
            csrf_token: session.csrf_token().await?,
        })
    }

    /// Who is logged in.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The hidden field that proves that a form is ours.
    pub(crate) fn csrf(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf_token); }
    }

    /// The page with its contents.
    pub(crate) fn with(&self, contents: &Markup) -> Markup {
        let shop = self.shop;
        let navigation = html! {
            nav {
                a.brand href=(shop.url("/")) { "Cloakroom shop" }
                a href=(shop.url("/report")) { "Report" }
                a href=(shop.url("/cart")) { "Cart" @if self.in_cart > 0 { " " span.tag #in-cart { (self.in_cart) } } }
                span.space {}
                @if let Some(user) = &self.user {
                    a href=(shop.url("/devices")) { "Devices" }
                    span #user { (user) }
                    form method="post" action=(shop.url("/log-out")) { (self.csrf()) button.quiet #log-out { "Log out" } }
                } @else {
                    a.button href=(shop.url("/log-in")) { "Log in" }
                }
            }
        };
        let server = shop.sessions.server_id();
        let footer = html! { footer { "Served by " b #server { (server) } ". Any replica could have." } };
        document(self.title, shop, &html! { (navigation) main { (contents) } (footer) })
    }
}

fn document(title: &str, shop: &Shop, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Cloakroom shop" }
                link rel="stylesheet" href=(shop.url("/shop.css"));
            }
            body { (body) }
        }
    }
}

/// A page for when nothing is known of the visitor.
pub(crate) fn bare(title: &str, contents: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Cloakroom shop" }
            }
            body { main { (contents) } }
        }
    }
}

/// How the pages look.
pub(crate) async fn style() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, include_str!("shop.css"))
}
