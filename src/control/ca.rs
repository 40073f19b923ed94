//! The cluster's certificate authority: made once, on the first bootstrap or join, and never replaced.

use crate::clock::Timestamp;
use crate::crypto::pki::{self, Ca};
use crate::error::Result;
use crate::thread::lock;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The authority, loaded from its directory, or not made yet.
pub struct Authority {
    dir: PathBuf,
    ca: Mutex<Option<Arc<Ca>>>,
}

impl Authority {
    /// Loads the authority, where there is one. Half an authority is refused: it must be restored, not replaced.
    pub fn new(dir: PathBuf) -> Result<Authority> {
        let ca = Ca::load(&dir)?.map(Arc::new);
        Ok(Authority { dir, ca: Mutex::new(ca) })
    }

    /// When the authority's certificate ends, where there is one.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let ca = lock(&self.ca).clone()?;
        pki::validity(ca.cert_pem()).map(|(_, ends)| ends)
    }

    /// The authority, made now if there is none.
    pub fn ensure(&self) -> Result<Arc<Ca>> {
        let mut slot = lock(&self.ca);
        if let Some(ca) = &*slot {
            return Ok(Arc::clone(ca));
        }
        // It may have been restored since the start: what is there is never replaced.
        if let Some(restored) = Ca::load(&self.dir)? {
            return Ok(Arc::clone(slot.insert(Arc::new(restored))));
        }
        let ca = Arc::new(Ca::create(&self.dir)?);
        log::info!(target: "cluster", event = "ca.create", directory:% = self.dir.display(); "Made the cluster's certificate authority");
        *slot = Some(Arc::clone(&ca));
        Ok(ca)
    }
}
