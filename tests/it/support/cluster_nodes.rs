//! What one node believes about its cluster: the answer of CLUSTER NODES.

use std::ops::RangeInclusive;

use redis::RedisResult;

use super::server::RedisServer;

pub(crate) struct ClusterView {
    pub(crate) nodes: Vec<NodeView>,
}

pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) is_myself: bool,
    pub(crate) is_primary: bool,
    pub(crate) is_failed: bool,
    pub(crate) primary_id: Option<String>,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
}

impl ClusterView {
    pub(crate) async fn of(server: &RedisServer) -> RedisResult<Self> {
        let reply = server.try_command(&["CLUSTER", "NODES"]).await?;
        let text: String = redis::from_redis_value(reply)?;
        Ok(Self {
            nodes: text.lines().filter_map(parse).collect(),
        })
    }

    pub(crate) fn myself(&self) -> &NodeView {
        self.nodes
            .iter()
            .find(|node| node.is_myself)
            .expect("a node lists itself")
    }

    pub(crate) fn node(&self, id: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(crate) fn owner_of(&self, slot: u16) -> Option<&NodeView> {
        self.nodes
            .iter()
            .find(|node| node.is_primary && node.slots.iter().any(|range| range.contains(&slot)))
    }

    pub(crate) fn slots_served(&self) -> usize {
        self.nodes
            .iter()
            .flat_map(|node| &node.slots)
            .map(ExactSizeIterator::len)
            .sum()
    }

    pub(crate) fn replicas(&self) -> usize {
        self.nodes.iter().filter(|node| node.primary_id.is_some()).count()
    }
}

/// Takes apart a line: id, address, flags, primary, two times, epoch, link state, slots.
fn parse(line: &str) -> Option<NodeView> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let flags: Vec<&str> = fields.get(2)?.split(',').collect();
    let primary = *fields.get(3)?;
    // A slot on the move is listed once more, as `[slot->-node]`.
    let slots = fields.iter().skip(8).filter(|slots| !slots.starts_with('['));
    Some(NodeView {
        id: fields.first()?.to_string(),
        is_myself: flags.contains(&"myself"),
        is_primary: flags.contains(&"master"),
        is_failed: flags.contains(&"fail"),
        primary_id: (primary != "-").then(|| primary.to_owned()),
        slots: slots.filter_map(|range| parse_range(range)).collect(),
    })
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
