//! The end of the process: the first SIGTERM or SIGINT drains, the second aborts.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Draining,
    Aborting,
}

/// Tells everything that runs when to end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    draining: watch::Receiver<bool>,
    stage: watch::Receiver<Stage>,
}

/// What makes a [`Shutdown`] go on; the signals hold one.
#[derive(Debug)]
pub struct ShutdownTrigger {
    draining: watch::Sender<bool>,
    stage: watch::Sender<Stage>,
}

impl Shutdown {
    /// A shutdown that the returned trigger drives.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (draining_sender, draining) = watch::channel(false);
        let (stage_sender, stage) = watch::channel(Stage::Running);
        let trigger = ShutdownTrigger {
            draining: draining_sender,
            stage: stage_sender,
        };
        (trigger, Self { draining, stage })
    }

    /// A shutdown that SIGTERM and SIGINT drive from now on.
    pub fn on_signals() -> io::Result<Self> {
        let (trigger, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                trigger.signal(name);
            }
        });
        Ok(shutdown)
    }

    /// True from the first signal on.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }

    /// Waits for the first signal.
    pub async fn requested(&self) {
        reached(self.stage.clone(), Stage::Draining).await;
    }

    /// Waits for the second signal.
    pub async fn aborted(&self) {
        reached(self.stage.clone(), Stage::Aborting).await;
    }
}

async fn reached(mut stage: watch::Receiver<Stage>, wanted: Stage) {
    if stage.wait_for(|stage| *stage >= wanted).await.is_err() {
        // Nothing can ask for the end any more.
        std::future::pending::<()>().await;
    }
}

impl ShutdownTrigger {
    /// A signal came: the first one drains, the second one aborts.
    pub fn signal(&self, name: &str) {
        self.stage.send_modify(|stage| {
            *stage = match stage {
                Stage::Running => {
                    tracing::info!(signal = name, "draining; once more to abort");
                    Stage::Draining
                }
                Stage::Draining | Stage::Aborting => {
                    tracing::warn!(signal = name, "aborting");
                    Stage::Aborting
                }
            };
        });
        self.draining.send_replace(true);
    }
}
