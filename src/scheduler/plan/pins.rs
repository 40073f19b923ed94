//! Pinned replicas: `placement.pinned_replicas` of a spec.

use super::away::Hold;
use super::{Planner, Trouble};
use crate::scheduler::step::{MoveCause, Step};
use crate::scheduler::view::{NodeIndex, ReplicaView};

/// Result for the pins of a service.
#[derive(Default)]
pub(super) struct Pins {
    /// Replicas created.
    pub made: usize,
    /// Replicas deleted to make room.
    pub dropped: usize,
    /// Pins that cannot be satisfied and have no replica: their places stay free.
    pub reserved: usize,
}

impl<'v> Planner<'_, 'v> {
    /// Moves or creates pinned replicas on their nodes.
    pub(super) fn pin(&mut self) -> Pins {
        let mut pins = Pins::default();
        for pin in &self.service.policy.pinned {
            let replica = self.service.replicas.iter().find(|r| r.id == pin.replica_id);
            let Some(target) = self.view.node(&pin.node_id) else {
                self.warn(format!("{} is pinned to the node {}, which does not exist", pin.replica_id, pin.node_id));
                pins.reserved += usize::from(replica.is_none());
                continue;
            };
            if let Some(replica) = replica {
                self.done.insert(&replica.id);
                if let Some(state) = pin.desired_state.as_ref().filter(|state| **state != replica.desired_state) {
                    self.set_desired_state(replica, state);
                }
                if replica.node == Some(target) {
                    if let Some(trouble) = self.trouble(replica) {
                        let why = trouble.reason(&pin.node_id);
                        self.stay(replica, &trouble, Hold::until_decided(format!("it is pinned there; {why}")));
                    }
                    continue;
                }
            }
            // A pin may break the selector and anti-affinity: it states the node explicitly.
            let closed = || self.view.nodes[target as usize].closed().map(|why| format!("it is {why}"));
            let stranger = || {
                let taken = replica.is_none() && self.is_taken(&pin.replica_id);
                taken.then(|| "another service has a replica with that id".to_string())
            };
            if let Some(replica) = replica
                && (self.view.brake.is_some() || self.is_in_grace(replica))
            {
                let trouble = self.trouble(replica).unwrap_or(Trouble::Drained);
                let waits = self.view.brake.is_none();
                if waits {
                    self.due(1);
                }
                let why = "it is pinned elsewhere, but nothing is moved at the moment".to_string();
                self.stay(replica, &trouble, Hold { why, waits });
                continue;
            }
            let refused = closed().or_else(stranger).or_else(|| self.session.refusal(target).map(|r| r.reason));
            let room = refused
                .as_ref()
                .filter(|_| closed().is_none() && stranger().is_none())
                .and_then(|_| self.in_the_way(target));
            if let (Some(why), None) = (refused, room) {
                self.warn(format!("{} cannot go to the node it is pinned to, {}: {why}", pin.replica_id, pin.node_id));
                pins.reserved += usize::from(replica.is_none());
                continue;
            }
            if let Some(other) = room {
                self.drop_replica(other, format!("it makes room for {}, which is pinned there", pin.replica_id));
                pins.dropped += 1;
            }
            let reason = format!("it is pinned to {}", pin.node_id);
            match replica {
                Some(replica) => self.move_to(MoveCause::Pinned, replica, target, None, reason),
                None => {
                    self.create(pin.replica_id.clone(), target, None, reason, pin.desired_state.clone());
                    pins.made += 1;
                }
            }
        }
        pins
    }

    /// The unpinned replica of this service that alone keeps another one from this node.
    fn in_the_way(&mut self, target: NodeIndex) -> Option<&'v ReplicaView> {
        let service = self.service;
        let free =
            |r: &&ReplicaView| r.node == Some(target) && service.pin(&r.id).is_none() && !self.done.contains(&r.id);
        let other = service.replicas.iter().find(free).filter(|_| self.view.brake.is_none())?;
        self.session.remove(target);
        let fits = self.session.refusal(target).is_none();
        self.session.put(target);
        fits.then_some(other)
    }

    /// Sets the desired state of a replica.
    fn set_desired_state(&mut self, replica: &ReplicaView, state: &str) {
        let detail = format!("its pin says {state}, it is {}", replica.desired_state);
        self.push(&replica.id, Step::SetDesiredState(state.to_string()), detail);
    }
}
