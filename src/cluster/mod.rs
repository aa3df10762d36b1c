//! Server ids, membership, the leader, migration, the sweeper and the redo log of destroys.
