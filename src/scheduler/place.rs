//! Placement: what a node must have for a replica ([`fits`], the only judge, for planning and for applying), and which
//! of the fitting nodes is best.
//!
//! With anti-affinity, the best node is the one with the fewest replicas of the same service; then, with `spread_by`,
//! in the zone with the fewest; then with the fewest replicas of all; then with the lowest id. A service with stated
//! resources, in a fleet that reports its sizes, ranks by room instead: nodes without the service first, then the zone,
//! then the node with the smallest share taken, then the larger one. Finding the best must not examine every node each
//! time: nodes with the same selector share a heap by rank that lives as long as the plan, and a service takes out only
//! the nodes that it examines ([`Session`]). A service that spreads over zones keeps a heap for each zone instead.

mod fit;

pub use fit::{Refusal, filters, fits};

use super::view::{NodeIndex, NodeView, View};
use crate::model::ids::ReplicaId;
use crate::model::specs::{AntiAffinity, HostPort, Policy};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Resources taken on each node, as planning proceeds.
pub struct State<'v> {
    view: &'v View,
    load: Vec<u32>,
    cpu_millis: Vec<u64>,
    memory_mb: Vec<u64>,
    /// Assumed size of nodes that do not report theirs: that of the smallest that does.
    size_unknown: Size,
    /// Ports taken on each node. A force-placed pair may clash, so they are counted.
    ports: Vec<HashMap<HostPort, u32>>,
    /// Replicas created by the plans so far.
    made: HashSet<ReplicaId>,
    groups: Vec<Group>,
    group_of: HashMap<(Vec<(String, String)>, bool), usize>,
}

/// Room of a node for replicas; `None` if unknown.
#[derive(Clone, Copy)]
struct Size {
    cpu_millis: Option<u64>,
    memory_mb: Option<u64>,
}

/// Load of a node, independent of the service: compared part by part, smaller is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Thousandths taken of the node's fullest resource; 0 if room does not matter.
    used_permille: u32,
    /// Smaller for a larger node; 0 if room does not matter.
    smallness: u32,
    /// Replicas of all services.
    load: u32,
}

/// Open nodes that match one selector.
struct Group {
    members: Vec<NodeIndex>,
    is_member: Vec<bool>,
    /// True if its services rank by room.
    by_room: bool,
    /// By rank. An entry may be outdated: it is corrected when it comes up.
    heap: BinaryHeap<Reverse<(Rank, NodeIndex)>>,
}

impl<'v> State<'v> {
    /// The current state.
    pub fn of(view: &'v View) -> State<'v> {
        let count = view.nodes.len();
        let smallest = |of: fn(&NodeView) -> Option<u64>| view.nodes.iter().filter_map(of).min();
        let mut state = State {
            view,
            load: vec![0; count],
            cpu_millis: vec![0; count],
            memory_mb: vec![0; count],
            size_unknown: Size { cpu_millis: smallest(|n| n.cpu_millis), memory_mb: smallest(|n| n.memory_mb) },
            ports: vec![HashMap::new(); count],
            made: HashSet::new(),
            groups: Vec::new(),
            group_of: HashMap::new(),
        };
        for service in &view.services {
            for node in service.replicas.iter().filter_map(|r| r.node) {
                state.take(node, &service.policy);
            }
        }
        state
    }

    /// Number of replicas on a node.
    pub fn load(&self, node: NodeIndex) -> u32 {
        self.load[node as usize]
    }

    /// Adds a replica to a node.
    pub fn take(&mut self, node: NodeIndex, policy: &Policy) {
        let i = node as usize;
        self.load[i] += 1;
        self.cpu_millis[i] += policy.resources.cpu_millis;
        self.memory_mb[i] += policy.resources.memory_mb;
        for port in &policy.ports {
            *self.ports[i].entry(*port).or_default() += 1;
        }
    }

    /// Removes a replica from a node.
    pub fn release(&mut self, node: NodeIndex, policy: &Policy) {
        let i = node as usize;
        self.load[i] -= 1;
        self.cpu_millis[i] -= policy.resources.cpu_millis;
        self.memory_mb[i] -= policy.resources.memory_mb;
        for port in &policy.ports {
            if let Some(count) = self.ports[i].get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports[i].remove(port);
                }
            }
        }
        // The entry with the old, higher rank would come up too late.
        let ranks = [false, true].map(|by_room| self.rank(node, by_room));
        let groups = self.groups.iter_mut().filter(|g| g.is_member[i]);
        groups.for_each(|g| g.heap.push(Reverse((ranks[usize::from(g.by_room)], node))));
    }

    /// True if replicas of a service are placed by room: it states their resources, and some node reports its size.
    fn by_room(&self, policy: &Policy) -> bool {
        let (wanted, known) = (policy.resources, self.size_unknown);
        (wanted.cpu_millis > 0 && known.cpu_millis.is_some()) || (wanted.memory_mb > 0 && known.memory_mb.is_some())
    }

    fn rank(&self, node: NodeIndex, by_room: bool) -> Rank {
        let i = node as usize;
        let load = self.load[i];
        if !by_room {
            return Rank { used_permille: 0, smallness: 0, load };
        }
        let (here, unknown) = (&self.view.nodes[i], self.size_unknown);
        let (cpu, memory) = (here.cpu_millis.or(unknown.cpu_millis), here.memory_mb.or(unknown.memory_mb));
        let share =
            |taken: u64, has: Option<u64>| has.map_or(0, |has| (taken * 1000).checked_div(has).unwrap_or(u64::MAX));
        let used = share(self.cpu_millis[i], cpu).max(share(self.memory_mb[i], memory));
        let smallness = u32::MAX - u32::try_from(memory.or(cpu).unwrap_or(0)).unwrap_or(u32::MAX);
        Rank { used_permille: u32::try_from(used).unwrap_or(u32::MAX), smallness, load }
    }

    /// The group of a selector, created on first use.
    fn group(&mut self, selector: &[(String, String)], by_room: bool) -> usize {
        let key = (selector.to_vec(), by_room);
        if let Some(&known) = self.group_of.get(&key) {
            return known;
        }
        let is_member: Vec<bool> =
            self.view.nodes.iter().map(|n| n.closed().is_none() && n.matches(selector)).collect();
        let members: Vec<NodeIndex> = (0..).zip(&is_member).filter(|(_, is)| **is).map(|(i, _)| i).collect();
        let heap = members.iter().map(|&node| Reverse((self.rank(node, by_room), node))).collect();
        self.groups.push(Group { members, is_member, by_room, heap });
        self.group_of.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }
}

/// Score of a node: compared part by part, smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Score {
    /// Same as `same_service`, but at most 1 if room matters: then several replicas of a service may share a roomier
    /// node.
    #[serde(skip)]
    crowded: u32,
    /// Replicas of the same service in its zone; 0 without `spread_by`.
    pub zone_replicas: u32,
    /// Thousandths taken of the node's fullest resource; 0 if room does not matter.
    pub used_permille: u32,
    /// Smaller for a larger node; 0 if room does not matter.
    #[serde(skip)]
    smallness: u32,
    /// Replicas of the same service on it; 0 without anti-affinity.
    pub same_service: u32,
    /// Replicas of all services on it.
    pub load: u32,
}

impl Score {
    /// Best possible score of a node with this rank, for any service.
    fn at_best(rank: Rank) -> Score {
        let Rank { used_permille, smallness, load } = rank;
        Score { crowded: 0, zone_replicas: 0, used_permille, smallness, same_service: 0, load }
    }
}

/// Placement of one service's replicas.
pub struct Session<'s, 'v> {
    state: &'s mut State<'v>,
    policy: &'v Policy,
    group: usize,
    /// Replicas of this service on each node that has one.
    same: HashMap<NodeIndex, u32>,
    /// The zone of each node, and the replicas of this service in each zone.
    zones: Option<Zones<'v>>,
    /// Nodes taken out of the group's heap; returned at the end.
    touched: HashSet<NodeIndex>,
    /// Touched nodes that may take a replica. Entries may be outdated.
    near: BinaryHeap<Reverse<(Score, NodeIndex)>>,
}

struct Zones<'v> {
    label: &'v str,
    number: HashMap<&'v str, usize>,
    replicas: Vec<u32>,
    heaps: Vec<BinaryHeap<Reverse<(Score, NodeIndex)>>>,
}

impl<'s, 'v> Session<'s, 'v> {
    /// Starts with the replicas where they are.
    pub fn begin(state: &'s mut State<'v>, policy: &'v Policy, on: impl Iterator<Item = NodeIndex>) -> Session<'s, 'v> {
        let by_room = state.by_room(policy);
        let group = state.group(&policy.selector, by_room);
        let mut same: HashMap<NodeIndex, u32> = HashMap::new();
        on.for_each(|node| *same.entry(node).or_default() += 1);
        let mut session =
            Session { state, policy, group, same, zones: None, touched: HashSet::new(), near: BinaryHeap::new() };
        if let Some(label) = &policy.spread_by {
            session.zones = Some(session.zones_of(label));
        }
        session
    }

    fn zones_of(&self, label: &'v str) -> Zones<'v> {
        let view = self.state.view;
        let mut zones = Zones { label, number: HashMap::new(), replicas: Vec::new(), heaps: Vec::new() };
        for node in &view.nodes {
            let next = zones.number.len();
            zones.number.entry(node.zone(label)).or_insert(next);
        }
        zones.replicas = vec![0; zones.number.len()];
        for (&node, &count) in &self.same {
            zones.replicas[zones.number[view.nodes[node as usize].zone(label)]] += count;
        }
        zones.heaps.resize_with(zones.number.len(), BinaryHeap::new);
        for &node in &self.state.groups[self.group].members {
            // The zone's own count is the same within a heap: it is compared between the heaps.
            let score = Score { zone_replicas: 0, ..self.score(node) };
            zones.heaps[zones.number[view.nodes[node as usize].zone(label)]].push(Reverse((score, node)));
        }
        zones
    }

    /// Open nodes that match the selector.
    pub fn eligible(&self) -> &[NodeIndex] {
        &self.state.groups[self.group].members
    }

    /// True if a node is open and matches the selector.
    pub fn is_eligible(&self, node: NodeIndex) -> bool {
        self.state.groups[self.group].is_member[node as usize]
    }

    /// Score of a node.
    pub fn score(&self, node: NodeIndex) -> Score {
        let same = self.same.get(&node).copied().unwrap_or(0);
        let zone_replicas =
            self.zones.as_ref().map_or(0, |z| z.replicas[z.number[self.state.view.nodes[node as usize].zone(z.label)]]);
        let same_service = if self.policy.anti_affinity == AntiAffinity::Off { 0 } else { same };
        let crowded = if self.by_room() { same_service.min(1) } else { same_service };
        Score { crowded, zone_replicas, same_service, ..Score::at_best(self.state.rank(node, self.by_room())) }
    }

    /// True if nodes rank by room.
    pub fn by_room(&self) -> bool {
        self.state.groups[self.group].by_room
    }

    /// Shortage on a node, of the resources that this service uses.
    pub fn overfull(&self, node: NodeIndex) -> Option<String> {
        fit::overfull(self.state, node, self.policy)
    }

    /// Reason why a node cannot take one more replica of this service; `None` if it can. Ignores lease and selector.
    pub fn refusal(&self, node: NodeIndex) -> Option<Refusal> {
        if self.policy.anti_affinity == AntiAffinity::Hard && self.same.contains_key(&node) {
            return Some(Refusal::new("anti_affinity", "it has a replica of this service already"));
        }
        fits(self.state, node, self.policy)
    }

    /// Reason why the replicas of this service on a node cannot all stay; clients may have placed them so, or changed
    /// the spec since.
    pub fn clash(&self, node: NodeIndex) -> Option<String> {
        let same = self.same(node);
        if self.policy.anti_affinity == AntiAffinity::Hard && same > 1 {
            return Some(format!("its node has {same} replicas of this service"));
        }
        let ports = &self.state.ports[node as usize];
        let shared = self.policy.ports.iter().find(|port| ports.get(port).is_some_and(|count| *count > 1));
        shared.map(|port| format!("another one has the port {port} of its node"))
    }

    /// Number of replicas on a node, of all services.
    pub fn load(&self, node: NodeIndex) -> u32 {
        self.state.load(node)
    }

    /// Notes that a replica with this id is created.
    pub fn note_created(&mut self, replica_id: &ReplicaId) {
        self.state.made.insert(replica_id.clone());
    }

    /// True if these plans create a replica with this id.
    pub fn is_created(&self, replica_id: &ReplicaId) -> bool {
        self.state.made.contains(replica_id)
    }

    /// Number of replicas of this service on a node.
    pub fn same(&self, node: NodeIndex) -> u32 {
        self.same.get(&node).copied().unwrap_or(0)
    }

    /// The best node, except `not`; nodes in `avoid` only if no other is left. Takes nothing yet.
    pub fn best(&mut self, not: Option<NodeIndex>, avoid: &[NodeIndex]) -> Option<(NodeIndex, Score)> {
        let found = self.search(&|node| Some(node) == not || avoid.contains(&node));
        if found.is_some() || avoid.is_empty() { found } else { self.search(&|node| Some(node) == not) }
    }

    fn search(&mut self, unwanted: &dyn Fn(NodeIndex) -> bool) -> Option<(NodeIndex, Score)> {
        if self.zones.is_some() { self.search_zones(unwanted) } else { self.search_group(unwanted) }
    }

    fn search_group(&mut self, unwanted: &dyn Fn(NodeIndex) -> bool) -> Option<(NodeIndex, Score)> {
        let mut skipped = Vec::new();
        let found = loop {
            self.widen_search();
            let Some(Reverse((score, node))) = self.near.pop() else { break None };
            let current = self.score(node);
            if current != score {
                self.near.push(Reverse((current, node)));
            } else if self.refusal(node).is_some() {
                // It is added again when a replica leaves it.
            } else if unwanted(node) {
                skipped.push(Reverse((score, node)));
            } else {
                skipped.push(Reverse((score, node)));
                break Some((node, score));
            }
        };
        self.near.extend(skipped);
        found
    }

    /// Takes nodes out of the group's heap while one of them could be better than all taken so far.
    fn widen_search(&mut self) {
        let by_room = self.by_room();
        loop {
            let Some(&Reverse((rank, node))) = self.state.groups[self.group].heap.peek() else { return };
            let current = self.state.rank(node, by_room);
            let heap = &mut self.state.groups[self.group].heap;
            if rank != current || self.touched.contains(&node) {
                heap.pop();
                // If it ranks worse than now, a better entry exists already.
                if rank < current && !self.touched.contains(&node) {
                    heap.push(Reverse((current, node)));
                }
                continue;
            }
            if self.near.peek().is_some_and(|Reverse(nearest)| *nearest <= (Score::at_best(rank), node)) {
                return;
            }
            heap.pop();
            self.touched.insert(node);
            self.near.push(Reverse((self.score(node), node)));
        }
    }

    fn search_zones(&mut self, unwanted: &dyn Fn(NodeIndex) -> bool) -> Option<(NodeIndex, Score)> {
        let mut zones = self.zones.take()?;
        let mut best: Option<(Score, NodeIndex)> = None;
        for (heap, &zone_replicas) in zones.heaps.iter_mut().zip(&zones.replicas) {
            let mut skipped = Vec::new();
            while let Some(Reverse((score, node))) = heap.pop() {
                // Without the zones, which do not matter in this heap.
                let current = self.score(node);
                if current != score {
                    heap.push(Reverse((current, node)));
                } else if self.refusal(node).is_some() {
                    // It is added again when a replica leaves it.
                } else {
                    skipped.push(Reverse((score, node)));
                    if !unwanted(node) {
                        let whole = Score { zone_replicas, ..score };
                        best = Some(best.map_or((whole, node), |b| b.min((whole, node))));
                        break;
                    }
                }
            }
            heap.extend(skipped);
        }
        self.zones = Some(zones);
        best.map(|(score, node)| (node, score))
    }

    /// Puts a replica on a node.
    pub fn put(&mut self, node: NodeIndex) {
        self.state.take(node, self.policy);
        *self.same.entry(node).or_default() += 1;
        self.count_zone(node, true);
    }

    /// Takes a replica from a node.
    pub fn remove(&mut self, node: NodeIndex) {
        self.state.release(node, self.policy);
        if let Some(count) = self.same.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.same.remove(&node);
            }
        }
        self.count_zone(node, false);
        if !self.is_eligible(node) {
            return;
        }
        let score = Score { zone_replicas: 0, ..self.score(node) };
        if let Some(zones) = &mut self.zones {
            zones.heaps[zones.number[self.state.view.nodes[node as usize].zone(zones.label)]]
                .push(Reverse((score, node)));
        } else if self.touched.contains(&node) {
            self.near.push(Reverse((score, node)));
        }
    }

    fn count_zone(&mut self, node: NodeIndex, comes: bool) {
        if let Some(zones) = &mut self.zones {
            let count = &mut zones.replicas[zones.number[self.state.view.nodes[node as usize].zone(zones.label)]];
            *count = if comes { *count + 1 } else { *count - 1 };
        }
    }
}

impl Drop for Session<'_, '_> {
    /// Returns the nodes to the group.
    fn drop(&mut self) {
        let by_room = self.by_room();
        let entries: Vec<_> =
            self.touched.iter().map(|&node| Reverse((self.state.rank(node, by_room), node))).collect();
        self.state.groups[self.group].heap.extend(entries);
    }
}
