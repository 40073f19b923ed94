//! The brake: if most of the fleet falls silent together, it is more likely that the control plane is cut off than that
//! all these machines died at once. Then nothing moves until they are back or an operator overrides the brake.

use crate::error::Result;
use crate::model::ids::NodeId;
use crate::store::{Read, Write, brakes};
use std::collections::BTreeSet;
use std::time::Duration;

/// Period within which silent nodes count as having fallen silent together.
const TOGETHER: Duration = Duration::from_secs(300);
/// The brake needs more silent nodes than this: in the smallest fleets half is one or two machines.
const SILENT_MIN: usize = 2;

/// State of the brake, and the nodes concerned.
#[derive(Clone, Default)]
pub struct Brake {
    /// The nodes that were alive when it came on; `None` while it is off.
    fleet: Option<BTreeSet<NodeId>>,
}

/// Result of an update from the leases.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// No change.
    Same,
    /// It came on: `silent` of `fleet` nodes are silent.
    On { fleet: usize, silent: usize },
    /// It went off.
    Off,
}

/// The stored nodes of an active brake; empty while it is off. A restart must not release it.
pub fn fleet(read: &Read) -> Result<BTreeSet<NodeId>> {
    Ok(brakes::fleet(read)?.into_iter().collect())
}

/// Stores them.
pub fn keep(write: &Write, fleet: &BTreeSet<NodeId>) -> Result<()> {
    brakes::replace(write, fleet.iter())
}

impl Brake {
    /// A brake that is on for these nodes; off if there are none.
    pub fn of(fleet: BTreeSet<NodeId>) -> Brake {
        Brake { fleet: (!fleet.is_empty()).then_some(fleet) }
    }

    /// The nodes that it is on for.
    pub fn fleet(&self) -> BTreeSet<NodeId> {
        self.fleet.clone().unwrap_or_default()
    }

    /// Updates the brake from the silence of each enrolled node: zero is alive, `None` was dead before the server
    /// started.
    pub fn update(&mut self, silence: &[(NodeId, Option<Duration>)]) -> Change {
        let most = |fleet: usize, silent: usize| silent > SILENT_MIN && 2 * silent > fleet;
        match &self.fleet {
            None => {
                let recent = || silence.iter().filter(|(_, since)| since.is_some_and(|since| since <= TOGETHER));
                let (fleet, silent) =
                    (recent().count(), recent().filter(|(_, since)| *since != Some(Duration::ZERO)).count());
                if !most(fleet, silent) {
                    return Change::Same;
                }
                self.fleet = Some(recent().map(|(id, _)| id.clone()).collect());
                Change::On { fleet, silent }
            }
            Some(fleet) => {
                // Nodes that were deleted meanwhile do not count.
                let of_fleet = || silence.iter().filter(|(id, _)| fleet.contains(id));
                let silent = of_fleet().filter(|(_, since)| *since != Some(Duration::ZERO)).count();
                if most(of_fleet().count(), silent) {
                    return Change::Same;
                }
                self.fleet = None;
                Change::Off
            }
        }
    }

    /// True if it is on.
    pub fn is_on(&self) -> bool {
        self.fleet.is_some()
    }

    /// Releases it, whatever the leases say. Returns true if it was on.
    pub fn release(&mut self) -> bool {
        self.fleet.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(i: usize) -> NodeId {
        format!("n{i}").as_str().into()
    }

    fn fleet(seconds: &[u64]) -> Vec<(NodeId, Option<Duration>)> {
        seconds.iter().enumerate().map(|(i, s)| (n(i), Some(Duration::from_secs(*s)))).collect()
    }

    #[test]
    fn it_comes_on_when_most_fall_silent_together() {
        for (silence, turn) in [
            (&[0, 0, 0, 0][..], Change::Same),
            (&[0, 0, 9, 9], Change::Same),
            (&[0, 9, 9], Change::Same),
            (&[9, 9, 9], Change::On { fleet: 3, silent: 3 }),
            (&[0, 0, 9, 9, 9], Change::On { fleet: 5, silent: 3 }),
            (&[0, 0, 0, 9, 9, 9], Change::Same),
            // Nodes that died long ago do not count.
            (&[0, 0, 0, 900, 900, 900, 900], Change::Same),
        ] {
            assert_eq!(Brake::default().update(&fleet(silence)), turn, "{silence:?}");
        }
    }

    #[test]
    fn it_outlives_a_restart() {
        let mut brake = Brake::default();
        brake.update(&fleet(&[0, 9, 9, 9]));
        let mut again = Brake::of(brake.fleet());
        let dead = |i: usize, alive: bool| (format!("n{i}").as_str().into(), alive.then_some(Duration::ZERO));
        assert_eq!(again.update(&[dead(0, true), dead(1, false), dead(2, false), dead(3, false)]), Change::Same);
        assert!(again.is_on());
        assert_eq!(again.update(&[dead(0, true), dead(1, true), dead(2, false), dead(3, false)]), Change::Off);
        assert!(!Brake::of(again.fleet()).is_on());
    }

    #[test]
    fn it_holds_until_half_of_them_are_back_or_gone() {
        let mut brake = Brake::default();
        assert_ne!(brake.update(&fleet(&[0, 9, 9, 9, 9])), Change::Same);
        assert_eq!(brake.update(&fleet(&[0, 4000, 4000, 4000, 4000])), Change::Same, "time alone does not release it");
        assert!(brake.is_on());
        assert_eq!(brake.update(&fleet(&[0, 0, 0, 4000, 4000])), Change::Off);
        assert_ne!(brake.update(&fleet(&[9, 9, 9, 9])), Change::Same);
        assert_eq!(brake.update(&fleet(&[9, 9])), Change::Off, "the others were deleted");
    }
}
