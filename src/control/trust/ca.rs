//! The cluster's certificate authorities: created once, on the first start, bootstrap or join; rotated at an operator's
//! request.
//!
//! There are two, rotated together. Nodes and control plane trust each other through the cluster's authority; the
//! server's authority signs only what people are shown, so trusting it does not mean trusting any node. A person who
//! trusts the cluster's authority, as was usual before there were two, trusts the server too, because that one
//! certifies the other.
//!
//! A rotation overlaps: the new authority issues at once, and the old one stays trusted, and keeps certifying the
//! server, until an operator drops it. Nodes learn of the rotation from a heartbeat's answer and fetch both by renewing
//! their identity.

use crate::clock::{self, Timestamp};
use crate::control::trust::tls;
use crate::control::{Control, guard};
use crate::crypto::pki::{CLUSTER, Ca, Kind, SERVER};
use crate::crypto::{self, pki};
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::ca::{AuthorityView, CaView, NodeTrust};
use crate::model::events::catalogue::{self, CA_DROP_PREVIOUS, CA_ROTATE, CERTIFICATE_OUTSIDE_DATES};
use crate::model::{Page, Paging};
use crate::store::{Store, events, nodes};
use crate::thread::lock;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Directory of the previous authority, while it is still trusted.
const PREVIOUS: &str = "previous";
/// Directory of the next authority, during a rotation.
const NEXT: &str = "next";

/// Error for a rotation before the last one has ended.
const STILL_TRUSTED: &str = "The previous authority is still trusted. Drop it first: uptimemesh ca drop-previous";
/// Directory that is being removed.
const DISCARDED: &str = "discarded";

/// Authorities for nodes to trust.
pub struct Trusted {
    /// The authorities' certificates, the issuing one first.
    pub pem: String,
    /// SHA-256 of that text, in hex: shows which version a node has.
    pub digest: String,
}

/// The authority, loaded from its directory, or not created yet.
pub struct Authority {
    dir: PathBuf,
    /// Held for a moment only: every heartbeat reads it.
    state: RwLock<Arc<State>>,
    /// Held while the directory changes, which waits for the disk.
    changing: Mutex<()>,
}

struct State {
    current: Option<Arc<Ca>>,
    previous: Option<Arc<Ca>>,
    /// The server's authority, and its predecessor.
    server: Option<Arc<Ca>>,
    server_previous: Option<Arc<Ca>>,
    trusted: Option<Arc<Trusted>>,
}

impl State {
    fn load(dir: &Path) -> Result<State> {
        finish_rotation(dir)?;
        let load = |dir: &Path, kind: &Kind| Ok::<_, Error>(Ca::load(dir, kind)?.map(Arc::new));
        let before = dir.join(PREVIOUS);
        let (current, previous) = (load(dir, &CLUSTER)?, load(&before, &CLUSTER)?);
        let trusted = current.as_ref().map(|ca| {
            let pem = both(ca, &previous);
            Arc::new(Trusted { digest: crypto::sha256_hex(pem.as_bytes()), pem })
        });
        Ok(State { current, previous, server: load(dir, &SERVER)?, server_previous: load(&before, &SERVER)?, trusted })
    }
}

/// The certificates of an authority and its predecessor, PEM.
fn both(current: &Arc<Ca>, previous: &Option<Arc<Ca>>) -> String {
    std::iter::once(current).chain(previous).map(|ca| ca.cert_pem()).collect()
}

/// Commands that set the clock and keep it right.
pub const SET_CLOCK: &str = "date -u -s 'YYYY-MM-DD HH:MM:SS', then timedatectl set-ntp true";

/// Refuses to issue anything with a date while this machine's clock is clearly wrong: with a correct clock it would
/// have expired, or not be valid yet.
pub fn clock_is_right() -> Result<()> {
    let (now, built) = (clock::now(), clock::built_at());
    if clock::is_plausible(now) {
        return Ok(());
    }
    Err(Error::Unavailable(format!(
        "The control plane's clock shows {now}, but its program was built at {built}: no certificates or tokens are \
            issued until the clock is right ({SET_CLOCK})."
    )))
}

/// Start of the validity of an authority that is created now. With a wrong clock it is that of the authority beside it,
/// which nodes rely on already: a cluster of 2.0.0, which had only one, must start on a machine that never knows the
/// time.
fn begin(beside: Option<&Arc<Ca>>) -> Result<Timestamp> {
    let other = beside.filter(|_| !clock::is_plausible(clock::now())).and_then(|ca| pki::validity(ca.cert_pem()));
    other.map_or_else(|| clock_is_right().map(|()| clock::now()), |(from, _)| Ok(from.plus_secs(pki::BACKDATED_S)))
}

impl Authority {
    /// True if this directory has an authority, or the remains of one.
    pub fn is_made(dir: &Path) -> Result<bool> {
        Ok(exists(&dir.join(CLUSTER.key))? || exists(&dir.join(CLUSTER.cert))?)
    }

    /// Loads the authority, if there is one. Half an authority is refused: it must be restored, not replaced.
    pub fn new(dir: PathBuf) -> Result<Authority> {
        let state = State::load(&dir)?;
        Ok(Authority { dir, state: RwLock::new(Arc::new(state)), changing: Mutex::default() })
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Activates a state. The caller holds `changing`.
    fn set(&self, state: State) -> Arc<State> {
        let state = Arc::new(state);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&state);
        state
    }

    /// End of the first of the authorities' certificates, if there are any.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let state = self.state();
        state
            .current
            .iter()
            .chain(&state.server)
            .filter_map(|ca| pki::validity(ca.cert_pem()))
            .map(|(_, ends)| ends)
            .min()
    }

    /// The authority that issues, created now if there is none.
    pub fn ensure(&self) -> Result<Arc<Ca>> {
        self.made(|state| state.current.clone())
    }

    /// The authority that issues, and the authorities that its nodes must trust.
    pub fn issuing(&self) -> Result<(Arc<Ca>, Arc<Trusted>)> {
        self.made(|state| state.current.clone().zip(state.trusted.clone()))
    }

    /// The authority that certifies the server for nodes: the one that every node trusts already.
    pub fn vouching(&self) -> Result<Arc<Ca>> {
        self.made(|state| state.previous.clone().or_else(|| state.current.clone()))
    }

    /// SHA-256 (hex) of the authority that certifies the server after a rotation; `None` outside one.
    pub fn next(&self) -> Option<String> {
        let state = self.state();
        state.previous.as_ref().and(state.current.as_ref()).map(|ca| ca.fingerprint_hex())
    }

    /// The authority that certifies the server for people: the one that they trust already.
    pub fn showing(&self) -> Result<Arc<Ca>> {
        self.made(|state| state.server_previous.clone().or_else(|| state.server.clone()))
    }

    /// The authorities that nodes must trust.
    pub fn trusted(&self) -> Result<Arc<Trusted>> {
        self.made(|state| state.trusted.clone())
    }

    fn made<T>(&self, take: impl Fn(&State) -> Option<T>) -> Result<T> {
        if let Some(found) = take(&self.state()) {
            return Ok(found);
        }
        let _changing = lock(&self.changing);
        // It may have been restored since the start: an existing one is never replaced.
        let mut state = self.set(State::load(&self.dir)?);
        for (kind, there) in [(&CLUSTER, state.current.is_some()), (&SERVER, state.server.is_some())] {
            if !there {
                Ca::create_from(&self.dir, kind, begin(state.current.as_ref())?)?;
                log::info!(
                    target: "cluster", event = "ca.create", file:% = self.dir.join(kind.cert).display();
                    "Created a certificate authority"
                );
            }
        }
        state = self.set(State::load(&self.dir)?);
        take(&state).ok_or_else(|| Error::fault("load the certificate authority", "it is not there"))
    }

    /// Creates a new authority that issues from now on; the previous one stays trusted. A crash at any moment leaves
    /// one state or the other.
    fn rotate(&self) -> Result<()> {
        let _changing = lock(&self.changing);
        // A rotation that failed half-way is first finished or discarded: its remains must not be mixed with this one.
        if self.set(State::load(&self.dir)?).previous.is_some() {
            return Err(Error::Conflict(STILL_TRUSTED.into()));
        }
        let (next, previous) = (self.dir.join(NEXT), self.dir.join(PREVIOUS));
        // The cluster's own comes last: a directory that has it is complete.
        Ca::create(&next, &SERVER)?;
        Ca::create(&next, &CLUSTER)?;
        copy(&self.dir, &previous)?;
        finish_rotation(&self.dir)?;
        self.set(State::load(&self.dir)?);
        Ok(())
    }

    /// Stops trusting the previous authority. Returns true if there was one.
    fn drop_previous(&self) -> Result<bool> {
        let _changing = lock(&self.changing);
        if self.state().previous.is_none() {
            return Ok(false);
        }
        discard(&self.dir, PREVIOUS)?;
        self.set(State::load(&self.dir)?);
        Ok(true)
    }
}

/// Copies both authorities' keys and certificates, the cluster's own last. The server's may be missing: there was only
/// one authority once.
fn copy(from: &Path, to: &Path) -> Result<()> {
    files::private_dir(to)?;
    for kind in [&SERVER, &CLUSTER] {
        for (name, mode) in [(kind.key, files::PRIVATE), (kind.cert, files::PUBLIC)] {
            match files::read(&from.join(name))? {
                Some(text) => files::write(&to.join(name), text.as_bytes(), mode)?,
                None if kind.key == SERVER.key && !exists(&from.join(kind.key))? && !exists(&from.join(kind.cert))? => {
                }
                None => return Err(Error::fault("copy the authority", format!("{name} is not there"))),
            }
        }
    }
    Ok(())
}

/// Finishes a decided rotation: the next authority is complete, and the previous one is kept. Discards one that a crash
/// left undecided.
fn finish_rotation(dir: &Path) -> Result<()> {
    // A crash may leave a directory that was being removed, perhaps with a key in it.
    let _ = fs::remove_dir_all(dir.join(DISCARDED));
    let (next, previous) = (dir.join(NEXT), dir.join(PREVIOUS));
    if !exists(&next)? {
        return Ok(());
    }
    // If both files exist but are unreadable, that is a fault of the disk, not an undecided rotation.
    let whole = |dir: &Path| match exists(&dir.join(CLUSTER.key))? && exists(&dir.join(CLUSTER.cert))? {
        true => Ca::load(dir, &CLUSTER).map(|ca| ca.is_some()),
        false => Ok(false),
    };
    if whole(&next)? && whole(&previous)? {
        copy(&next, dir)?;
    } else if exists(&previous)? {
        discard(dir, PREVIOUS)?;
    }
    discard(dir, NEXT)
}

/// True if a path exists. If this cannot be determined, that is an error, and no reason to remove anything.
fn exists(path: &Path) -> Result<bool> {
    path.try_exists().doing("look for a part of the authority")
}

/// Removes one of the directories beside the authority, in one step for readers: half of it would be mistaken for
/// something else.
fn discard(dir: &Path, name: &str) -> Result<()> {
    let gone = dir.join(DISCARDED);
    let _ = fs::remove_dir_all(&gone);
    files::rename(&dir.join(name), &gone)?;
    // The next start tries again.
    if let Err(e) = fs::remove_dir_all(&gone) {
        log::warn!(
            target: "cluster", event = "ca.discard", directory:% = gone.display(), error:% = e;
            "Could not remove a directory with a key that is no longer used"
        );
    }
    Ok(())
}

/// Checks at a start that authorities and certificates are valid now. With an invalid one, every connection is refused,
/// and so it is reported; authorities that no node relies on yet are created again.
pub fn check_dates(control: &Control) -> Result<()> {
    let now = clock::now();
    let state = control.ca.state();
    let authorities = state.current.iter().chain(&state.server).map(|ca| ("authority", ca.cert_pem().to_string()));
    let shown = control
        .config
        .tls_files
        .iter()
        .filter_map(|(chain, key)| Some(("certificate", tls::own_certificate(chain, key).ok()?)));
    for (what, pem) in authorities.chain(shown) {
        let Some((from, until)) = pki::validity(&pem).filter(|(from, until)| !(*from..=*until).contains(&now)) else {
            continue;
        };
        let fingerprint = pki::fingerprint_hex(&pem);
        log::warn!(
            target: "cluster", event = "certificate.outside_dates", what, from:%, until:%, now:%;
            "A certificate is outside its validity period: clients refuse it. Is the clock correct?"
        );
        let (enrolled, _) = control.store.read(|r| nodes::count_trust(r, ""))?;
        let is_remade = what == "authority" && enrolled == 0 && clock::is_plausible(now);
        let fields =
            json!({"what": what, "fingerprint": fingerprint, "from": from, "until": until, "made_again": is_remade});
        let recorded = control.store.write(move |w| events::record(w, CERTIFICATE_OUTSIDE_DATES.with(fields)));
        if let Err(e) = recorded {
            // A full disk must not keep a server from starting.
            log::warn!(target: "cluster", event = "event.unwritten", error:% = Chain(&e); "Could not record an event");
        }
        if is_remade {
            control.ca.drop_previous()?;
            control.ca.rotate()?;
            control.ca.drop_previous()?;
            log::warn!(
                target: "cluster", event = "ca.made_again", from:%, until:%;
                "Recreated the certificate authorities: no node relied on them"
            );
            return tls::turn(control);
        }
    }
    Ok(())
}

/// Sets the trust of nodes that were enrolled before it was recorded: they got the authority of that time, and there
/// was only one.
pub fn adopt(ca: &Authority, store: &Store) -> Result<()> {
    let digest = ca.trusted()?.digest.clone();
    store.write(move |w| nodes::set_missing_trust(w, &digest))
}

/// The authorities, and the progress of a rotation.
pub fn show(control: &Control) -> Result<CaView> {
    let trusted = control.ca.trusted()?;
    let view = |ca: &Arc<Ca>| AuthorityView {
        fingerprint: ca.fingerprint_hex(),
        not_after: pki::validity(ca.cert_pem()).map(|(_, end)| end),
    };
    let state = control.ca.state();
    let (current, previous) = (state.current.as_ref().map(view), state.previous.as_ref().map(view));
    let (server, server_previous) = (state.server.as_ref().map(view), state.server_previous.as_ref().map(view));
    let server_ca_cert_pem = state.server.as_ref().map(|ca| both(ca, &state.server_previous)).unwrap_or_default();
    let (enrolled, current_trust) = control.store.read(|r| nodes::count_trust(r, &trusted.digest))?;
    Ok(CaView {
        current,
        previous,
        ca_cert_pem: trusted.pem.clone(),
        server,
        server_previous,
        server_ca_cert_pem,
        nodes: enrolled,
        nodes_up_to_date: current_trust,
    })
}

/// A page of the enrolled nodes, each with its trust.
pub fn nodes(control: &Control, paging: &Paging) -> Result<Page<NodeTrust>> {
    let trusted = control.ca.trusted()?;
    control.store.read(|r| nodes::trust_page(r, paging, &trusted.digest)).map(|mut page| {
        for node in &mut page.items {
            node.lease_state = control.leases.state(&node.node_id);
        }
        page
    })
}

/// Creates a new authority; the previous one stays trusted until it is dropped.
pub fn rotate(control: &Control) -> Result<CaView> {
    if show(control)?.previous.is_some() {
        return Err(Error::Conflict(STILL_TRUSTED.into()));
    }
    clock_is_right()?;
    change(control, CA_ROTATE, || control.ca.rotate())
}

/// Stops trusting the previous authority. Refused while a node has only that one, unless it is to be left behind.
pub fn drop_previous(control: &Control, force: bool) -> Result<CaView> {
    let before = show(control)?;
    if before.previous.is_none() {
        return Err(Error::Conflict("There is no previous authority.".into()));
    }
    let waiting = before.nodes - before.nodes_up_to_date;
    if waiting > 0 && !force {
        return Err(Error::Conflict(format!(
            "{waiting} of {} nodes do not have the new authority yet (uptimemesh ca nodes lists them). They would have \
                to join again: wait for them, delete them, or use force.",
            before.nodes
        )));
    }
    change(control, CA_DROP_PREVIOUS, || control.ca.drop_previous().map(drop))
}

/// Records an action before it is done: a change without a trace would be worse than a trace without a change.
fn change(control: &Control, event: catalogue::Kind, action: impl FnOnce() -> Result<()>) -> Result<CaView> {
    let fields = json!({ "issuing_fingerprint": control.ca.ensure()?.fingerprint_hex() });
    control.store.write(move |w| {
        guard::check(w)?;
        events::record(w, event.with(fields)).map(drop)
    })?;
    action()?;
    control.node_work.touch_all();
    tls::turn(control)?;
    log::info!(
        target: "cluster", event = event.name, fingerprint = control.ca.ensure()?.fingerprint_hex();
        "Changed the cluster's certificate authority"
    );
    show(control)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state of the directory that a crash can leave during a rotation and a drop, and how the next start
    /// resolves it.
    #[test]
    fn a_crash_leaves_a_rotation_undone_or_done() {
        let root = std::env::temp_dir().join(format!("uptimemesh-rotation-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let dir = |name: &str| root.join(name);
        let begin = |name: &str| {
            for dir in [dir(name), dir(name).join(NEXT)] {
                Ca::create(&dir, &SERVER).expect("the server's authority");
            }
            let old = Ca::create(&dir(name), &CLUSTER).expect("an authority").fingerprint_hex();
            let new = Ca::create(&dir(name).join(NEXT), &CLUSTER).expect("the next one").fingerprint_hex();
            (old, new)
        };
        let seen = |name: &str| {
            let state = State::load(&dir(name)).expect("a state that can be started from");
            assert!(!dir(name).join(NEXT).exists() && !dir(name).join(DISCARDED).exists(), "{name}");
            assert_eq!(
                (state.server.is_some(), state.server_previous.is_some()),
                (true, state.previous.is_some()),
                "{name}"
            );
            let print = |ca: &Option<Arc<Ca>>| ca.as_ref().map(|ca| ca.fingerprint_hex()).unwrap_or_default();
            (print(&state.current), print(&state.previous))
        };
        let none = String::new;
        let previous = |name: &str| dir(name).join(PREVIOUS);

        let (old, _) = begin("only the next one is made");
        assert_eq!(seen("only the next one is made"), (old, none()));

        let (old, _) = begin("the previous one is half kept");
        copy(&dir("the previous one is half kept"), &previous("the previous one is half kept")).expect("a copy");
        fs::remove_file(previous("the previous one is half kept").join(CLUSTER.cert)).expect("half of it");
        assert_eq!(seen("the previous one is half kept"), (old, none()));

        let (old, new) = begin("both are whole");
        copy(&dir("both are whole"), &previous("both are whole")).expect("a copy");
        assert_eq!(seen("both are whole"), (new.clone(), old.clone()));
        assert_eq!(seen("both are whole"), (new, old), "and it stays so");

        let (old, new) = begin("the key is in its place, the certificate is not");
        let name = "the key is in its place, the certificate is not";
        copy(&dir(name), &previous(name)).expect("a copy");
        fs::copy(dir(name).join(NEXT).join(CLUSTER.key), dir(name).join(CLUSTER.key)).expect("half of it");
        assert_eq!(seen(name), (new.clone(), old.clone()));

        assert!(Authority::new(dir(name)).expect("an authority").rotate().is_err(), "the previous is still trusted");
        fs::rename(previous(name), dir(name).join(DISCARDED)).expect("a drop that was not finished");
        fs::remove_file(dir(name).join(DISCARDED).join(CLUSTER.cert)).expect("half of it");
        assert_eq!(seen(name), (new.clone(), none()));

        // A rotation failed between key and certificate while the server ran, and the operator tries again: nothing is
        // lost.
        let authority = Authority::new(dir(name)).expect("an authority");
        let third = Ca::create(&dir(name).join(NEXT), &CLUSTER).expect("the next one").fingerprint_hex();
        copy(&dir(name), &previous(name)).expect("a copy");
        fs::copy(dir(name).join(NEXT).join(CLUSTER.key), dir(name).join(CLUSTER.key)).expect("half of it");
        assert!(authority.rotate().is_err(), "that one is carried out first");
        assert_eq!(seen(name), (third, new));
        fs::remove_dir_all(root).expect("the directory is ours");
    }

    /// A rotation holds this lock from its first byte on the disk to its last.
    #[test]
    fn reading_the_trusted_authorities_does_not_wait_for_a_rotation() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-rotation-waits-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let authority = Arc::new(Authority::new(dir.clone()).expect("no authority yet"));
        let before = authority.trusted().expect("an authority").digest.clone();
        let changing = lock(&authority.changing);
        let rotating = Arc::clone(&authority);
        let rotation =
            crate::thread::spawn("rotation", None, move || rotating.rotate().expect("a rotation")).expect("a thread");
        let (sender, receiver) = std::sync::mpsc::channel();
        let asked = Arc::clone(&authority);
        let ask = move || drop(sender.send(asked.trusted().map(|t| t.digest.clone())));
        let asking = crate::thread::spawn("heartbeat", None, ask).expect("a thread");
        let answer = receiver.recv_timeout(std::time::Duration::from_secs(30));
        drop(changing);
        rotation.join().expect("the rotation is carried out");
        asking.join().expect("it ends");
        assert_eq!(answer.expect("an answer while the rotation waits").expect("what is trusted"), before);
        assert_ne!(authority.trusted().expect("the new one").digest, before);
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
