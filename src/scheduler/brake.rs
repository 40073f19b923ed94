//! The brake: when most of the fleet falls silent together, it is more likely that the control plane is cut off than that so many
//! machines died at once. Then nothing is moved until they are back, or an operator says otherwise.

use crate::error::Result;
use crate::model::ids::NodeId;
use crate::store::{Read, Write, brakes};
use std::collections::BTreeSet;
use std::time::Duration;

/// Nodes that fell silent within this count as having done so together.
const TOGETHER: Duration = Duration::from_secs(300);
/// More silent nodes than this are needed: in the smallest fleets half is one or two machines.
const SILENT_MIN: usize = 2;

/// Whether it is on, and because of whom.
#[derive(Clone, Default)]
pub struct Brake {
    /// The nodes that lived when it came on.
    fleet: Option<BTreeSet<NodeId>>,
}

/// What a look at the leases changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Same,
    /// It came on: of so many nodes so many are silent.
    On { fleet: usize, silent: usize },
    /// It went off.
    Off,
}

/// The nodes that a brake which is on was put on for; none while it is off. A restart must not let go.
pub fn fleet(read: &Read) -> Result<BTreeSet<NodeId>> {
    Ok(brakes::fleet(read)?.into_iter().collect())
}

/// Keeps them.
pub fn keep(write: &Write, fleet: &BTreeSet<NodeId>) -> Result<()> {
    brakes::replace(write, fleet.iter())
}

impl Brake {
    /// A brake that is on for these nodes, and off for none.
    pub fn of(fleet: BTreeSet<NodeId>) -> Brake {
        Brake { fleet: (!fleet.is_empty()).then_some(fleet) }
    }

    /// The nodes it is on for.
    pub fn fleet(&self) -> BTreeSet<NodeId> {
        self.fleet.clone().unwrap_or_default()
    }

    /// Looks at how long each enrolled node is silent: zero is alive, `None` was dead before the server started.
    pub fn look(&mut self, silence: &[(NodeId, Option<Duration>)]) -> Turn {
        let most = |fleet: usize, silent: usize| silent > SILENT_MIN && 2 * silent > fleet;
        match &self.fleet {
            None => {
                let recent = || silence.iter().filter(|(_, since)| since.is_some_and(|since| since <= TOGETHER));
                let (fleet, silent) = (recent().count(), recent().filter(|(_, since)| *since != Some(Duration::ZERO)).count());
                if !most(fleet, silent) {
                    return Turn::Same;
                }
                self.fleet = Some(recent().map(|(id, _)| id.clone()).collect());
                Turn::On { fleet, silent }
            }
            Some(fleet) => {
                // Nodes that were deleted meanwhile count no more.
                let of_fleet = || silence.iter().filter(|(id, _)| fleet.contains(id));
                let silent = of_fleet().filter(|(_, since)| *since != Some(Duration::ZERO)).count();
                if most(of_fleet().count(), silent) {
                    return Turn::Same;
                }
                self.fleet = None;
                Turn::Off
            }
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.fleet.is_some()
    }

    /// Lets go, whatever the leases say.
    pub fn release(&mut self) -> bool {
        self.fleet.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(seconds: &[u64]) -> Vec<(NodeId, Option<Duration>)> {
        seconds.iter().enumerate().map(|(i, s)| (format!("n{i}").as_str().into(), Some(Duration::from_secs(*s)))).collect()
    }

    #[test]
    fn it_comes_on_when_most_fall_silent_together() {
        for (silence, turn) in [
            (&[0, 0, 0, 0][..], Turn::Same),
            (&[0, 0, 9, 9], Turn::Same),
            (&[0, 9, 9], Turn::Same),
            (&[9, 9, 9], Turn::On { fleet: 3, silent: 3 }),
            (&[0, 0, 9, 9, 9], Turn::On { fleet: 5, silent: 3 }),
            (&[0, 0, 0, 9, 9, 9], Turn::Same),
            // Those that died long ago are no part of it.
            (&[0, 0, 0, 900, 900, 900, 900], Turn::Same),
        ] {
            assert_eq!(Brake::default().look(&fleet(silence)), turn, "{silence:?}");
        }
    }

    #[test]
    fn it_outlives_a_restart() {
        let mut brake = Brake::default();
        brake.look(&fleet(&[0, 9, 9, 9]));
        let mut again = Brake::of(brake.fleet());
        let dead = |i: usize, alive: bool| (format!("n{i}").as_str().into(), alive.then_some(Duration::ZERO));
        assert_eq!(again.look(&[dead(0, true), dead(1, false), dead(2, false), dead(3, false)]), Turn::Same);
        assert!(again.is_on());
        assert_eq!(again.look(&[dead(0, true), dead(1, true), dead(2, false), dead(3, false)]), Turn::Off);
        assert!(!Brake::of(again.fleet()).is_on());
    }

    #[test]
    fn it_holds_until_half_of_them_are_back_or_gone() {
        let mut brake = Brake::default();
        assert_ne!(brake.look(&fleet(&[0, 9, 9, 9, 9])), Turn::Same);
        assert_eq!(brake.look(&fleet(&[0, 4000, 4000, 4000, 4000])), Turn::Same, "time alone does not release it");
        assert!(brake.is_on());
        assert_eq!(brake.look(&fleet(&[0, 0, 0, 4000, 4000])), Turn::Off);
        assert_ne!(brake.look(&fleet(&[9, 9, 9, 9])), Turn::Same);
        assert_eq!(brake.look(&fleet(&[9, 9])), Turn::Off, "the others were deleted");
    }
}
