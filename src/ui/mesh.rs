//! A picture of the mesh, drawn on the server: nodes by zone, in the colour of their lease, and the tunnels to their
//! routers.

use super::parts;
use crate::control::Control;
use crate::control::work::routers;
use crate::error::Result;
use crate::html::{Html, page};
use crate::json;
use crate::model::Paging;
use crate::model::nodes::ListedNode;
use crate::model::status_keys;
use std::collections::{BTreeMap, HashMap};

/// Nodes that are drawn. More are unreadable in a picture, and the list has all of them.
const DRAWN_MAX: usize = 120;
/// Tunnels that are drawn.
const LINES_MAX: usize = 240;
/// Nodes of a zone up to which their names are drawn; more would overlap.
const NAMED_MAX: usize = 4;
/// Characters of a name in the picture; the title has all of it.
const NAME_CHARS_MAX: usize = 11;
/// Label with a node's zone.
const ZONE: &str = "zone";

/// Width of a zone, and nodes in a row of it.
const ZONE_WIDTH: usize = 220;
const IN_ROW: usize = 2;
const IN_ROW_OF_MANY: usize = 8;
const GAP: usize = 16;
const ZONES_IN_ROW: usize = 3;

/// Distance from the picture's edge.
const MARGIN: usize = 4;

/// The picture, or a sentence if there is nothing to draw.
pub(super) fn picture(control: &Control, nodes: &[ListedNode]) -> Result<Html> {
    if nodes.is_empty() {
        return Ok(parts::hint("No nodes yet."));
    }
    let zones = by_zone(nodes);
    let mut drawn = Drawing::default();
    let (mut top, mut row_height) = (MARGIN, 0);
    for (i, (zone, members)) in zones.iter().enumerate() {
        let column = i % ZONES_IN_ROW;
        if column == 0 && i > 0 {
            (top, row_height) = (top + row_height + GAP, 0);
        }
        let left = MARGIN + column * (ZONE_WIDTH + GAP);
        row_height = row_height.max(drawn.zone(control, (left, top), zone, members));
    }
    let tunnels = lines(control, nodes, &drawn.places)?;
    let zones_in_row = zones.len().min(ZONES_IN_ROW);
    let width = 2 * MARGIN + zones_in_row * ZONE_WIDTH + (zones_in_row - 1) * GAP;
    let label = format!(
        "{} in {}, with their tunnels",
        parts::count(nodes.len().min(DRAWN_MAX), "node"),
        parts::count(zones.len(), "zone")
    );
    let picture = page!(
        "mesh.html",
        // A single zone is not scaled up to the width of the page.
        width = &width.max(2 * ZONE_WIDTH).to_string(),
        height = &(top + row_height + 2 * MARGIN).to_string(),
        label = &label,
        parts = &Html::concat([drawn.boxes, tunnels, drawn.circles].into_iter().flatten().collect()),
    );
    let hidden = nodes.len().saturating_sub(DRAWN_MAX);
    let more = if hidden > 0 { parts::hint(&format!("{hidden} more are not drawn.")) } else { Html::empty() };
    Ok(Html::concat(vec![picture, more]))
}

/// The nodes that are drawn, by their zones; the empty name is that of nodes without one.
fn by_zone(nodes: &[ListedNode]) -> BTreeMap<String, Vec<&ListedNode>> {
    let mut zones: BTreeMap<String, Vec<&ListedNode>> = BTreeMap::new();
    for node in nodes.iter().take(DRAWN_MAX) {
        let labels: BTreeMap<String, String> = serde_json::from_str(node.labels.get()).unwrap_or_default();
        zones.entry(labels.get(ZONE).cloned().unwrap_or_default()).or_default().push(node);
    }
    zones
}

/// Zones and nodes drawn so far.
#[derive(Default)]
struct Drawing<'n> {
    boxes: Vec<Html>,
    circles: Vec<Html>,
    /// Centre of each node's circle, by the node's id.
    places: HashMap<&'n str, (usize, usize)>,
}

impl<'n> Drawing<'n> {
    /// Draws a zone with its nodes from this corner on; returns its height.
    fn zone(
        &mut self,
        control: &Control,
        (left, top): (usize, usize),
        name: &str,
        members: &[&'n ListedNode],
    ) -> usize {
        let named = members.len() <= NAMED_MAX;
        let (in_row, step_y, r) = if named { (IN_ROW, 56, 12) } else { (IN_ROW_OF_MANY, 26, 8) };
        let height = 32 + members.len().div_ceil(in_row) * step_y;
        self.boxes.push(page!(
            "mesh_zone.html",
            x = &left.to_string(),
            y = &top.to_string(),
            width = &ZONE_WIDTH.to_string(),
            height = &height.to_string(),
            text_x = &(left + 10).to_string(),
            text_y = &(top + 18).to_string(),
            name = &if name.is_empty() { "no zone".to_string() } else { cut(name, 26) },
        ));
        for (k, node) in members.iter().enumerate() {
            let step_x = ZONE_WIDTH / in_row;
            let (x, y) = (left + step_x / 2 + (k % in_row) * step_x, top + 42 + (k / in_row) * step_y);
            self.node(control, (x, y), r, node);
            if named {
                let name = cut(&node.name, NAME_CHARS_MAX);
                self.circles.push(page!("mesh_name.html", x = &x.to_string(), y = &(y + 28).to_string(), name = &name));
            }
        }
        height
    }

    /// Draws a node as a circle.
    fn node(&mut self, control: &Control, (x, y): (usize, usize), r: usize, node: &'n ListedNode) {
        let state = control.leases.state(&node.id).as_str();
        self.places.insert(node.id.as_str(), (x, y));
        self.circles.push(page!(
            "mesh_node.html",
            href = &parts::path("nodes", &node.id),
            title = &format!("{}: {state}{}", node.name, if node.suspect_since.is_some() { ", suspect" } else { "" }),
            state = state,
            x = &x.to_string(),
            y = &y.to_string(),
            r = &r.to_string(),
        ));
    }
}

/// The tunnels from nodes to their routers, as the nodes report them.
fn lines(control: &Control, nodes: &[ListedNode], places: &HashMap<&str, (usize, usize)>) -> Result<Vec<Html>> {
    let assigned = routers::list(control, &Paging::first(LINES_MAX), None)?.items;
    let mut lines = Vec::new();
    for assignment in &assigned {
        let Some(from) = places.get(assignment.node_id.as_str()) else { continue };
        let node = nodes.iter().find(|n| n.id == assignment.node_id);
        let status = node.map(|n| json::kept_object(n.status.get())).unwrap_or_default();
        for (router, key, class) in [
            (&assignment.primary_router_id, status_keys::WG_PRIMARY_TUNNEL, "first"),
            (&assignment.secondary_router_id, status_keys::WG_SECONDARY_TUNNEL, "second"),
        ] {
            let Some(to) = places.get(router.as_str()) else { continue };
            let said = status.get(key).map_or("not known".to_string(), parts::value);
            let colour = super::wireguard::tunnel_class(&said);
            lines.push(page!(
                "mesh_line.html",
                class = &format!("{class} {colour}"),
                x1 = &from.0.to_string(),
                y1 = &from.1.to_string(),
                x2 = &to.0.to_string(),
                y2 = &to.1.to_string(),
                title = &format!("{} to {router}: {said}", assignment.node_id),
            ));
        }
    }
    Ok(lines)
}

fn cut(name: &str, chars: usize) -> String {
    if name.chars().count() <= chars { name.to_string() } else { name.chars().take(chars - 1).chain(['…']).collect() }
}
