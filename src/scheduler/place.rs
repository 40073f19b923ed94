//! Where a replica goes: what a node must have for it ([`fits`], the only judge, for plans and for applying them), and which of the
//! nodes that fit is best.
//!
//! Best is, with anti-affinity, the node with the fewest replicas of the same service; then, with `spread_by`, the zone with the
//! fewest; then the node with the fewest replicas of all; then the lowest id. A service that says what its replicas take, in a fleet
//! that tells its sizes, ranks by room instead: nodes without the service first, then the zone, then the node of which the smallest
//! share is taken, then the larger one. Finding the best must not look at every node each time: nodes with the same selector share a
//! heap by rank that lives as long as the plan, and a service takes out of it only what it looks at ([`Session`]). A service that
//! spreads over zones keeps a heap for each zone instead.

use super::view::{NodeIndex, NodeView, View};
use crate::model::ids::ReplicaId;
use crate::model::specs::{AntiAffinity, HostPort, Policy, port_text};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// What is taken of each node, as a plan goes on.
pub struct State<'v> {
    view: &'v View,
    load: Vec<u32>,
    cpu_millis: Vec<u64>,
    memory_mb: Vec<u64>,
    /// What nodes count as that do not tell their size: as large as the smallest that does.
    size_unknown: Size,
    /// Ports taken on each node. A force-placed pair may clash, so they are counted.
    ports: Vec<HashMap<HostPort, u32>>,
    /// Replicas that are made as the plans go on.
    made: HashSet<ReplicaId>,
    groups: Vec<Group>,
    group_of: HashMap<(Vec<(String, String)>, bool), usize>,
}

/// What a node has for replicas; `None` where it is not known.
#[derive(Clone, Copy)]
struct Size {
    cpu_millis: Option<u64>,
    memory_mb: Option<u64>,
}

/// How taken a node is, whatever the service: compared part by part, the smaller the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Thousandths of the node that are taken, of the resource that is taken most; 0 where room is not asked.
    used_permille: u32,
    /// The smaller, the larger the node; 0 where room is not asked.
    smallness: u32,
    /// Replicas of all services.
    load: u32,
}

/// The open nodes that one selector matches.
struct Group {
    members: Vec<NodeIndex>,
    is_member: Vec<bool>,
    /// Whether its services rank by room.
    by_room: bool,
    /// By rank. An entry may be out of date: it is put right when it comes up.
    heap: BinaryHeap<Reverse<(Rank, NodeIndex)>>,
}

/// Why a node does not take a replica.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// The kind of reason, the same for all nodes that it holds for.
    pub filter: &'static str,
    /// The reason with its figures.
    pub reason: String,
}

impl Refusal {
    fn new(filter: &'static str, reason: impl Into<String>) -> Refusal {
        Refusal { filter, reason: reason.into() }
    }
}

/// What a node lacks for one more replica of a service; `None` when it fits. Looks at what is taken, not at lease or selector.
pub fn fits(state: &State, node: NodeIndex, policy: &Policy) -> Option<Refusal> {
    let (i, here) = (node as usize, &state.view.nodes[node as usize]);
    let wanted = policy.resources;
    if let Some(has) = here.cpu_millis
        && wanted.cpu_millis > 0
        && state.cpu_millis[i] + wanted.cpu_millis > has
    {
        let left = has.saturating_sub(state.cpu_millis[i]);
        return Some(Refusal::new("cpu", format!("{left} of its {has} CPU millis are left")));
    }
    if let Some(has) = here.memory_mb
        && wanted.memory_mb > 0
        && state.memory_mb[i] + wanted.memory_mb > has
    {
        let left = has.saturating_sub(state.memory_mb[i]);
        return Some(Refusal::new("memory", format!("{left} of its {has} MB of memory are left")));
    }
    let taken = policy.ports.iter().find(|port| state.ports[i].contains_key(port));
    taken.map(|port| Refusal::new("ports", format!("its port {} is taken", port_text(*port))))
}

/// What the replicas on a node want beyond what it has, of what this service wants; `None` where it is enough.
fn overfull(state: &State, node: NodeIndex, policy: &Policy) -> Option<String> {
    let (i, here) = (node as usize, &state.view.nodes[node as usize]);
    let lacks = |wanted: u64, taken: u64, has: Option<u64>, what: &str| {
        let has = has.filter(|has| wanted > 0 && taken > *has)?;
        Some(format!("its replicas want {taken} {what}, and it has {has} for them"))
    };
    let cpu = lacks(policy.resources.cpu_millis, state.cpu_millis[i], here.cpu_millis, "CPU millis");
    cpu.or_else(|| lacks(policy.resources.memory_mb, state.memory_mb[i], here.memory_mb, "MB of memory"))
}

impl<'v> State<'v> {
    /// What is taken now.
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

    /// Replicas on a node.
    pub fn load(&self, node: NodeIndex) -> u32 {
        self.load[node as usize]
    }

    /// A replica comes to a node.
    pub fn take(&mut self, node: NodeIndex, policy: &Policy) {
        let i = node as usize;
        self.load[i] += 1;
        self.cpu_millis[i] += policy.resources.cpu_millis;
        self.memory_mb[i] += policy.resources.memory_mb;
        for port in &policy.ports {
            *self.ports[i].entry(*port).or_default() += 1;
        }
    }

    /// A replica leaves a node.
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
        // An entry with the higher rank would come up too late.
        let ranks = [false, true].map(|by_room| self.rank(node, by_room));
        let groups = self.groups.iter_mut().filter(|g| g.is_member[i]);
        groups.for_each(|g| g.heap.push(Reverse((ranks[usize::from(g.by_room)], node))));
    }

    /// Whether the replicas of a service are put where there is room: it says what they take, and some node says what it has of that.
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
        let share = |taken: u64, has: Option<u64>| has.map_or(0, |has| (taken * 1000).checked_div(has).unwrap_or(u64::MAX));
        let used = share(self.cpu_millis[i], cpu).max(share(self.memory_mb[i], memory));
        let smallness = u32::MAX - u32::try_from(memory.or(cpu).unwrap_or(0)).unwrap_or(u32::MAX);
        Rank { used_permille: u32::try_from(used).unwrap_or(u32::MAX), smallness, load }
    }

    /// The group of a selector, made when it is first asked for.
    fn group(&mut self, selector: &[(String, String)], by_room: bool) -> usize {
        let key = (selector.to_vec(), by_room);
        if let Some(&known) = self.group_of.get(&key) {
            return known;
        }
        let is_member: Vec<bool> = self.view.nodes.iter().map(|n| n.closed().is_none() && n.matches(selector)).collect();
        let members: Vec<NodeIndex> = (0..).zip(&is_member).filter(|(_, is)| **is).map(|(i, _)| i).collect();
        let heap = members.iter().map(|&node| Reverse((self.rank(node, by_room), node))).collect();
        self.groups.push(Group { members, is_member, by_room, heap });
        self.group_of.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }
}

/// Why one node is better than another: compared part by part, the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Score {
    /// The next, but 1 at most where room is asked: then more than one of a service may go where there is more of it.
    #[serde(skip)]
    crowded: u32,
    /// Replicas of the same service in its zone; 0 without `spread_by`.
    pub zone_replicas: u32,
    /// Thousandths of the node that are taken, of the resource that is taken most; 0 where room is not asked.
    pub used_permille: u32,
    /// The smaller, the larger the node; 0 where room is not asked.
    #[serde(skip)]
    smallness: u32,
    /// Replicas of the same service there; 0 without anti-affinity.
    pub same_service: u32,
    /// Replicas of all services there.
    pub load: u32,
}

impl Score {
    /// No node of this rank is better for any service.
    fn at_best(rank: Rank) -> Score {
        let Rank { used_permille, smallness, load } = rank;
        Score { crowded: 0, zone_replicas: 0, used_permille, smallness, same_service: 0, load }
    }
}

/// Placing the replicas of one service.
pub struct Session<'s, 'v> {
    state: &'s mut State<'v>,
    policy: &'v Policy,
    group: usize,
    /// Replicas of this service on each node that has one.
    same: HashMap<NodeIndex, u32>,
    /// The zone of each node, and the replicas of this service in each zone.
    zones: Option<Zones<'v>>,
    /// Nodes taken out of the group's heap, to be given back at the end.
    touched: HashSet<NodeIndex>,
    /// Touched nodes that may take a replica. Entries may be out of date.
    near: BinaryHeap<Reverse<(Score, NodeIndex)>>,
}

struct Zones<'v> {
    label: &'v str,
    number: HashMap<&'v str, usize>,
    replicas: Vec<u32>,
    heaps: Vec<BinaryHeap<Reverse<(Score, NodeIndex)>>>,
}

impl<'s, 'v> Session<'s, 'v> {
    /// Begins with the replicas where they are.
    pub fn begin(state: &'s mut State<'v>, policy: &'v Policy, on: impl Iterator<Item = NodeIndex>) -> Session<'s, 'v> {
        let by_room = state.by_room(policy);
        let group = state.group(&policy.selector, by_room);
        let mut same: HashMap<NodeIndex, u32> = HashMap::new();
        on.for_each(|node| *same.entry(node).or_default() += 1);
        let mut session = Session { state, policy, group, same, zones: None, touched: HashSet::new(), near: BinaryHeap::new() };
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
            // The zone's own count is the same for all of a heap: it is compared between the heaps.
            let score = Score { zone_replicas: 0, ..self.score(node) };
            zones.heaps[zones.number[view.nodes[node as usize].zone(label)]].push(Reverse((score, node)));
        }
        zones
    }

    /// Nodes that the selector matches and that are open.
    pub fn eligible(&self) -> &[NodeIndex] {
        &self.state.groups[self.group].members
    }

    /// Whether a node is open and the selector matches it.
    pub fn is_eligible(&self, node: NodeIndex) -> bool {
        self.state.groups[self.group].is_member[node as usize]
    }

    /// How good a node is.
    pub fn score(&self, node: NodeIndex) -> Score {
        let same = self.same.get(&node).copied().unwrap_or(0);
        let zone_replicas = self.zones.as_ref().map_or(0, |z| z.replicas[z.number[self.state.view.nodes[node as usize].zone(z.label)]]);
        let same_service = if self.policy.anti_affinity == AntiAffinity::Off { 0 } else { same };
        let crowded = if self.by_room() { same_service.min(1) } else { same_service };
        Score { crowded, zone_replicas, same_service, ..Score::at_best(self.state.rank(node, self.by_room())) }
    }

    /// Whether room is asked.
    pub fn by_room(&self) -> bool {
        self.state.groups[self.group].by_room
    }

    /// What the replicas on a node want beyond what it has, of what this service wants.
    pub fn overfull(&self, node: NodeIndex) -> Option<String> {
        overfull(self.state, node, self.policy)
    }

    /// Why a node cannot take one more replica of this service; `None` when it can. Lease and selector are not asked.
    pub fn refusal(&self, node: NodeIndex) -> Option<Refusal> {
        if self.policy.anti_affinity == AntiAffinity::Hard && self.same.contains_key(&node) {
            return Some(Refusal::new("anti_affinity", "it has a replica of this service already"));
        }
        fits(self.state, node, self.policy)
    }

    /// Why the replicas of this service on a node cannot all stay there; clients may have put them so, or changed the spec since.
    pub fn clash(&self, node: NodeIndex) -> Option<String> {
        let same = self.same(node);
        if self.policy.anti_affinity == AntiAffinity::Hard && same > 1 {
            return Some(format!("its node has {same} replicas of this service"));
        }
        let ports = &self.state.ports[node as usize];
        let shared = self.policy.ports.iter().find(|port| ports.get(port).is_some_and(|count| *count > 1));
        shared.map(|port| format!("another one has the port {} of its node", port_text(*port)))
    }

    /// Replicas on a node, of all services.
    pub fn load(&self, node: NodeIndex) -> u32 {
        self.state.load(node)
    }

    /// Notes that a replica of this id is made.
    pub fn note_made(&mut self, replica_id: &ReplicaId) {
        self.state.made.insert(replica_id.clone());
    }

    /// Whether these plans make a replica of this id.
    pub fn is_made(&self, replica_id: &ReplicaId) -> bool {
        self.state.made.contains(replica_id)
    }

    /// Replicas of this service on a node.
    pub fn same(&self, node: NodeIndex) -> u32 {
        self.same.get(&node).copied().unwrap_or(0)
    }

    /// The best node, other than `not`; those to `avoid` only where no other is left. Takes nothing yet.
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
            self.look_further();
            let Some(Reverse((score, node))) = self.near.pop() else { break None };
            let current = self.score(node);
            if current != score {
                self.near.push(Reverse((current, node)));
            } else if self.refusal(node).is_some() {
                // It comes back when a replica leaves it.
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

    /// Takes nodes out of the group's heap as long as one of them could be better than all that were taken out.
    fn look_further(&mut self) {
        let by_room = self.by_room();
        loop {
            let Some(&Reverse((rank, node))) = self.state.groups[self.group].heap.peek() else { return };
            let current = self.state.rank(node, by_room);
            let heap = &mut self.state.groups[self.group].heap;
            if rank != current || self.touched.contains(&node) {
                heap.pop();
                // With a higher rank than now, a better entry is there already.
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
                // Without the zones, which are not in their place here.
                let current = self.score(node);
                if current != score {
                    heap.push(Reverse((current, node)));
                } else if self.refusal(node).is_some() {
                    // It comes back when a replica leaves it.
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
            zones.heaps[zones.number[self.state.view.nodes[node as usize].zone(zones.label)]].push(Reverse((score, node)));
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
    /// Gives the nodes that were taken out back to the group.
    fn drop(&mut self) {
        let by_room = self.by_room();
        let entries: Vec<_> = self.touched.iter().map(|&node| Reverse((self.state.rank(node, by_room), node))).collect();
        self.state.groups[self.group].heap.extend(entries);
    }
}

/// Why a node takes nothing of a service, part by part; empty where it is a candidate.
pub fn filters(session: &Session, node: &NodeView, index: NodeIndex, selector: &[(String, String)]) -> Vec<Refusal> {
    let mut failed: Vec<Refusal> = node.closed().map(|why| Refusal::new(why, why)).into_iter().collect();
    if !node.matches(selector) {
        failed.push(Refusal::new("selector", "the selector does not match"));
    }
    failed.extend(session.refusal(index));
    failed
}
