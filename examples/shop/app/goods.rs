use axum::extract::State;
use axum::response::Redirect;
use cloakroom::layer::Session;
use cloakroom::session::CartItem;
use maud::{Markup, html};
use serde::Deserialize;

use super::Shop;
use super::error::Failure;
use super::form::OwnForm;
use super::page::Page;

/// A product: its id, name, price in cents, picture (of a font) and a word about it.
struct Product(&'static str, &'static str, u64, &'static str, &'static str);

const PRODUCTS: [Product; 6] = [
    Product("umbrella", "Umbrella", 2_900, "☂️", "Opens against the wind."),
    Product("hat", "Felt hat", 4_500, "🎩", "Fits most heads."),
    Product("scarf", "Wool scarf", 3_200, "🧣", "Two metres of it."),
    Product("gloves", "Gloves", 2_400, "🧤", "A left and a right one."),
    Product("coat", "Rain coat", 8_900, "🧥", "Has a loop for the hook."),
    Product("boots", "Boots", 7_900, "🥾", "For the way home."),
];

fn product(id: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.0 == id)
}

fn price(cents: u64) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}

/// The home page: what there is to buy, and how often this visitor has looked.
pub(crate) async fn home(State(shop): State<Shop>, session: Session) -> Result<Markup, Failure> {
    let views = session.increment("views", 1).await?;
    let page = Page::of(&shop, &session, "Shop").await?;
    let greeting = page
        .user()
        .map_or_else(|| "Come in out of the rain".to_owned(), |user| format!("Hello, {user}"));
    Ok(page.with(&html! {
        header.hero {
            h1 #greeting { (greeting) }
            p { "You have looked at this page " b #views { (views) } @if views == 1 { " time." } @else { " times." } }
        }
        div.grid {
            @for Product(id, name, cents, picture, word) in &PRODUCTS {
                article.card {
                    div.picture aria-hidden="true" { (picture) }
                    h2 { (name) }
                    p { (word) }
                    div.row {
                        span.price { (price(*cents)) }
                        form method="post" action=(shop.url("/cart")) {
                            (page.csrf())
                            input type="hidden" name="product" value=(id);
                            button #{ "add-" (id) } { "Add" }
                        }
                    }
                }
            }
        }
    }))
}

/// What is put into the cart.
#[derive(Deserialize)]
pub(crate) struct Chosen {
    product: String,
}

/// Puts a product into the cart; one more of what is there already.
pub(crate) async fn add(
    State(shop): State<Shop>,
    session: Session,
    OwnForm(chosen): OwnForm<Chosen>,
) -> Result<Redirect, Failure> {
    let product = product(&chosen.product).ok_or(Failure::Malformed)?;
    session.add_to_cart(product.0, 1).await?;
    Ok(Redirect::to(&shop.url("/cart")))
}

/// The cart.
pub(crate) async fn cart(State(shop): State<Shop>, session: Session) -> Result<Markup, Failure> {
    let items = session.cart().await?;
    let lines: Vec<_> = items
        .iter()
        .filter_map(|CartItem { product_id, quantity }| Some((product(product_id)?, *quantity)))
        .collect();
    let total = lines.iter().map(|(product, quantity)| product.2 * quantity).sum();
    let page = Page::of(&shop, &session, "Cart").await?;
    Ok(page.with(&html! {
        section.card {
            h1 { "Your cart" }
            @if lines.is_empty() { p { "Nothing in it yet. " a href=(shop.url("/")) { "Look around" } "." } }
            @else {
                table {
                    thead { tr { th { "Product" } th.number { "Each" } th.number { "Quantity" } th.number { "Sum" } } }
                    tbody {
                        @for (Product(id, name, cents, picture, _), quantity) in &lines {
                            tr {
                                td { span aria-hidden="true" { (picture) } " " (name) }
                                td.number { (price(*cents)) }
                                td.number #{ "quantity-" (id) } { (quantity) }
                                td.number { (price(cents * quantity)) }
                            }
                        }
                    }
                    tfoot { tr { th colspan="3" { "Total" } td.number #total { (price(total)) } } }
                }
                p.hint { "It is the same cart on every replica, and a log-in keeps it." }
            }
        }
    }))
}
