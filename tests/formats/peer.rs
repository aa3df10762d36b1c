//! Another program than the one that is tested: it speaks to Redis by the scripts that were recorded.

use redis::{RedisResult, Script, Value};

use crate::recorded;
use crate::support::single_redis::SingleRedis;

/// A hundred years: what is recorded must not expire.
pub(crate) const CENTURY: &str = "3155760000000";

pub(crate) struct Peer<'a> {
    pub(crate) redis: &'a SingleRedis,
    pub(crate) prefix: String,
}

impl Peer<'_> {
    pub(crate) fn key(&self, rest: &str) -> String {
        format!("{}:{{a7}}:{rest}", self.prefix)
    }

    /// Runs a recorded script on a session; those that are to count once get an operation.
    pub(crate) async fn run(&self, script: &str, id: &str, more_keys: &[String], arguments: &[&str]) -> Value {
        let answer = self.try_run(script, id, more_keys, arguments).await;
        answer.unwrap_or_else(|error| panic!("{script} of the older program: {error}"))
    }

    async fn try_run(&self, script: &str, id: &str, more_keys: &[String], arguments: &[&str]) -> RedisResult<Value> {
        let text = std::fs::read_to_string(recorded(&format!("scripts/{script}.lua"))).unwrap();
        let script = Script::new(&text);
        let mut call = script.prepare_invoke();
        call.key(self.key(&format!("s:{id}")))
            .key(self.key("inv"))
            .key(self.key("ev"));
        for key in more_keys {
            call.key(key);
        }
        call.arg("tag").arg(id);
        for argument in arguments {
            call.arg(*argument);
        }
        call.invoke_async(&mut self.redis.connect().await.unwrap()).await
    }

    fn operation(&self) -> String {
        let (_, number) = crate::fresh();
        self.key(&format!("o:{number}"))
    }

    pub(crate) async fn create(&self, id: &str, core: &str, data: &[(&str, &str)]) {
        let bytes: usize = data.iter().map(|(field, value)| field.len() - 2 + value.len()).sum();
        let bytes = bytes.to_string();
        let mut arguments = vec![
            "-", "normal", CENTURY, CENTURY, &bytes, core, "older", "0", "0", "refuse",
        ];
        for (field, value) in data {
            arguments.extend([*field, *value]);
        }
        self.run("create", id, &[self.operation()], &arguments).await;
    }

    pub(crate) async fn set(&self, id: &str, field: &str, value: &str) {
        self.run("change", id, &[self.operation()], &["10240", "", "", "1", field, value])
            .await;
    }

    pub(crate) async fn patch(&self, id: &str, patch: &str) {
        self.run("change", id, &[self.operation()], &["10240", "", patch, "0"])
            .await;
    }

    pub(crate) async fn rotate(&self, id: &str, new: &str) {
        let keys = [self.operation(), self.key(&format!("s:{new}"))];
        self.run("rotate", id, &keys, &[new, "0", "", "", "", "0", "", "", "0"])
            .await;
    }

    pub(crate) async fn touch(&self, id: &str) {
        self.run("touch", id, &[], &["0", "", "", "0"]).await;
    }

    pub(crate) async fn migrate(&self, id: &str, to: &str) {
        self.run("migrate", id, &[], &[to]).await;
    }

    pub(crate) async fn end(&self, id: &str) {
        self.run("end", id, &[self.operation()], &["logout", "destroyed", ""])
            .await;
    }

    /// A field of the record, as this program reads it; nothing where there is no session.
    pub(crate) async fn field(&self, id: &str, field: &str) -> Option<String> {
        self.redis.ask(&["HGET", &self.key(&format!("s:{id}")), field]).await
    }
}
