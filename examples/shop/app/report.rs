use std::time::Duration;

use axum::extract::State;
use cloakroom::layer::Session;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::Shop;
use super::error::Failure;
use super::page::Page;

/// How long the report is shown to everybody before it is computed again.
const FRESH: Duration = Duration::from_secs(30);
/// What it costs: as a report over a large database might.
const COST: Duration = Duration::from_secs(2);

/// What is computed.
#[derive(Serialize, Deserialize)]
struct Report {
    rows: Vec<(String, u64)>,
    computed_at: String,
    by: String,
}

/// A slow page: computed once for all visitors of all replicas, however many ask at the same time.
pub(crate) async fn page(State(shop): State<Shop>, session: Session) -> Result<Markup, Failure> {
    let report: Report = shop
        .values
        .get_or_compute("weather-report", FRESH, || compute(&shop))
        .await;
    let page = Page::of(&shop, &session, "Report").await?;
    let most = report.rows.iter().map(|(_, value)| *value).max().unwrap_or(1).max(1);
    Ok(page.with(&html! {
        section.card {
            h1 { "Rain by weekday" }
            div.bars {
                @for (day, value) in &report.rows {
                    div.bar { span { (day) } meter min="0" max=(most) value=(value) {} span.number { (value) " mm" } }
                }
            }
            p.hint {
                "Computed in " (COST.as_secs()) " s by " b { (report.by) } " at " time #computed { (report.computed_at) }
                ", and kept for " (FRESH.as_secs()) " s beside the sessions: every replica shows the same one."
            }
        }
    }))
}

async fn compute(shop: &Shop) -> Report {
    tokio::time::sleep(COST).await;
    let days = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let amounts = [12, 7, 19, 3, 0, 26, 31];
    Report {
        rows: days.into_iter().map(str::to_owned).zip(amounts).collect(),
        computed_at: shop.sessions.now().to_string(),
        by: shop.sessions.server_id().to_string(),
    }
}
