use std::path::{Path, PathBuf};

use serde_json::json;

use crate::driver::{Browser, Driver};
use crate::pages::{Replicas, is_logged_in, log_in};
use crate::support::wait::{SOON, eventually};

fn profile() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_visit_goes_over_all_replicas_and_ends_on_each() {
    let Some(driver) = Driver::start().await else { return };
    let (replicas, profile) = (Replicas::start().await, profile());
    let browser = driver.browser(profile.path()).await;

    // A stranger fills a cart on the first and finds it on the second; the log-in there keeps it.
    browser.open(&replicas.page(0, "")).await;
    assert_eq!(browser.text("#views").await, "1");
    browser.click("#add-hat").await;
    assert_eq!(browser.text("#quantity-hat").await, "1");
    browser.open(&replicas.page(1, "")).await;
    assert_eq!(
        (browser.text("#views").await, browser.text("#in-cart").await),
        ("2".to_owned(), "1".to_owned())
    );
    browser.click("#add-hat").await;
    assert_eq!(browser.text("#quantity-hat").await, "2");
    log_in(&browser, &replicas, 1, false).await;
    assert_eq!(browser.text("#server").await, "dev-2");
    assert_eq!(browser.text("#in-cart").await, "2");

    // Used on the third, logged out there, gone on the others.
    assert!(is_logged_in(&browser, &replicas, 2).await);
    assert_eq!(browser.text("#server").await, "dev-3");
    browser.open(&replicas.page(2, "/devices")).await;
    assert!(browser.text("#devices").await.contains("this device"));
    browser.click("#log-out").await;
    browser.shows("input[name=password]").await;
    browser.back().await;
    let shown = browser.source().await;
    for gone in ["id=\"devices\"", "Log out everywhere", "id=\"user\""] {
        assert!(!shown.contains(gone), "the back button shows {gone}");
    }
    for replica in 0..3 {
        assert!(!is_logged_in(&browser, &replicas, replica).await, "replica {replica}");
    }
    browser.quit().await;
}

#[tokio::test]
async fn t3_only_who_wants_to_be_remembered_is_still_there_after_a_restart() {
    let Some(driver) = Driver::start().await else { return };
    let (replicas, profile) = (Replicas::start().await, profile());
    for (remember, replica) in [(false, 0), (true, 1)] {
        let browser = driver.browser(profile.path()).await;
        log_in(&browser, &replicas, replica, remember).await;
        let cookies = browser.cookies().await;
        let cookie = cookies
            .as_array()
            .unwrap()
            .iter()
            .find(|cookie| cookie["name"] == "shop");
        let cookie = cookie.unwrap();
        assert_eq!(cookie.get("expiry").is_some(), remember, "{cookie}");
        assert_eq!(
            (&cookie["httpOnly"], &cookie["sameSite"]),
            (&json!(true), &json!("Lax"))
        );
        until_stored(&profile.path().join("Default/Cookies"), remember).await;
        browser.quit().await;
        let restarted = driver.browser(profile.path()).await;
        assert_eq!(is_logged_in(&restarted, &replicas, 2).await, remember);
        restarted.quit().await;
    }
}

/// Chromium writes cookies to its profile some seconds after they were set; quitting it by the driver does not wait.
async fn until_stored(file: &Path, remember: bool) {
    if !remember {
        return;
    }
    eventually(2 * SOON, "the cookie in the profile", async || {
        let log = std::fs::read(file.with_file_name("Cookies-journal")).unwrap_or_default();
        let stored = std::fs::read(file).unwrap_or_default();
        let has = |bytes: &[u8]| {
            bytes
                .windows(b"127.0.0.1shop".len())
                .any(|window| window == b"127.0.0.1shop")
        };
        has(&stored) && log.is_empty()
    })
    .await;
}

/// The same user logged in with two browsers, on different replicas.
async fn two_devices<'a>(
    driver: &'a Driver,
    replicas: &Replicas,
    profiles: &[tempfile::TempDir; 2],
) -> [Browser<'a>; 2] {
    let [here, there] = [
        driver.browser(profiles[0].path()).await,
        driver.browser(profiles[1].path()).await,
    ];
    log_in(&here, replicas, 0, false).await;
    log_in(&there, replicas, 1, true).await;
    [here, there]
}

#[tokio::test]
async fn log_out_everywhere_reaches_every_device() {
    let Some(driver) = Driver::start().await else { return };
    let replicas = Replicas::start().await;
    let profiles = [profile(), profile()];
    let [here, there] = two_devices(&driver, &replicas, &profiles).await;
    here.open(&replicas.page(2, "/devices")).await;
    let list = here.text("#devices").await;
    assert_eq!(list.matches("Chrome on Linux").count(), 2, "{list}");
    assert_eq!(list.matches("this device").count(), 1, "{list}");
    here.click("#everywhere").await;
    here.shows("input[name=password]").await;
    for replica in 0..3 {
        assert!(!is_logged_in(&here, &replicas, replica).await);
        assert!(!is_logged_in(&there, &replicas, replica).await);
    }
    here.quit().await;
    there.quit().await;
}

#[tokio::test]
async fn t22_a_log_out_is_in_the_recent_activity() {
    let Some(driver) = Driver::start().await else { return };
    let replicas = Replicas::start().await;
    let profiles = [profile(), profile()];
    let [here, there] = two_devices(&driver, &replicas, &profiles).await;
    here.open(&replicas.page(2, "/devices")).await;
    assert!(!here.has("#activity").await, "nobody has logged out");
    there.click("#log-out").await;
    there.shows("input[name=password]").await;
    here.open(&replicas.page(2, "/devices")).await;
    assert_eq!(here.text("#activity").await, "Logged out on one device just now");
    here.quit().await;
    there.quit().await;
}

#[tokio::test]
async fn t27_the_slow_page_is_computed_once_for_all() {
    let Some(driver) = Driver::start().await else { return };
    let (replicas, profile) = (Replicas::start().await, profile());
    let browser = driver.browser(profile.path()).await;
    // Others ask at the same time.
    let asked = (0..6).map(|number| reqwest::get(replicas.page(number % 3, "/report")));
    let others = futures_util::future::join_all(asked).await;
    browser.open(&replicas.page(1, "/report")).await;
    let computed = browser.text("#computed").await;
    for other in others {
        let page = other.unwrap().text().await.unwrap();
        assert!(page.contains(&computed), "one report for all: {page}");
    }
    browser.quit().await;
}

/// The pictures of the documentation: `CLOAKROOM_PICTURES=docs/images cargo test --test shop pictures` takes them anew (on a
/// machine with a font for emoji, such as Debian's `fonts-noto-color-emoji`).
#[tokio::test]
async fn pictures_of_every_page() {
    let Some(driver) = Driver::start().await else { return };
    let directory = std::env::var_os("CLOAKROOM_PICTURES").map(PathBuf::from);
    let (replicas, profile) = (Replicas::start().await, profile());
    let browser = driver.browser(profile.path()).await;
    let take = async |browser: &Browser<'_>, name: &str| {
        let picture = browser.picture().await;
        assert!(
            picture.starts_with(b"\x89PNG") && picture.len() > 5_000,
            "{name} is empty"
        );
        if let Some(directory) = &directory {
            std::fs::write(directory.join(format!("shop-{name}.png")), picture).unwrap();
        }
    };
    browser.open(&replicas.page(0, "/log-in")).await;
    take(&browser, "log-in").await;
    log_in(&browser, &replicas, 0, true).await;
    for (product, times) in [("umbrella", 1), ("scarf", 2)] {
        for _ in 0..times {
            browser.open(&replicas.page(1, "")).await;
            browser.click(&format!("#add-{product}")).await;
            browser.text("#total").await;
        }
    }
    take(&browser, "cart").await;
    browser.open(&replicas.page(2, "")).await;
    take(&browser, "home").await;
    browser.open(&replicas.page(2, "/devices")).await;
    take(&browser, "devices").await;
    browser.open(&replicas.page(2, "/report")).await;
    take(&browser, "report").await;
    browser.quit().await;
}
