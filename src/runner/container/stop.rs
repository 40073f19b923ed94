//! The end of a run on request: its signal, its grace, SIGKILL.

use super::{Shared, create};
use crate::clock;
use crate::percent;
use crate::runner::docker::{Call, Called, Failure};
use crate::runner::run::RunId;
use crate::thread::lock;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A stop that is under way.
pub struct Stopping {
    kill_at: Instant,
}

/// Notes a stop. False if one with this grace or a shorter one is under way.
pub fn begin(all: &mut BTreeMap<RunId, Stopping>, id: &RunId, grace: Duration) -> bool {
    let kill_at = clock::tick() + grace;
    let is_news = all.get(id).is_none_or(|stopping| stopping.kill_at > kill_at);
    if is_news {
        all.insert(id.clone(), Stopping { kill_at });
    }
    is_news
}

/// Stops a run. What fails is requested again by the caller of [`super::Containers::stop`] if it is still necessary.
pub fn run(shared: &Shared, id: &RunId, signal: &str, grace: Duration) {
    let held = lock(&shared.state).held(id).map(|held| (held.container.clone(), held.seen.spec.clone()));
    if let Some((container, spec)) = held {
        let stopping_name = create::stopping_name(&spec);
        if let Err(failure) = stop(shared, &container, &stopping_name, signal, grace) {
            shared.warn("stop", id, &failure);
        }
        lock(&shared.state).touched.insert(container);
    }
    lock(&shared.state).stopping.remove(id);
    shared.ask.set(());
}

fn stop(shared: &Shared, container: &str, stopping_name: &str, signal: &str, grace: Duration) -> Called<()> {
    let rename = create::path_of(container, &format!("/rename?name={stopping_name}"));
    match shared.docker.call(&Call::quick("POST", &rename)) {
        // It has the name since an earlier request.
        Ok(_) | Err(Failure::Refused { .. }) => {}
        Err(failure) => return Err(failure),
    }
    if grace.is_zero() {
        return kill(shared, container, "SIGKILL");
    }
    kill(shared, container, signal)?;
    let wait = create::path_of(container, "/wait?condition=not-running");
    match shared.docker.json(&Call::quick("POST", &wait).within(grace)) {
        Ok(_) => Ok(()),
        Err(Failure::Unresponsive) => kill(shared, container, "SIGKILL"),
        Err(failure) if failure.is_not_found() => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Sends a signal, which a container that has ended refuses.
fn kill(shared: &Shared, container: &str, signal: &str) -> Called<()> {
    let kill = create::path_of(container, &format!("/kill?signal={}", percent::encode(signal)));
    match shared.docker.call(&Call::quick("POST", &kill).within(create::SLOW)) {
        Ok(_) => Ok(()),
        Err(Failure::Refused { message, .. }) if message.to_lowercase().contains("running") => Ok(()),
        Err(failure) if failure.is_not_found() => Ok(()),
        Err(failure) => Err(failure),
    }
}
