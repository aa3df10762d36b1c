//! Ordinary use of a fleet: a little of everything, again and again.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::history::Habit;
use crate::support::fleet::{Fleet, Replica};
use crate::support::wait::eventually;

/// A pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// What the past is written as: about what [`Load::go_on`] does.
pub(crate) const HABITS: [Habit; 6] = [
    Habit {
        labels: r#"signal="sessions""#,
        mean: SESSIONS as f64,
    },
    Habit {
        labels: r#"signal="creations""#,
        mean: 0.5,
    },
    Habit {
        labels: r#"signal="failed_validations""#,
        mean: 0.5,
    },
    Habit {
        labels: r#"signal="ends",reason="logout""#,
        mean: 0.25,
    },
    Habit {
        labels: r#"signal="ends",reason="all""#,
        mean: 0.0,
    },
    Habit {
        labels: r#"signal="ends",reason="user""#,
        mean: 0.0,
    },
];

/// How long a log-in may take on a busy machine, asked again where it was refused.
const LOGGED_IN: Duration = Duration::from_mins(1);
/// How many sessions there are at first.
pub(crate) const SESSIONS: u32 = 400;

/// Settings under which everything happens: sessions move, and those of one class expire soon.
pub(crate) const SETTINGS: [(&str, &str); 2] =
    [("migration.policy", "always"), ("session.classes.temporary.idle", "2s")];

/// The sessions that are used.
pub(crate) struct Load<'a> {
    fleet: &'a Fleet,
    sessions: Mutex<Vec<(String, String)>>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        let sessions = Mutex::new(Vec::new());
        Self { fleet, sessions }
    }

    /// Many log in at once.
    pub(crate) async fn log_in(&self, count: u32) {
        let made = self
            .fleet
            .crowd(count as usize, async |replica, number| {
                let class = ["normal", "remember_me", "sensitive"][number % 3];
                let body = json!({"user_id": format!("user-{number}"), "class": class});
                // A busy machine answers some late: those are asked again.
                eventually(LOGGED_IN, "a session to be created", async || {
                    let answer = replica.try_call("POST", "/v1/sessions", Some(&body)).await.ok()?;
                    (answer.status == 201).then(|| answer.issued())
                })
                .await
            })
            .await;
        self.sessions.lock().extend(made);
    }

    /// Everybody is logged out.
    pub(crate) async fn log_everybody_out(&self) {
        self.fleet.at(0).delete("/v1/sessions?confirm=all").await.expect(200);
        self.sessions.lock().clear();
    }

    /// Goes on for ever; answers are not looked at, since stores are flushed meanwhile.
    pub(crate) async fn go_on(&self) {
        for round in 0.. {
            let replica = self.fleet.at(round);
            // What fails here fails because the test makes it fail.
            let _ = self.round(replica, round).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn round(&self, replica: &Replica, round: usize) -> reqwest::Result<()> {
        let every = |rounds: usize| round.is_multiple_of(rounds);
        if every(4) {
            let body = json!({"user_id": format!("guest-{round}"), "data": {"round": round}});
            let answer = replica.try_call("POST", "/v1/sessions", Some(&body)).await?;
            if answer.status == 201 {
                self.sessions.lock().push(answer.issued());
            }
            let fleeting = json!({"class": "temporary"});
            replica.try_call("POST", "/v1/sessions", Some(&fleeting)).await?;
            let unknown = json!({"token": "aa".repeat(22)});
            replica
                .try_call("POST", "/v1/sessions/validate", Some(&unknown))
                .await?;
        }
        if every(8) {
            let oldest = { self.sessions.lock().drain(..1).next() };
            if let Some((path, _)) = oldest {
                replica.try_call("DELETE", &path, None).await?;
            }
            replica
                .request("GET", "/v1/stats")
                .bearer_auth("no token")
                .send()
                .await?;
        }
        let Some((path, token)) = self.one(round) else {
            return Ok(());
        };
        replica
            .try_call("POST", "/v1/sessions/validate", Some(&json!({"token": token})))
            .await?;
        for next in 0..6 {
            let replica = self.fleet.at(round / 2 + next);
            replica.try_call("GET", &path, None).await?;
            replica
                .request("GET", "/auth")
                .header("cookie", format!("__Host-cloakroom={token}"))
                .send()
                .await?;
        }
        replica
            .try_call("GET", &format!("{path}?consistency=strong"), None)
            .await?;
        if every(3) {
            let change = json!({"data": {"round": round}});
            replica.try_call("PATCH", &path, Some(&change)).await?;
        }
        if every(10) {
            let answer = replica
                .try_call("POST", &format!("{path}/rotate"), Some(&json!({})))
                .await?;
            if answer.status == 201 {
                let mut sessions = self.sessions.lock();
                sessions.retain(|(known, _)| *known != path);
                sessions.push(answer.issued());
            }
            replica
                .try_call("DELETE", &format!("/v1/users/guest-{}/sessions", round / 2), None)
                .await?;
        }
        Ok(())
    }

    /// A few sessions are used more than the others.
    fn one(&self, round: usize) -> Option<(String, String)> {
        let sessions = self.sessions.lock();
        let busy = sessions.len().min(40);
        (busy > 0).then(|| sessions[sessions.len() - 1 - round % busy].clone())
    }
}
