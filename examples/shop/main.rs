//! The shop by itself: `cargo run --example shop`, and `cargo run --example shop -- redis://127.0.0.1:6379` for sessions
//! that several of them share. `cloakroom dev` serves the same application on each of its replicas.

mod app;

use std::net::SocketAddr;

use cloakroom::Cloakroom;
use tokio::net::TcpListener;
use tokio::signal;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Cloakroom::builder().environment(std::env::vars_os());
    for url in std::env::args().skip(1) {
        builder = builder.redis_url(url);
    }
    let cloakroom = builder.open().await?;
    let trusted_proxies = cloakroom.config().http.trusted_proxies.clone();
    let shop = app::router("", cloakroom.sessions(), cloakroom.values(), trusted_proxies)?
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    eprintln!("the shop is open at http://{}", listener.local_addr()?);
    let closing = async { signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, shop).with_graceful_shutdown(closing).await?;
    cloakroom.close().await;
    Ok(())
}
