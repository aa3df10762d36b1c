use tokio::sync::mpsc;

/// How many conditions may wait to be told on; what is more is dropped, for the log has it too.
const WAITING: usize = 64;

/// Something abnormal about a server that whoever runs the fleet should see without reading its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The store of record does not answer; the text says why.
    StoreUnreachable(String),
    /// Hits were older than the staleness bound: so many more.
    StalenessViolated(u64),
    /// This server led, and did not renew its lease in time.
    LeadershipLapsed,
    /// The rules do not let sessions be held in memory; the text says which.
    MemoryOff(String),
    /// This server is not in the fleet that it should be in.
    NotListed,
}

impl Condition {
    /// The stable name, in the words of Kubernetes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::StoreUnreachable(_) => "StoreUnreachable",
            Self::StalenessViolated(_) => "StalenessViolated",
            Self::LeadershipLapsed => "LeadershipLapsed",
            Self::MemoryOff(_) => "MemoryOff",
            Self::NotListed => "NotListed",
        }
    }

    /// What it means, for people.
    pub fn note(&self) -> String {
        match self {
            Self::StoreUnreachable(why) => {
                format!("the store of record does not answer: requests that need it are answered 503: {why}")
            }
            Self::StalenessViolated(count) => {
                format!("{count} sampled answers from memory were older than the staleness bound")
            }
            Self::LeadershipLapsed => "the leader's lease was not renewed in time: another server may lead".to_owned(),
            Self::MemoryOff(why) => format!("every read goes to the store: {why}"),
            Self::NotListed => "this server is not in its fleet, and no session moves to it: do the endpoints of \
                                kubernetes.service list its pod, and is server_id the pod's name?"
                .to_owned(),
        }
    }
}

/// Where conditions are told. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Option<mpsc::Sender<Condition>>);

impl Conditions {
    /// For where nobody wants to hear of them: the log has them.
    pub fn unheard() -> Self {
        Self(None)
    }

    /// With the end that hears them.
    pub fn heard() -> (Self, mpsc::Receiver<Condition>) {
        let (tell, hear) = mpsc::channel(WAITING);
        (Self(Some(tell)), hear)
    }

    /// Tells of a condition, again and again while it lasts.
    pub fn tell(&self, condition: Condition) {
        if let Some(tell) = &self.0 {
            let _ = tell.try_send(condition);
        }
    }
}
