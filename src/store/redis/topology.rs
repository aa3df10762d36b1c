use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use redis::Value;

use super::keys::{SLOTS, slot_of_bucket};
use super::node::{Address, Node};
use crate::session::Bucket;

/// Which primary serves which slots.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) primaries: Vec<Arc<Node>>,
    /// Replicas: asked for the map where the primaries cannot be reached.
    pub(super) replicas: Vec<Address>,
    /// By slot, the index of its primary.
    by_slot: Vec<Option<u16>>,
    /// Whether this is a cluster, or one Redis for all slots.
    pub(super) is_cluster: bool,
}

impl Topology {
    /// One Redis that is no cluster.
    pub(super) fn single(node: Arc<Node>) -> Self {
        let by_slot = vec![Some(0); usize::from(SLOTS)];
        Self {
            primaries: vec![node],
            replicas: Vec::new(),
            by_slot,
            is_cluster: false,
        }
    }

    /// The map that a node told.
    pub(super) fn cluster(map: &SlotMap, mut node: impl FnMut(&Address) -> Arc<Node>) -> Self {
        let mut indexes = BTreeMap::new();
        let mut primaries = Vec::new();
        let mut by_slot = vec![None; usize::from(SLOTS)];
        for range in &map.ranges {
            let index = match indexes.entry(&range.primary) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    primaries.push(node(&range.primary));
                    *entry.insert(u16::try_from(primaries.len() - 1).unwrap_or_default())
                }
            };
            for slot in range.first..=range.last.min(SLOTS - 1) {
                by_slot[usize::from(slot)] = Some(index);
            }
        }
        let replicas = map
            .ranges
            .iter()
            .flat_map(|range| range.replicas.iter().cloned())
            .collect();
        Self {
            primaries,
            replicas,
            by_slot,
            is_cluster: true,
        }
    }

    /// The primary of a slot; nothing where no node serves it.
    pub(super) fn primary_of_slot(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = self.by_slot.get(usize::from(slot)).copied().flatten()?;
        self.primaries.get(usize::from(index))
    }

    /// The primary of a bucket.
    pub(super) fn primary_of(&self, bucket: Bucket) -> Option<&Arc<Node>> {
        self.primary_of_slot(slot_of_bucket(bucket))
    }
}

/// What CLUSTER SLOTS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    pub(super) ranges: Vec<SlotRange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Address,
    pub(super) replicas: Vec<Address>,
}

impl SlotMap {
    /// Reads the answer of a node. A node that does not know its own host name leaves it out: then it is the one that
    /// was asked.
    pub(super) fn parse(value: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = value else { return None };
        let mut ranges: Vec<SlotRange> = ranges
            .iter()
            .map(|range| SlotRange::parse(range, asked))
            .collect::<Option<_>>()?;
        ranges.sort_by_key(|range| range.first);
        Some(Self { ranges })
    }
}

impl SlotMap {
    /// The primary of a bucket.
    pub(super) fn primary_of(&self, bucket: Bucket) -> Option<&Address> {
        let slot = slot_of_bucket(bucket);
        let range = self
            .ranges
            .iter()
            .find(|range| (range.first..=range.last).contains(&slot))?;
        Some(&range.primary)
    }
}

impl SlotRange {
    fn parse(value: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(fields) = value else { return None };
        let [first, last, primary, replicas @ ..] = fields.as_slice() else {
            return None;
        };
        let mut replicas: Vec<_> = replicas
            .iter()
            .map(|node| address(node, asked))
            .collect::<Option<_>>()?;
        replicas.sort();
        Some(Self {
            first: number(first)?,
            last: number(last)?,
            primary: address(primary, asked)?,
            replicas,
        })
    }
}

fn address(value: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(fields) = value else { return None };
    let host = match fields.first()? {
        Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
        Value::SimpleString(host) => host.clone(),
        _ => String::new(),
    };
    let host = if host.is_empty() || host == "?" {
        asked.host.clone()
    } else {
        host
    };
    Some(Address {
        host,
        port: number(fields.get(1)?)?,
    })
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_node_without_a_name_of_its_own_is_the_one_that_was_asked() {
        let asked = Address {
            host: "redis.example".into(),
            port: 7000,
        };
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), bulk("id")]);
        let range =
            |first, last, nodes: Vec<Value>| Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat());
        let answer = Value::Array(vec![
            range(
                8192,
                16383,
                vec![node(bulk("10.0.0.2"), 7001), node(bulk("10.0.0.3"), 7002)],
            ),
            range(0, 8191, vec![node(bulk(""), 7000)]),
        ]);
        let map = SlotMap::parse(&answer, &asked).unwrap();
        assert_eq!(map.ranges[0].primary, asked);
        assert_eq!(
            map.ranges[1].replicas,
            [Address {
                host: "10.0.0.3".into(),
                port: 7002
            }]
        );
    }
}
