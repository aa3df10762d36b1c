//! What every gateway of the guide must hold.

use serde_json::Value;

use crate::gateway::{Gateway, Kind};

fn cookie(made: &Value) -> String {
    format!("__Host-cloakroom={}", made["token"].as_str().unwrap())
}

#[tokio::test]
async fn s44_every_gateway_says_who_it_is_and_nobody_else_does() {
    for kind in Kind::ALL {
        let gateway = Gateway::start(kind).await;
        let refused = gateway.ask("GET", "/cart", &[]).await;
        assert_eq!(refused.status, 401, "{kind:?}");
        assert_eq!(refused.headers["x-auth-reason"], "session_not_found", "{kind:?}");
        let alice = gateway.service.log_in("alice").await;
        let cookie = cookie(&alice);
        let spoofed = [
            ("cookie", cookie.as_str()),
            ("x-auth-user", "root"),
            ("X_Auth_User", "root"),
            ("x-auth_user", "root"),
            ("x_auth-user", "root"),
            ("x-auth-roles", "root"),
            ("X_Auth_Roles", "admin"),
            ("x-auth-permissions", "root"),
            ("x-auth-class", "sensitive"),
        ];
        let passed = gateway.ask("GET", "/cart", &spoofed).await;
        assert_eq!(passed.status, 200, "{kind:?}: {passed:?}");
        let session = alice["session"]["id"].as_str().unwrap();
        let mut told = passed.told();
        // Not every gateway hands these on.
        told.retain(|(name, value)| match name.as_str() {
            "x-auth-class" => value != "normal",
            "x-auth-version" => value != "1",
            _ => true,
        });
        let expected = [
            ("x-auth-roles", "user"),
            ("x-auth-session", session),
            ("x-auth-user", "alice"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn s45_no_spelling_of_a_path_slips_past_what_it_demands() {
    for kind in Kind::ALL {
        let gateway = Gateway::start(kind).await;
        let user = cookie(&gateway.service.log_in("alice").await);
        let admin = serde_json::json!({"user_id": "root", "roles": ["user", "admin"]});
        let admin = cookie(&gateway.service.post("/v1/sessions", admin).await);
        let allowed = gateway.ask("GET", "/admin/users", &[("cookie", &admin)]).await;
        assert_eq!(allowed.status, 200, "{kind:?}: {allowed:?}");
        for path in [
            "/admin/users",
            "/admin/../admin/users",
            "//admin//users",
            "/%61dmin/users",
            "/cart/../admin/users",
            "/admin/users?role=user",
        ] {
            let refused = gateway.ask("GET", path, &[("cookie", &user)]).await;
            assert_eq!(refused.status, 403, "{kind:?} {path}: {refused:?}");
        }
        // What asks for less is asked of the gateway's own words alone.
        let demanding_less = [("cookie", user.as_str()), ("x-auth-require", "role=user")];
        assert_eq!(
            gateway.ask("GET", "/admin/users", &demanding_less).await.status,
            403,
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn s36_every_gateway_refuses_what_another_site_sends() {
    for kind in Kind::ALL {
        let gateway = Gateway::start(kind).await;
        let alice = gateway.service.log_in("alice").await;
        let cookie = cookie(&alice);
        let host = format!("http://{}", gateway.address);
        let csrf = alice["csrf_token"].as_str().unwrap();
        for (headers, status) in [
            (vec![("sec-fetch-site", "cross-site")], 403),
            (vec![("origin", "https://evil.example")], 403),
            (vec![], 403),
            (vec![("x-forwarded-method", "GET"), ("x-original-method", "GET")], 403),
            (
                vec![("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")],
                403,
            ),
            (vec![("sec-fetch-site", "same-origin")], 200),
            (vec![("origin", &host)], 200),
            (vec![("x-csrf-token", csrf)], 200),
        ] {
            let sent = [&[("cookie", cookie.as_str())][..], &headers].concat();
            let answer = gateway.ask("POST", "/cart", &sent).await;
            assert_eq!(answer.status, status, "{kind:?} {headers:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn s20_a_log_out_holds_behind_every_gateway() {
    for kind in Kind::ALL {
        let gateway = Gateway::start(kind).await;
        let cookie = cookie(&gateway.service.log_in("alice").await);
        let asked = gateway.ask("GET", "/cart", &[("cookie", &cookie)]).await;
        assert_eq!(asked.status, 200, "{kind:?}");
        // The endpoints for browsers lie behind the same gateway.
        let leave = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let left = gateway.ask("DELETE", "/session", &leave).await;
        assert_eq!(left.status, 204, "{kind:?}: {left:?}");
        let set = left.headers["set-cookie"].to_str().unwrap();
        assert!(set.ends_with("Max-Age=0"), "{kind:?}: {set}");
        let asked = gateway.ask("GET", "/cart", &[("cookie", &cookie)]).await;
        assert_eq!(asked.status, 401, "{kind:?}");
    }
}

#[tokio::test]
async fn s48_nobody_passes_while_the_service_cannot_be_asked() {
    for kind in Kind::ALL {
        let gateway = Gateway::start(kind).await;
        let cookie = cookie(&gateway.service.log_in("alice").await);
        gateway.service.program.kill();
        let refused = gateway.ask("GET", "/cart", &[("cookie", &cookie)]).await;
        let expected = match kind {
            Kind::Nginx | Kind::Envoy => 503,
            Kind::Caddy => 502,
            Kind::Traefik => 500,
        };
        assert_eq!(refused.status, expected, "{kind:?}: {refused:?}");
    }
}
