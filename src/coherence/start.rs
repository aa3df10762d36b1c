//! Rule S: whether this pod may have an L1 at all.

use std::time::Duration;

/// What is known at start about the store of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// One Redis, or memory: nothing fails over.
    Single,
    /// A Redis Cluster.
    Cluster {
        /// `cluster-node-timeout`: as asked, or as the settings vouch for it.
        node_timeout: Option<Duration>,
        /// `cluster-allow-reads-when-down`: as asked; `None` where CONFIG is refused.
        reads_when_down: Option<bool>,
    },
}

/// Why there is no L1; one clear line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoL1 {
    /// A deposed primary could be believed for longer than the bound allows.
    #[error("no L1: coherence.staleness_bound {bound:?} must be below the cluster's node timeout {node_timeout:?}")]
    BoundTooLong {
        /// B.
        bound: Duration,
        /// The cluster's.
        node_timeout: Duration,
    },
    /// A primary that was cut off would answer for ever.
    #[error("no L1: cluster-allow-reads-when-down is on, it must be off")]
    ReadsWhenDown,
    /// Neither can be known, and no setting vouches for them.
    #[error("no L1: the cluster's node timeout cannot be asked, set redis.node_timeout to vouch for it")]
    Unknown,
}

/// Rule S: whether `store` lets the bound be promised. A `node_timeout` from the settings vouches for
/// `reads_when_down` too, where that cannot be asked.
pub fn may_hold(bound: Duration, store: Store) -> Result<(), NoL1> {
    let Store::Cluster {
        node_timeout,
        reads_when_down,
    } = store
    else {
        return Ok(());
    };
    if reads_when_down == Some(true) {
        return Err(NoL1::ReadsWhenDown);
    }
    match node_timeout {
        None => Err(NoL1::Unknown),
        Some(node_timeout) if bound >= node_timeout => Err(NoL1::BoundTooLong { bound, node_timeout }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn l1_only_where_the_bound_can_be_promised() {
        let cluster = |node_timeout, reads_when_down| Store::Cluster {
            node_timeout,
            reads_when_down,
        };
        assert_eq!(may_hold(SECOND, Store::Single), Ok(()));
        assert_eq!(may_hold(SECOND, cluster(Some(SECOND * 2), Some(false))), Ok(()));
        assert_eq!(may_hold(SECOND, cluster(Some(SECOND * 2), None)), Ok(()));
        let too_long = NoL1::BoundTooLong {
            bound: SECOND,
            node_timeout: SECOND,
        };
        assert_eq!(may_hold(SECOND, cluster(Some(SECOND), Some(false))), Err(too_long));
        assert_eq!(
            may_hold(SECOND, cluster(Some(SECOND * 2), Some(true))),
            Err(NoL1::ReadsWhenDown)
        );
        assert_eq!(may_hold(SECOND, cluster(None, None)), Err(NoL1::Unknown));
    }
}
