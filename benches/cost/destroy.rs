//! How long a destroyed session is still answered anywhere.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::load::Connection;
use crate::options::Options;

/// From the moment at which an end was asked for until the last replica answered that there is no such session.
pub(crate) async fn measure(fleet: &Fleet, options: &Options) -> Vec<Duration> {
    if !options.wants("destroy -> gone") {
        return Vec::new();
    }
    let sessions = fleet.make(3_000_000, options.destroyed, options).await;
    let mut readers = Vec::new();
    for replica in 0..fleet.replicas.len() {
        readers.push(fleet.connect(replica).await);
    }
    let mut enders = Vec::new();
    for replica in 0..fleet.replicas.len() {
        enders.push(fleet.connect(replica).await);
    }
    let mut delays = Vec::new();
    for (number, session) in sessions.iter().enumerate() {
        let read = fleet.requests.read(&session.id);
        for reader in &mut readers {
            // The second is a hit.
            for _ in 0..2 {
                assert_eq!(reader.ask(&read).await.0, 200);
            }
        }
        let end = fleet.requests.destroy(&session.id);
        let ender = number % enders.len();
        let asked = Instant::now();
        let gone = join_all(readers.iter_mut().map(|reader| until_gone(reader, &read)));
        let ((status, _), gone) = tokio::join!(enders[ender].ask(&end), gone);
        assert_eq!(status, 204);
        let last = gone.into_iter().max().expect("a replica");
        delays.push(last - asked);
    }
    delays
}

async fn until_gone(reader: &mut Connection, read: &str) -> Instant {
    loop {
        match reader.ask(read).await.0 {
            200 => {}
            404 => return Instant::now(),
            status => panic!("a read was answered {status}"),
        }
    }
}
